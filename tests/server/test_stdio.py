"""The bridge as a process of its own, with real clients, in front of a real server process."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport

from server import places, settings
from server.data_folder import DataFolder, open_data_folder
from server.stdio import connect, greet, server_command
from tests.server.served import ERAS, Era

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]

# The bridge itself, with the small house's server in the place of the product's.
BRIDGE = """
import sys
import server.stdio
server.stdio.server_command = lambda folder, config: [
    sys.executable, "-m", "tests.server.flat_server", str(folder.root), *{words!r}
]
sys.exit(server.stdio.main())
"""


def bridge(folder: DataFolder, *arguments: str, words: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-c", BRIDGE.format(words=words), "--data", str(folder.root), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def client(folder: DataFolder, era: Era, *arguments: str) -> Client[StdioTransport]:
    command, *rest = bridge(folder, *arguments)
    return Client(StdioTransport(command, rest, env=environment(), keep_alive=False), mode=era)


def starts(folder: DataFolder) -> list[int]:
    """The process ids of all servers that were started on the folder."""
    file = folder.root / "starts"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Generator[DataFolder]:
    opened = open_data_folder(tmp_path / "data")
    yield opened
    for pid in starts(opened):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_dead(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_of_either_era_works_through_the_bridge_and_leaves_the_server_running(
    folder: DataFolder, era: Era
) -> None:
    with anyio.fail_after(60):
        async with client(folder, era) as first:
            assert "learn_word_counting" in {tool.name for tool in await first.list_tools()}
            started = await first.call_tool("start_process", {"process": "invoice"})
        assert started.structured_content is not None
        run_id = started.structured_content["run_id"]
        async with client(folder, era) as second:
            row = await second.call_tool("get_run", {"run_id": run_id})
            assert row.structured_content is not None
            assert row.structured_content["definition"] == "invoice"
            text = (await second.read_resource(f"run://{run_id}"))[0]
            assert isinstance(text, types.TextResourceContents)
            assert json.loads(text.text)["principal"] == "me"
    assert len(starts(folder)) == 1
    assert alive(starts(folder)[0])


async def test_two_bridges_starting_at_once_start_one_server(folder: DataFolder) -> None:
    listed: list[int] = []

    async def use() -> None:
        async with client(folder, "legacy") as one:
            listed.append(len(await one.list_tools()))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(use)
    assert len(listed) == 3
    assert len(starts(folder)) == 1


async def test_a_server_that_was_killed_is_started_again(folder: DataFolder) -> None:
    with anyio.fail_after(60):
        async with client(folder, "legacy") as first:
            await first.list_tools()
        os.kill(starts(folder)[0], signal.SIGKILL)
        await until_dead(starts(folder)[0])
        assert folder.server_file.exists()
        async with client(folder, "legacy") as second:
            await second.list_tools()
    assert len(starts(folder)) == 2


async def test_the_bridge_acts_for_the_named_local_user(folder: DataFolder) -> None:
    with anyio.fail_after(60):
        async with client(folder, "2026-07-28", "--as", "finn") as finn:
            assert "erase" not in {tool.name for tool in await finn.list_tools()}
            started = await finn.call_tool("start_process", {"process": "invoice"})
            assert started.structured_content is not None
            text = (await finn.read_resource(f"run://{started.structured_content['run_id']}"))[0]
            assert isinstance(text, types.TextResourceContents)
            assert json.loads(text.text)["principal"] == "finn"
        refused = await anyio.run_process(bridge(folder, "--as", "nobody"), env=environment(), check=False)
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert b"no local user 'nobody'" in refused.stderr


async def test_a_server_that_cannot_start_is_one_line_saying_why_and_what_to_do(folder: DataFolder) -> None:
    command = bridge(folder, words=("the", "port", "is", "taken"))
    with anyio.fail_after(60):
        done = await anyio.run_process(command, env=environment(), check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    said = done.stderr.decode()
    assert said.startswith("upstairs: The server on ")
    assert "ended with code 1. Its log ends with: the port is taken." in said
    assert "upstairs serve --data" in said
    assert said.count("\n") == 1


async def test_a_bridge_whose_server_ends_says_so(folder: DataFolder) -> None:
    with anyio.fail_after(60):
        async with client(folder, "legacy") as first:
            await first.list_tools()
        async with await anyio.open_process(bridge(folder), env=environment()) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdin.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode() + b"\n")
            assert json.loads(await process.stdout.receive())["id"] == 1
            os.kill(starts(folder)[0], signal.SIGTERM)
            assert b"the server ended; connect again" in await process.stderr.receive()
            assert await process.wait() == 1
    assert not folder.server_file.exists()
    assert not folder.socket_path().exists()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[DataFolder]:
    """A data folder with a server on it, for the tests that only speak to one."""
    folder = open_data_folder(tmp_path_factory.mktemp("running") / "data")
    done = subprocess.run(bridge(folder), env=environment(), stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == 0
    yield folder
    os.kill(starts(folder)[0], signal.SIGTERM)


def session(folder: DataFolder) -> socket.socket:
    connection = connect(folder)
    assert connection is not None
    connection.settimeout(20)
    greet(connection, None)
    return connection


def test_lines_that_are_no_message_get_an_error_and_the_session_goes_on(running: DataFolder) -> None:
    with session(running) as connection, connection.makefile("rwb") as lines:

        def answer(line: bytes) -> dict[str, Any]:
            lines.write(line + b"\n")
            lines.flush()
            return json.loads(lines.readline())

        ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
        for line, code, says in (
            (b"[" * 10_000 + b"]" * 10_000, -32600, "deeper than 100"),
            (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32600, "'id' stands twice"),
            (b"x" * 5_000_000, -32600, "longer than 4194304 bytes"),
            (b"{", -32700, "not JSON"),
            (b"\xff\xff", -32700, "UTF-8"),
            (json.dumps([ping, ping]).encode(), -32600, "batches"),
            (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600, "id of a request"),
        ):
            said = answer(line)
            assert (said["id"], said["error"]["code"]) == (None, code)
            assert says in said["error"]["message"]
        wrong = answer(b'{"jsonrpc":"1.0","id":9,"method":"ping"}')
        assert (wrong["id"], wrong["error"]["code"]) == (9, -32600)
        assert answer(b"\n \n" + json.dumps(ping).encode()) == {"jsonrpc": "2.0", "id": 7, "result": {}}


@pytest.mark.parametrize(
    ("opening", "says"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', "opening line"),
        (b"GET / HTTP/1.1", "opening line"),
        (b'{"upstairs": 2, "user": null}', "form 2"),
        (b'{"upstairs": 1, "user": 5}', "a name or null"),
        (b'{"upstairs": 1, "user": "mallory"}', "no local user 'mallory'"),
        (b"x" * 10_000, "longer than 4096"),
    ],
)
def test_an_opening_that_is_not_ours_is_refused_with_the_reason(running: DataFolder, opening: bytes, says: str) -> None:
    connection = connect(running)
    assert connection is not None
    connection.settimeout(20)
    with connection, connection.makefile("rwb") as lines:
        lines.write(opening + b"\n")
        lines.flush()
        assert says in json.loads(lines.readline())["error"]
        assert lines.readline() == b""


def test_the_socket_is_for_its_owner_alone(running: DataFolder) -> None:
    found = running.socket_path().stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(running.run.stat().st_mode) == 0o700


def test_the_bridge_imports_nothing_heavy() -> None:
    code = "import sys, server.stdio; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    environ = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, check=True)
    heavy = {"pydantic", "mcp", "fastmcp", "starlette", "anyio", "asyncio", "sqlalchemy", "temporalio", "typer"}
    assert heavy.isdisjoint(done.stdout.decode().split())


def test_the_server_is_started_without_the_current_folder_among_its_imports(folder: DataFolder) -> None:
    command = server_command(folder, Path("/etc/upstairs.toml"))
    assert command[1:6] == ["-P", "-m", "server.cli", "serve", "--data"]
    assert command[6:] == [str(folder.root), "--background", "--config", "/etc/upstairs.toml"]


def test_the_bridge_and_the_settings_agree_on_the_data_folder(tmp_path: Path) -> None:
    assert places.default_data_folder() == settings.default_data_folder()
    (tmp_path / "upstairs.toml").write_text('data = "flats"\n')
    config = places.find_config(None, {}, tmp_path)
    assert config == tmp_path / "upstairs.toml"
    assert places.find_data_folder(None, config, {}, tmp_path) == tmp_path / "flats"
    assert places.find_data_folder("here", config, {"UPSTAIRS_DATA": "/x"}, tmp_path) == tmp_path / "here"
    assert places.find_data_folder(None, config, {"UPSTAIRS_DATA": "/x"}, tmp_path) == Path("/x")
    assert places.find_data_folder(None, None, {}, tmp_path) == places.default_data_folder()
