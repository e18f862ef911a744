"""Reading the settings from flags, environment and file, with the origin of each value."""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, SecretStr, ValidationError

from engine.errors import Invalid
from server.settings import Settings, default_data_folder, lookup, nest, setting_paths

PREFIX = "UPSTAIRS_"
CONFIG_VARIABLE = "UPSTAIRS_CONFIG"
EXAMPLE_PREFIX = "UPSTAIRS_EXAMPLE_"
"""What the examples' own skills read from the environment; no settings of the server."""

FILE_NAME = "upstairs.toml"

# Names that other programs already use; ours win where both are set.
FOREIGN_VARIABLES: dict[str, tuple[str, ...]] = {
    "ANTHROPIC_API_KEY": ("models", "anthropic_api_key"),
    "ANTHROPIC_BASE_URL": ("models", "anthropic_base_url"),
    "OPENAI_API_KEY": ("models", "openai_api_key"),
    "OPENAI_BASE_URL": ("models", "openai_base_url"),
    "GEMINI_API_KEY": ("models", "gemini_api_key"),
}

# Paths are the settings whose relative form means a place near the file they are written in.
PATH_SETTINGS = {
    ("data",),
    ("keys_file",),
    ("temporal", "binary"),
    ("temporal", "tls", "ca_file"),
    ("temporal", "tls", "cert_file"),
    ("temporal", "tls", "key_file"),
}


@dataclass(frozen=True)
class Origin:
    """Where the value of one setting came from."""

    kind: Literal["flag", "environment", "file", "default"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True)
class Loaded:
    """The settings, the origin of each by dotted name, and the file that was read, if any."""

    settings: Settings
    origins: dict[str, Origin]
    file: Path | None

    def shown(self) -> list[tuple[str, str, str]]:
        """Return (name, value, origin) of every setting for people to read; secrets appear as asterisks only."""
        rows: list[tuple[str, str, str]] = []
        for path in setting_paths():
            value = lookup(self.settings, path)
            if isinstance(value, SecretStr):
                value = "**********"
            elif isinstance(value, str):
                value = _without_password(value)
            elif isinstance(value, dict):
                value = _written(cast("dict[str, Any]", value)) if value else None
            name = ".".join(path)
            rows.append((name, "" if value is None else str(value), str(self.origins[name])))
        return rows


def _without_password(value: str) -> str:
    """Return a URL with its password replaced, anything else as it is."""
    scheme, separator, rest = value.partition("://")
    authority, slash, tail = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    if not (separator and at):
        return value
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}:**********@{host}{slash}{tail}"


def _written(table: Mapping[str, Any]) -> str:
    """Return a table of tables as JSON, with what was set in it."""
    tables = {
        name: entry.model_dump(mode="json", exclude_unset=True) if isinstance(entry, BaseModel) else entry
        for name, entry in table.items()
    }
    return json.dumps(tables, ensure_ascii=False)


Flat = dict[tuple[str, ...], Any]


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Loaded:
    """Return the settings merged from `flags`, `environ`, the file and the defaults.

    `flags` has dotted names (`temporal.port`); a value of None means that the flag was not given. `config` is the
    `--config` flag, `environ` and `folder` default to those of the process. Raises `Invalid` with `source`, `key`
    and `expected` in its details.
    """
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if folder is None else folder
    known = setting_paths()
    values: Flat = {}
    origins: dict[tuple[str, ...], Origin] = {}

    def take(found: Flat, origin_of: Mapping[tuple[str, ...], Origin]) -> None:
        for path, value in found.items():
            if path not in values:
                near = path in PATH_SETTINGS and isinstance(value, str | Path)
                values[path] = folder / Path(value).expanduser() if near else value
                origins[path] = origin_of[path]

    from_flags = {tuple(name.split(".")): value for name, value in (flags or {}).items() if value is not None}
    flag_origins = {path: Origin("flag", _flag_name(path)) for path in from_flags}
    for path in from_flags:
        if path not in known:
            raise _unknown(".".join(path), "the flags", [".".join(each) for each in known])
    take(from_flags, flag_origins)
    take(*_from_environment(environ, known))

    data: Path = values.get(("data",), default_data_folder())
    file = _find_file(config, environ, folder, data)
    if file is not None:
        found = _from_file(file, known)
        if ("data",) in found and file.parent == data:
            raise Invalid(
                f"{file} sets `data`, but it lies in the data folder itself and cannot move it; remove that line",
                source=str(file),
                key="data",
                expected="no `data` in a file inside the data folder",
            )
        take(found, dict.fromkeys(found, Origin("file", str(file))))

    settings = _validated(values, origins)
    complete = {".".join(path): origins.get(path, Origin("default")) for path in known}
    return Loaded(settings, complete, file)


