"""What a JSON Schema says about the type of a value, as far as forms and texts need it."""

from collections.abc import Mapping
from typing import Any, cast


def single_type(node: Mapping[str, Any]) -> str | None:
    """Return the one type that values have besides null, or None where several are possible."""
    said = node.get("type")
    types = [said] if isinstance(said, str) else cast("list[str]", said or [])
    named = [one for one in types if one != "null"]
    return named[0] if len(named) == 1 else None
