"""`upstairs install`: entries in clients' settings, beside what stands there already."""

import json
import os
import shlex
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import Conflict, Invalid, Problem
from server.commands import make_app
from server.commands.install import ClientName, clients, entry_for, write_entry

OTHERS = {"theme": "dark", "mcpServers": {"other": {"command": "other", "env": {"KEY": "ü"}}}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "APPDATA", "UPSTAIRS_DATA", "UPSTAIRS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(make_app("install"), ["install", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def starts_the_bridge(entry: dict[str, Any], data: Path) -> None:
    assert Path(entry["command"]).is_file()
    assert os.path.isabs(entry["command"])
    assert entry["args"][-3:] == ["stdio", "--data", str(data)]


@pytest.mark.parametrize(
    ("client", "file", "section", "typed"),
    [
        ("claude-desktop", ".config/Claude/claude_desktop_config.json", "mcpServers", False),
        ("cursor", ".cursor/mcp.json", "mcpServers", False),
        ("claude-code", "project/.mcp.json", "mcpServers", True),
        ("vscode", "project/.vscode/mcp.json", "servers", True),
    ],
)
def test_an_entry_is_written_beside_the_others(home: Path, client: str, file: str, section: str, typed: bool) -> None:
    if not file.startswith((".config", "project")) or os.uname().sysname == "Linux":
        target = home / file
    else:
        pytest.skip("the place is that of Linux")
    target.parent.mkdir(parents=True, exist_ok=True)
    before = json.dumps({**OTHERS, section: OTHERS["mcpServers"]})
    target.write_text(before)
    target.chmod(0o640)
    data = home / "my data"
    found = json.loads(run(client, "--write", "--data", str(data), "--json"))
    assert found["file"] == str(target)
    written = json.loads(target.read_text())
    assert written["theme"] == "dark"
    assert written[section]["other"] == OTHERS["mcpServers"]["other"]  # type: ignore[index]
    assert written[section]["upstairs"].pop("type", None) == ("stdio" if typed else None)
    starts_the_bridge(written[section]["upstairs"], data)
    assert Path(found["backup"]).read_text() == before
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert json.loads(run(client, "--write", "--data", str(data), "--json"))["backup"] is None
    assert len(list(target.parent.glob("*before-upstairs*"))) == 1


def test_a_client_without_settings_gets_a_file_that_only_its_owner_reads(home: Path) -> None:
    said = run("cursor", "--as", "finn")
    target = home / ".cursor" / "mcp.json"
    assert f"Cursor starts Upstairs by {target}" in said
    assert json.loads(target.read_text())["mcpServers"]["upstairs"]["args"][-2:] == ["--as", "finn"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_codex_gets_a_table_behind_what_stands_there(home: Path) -> None:
    target = home / ".codex" / "config.toml"
    target.parent.mkdir()
    before = '# mine\nmodel = "o"\n\n[mcp_servers.other]\ncommand = "other" # kept\n'
    target.write_text(before)
    run("codex", "--write", "--data", str(home / "ü"))
    text = target.read_text()
    assert text.startswith(before)
    written = tomllib.loads(text)
    assert (written["model"], written["mcp_servers"]["other"]) == ("o", {"command": "other"})
    starts_the_bridge(written["mcp_servers"]["upstairs"], home / "ü")
    with pytest.raises(Conflict, match="--replace"):
        run("codex", "--write", "--data", str(home / "b"))
    target.write_text(text + '[mcp_servers.upstairs.env]\nA = "1"\n\n[profiles.x]\nmodel = "p"\n')
    run("codex", "--write", "--data", str(home / "b"), "--replace")
    again = tomllib.loads(target.read_text())
    assert (again["profiles"], again["mcp_servers"]["other"]) == ({"x": {"model": "p"}}, {"command": "other"})
    assert "env" not in again["mcp_servers"]["upstairs"]
    starts_the_bridge(again["mcp_servers"]["upstairs"], home / "b")


@pytest.mark.parametrize(
    ("client", "begins"),
    [
        ("claude-code", ["claude", "mcp", "add", "--scope", "user", "upstairs", "--"]),
        ("codex", ["codex", "mcp", "add", "upstairs", "--"]),
    ],
)
def test_a_client_with_a_command_of_its_own_gets_that_printed_and_nothing_written(
    home: Path, client: str, begins: list[str]
) -> None:
    parts = shlex.split(run(client, "--data", str(home / "my data")))
    assert parts[: len(begins)] == begins
    starts_the_bridge({"command": parts[len(begins)], "args": parts[len(begins) + 1 :]}, home / "my data")
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_vs_code_takes_its_entry_as_json_on_its_command_line(home: Path) -> None:
    program, flag, described = shlex.split(run("vscode", "--data", str(home / "d")))
    assert (program, flag) == ("code", "--add-mcp")
    entry = json.loads(described)
    assert entry.pop("name") == "upstairs"
    starts_the_bridge(entry, home / "d")


def test_printing_for_a_client_without_a_command_says_where_the_entry_belongs(home: Path) -> None:
    block, _, where = run("cursor", "--print").partition("  belongs into ")
    assert "upstairs" in json.loads(block)["mcpServers"]
    assert where.strip() == str(home / ".cursor" / "mcp.json")
    assert not (home / ".cursor").exists()


def test_another_entry_of_the_name_is_replaced_only_when_told(home: Path) -> None:
    target = home / "settings.json"
    before = json.dumps({"mcpServers": {"upstairs": {"command": "mine"}}})
    target.write_text(before)
    with pytest.raises(Conflict, match=r"another mcpServers\.upstairs; replace it with --replace"):
        run("cursor", "--file", str(target))
    assert target.read_text() == before
    run("cursor", "--file", str(target), "--name", "upstairs-2")
    assert json.loads(target.read_text())["mcpServers"]["upstairs"] == {"command": "mine"}
    run("cursor", "--file", str(target), "--replace")
    assert json.loads(target.read_text())["mcpServers"]["upstairs"] != {"command": "mine"}
    assert len(list(home.glob("settings.json.before-upstairs-*"))) == 2


@pytest.mark.parametrize(
    ("client", "text", "says"),
    [
        ("cursor", '{"mcpServers": {} // mine\n}', "not plain JSON.*add the entry by hand"),
        ("cursor", "[]", "no object of servers"),
        ("cursor", '{"mcpServers": []}', "no object of servers"),
        ("codex", "a = ", "not TOML"),
        ("codex", 'mcp_servers = {other = {command = "o"}}\n', "can't add to"),
        ("codex", "mcp_servers = 5\n", "no tables of servers"),
    ],
)
def test_settings_that_cannot_be_read_are_left_alone(home: Path, client: str, text: str, says: str) -> None:
    target = home / "settings"
    target.write_text(text)
    with pytest.raises(Invalid, match=says):
        run(client, "--file", str(target))
    assert target.read_text() == text
    assert sorted(path.name for path in home.iterdir() if path.is_file()) == ["settings"]


def test_a_linked_settings_file_stays_a_link(home: Path) -> None:
    kept = home / "dotfiles" / "mcp.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    link = home / "mcp.json"
    link.symlink_to(kept)
    run("cursor", "--file", str(link))
    assert link.is_symlink()
    assert "upstairs" in json.loads(kept.read_text())["mcpServers"]


def test_a_name_that_not_every_client_takes_is_refused(home: Path) -> None:
    for name in ("", "a b", "a.b", "x" * 65, "ü"):
        with pytest.raises(Problem, match="letters, digits"):
            run("cursor", "--name", name)


def test_each_platform_keeps_claude_desktops_settings_in_its_own_place(tmp_path: Path) -> None:
    def place(platform: str, **environ: str) -> Path:
        return clients(environ, tmp_path, tmp_path, platform)[ClientName.claude_desktop].file.relative_to(tmp_path)

    name = "claude_desktop_config.json"
    assert place("darwin") == Path("Library/Application Support/Claude") / name
    assert place("win32", APPDATA=str(tmp_path / "Roam")) == Path("Roam/Claude") / name
    assert place("linux", XDG_CONFIG_HOME=str(tmp_path / "conf")) == Path("conf/Claude") / name


def test_an_entry_names_the_settings_file_of_the_folder_it_was_made_in(home: Path) -> None:
    (home / "project" / "upstairs.toml").write_text('data = "kept"\n')
    run("cursor")
    arguments = json.loads((home / ".cursor" / "mcp.json").read_text())["mcpServers"]["upstairs"]["args"]
    project = home / "project"
    assert arguments[-4:] == ["--data", str(project / "kept"), "--config", str(project / "upstairs.toml")]


def test_an_entry_names_the_settings_file_that_it_was_made_with(tmp_path: Path) -> None:
    entry = entry_for("upstairs", tmp_path, tmp_path / "upstairs.toml", None)
    assert entry.args[-2:] == ("--config", str(tmp_path / "upstairs.toml"))
    kind = clients({}, tmp_path, tmp_path, "linux")[ClientName.cursor]
    assert write_entry(tmp_path / "new" / "mcp.json", kind, entry, replace=False) is None
