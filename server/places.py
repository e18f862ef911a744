"""Where the data folder lies, found without any third-party import: what the bridge and the settings agree on."""

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

CONFIG_NAME = "upstairs.toml"


def default_data_folder() -> Path:
    """Return the platform's folder for application data, with `upstairs` in it."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "upstairs"


def find_config(named: str | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the settings file that a server started in `folder` would read, apart from one in its data folder."""
    name = named or environ.get("UPSTAIRS_CONFIG")
    if name:
        return Path(os.path.abspath(folder / Path(name).expanduser()))
    found = folder / CONFIG_NAME
    return Path(os.path.abspath(found)) if found.is_file() else None


def find_data_folder(named: str | None, config: Path | None, environ: Mapping[str, str], folder: Path) -> Path:
    """Return the data folder: the flag, else `UPSTAIRS_DATA`, else `data` of the settings file, else the default.

    Raises:
        OSError, ValueError: the settings file cannot be read or is no TOML.
    """
    name = named or environ.get("UPSTAIRS_DATA")
    if name:
        return Path(os.path.abspath(folder / Path(name).expanduser()))
    if config is not None:
        written = tomllib.loads(config.read_text(encoding="utf-8")).get("data")
        if isinstance(written, str):
            return Path(os.path.abspath(config.parent / Path(written).expanduser()))
    return default_data_folder()
