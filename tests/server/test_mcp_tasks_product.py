"""The product itself, killed while a task waits for a person: the same task id completes after the restart."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import Process

from server.data_folder import DataFolder, open_data_folder
from tests.server.sdk import Modern

pytestmark = pytest.mark.anyio

ABLE: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {}}
PROCESS = """
format: 1
process: approval
input: {type: object, properties: {amount: {type: number}}, required: [amount]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {type: number}, approval: {type: object}}
start: approve
nodes:
  approve:
    type: supervisor
    seat: {roles: [approver]}
    ask:
      title: "Pay {{amount}}?"
      form: {type: object, properties: {note: {type: string}}, additionalProperties: false}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: late}
    writes: [approval]
    next: [{to: done}]
  done: {type: end, outcome: decided, output: {var: approval}}
  late: {type: end, outcome: late}
"""


@asynccontextmanager
async def server(folder: DataFolder) -> AsyncGenerator[tuple[Process, str]]:
    """The server of a folder, and its URL."""
    command = [sys.executable, "-m", "server.cli", "serve", "--data", str(folder.root), "--port", "0", "--json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UPSTAIRS_")}
    log = folder.root / "log"
    with log.open("ab") as errors:
        async with await anyio.open_process(command, env=environment, stderr=errors) as running:
            assert running.stdout is not None
            try:
                yield running, json.loads(await running.stdout.receive())["url"]
            finally:
                with contextlib.suppress(ProcessLookupError):
                    running.terminate()


async def until(ask: Modern, task_id: str, status: str) -> dict[str, Any]:
    """The task once it has a status; between two looks, the run holds the request until something happens."""
    after = 0
    while True:
        found = (await ask("tasks/get", taskId=task_id))["result"]
        if found["status"] == status:
            return found
        assert found["status"] == "working", found
        arguments = {"run_id": task_id.partition(".")[0], "wait_s": 2, "after": after}
        run = (await ask("tools/call", name="get_run", arguments=arguments))["result"]["structuredContent"]
        after = run["next_after"]


async def test_a_task_that_waits_for_a_person_outlives_its_server(tmp_path: Path) -> None:
    folder = open_data_folder(tmp_path / "data")
    with anyio.fail_after(150):
        async with server(folder) as (running, url):
            headers = {"Authorization": f"Bearer {folder.token()}"}
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
                published = await http.put("/api/processes/approval", content=PROCESS)
                assert published.status_code == 200, published.text
            ask = Modern(f"{url}/mcp", capabilities=ABLE, token=folder.token())
            arguments = {"process": "approval", "input": {"amount": 7}}
            task_id = (await ask("tools/call", name="start_process", arguments=arguments))["result"]["taskId"]
            await until(ask, task_id, "input_required")
            other = (await ask("tools/call", name="start_process", arguments=arguments))["result"]["taskId"]
            await until(ask, other, "input_required")
            call = {"name": "answer_run", "arguments": {"run_id": other.partition(".")[0]}}
            asked = (await ask("tools/call", **call))["result"]
            assert asked["resultType"] == "input_required"
            os.kill(running.pid, signal.SIGKILL)
            await running.wait()
        async with server(folder) as (_, url):
            ask = Modern(f"{url}/mcp", capabilities=ABLE, token=folder.token())
            requests = (await until(ask, task_id, "input_required"))["inputRequests"]
            (key,) = requests
            # The deadline follows the question, so that whoever is asked knows how long there is.
            assert requests[key]["params"]["message"].startswith("Pay 7?\n\nUntil 20")
            content = {"decision": "approve", "note": "fine"}
            answered = await ask(
                "tasks/update", taskId=task_id, inputResponses={key: {"action": "accept", "content": content}}
            )
            assert "error" not in answered, answered
            found = await until(ask, task_id, "completed")
            (named,) = asked["inputRequests"]
            filled = {named: {"action": "accept", "content": {"decision": "reject", "comment": "too much"}}}
            retry = {**call, "inputResponses": filled, "requestState": asked["requestState"]}
            answered = (await ask("tools/call", **retry))["result"]["structuredContent"]
            assert (answered["accepted"], answered["status"]) == ("Pay 7?: reject", "answered")
            second = (await ask("tools/call", **retry))["result"]
            assert second["isError"]
            assert "already decided by" in second["content"][0]["text"]
            rejected = (await until(ask, other, "completed"))["result"]["structuredContent"]["result"]
            assert rejected["output"]["decision"] == "reject"
    result = found["result"]["structuredContent"]["result"]
    assert result["outcome"] == "decided"
    assert result["output"]["decision"] == "approve"
    assert "fine" in json.dumps(result["output"])
