"""`install`: the entry by which a client starts Upstairs, written into its settings or printed for its own command."""

import json
import os
import re
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from engine.errors import Conflict, Invalid
from server.commands.options import AsJson, AsUser, Config, Data, settings, show

NAME = "upstairs"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ClientName(StrEnum):
    """The clients that are known by name."""

    claude_desktop = "claude-desktop"
    claude_code = "claude-code"
    cursor = "cursor"
    vscode = "vscode"
    codex = "codex"


@dataclass(frozen=True)
class ClientKind:
    """Where a client keeps its servers. `typed`: its entries say that they are of the kind stdio.

    `command` adds an entry by the client's own command line, where it has one; else the file is written.
    """

    title: str
    file: Path
    section: str
    form: Literal["json", "toml"] = "json"
    typed: bool = False
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Entry:
    """How a client starts the bridge."""

    name: str
    command: str
    args: tuple[str, ...]

    def as_json(self, kind: ClientKind) -> dict[str, Any]:
        """Return the entry as the client's settings have it."""
        type_ = {"type": "stdio"} if kind.typed else {}
        return {**type_, "command": self.command, "args": list(self.args)}

    def as_toml(self, section: str) -> str:
        """Return the entry as a table; JSON strings and arrays of them are TOML too."""
        command, args = json.dumps(self.command, ensure_ascii=False), json.dumps(list(self.args), ensure_ascii=False)
        return f"[{section}.{self.name}]\ncommand = {command}\nargs = {args}\n"


def clients(environ: Mapping[str, str], home: Path, here: Path, platform: str) -> dict[ClientName, ClientKind]:
    """Return the clients as they are installed for one person; a project's own settings lie in `here`."""
    if platform == "darwin":
        applications = home / "Library" / "Application Support"
    elif platform == "win32":
        applications = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    else:
        applications = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    codex = Path(environ.get("CODEX_HOME") or home / ".codex")
    desktop = applications / "Claude" / "claude_desktop_config.json"
    return {
        ClientName.claude_desktop: ClientKind("Claude Desktop", desktop, "mcpServers"),
        ClientName.claude_code: ClientKind(
            "Claude Code",
            here / ".mcp.json",
            "mcpServers",
            typed=True,
            command=("claude", "mcp", "add", "--scope", "user", "{name}", "--"),
        ),
        ClientName.cursor: ClientKind("Cursor", home / ".cursor" / "mcp.json", "mcpServers"),
        ClientName.vscode: ClientKind(
            "VS Code", here / ".vscode" / "mcp.json", "servers", typed=True, command=("code", "--add-mcp")
        ),
        ClientName.codex: ClientKind(
            "Codex", codex / "config.toml", "mcp_servers", form="toml", command=("codex", "mcp", "add", "{name}", "--")
        ),
    }


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(install)


def install(
    client: Annotated[ClientName, typer.Argument(help="the client")],
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
    write: Annotated[
        bool | None, typer.Option("--write/--print", help="default: print where the client has a command for it")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="the client's settings, instead of their usual place")] = None,
    name: Annotated[str, typer.Option(help="what the client calls this server")] = NAME,
    replace: Annotated[bool, typer.Option("--replace", help="replace another entry of that name")] = False,
    as_json: AsJson = False,
) -> None:
    """Make Upstairs known to a client: write the entry into its settings, or print the command that does."""
    kind = clients(os.environ, Path.home(), Path.cwd(), sys.platform)[client]
    loaded = settings(data, config)
    entry = entry_for(name, loaded.settings.data, loaded.file, user)
    if write is None:
        write = kind.command is None or file is not None
    if not write:
        shown = printed(kind, entry)
        return show({"client": client.value, "entry": entry.as_json(kind), "text": shown}, as_json, shown)
    target = (file or kind.file).expanduser()
    backup = write_entry(target, kind, entry, replace=replace)
    text = f"{kind.title} starts Upstairs by {target}; restart it to see the tools"
    if backup is not None:
        text += f"\n  as it was before: {backup}"
    found = {"client": client.value, "file": str(target), "backup": None if backup is None else str(backup)}
    show(found, as_json, text)


