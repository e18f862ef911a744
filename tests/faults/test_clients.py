"""Two desktop clients on one data folder: one server, one set of runs, and neither client is needed for them."""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport

from tests.faults.house import FaultHouse, until

pytestmark = pytest.mark.anyio

GATED = """
format: 1
process: gated
title: Wait for the gate
input: {type: object, properties: {document: {type: string}}, required: [document]}
context: {schema: {type: object, properties: {document: {type: string}, said: {type: string}}}}
start: ask
nodes:
  ask:
    type: interaction
    interaction: gate
    input: {text: {var: document}}
    writes: [said]
    next: [{to: done}]
  done: {type: end, outcome: passed, output: {var: said}}
"""

GATE = """---
name: gate
description: Says something once its gate is open.
model: scripted/gated
input:
  schema:
    text: string
output:
  format: json
  schema:
    said: string
---
{{text}}
"""


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncGenerator[FaultHouse]:
    """A data folder on which no server runs; the one that a client starts is stopped in the end."""
    house = FaultHouse(tmp_path / "data")
    yield house
    if house.folder.server_file.exists():
        pid = house.folder.read_server().pid
        os.kill(pid, signal.SIGTERM)
        until(lambda: not house.folder.server_file.exists(), 30, "the server stops")


@asynccontextmanager
async def desktop(house: FaultHouse, user: str | None = None) -> AsyncGenerator[Client[StdioTransport]]:
    """Give a client as a desktop program starts it."""
    words = ["-P", "-m", "server.cli", "stdio", "--data", str(house.folder.root), *(["--as", user] if user else [])]
    transport = StdioTransport(sys.executable, words, env=house.environment(), keep_alive=False)
    async with Client(transport) as client:
        yield client


async def call(client: Client[StdioTransport], tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the structured answer of a tool."""
    answered = await client.call_tool(tool, arguments)
    assert answered.structured_content is not None
    return answered.structured_content


async def test_two_clients_see_each_others_runs_and_closing_both_leaves_them_going(folder: FaultHouse) -> None:
    with anyio.fail_after(180):
        async with desktop(folder) as first, desktop(folder) as second:
            folder.publish("interactions", "gate", GATE)
            folder.publish("processes", "gated", GATED)
            runs: list[str] = []
            for client in (first, second):
                started = await call(client, "start_process", process="gated", input={"document": "x"})
                runs.append(started["run_id"])
            for client in (first, second):
                listed = await call(client, "list_runs", definition="gated")
                assert {row["run_id"] for row in listed["runs"]} == set(runs)
            server = folder.folder.read_server().pid
        for run_id in runs:
            (row,) = folder.rows("SELECT status FROM runs WHERE run_id = ?", run_id)
            assert row["status"] in ("starting", "running")

    folder.gate.touch()
    for run_id in runs:
        (row,) = until(
            lambda run_id=run_id: folder.rows(
                "SELECT result FROM runs WHERE run_id = ? AND status = 'completed'", run_id
            ),
            60,
            "the run ends without any client",
        )
        assert json.loads(row["result"]) == {"outcome": "passed", "output": "the gate is open"}
    assert folder.folder.read_server().pid == server


async def test_a_client_that_ends_in_the_middle_of_a_call_takes_nothing_with_it(folder: FaultHouse) -> None:
    with anyio.fail_after(180):
        async with desktop(folder) as staying:
            folder.publish("interactions", "gate", GATE)
            folder.publish("processes", "gated", GATED)
            async with desktop(folder) as leaving:
                started = await call(leaving, "start_process", process="gated", input={"document": "x"})
                with anyio.move_on_after(1):
                    await call(leaving, "get_run", run_id=started["run_id"], after=1_000, wait_s=20)
            folder.gate.touch()
            after, view = 0, started
            while view["status"] != "completed":
                view = await call(staying, "get_run", run_id=started["run_id"], after=after, wait_s=20)
                after = view["next_after"]
            assert view["result"]["outcome"] == "passed"
