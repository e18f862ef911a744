"""The options that most commands share, and how they print."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from server.data_folder import DataFolder, open_data_folder
from server.settings_sources import Loaded, load_settings

Data = Annotated[Path | None, typer.Option("--data", help="the data folder")]
Config = Annotated[Path | None, typer.Option("--config", help="a settings file (upstairs.toml)")]
AsUser = Annotated[str | None, typer.Option("--as", help="a local user of the settings; unset: you")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, one value a line")]


def settings(data: Path | None, config: Path | None, **flags: Any) -> Loaded:
    """Return the settings with these flags; None means that a flag was not given."""
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_settings({"data": data, **given}, config=config)


def folder_of(data: Path | None, config: Path | None) -> DataFolder:
    """Return the data folder that a command works on."""
    return open_data_folder(settings(data, config).settings.data)


def show(value: Any, as_json: bool, text: str) -> None:
    """Print `value` as JSON, or `text`."""
    print(json.dumps(value, ensure_ascii=False, default=str) if as_json else text, flush=True)