def _flag_name(path: tuple[str, ...]) -> str:
    return "--" + "-".join(path).replace("_", "-")


def _from_environment(
    environ: Mapping[str, str], known: list[tuple[str, ...]]
) -> tuple[Flat, dict[tuple[str, ...], Origin]]:
    names = {PREFIX + "__".join(path).upper(): path for path in known}
    found: Flat = {}
    origins: dict[tuple[str, ...], Origin] = {}
    for variable, text in environ.items():
        if variable == CONFIG_VARIABLE or not variable.startswith(PREFIX) or variable.startswith(EXAMPLE_PREFIX):
            continue
        if variable not in names:
            raise _unknown(variable, "the environment", list(names))
        if text != "":
            found[names[variable]] = text
            origins[names[variable]] = Origin("environment", variable)
    for variable, path in FOREIGN_VARIABLES.items():
        if environ.get(variable) and path not in found:
            found[path] = environ[variable]
            origins[path] = Origin("environment", variable)
    return found, origins


def _find_file(config: Path | None, environ: Mapping[str, str], folder: Path, data: Path) -> Path | None:
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        file = Path(os.path.abspath(folder / named.expanduser()))
        if not file.is_file():
            raise Invalid(
                f"The settings file {file} does not exist; name another with --config or leave it out",
                source=str(file),
                key=None,
                expected="a readable file",
            )
        return file
    for candidate in (folder / FILE_NAME, data / FILE_NAME):
        if candidate.is_file():
            return Path(os.path.abspath(candidate))
    return None


def _from_file(file: Path, known: list[tuple[str, ...]]) -> Flat:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(
            f"The settings file {file} cannot be read: {error}; correct it or remove it",
            source=str(file),
            key=None,
            expected="TOML in UTF-8",
        ) from error
    found: Flat = {}
    sections = {path[:depth] for path in known for depth in range(1, len(path))}

    def walk(table: dict[str, Any], above: tuple[str, ...]) -> None:
        for name, value in table.items():
            path = (*above, name)
            if path in sections and isinstance(value, dict):
                walk(cast("dict[str, Any]", value), path)
            elif path in known:
                near = path in PATH_SETTINGS and isinstance(value, str)
                found[path] = file.parent / Path(value).expanduser() if near else value
            elif path in sections:
                raise Invalid(
                    f"{file}: `{'.'.join(path)}` is {json.dumps(value, default=str)}, but it is a table; "
                    f"write [{'.'.join(path)}]",
                    source=str(file),
                    key=".".join(path),
                    expected="a table",
                )
            else:
                raise _unknown(".".join(path), str(file), [".".join(each) for each in known])

    walk(document, ())
    return found


def _unknown(key: str, source: str, known: list[str]) -> Invalid:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else "`upstairs doctor` lists the settings"
    return Invalid(
        f"`{key}` in {source} is not a setting; {hint}",
        source=source,
        key=key,
        expected=close[0] if close else "a known setting",
    )


def _validated(values: Flat, origins: dict[tuple[str, ...], Origin]) -> Settings:
    try:
        return Settings(**nest(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = tuple(str(part) for part in first["loc"])
        said, whole = first["msg"].removeprefix("Value error, "), path
        while path and path not in origins and path not in setting_paths():
            inside = [each for each in origins if each[: len(path)] == path]
            if inside:
                # A rule over a whole section: name the places that took part in it.
                raise _wrong(path, inside, origins, said, None) from None
            path = path[:-1]
        if whole != path:
            # Inside a table of tables, which may hold what must not be shown: the place alone is named.
            said = f"{'.'.join(whole[len(path) :])}: {said}"
        value = None if whole != path else values.get(path)
        raise _wrong(path, [path] if path in origins else [], origins, said, value) from None


def _wrong(
    path: tuple[str, ...],
    places: list[tuple[str, ...]],
    origins: dict[tuple[str, ...], Origin],
    expected: str,
    value: Any,
) -> Invalid:
    key = ".".join(path)
    source = ", ".join(dict.fromkeys(str(origins[place]) for place in places)) or "default"
    secret = "key" in path[-1] or path == ("models", "accounts") if path else False
    written = "" if value is None or secret else f" is {str(value)!r}"
    return Invalid(f"`{key}`{written} ({source}): {expected}", source=source, key=key, expected=expected)
