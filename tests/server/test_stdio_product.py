"""The product itself behind the bridge: one cold start, a client, and the server that stays."""

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport

from engine.errors import Problem
from server.data_folder import DataFolder, open_data_folder

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Generator[DataFolder]:
    opened = open_data_folder(tmp_path / "data")
    yield opened
    try:
        pid = opened.read_server().pid
        os.kill(pid, signal.SIGKILL)
    except (Problem, ProcessLookupError):
        return


async def test_a_cold_start_serves_the_core_tools_and_the_server_ends_cleanly_when_told(folder: DataFolder) -> None:
    arguments = ["-m", "server.cli", "stdio", "--data", str(folder.root)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UPSTAIRS_")}
    with anyio.fail_after(120):
        transport = StdioTransport(sys.executable, arguments, env=environment, keep_alive=False)
        async with Client(transport) as client:
            names = {tool.name for tool in await client.list_tools()}
            assert {"use_tool", "find_tools", "start_process", "start_agent", "get_run", "answer_run"} <= names
            assert (await client.call_tool("list_runs", {})).structured_content == {"runs": [], "next_after": None}
        running = folder.read_server()
        assert running.socket == folder.socket_path()
        descriptor = os.pidfd_open(running.pid)
        try:
            os.kill(running.pid, signal.SIGTERM)
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
    assert not folder.server_file.exists()
    assert not folder.socket_path().exists()
