"""The suite's tools that take long: each starts a run of the store, which the extension then shows as a task."""

import asyncio
from typing import Any, cast

import mcp_types as types
from pydantic import JsonValue

from engine.ports import Control, TaskAnswer
from engine.runs import Change, Run, Seat, StartRun, Task, TaskDraft
from engine.values import Principal
from server.mcp.extensions import declares, required
from server.mcp.house import Call, principal_of
from server.mcp.replies import STARTED
from server.mcp.tasks import TASKS
from tests.conformance.inputs import NAME, elicit, given
from tests.server.flat import Flat, GatedControl

Reply = types.CallToolResult | types.InputRequiredResult

TEXT = {"type": "string"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "greet": {"type": "object", "properties": {"name": TEXT}, "required": ["name"]},
    "slow_compute": {"type": "object", "properties": {"seconds": {"type": "number"}, "label": TEXT}},
    "failing_job": {"type": "object", "properties": {}},
    "protocol_error_job": {"type": "object", "properties": {}},
    "confirm_delete": {"type": "object", "properties": {"filename": TEXT}},
    "multi_input": {"type": "object", "properties": {}},
    "test_tool_with_task": {"type": "object", "properties": {}},
}
CONFIRM = {"type": "object", "properties": {"confirm": {"type": "boolean"}, "name": TEXT}}


class JobControl(GatedControl):
    """Ends a run when it is cancelled, and when the last of its questions is answered: it survives restarts."""

    async def control(self, principal: Principal, run_id: str, control: Control) -> Run:
        """Cancel."""
        run = await self.runs.get(principal, run_id)
        await self.runs.apply(Change(run=run.ref, key="cancelled", status="cancelled"))
        return await self.runs.get(principal, run_id)

    async def answer(self, principal: Principal, task_id: str, answer: TaskAnswer) -> Task:
        """Close the question and end the run when it was the last one."""
        task = await super().answer(principal, task_id, answer)
        if not await self.runs.tasks(principal, run_id=task.run_id):
            run = await self.runs.get(principal, task.run_id)
            done = Change(run=run.ref, key="completed", status="completed", result=cast(JsonValue, answer.values))
            await self.runs.apply(done)
        return task


class Jobs:
    """The tools over a house whose control is a `JobControl`."""

    def __init__(self, flat: Flat) -> None:
        """Keep the house."""
        self._flat = flat
        self._running: set[asyncio.Task[None]] = set()

    async def call(self, call: Call, params: types.CallToolRequestParams) -> Reply | None:
        """Run a tool; None for one that is not of these."""
        if params.name not in SCHEMAS:
            return None
        arguments = params.arguments or {}
        if params.name == "greet":
            return _said(f"Hello, {arguments.get('name')}!")
        if params.name == "test_tool_with_task" and given(params, "user_name") is None:
            return elicit("user_name", "What is your name?", NAME)
        if not declares(call, TASKS):
            if params.name == "slow_compute":
                await asyncio.sleep(float(arguments.get("seconds", 0)))
                return _said("computed")
            raise required(TASKS)
        return await self._start(call, params)

    async def _start(self, call: Call, params: types.CallToolRequestParams) -> types.CallToolResult:
        principal, name = principal_of(call), params.name
        start = StartRun(kind="process", definition=name, input=params.arguments or {})
        run, _ = await self._flat.runs.create(principal, start)
        if name in ("confirm_delete", "multi_input"):
            asked = ("confirm",) if name == "confirm_delete" else ("first", "second")
            drafts = tuple(
                TaskDraft(
                    task_id=f"{run.run_id}-{one}",
                    kind="question",
                    node=one,
                    title=f"Go on ({one})?",
                    form=CONFIRM,
                    seat=Seat(users=(principal.subject,)),
                )
                for one in asked
            )
            await self._flat.runs.apply(Change(run=run.ref, key="ask", status="waiting", opened=drafts))
        else:
            answered = given(params, "user_name") or {}
            seconds = float((params.arguments or {}).get("seconds", 0.5))
            task = asyncio.ensure_future(self._finish(run, seconds, (answered.get("content") or {}).get("name")))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return types.CallToolResult(content=[types.TextContent(text=run.run_id)], _meta={STARTED: run.run_id})

    async def _finish(self, run: Run, seconds: float, name: JsonValue) -> None:
        await asyncio.sleep(seconds)
        changes: dict[str, dict[str, Any]] = {
            "failing_job": {"key": "failed", "status": "failed", "error": "the job went wrong"},
            "protocol_error_job": {"key": "reconciled", "status": "failed", "error": "the run was lost"},
        }
        done = changes.get(run.definition, {"key": "completed", "status": "completed", "result": name or "computed"})
        await self._flat.runs.apply(Change(run=run.ref, **done))


def _said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)])
