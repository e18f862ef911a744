"""What every section of the settings is made of."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A group of settings, written as a table in the file and with `__` in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A list, in the environment and in flags separated by commas."""


def _read(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("outside the file this is written as a JSON object") from None


FromJson = BeforeValidator(_read)
"""For a table of tables: in the environment and in flags written as JSON."""
