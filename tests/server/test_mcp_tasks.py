"""Runs as MCP tasks: the same run, its open tasks as questions in the client, its id good after a restart."""

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

from engine.ports import Control
from engine.runs import Seat
from tests.server.flat import Flat
from tests.server.sdk import Modern
from tests.server.served import Served

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
TASKS: dict[str, Any] = {"io.modelcontextprotocol/tasks": {}}
ABLE: dict[str, Any] = {"extensions": TASKS, "elicitation": {}}
FORM = {
    "type": "object",
    "properties": {"amount": {"type": "number"}, "comment": {"type": "string"}},
    "required": ["amount"],
}
NESTED = {"type": "object", "properties": {"lines": {"type": "array", "items": {"type": "object"}}}}


def modern(served: Served, user: str | None = None, capabilities: dict[str, Any] = ABLE) -> Modern:
    return Modern(f"{served.url}/mcp", user=user, capabilities=capabilities)


@asynccontextmanager
async def listening(served: Served, ask: Modern, **wanted: Any) -> AsyncGenerator[AsyncGenerator[dict[str, Any]]]:
    """The messages of a stream that tells of what is wanted."""
    message, headers = ask.request("subscriptions/listen", notifications=wanted)
    async with (
        httpx2.AsyncClient(timeout=30) as http,
        http.stream("POST", f"{served.url}/mcp", json=message, headers=headers) as answer,
    ):
        yield (json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:"))


async def started(ask: Modern) -> str:
    result = (await ask("tools/call", name="start_process", arguments={"process": "invoice"}))["result"]
    assert (result["resultType"], result["status"]) == ("task", "working")
    assert "content" not in result
    return result["taskId"]


async def test_a_started_run_is_a_task_that_completes_with_the_runs_result(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id = await started(ask)
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        assert (await ask("tasks/get", taskId=task_id))["result"]["status"] == "working"
        await flat.step(run, "end", status="completed", result={"paid": True})
        found = (await ask("tasks/get", taskId=task_id))["result"]
    assert (found["resultType"], found["status"], found["taskId"]) == ("complete", "completed", task_id)
    assert found["result"]["structuredContent"] == {
        "run_id": run.run_id,
        "status": "completed",
        "url": f"http://127.0.0.1/runs/{run.run_id}",
        "result": {"paid": True},
    }
    assert not found["result"].get("isError")


async def test_a_client_without_the_extension_gets_the_tools_own_answer_with_the_runs_id(
    served: Served, flat: Flat
) -> None:
    plain = modern(served, capabilities={})
    with anyio.fail_after(20):
        result = (await plain("tools/call", name="start_process", arguments={"process": "invoice"}))["result"]
        assert result["resultType"] == "complete"
        assert result["structuredContent"]["status"] == "starting"
        assert result["_meta"]["upstairs/run"] == result["structuredContent"]["run_id"]


async def test_an_open_task_is_asked_as_a_form_and_its_content_is_the_answer(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id = await started(ask)
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        await flat.ask(run, "task_1", form=FORM)
        found = (await ask("tasks/get", taskId=task_id))["result"]
        assert found["status"] == "input_required"
        request = found["inputRequests"]["task_1"]
        assert request["method"] == "elicitation/create"
        assert request["params"]["message"] == "Approve invoice 7?"
        schema = request["params"]["requestedSchema"]
        assert list(schema["properties"]) == ["decision", "amount", "comment", "_comment"]
        assert schema["properties"]["decision"]["enum"] == ["approve", "reject"]
        assert schema["required"] == ["decision", "amount"]
        content = {"decision": "approve", "amount": 7, "comment": "of the form", "_comment": "fine"}
        wrong = {"task_1": {"action": "accept", "content": {**content, "decision": "perhaps"}}}
        refused = (await ask("tasks/update", taskId=task_id, inputResponses=wrong))["error"]
        assert refused["code"] == -32602
        assert "'perhaps' is not one of approve, reject" in refused["message"]
        right = {"task_1": {"action": "accept", "content": content}, "task_0": {"action": "accept", "content": {}}}
        done = await ask("tasks/update", taskId=task_id, inputResponses=right)
        assert {key for key in done["result"] if key != "_meta"} == {"resultType"}
        again = await ask("tasks/update", taskId=task_id, inputResponses=right)
        assert "error" not in again
        assert (await ask("tasks/get", taskId=task_id))["result"]["status"] == "working"
    (answer,) = flat.control.said
    assert (answer.decision, answer.values, answer.comment, answer.by) == (
        "approve",
        {"amount": 7, "comment": "of the form"},
        "fine",
        flat.me,
    )


@pytest.mark.parametrize(
    ("elicitation", "form", "mode"),
    [
        ({}, FORM, "form"),
        ({}, NESTED, None),
        ({"form": {}, "url": {}}, FORM, "form"),
        ({"form": {}, "url": {}}, NESTED, "url"),
        ({"url": {}}, FORM, "url"),
        (None, FORM, None),
    ],
)
async def test_a_client_is_asked_only_in_a_way_it_can_show(
    served: Served, flat: Flat, elicitation: dict[str, Any] | None, form: dict[str, Any], mode: str | None
) -> None:
    able = {"extensions": TASKS, **({} if elicitation is None else {"elicitation": elicitation})}
    with anyio.fail_after(20):
        ask = modern(served, capabilities=able)
        task_id = await started(ask)
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        await flat.ask(run, "task_1", form=form)
        found = (await ask("tasks/get", taskId=task_id))["result"]
    if mode is None:
        assert (found["status"], "inputRequests" in found) == ("working", False)
        assert f"'Approve invoice 7?' waits for you: answer_run with the run {run.run_id}" in found["statusMessage"]
        return
    params = found["inputRequests"]["task_1"]["params"]
    assert params.get("mode", "form") == mode
    if mode == "url":
        assert params["url"] == "http://127.0.0.1/inbox/task_1"


async def test_what_is_declined_or_not_mine_to_answer_is_left_to_others(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id = await started(ask)
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        await flat.ask(run, "task_1")
        await flat.ask(run, "task_2", seat=Seat(roles=("sales",)))
        assert list((await ask("tasks/get", taskId=task_id))["result"]["inputRequests"]) == ["task_1"]
        declined = {"task_1": {"action": "decline"}, "task_2": {"action": "accept", "content": {"decision": "approve"}}}
        await ask("tasks/update", taskId=task_id, inputResponses=declined)
        assert (await ask("tasks/get", taskId=task_id))["result"]["status"] == "working"
    assert flat.control.said == []
    assert {task.task_id for task in await flat.runs.tasks(flat.me)} == {"task_1", "task_2"}


async def test_what_a_run_below_waits_for_is_asked_and_answered_at_the_task_of_the_first(
    served: Served, flat: Flat
) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id = await started(ask)
        run_id = task_id.partition(".")[0]
        child = await flat.run(kind="agent", definition="agent", parent_id=run_id)
        below = await flat.run(kind="agent", definition="agent", parent_id=child.run_id)
        stranger = await flat.run()
        await flat.ask(below, "task_1", title="Allow pay?")
        await flat.ask(stranger, "task_2")
        found = (await ask("tasks/get", taskId=task_id))["result"]
        assert found["status"] == "input_required"
        assert [request["params"]["message"] for request in found["inputRequests"].values()] == ["Allow pay?"]
        plain = (await modern(served, capabilities={"extensions": TASKS})("tasks/get", taskId=task_id))["result"]
        assert f"'Allow pay?' waits for you: answer_run with the run {below.run_id}" in plain["statusMessage"]
        answers = {key: {"action": "accept", "content": {"decision": "approve"}} for key in ("task_1", "task_2")}
        await ask("tasks/update", taskId=task_id, inputResponses=answers)
        assert (await ask("tasks/get", taskId=task_id))["result"]["status"] == "working"
    assert [answer.task_id for answer in flat.control.said] == ["task_1"]


async def test_a_stream_tells_how_a_task_stands_as_tasks_get_would(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id, other = await started(ask), await started(modern(served, "finn"))
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        async with listening(served, ask, taskIds=[task_id, other, "unknown"]) as told:
            first = await anext(told)
            assert first["method"] == "notifications/subscriptions/acknowledged"
            assert first["params"]["notifications"] == {"taskIds": [task_id]}
            assert (await anext(told))["params"]["status"] == "working"
            child = await flat.run(parent_id=run.run_id)
            await flat.ask(child, "task_1")
            asking = await anext(told)
            assert (asking["method"], asking["params"]["taskId"]) == ("notifications/tasks", task_id)
            assert asking["params"]["_meta"] == first["params"]["_meta"]
            now = (await ask("tasks/get", taskId=task_id))["result"]
            shown = {key: value for key, value in asking["params"].items() if key != "_meta"}
            assert shown == {key: value for key, value in now.items() if key not in ("_meta", "resultType")}
            await flat.step(run, "end", status="completed", result={"paid": True})
            ended = await anext(told)
            assert ended["params"]["result"]["structuredContent"]["result"] == {"paid": True}
        plain = modern(served, capabilities={})
        refused = (await plain("subscriptions/listen", notifications={"taskIds": [task_id]}))["error"]
        assert (refused["code"], refused["data"]) == (-32021, {"requiredCapabilities": {"extensions": TASKS}})
        for wrong in ("all", [7], ["x"] * 2 + [str(number) for number in range(65)]):
            assert (await ask("subscriptions/listen", notifications={"taskIds": wrong}))["error"]["code"] == -32602


async def test_a_failed_run_is_a_tools_error_and_a_lost_one_the_servers(served: Served, flat: Flat) -> None:
    found: list[dict[str, Any]] = []
    with anyio.fail_after(20):
        ask = modern(served)
        for key in ("end", "reconciled"):
            task_id = await started(ask)
            run = await flat.runs.get(flat.me, task_id.partition(".")[0])
            await flat.step(run, key, status="failed", error="no such supplier", events=())
            found.append((await ask("tasks/get", taskId=task_id))["result"])
    assert (found[0]["status"], found[0]["result"]["isError"]) == ("completed", True)
    assert "no such supplier" in found[0]["result"]["content"][0]["text"]
    assert (found[1]["status"], found[1]["error"]) == ("failed", {"code": -32603, "message": "no such supplier"})


async def test_a_large_result_is_cut_and_says_where_the_rest_is(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id = await started(ask)
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        await flat.step(run, "end", status="completed", result="x" * 60_000)
        result = (await ask("tasks/get", taskId=task_id))["result"]["result"]
    assert len(result["content"][0]["text"]) == 48_000
    assert result["content"][1]["uri"] == f"run://{run.run_id}"
    assert result["structuredContent"]["cut"] == {"rest": f"run://{run.run_id}"}


async def test_a_task_is_cancelled_once_and_by_its_owner(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask = modern(served)
        task_id = await started(ask)
        run = await flat.runs.get(flat.me, task_id.partition(".")[0])
        assert "error" not in await ask("tasks/cancel", taskId=task_id)
        (control,) = flat.control.said
        assert isinstance(control, Control)
        assert (control.action, control.by) == ("cancel", flat.me)
        await flat.step(run, "end", status="cancelled")
        assert "error" not in await ask("tasks/cancel", taskId=task_id)
        assert len(flat.control.said) == 1
        assert (await ask("tasks/get", taskId=task_id))["result"]["status"] == "cancelled"


async def test_a_task_exists_for_whoever_started_it_alone(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        ask, other = modern(served), modern(served, "finn")
        task_id = await started(ask)
        run_id, _, seal = task_id.partition(".")
        for asking, wrong in (
            (other, task_id),
            (ask, run_id),
            (ask, f"{run_id}.{seal[:-1]}{'A' if seal[-1] != 'A' else 'B'}"),
            (ask, f"{run_id}x.{seal}"),
            (ask, "ünknown"),
        ):
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                header = "=?base64?w7xua25vd24=?=" if wrong == "ünknown" else wrong
                error = (await asking(method, header, taskId=wrong))["error"]
                assert (error["code"], "no task" in error["message"]) == (-32602, True)
    assert flat.control.said == []


async def test_only_clients_that_declare_the_extension_may_ask_and_only_in_its_revision(
    served: Served, flat: Flat
) -> None:
    with anyio.fail_after(20):
        task_id = await started(modern(served))
        refused = (await modern(served, capabilities={})("tasks/get", taskId=task_id))["error"]
        assert (refused["code"], refused["data"]) == (-32021, {"requiredCapabilities": {"extensions": TASKS}})
        mismatch = (await modern(served)("tasks/get", "another", taskId=task_id))["error"]
        assert mismatch["code"] == -32020
        for method in ("tasks/list", "tasks/result"):
            assert (await modern(served)(method, taskId=task_id))["error"]["code"] == -32601
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        async with served.http(Accept="application/json, text/event-stream") as http:
            first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
            session = (await http.post("/mcp", json=first)).headers["mcp-session-id"]
            asked = {"jsonrpc": "2.0", "id": 2, "method": "tasks/get", "params": {"taskId": task_id}}
            old = await http.post("/mcp", json=asked, headers={"Mcp-Session-Id": session})
            assert '"code":-32601' in old.text


@asynccontextmanager
async def process(folder: Path) -> AsyncGenerator[tuple[Process, str]]:
    """A server process on a folder, and the URL that it prints."""
    command = [sys.executable, "-m", "tests.conformance.serve", str(folder)]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as running:
        assert running.stdout is not None
        try:
            yield running, (await running.stdout.receive()).decode().strip()
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.kill()


async def test_a_killed_server_answers_for_the_same_task_after_its_restart(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with process(tmp_path) as (running, url):
            ask = Modern(url, capabilities=ABLE)
            task_id = (await ask("tools/call", name="confirm_delete", arguments={}))["result"]["taskId"]
            assert (await ask("tasks/get", taskId=task_id))["result"]["status"] == "input_required"
            os.kill(running.pid, signal.SIGKILL)
            await running.wait()
        async with process(tmp_path) as (_, url):
            ask = Modern(url, capabilities=ABLE)
            requests = (await ask("tasks/get", taskId=task_id))["result"]["inputRequests"]
            answers = {key: {"action": "accept", "content": {"confirm": True}} for key in requests}
            await ask("tasks/update", taskId=task_id, inputResponses=answers)
            found = (await ask("tasks/get", taskId=task_id))["result"]
    assert found["status"] == "completed"
    assert found["result"]["structuredContent"]["result"] == {"confirm": True}