def entry_for(name: str, data: Path, config: Path | None, user: str | None) -> Entry:
    """Return the entry that starts this installation's bridge on a data folder, by absolute paths alone.

    Raises:
        Invalid: the name is none that every client takes.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(f"the name {name!r} must be 1 to 64 letters, digits, hyphens and underscores", field="name")
    script = Path(sys.executable).parent / ("upstairs.exe" if sys.platform == "win32" else "upstairs")
    command = [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "server.cli"]
    args = [*command[1:], "stdio", "--data", os.path.abspath(data.expanduser())]
    if config is not None:
        args += ["--config", os.path.abspath(config)]
    if user is not None:
        args += ["--as", user]
    return Entry(name, command[0], tuple(args))


def printed(kind: ClientKind, entry: Entry) -> str:
    """Return what a person runs or pastes: the client's own command, else the entry and where it belongs."""
    if kind.command is None:
        block = json.dumps({kind.section: {entry.name: entry.as_json(kind)}}, indent=2, ensure_ascii=False)
        return f"{block}\n  belongs into {kind.file}"
    parts = [part.format(name=entry.name) for part in kind.command]
    if parts[-1] == "--":
        return shlex.join([*parts, entry.command, *entry.args])
    described = {"name": entry.name, "command": entry.command, "args": list(entry.args)}
    return shlex.join([*parts, json.dumps(described, ensure_ascii=False)])


def write_entry(file: Path, kind: ClientKind, entry: Entry, *, replace: bool) -> Path | None:
    """Add the entry and leave everything else as it is; return the copy of what was there before, if anything was.

    An entry that is there already, just so, is left alone.

    Raises:
        Conflict: there is another entry of that name, and it is not to be replaced.
        Invalid: the file can't be read as what it should be; it is left alone.
    """
    # The link itself stays, where settings are kept elsewhere and linked to.
    file = Path(os.path.realpath(file))
    before = _read(file)
    added = _with_toml if kind.form == "toml" else _with_json
    after = added(before or "", file, kind, entry, replace)
    if after is None:
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    backup = None if before is None else _keep(file, before)
    _put(file, after, mode=0o600 if before is None else file.stat().st_mode & 0o777)
    return backup


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} can't be read: {error}; nothing was changed", file=str(file)) from error


def _keep(file: Path, before: str) -> Path:
    number = 1
    while (backup := file.with_name(f"{file.name}.before-upstairs-{number}")).exists():
        number += 1
    _put(backup, before, mode=0o600)
    return backup


def _put(file: Path, text: str, *, mode: int) -> None:
    """Write all of a file or nothing of it."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _refuse_other(file: Path, section: str, name: str) -> Conflict:
    return Conflict(
        f"{file} has another {section}.{name}; replace it with --replace, or choose another name with --name",
        file=str(file),
    )


def _with_json(before: str, file: Path, kind: ClientKind, entry: Entry, replace: bool) -> str | None:
    try:
        found = json.loads(before) if before.strip() else {}
    except ValueError as error:
        raise Invalid(
            f"{file} is not plain JSON ({error}), so nothing was changed; add the entry by hand: "
            f'"{entry.name}": {json.dumps(entry.as_json(kind), ensure_ascii=False)}',
            file=str(file),
        ) from error
    section = found.setdefault(kind.section, {}) if isinstance(found, dict) else None
    if not isinstance(section, dict):
        raise Invalid(f"{file} holds no object of servers under {kind.section!r}; nothing was changed", file=str(file))
    servers = cast("dict[str, Any]", section)
    wanted = entry.as_json(kind)
    if servers.get(entry.name) == wanted:
        return None
    if entry.name in servers and not replace:
        raise _refuse_other(file, kind.section, entry.name)
    servers[entry.name] = wanted
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _with_toml(before: str, file: Path, kind: ClientKind, entry: Entry, replace: bool) -> str | None:
    found = _toml(before)
    if found is None:
        raise Invalid(f"{file} is not TOML, so nothing was changed; correct it first", file=str(file))
    servers = found.get(kind.section, {})
    if not isinstance(servers, dict):
        raise Invalid(f"{file} holds no tables of servers under {kind.section}; nothing was changed", file=str(file))
    others = dict(cast("dict[str, Any]", servers))
    wanted = {"command": entry.command, "args": list(entry.args)}
    kept = before
    if entry.name in others:
        if others.pop(entry.name) == wanted:
            return None
        if not replace:
            raise _refuse_other(file, kind.section, entry.name)
        kept = _without_table(before, f"{kind.section}.{entry.name}")
    parted = "" if not kept.strip() else "\n" if kept.endswith("\n") else "\n\n"
    after = f"{kept}{parted}{entry.as_toml(kind.section)}"
    # Text was put together, so what it says now is compared with what it is to say.
    if _toml(after) != {**found, kind.section: {**others, entry.name: wanted}}:
        raise Invalid(
            f"{file} is written in a way that this command can't add to, so nothing was changed; add by hand:\n"
            f"{entry.as_toml(kind.section)}",
            file=str(file),
        )
    return after


def _toml(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _without_table(text: str, name: str) -> str:
    """Return the text without the table of that name and those inside of it."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header is not None:
            inside = header.group(1) == name or header.group(1).startswith(f"{name}.")
        if not inside:
            kept.append(line)
    return "".join(kept)
