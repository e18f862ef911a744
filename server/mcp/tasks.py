"""Runs as MCP tasks: the extension `io.modelcontextprotocol/tasks` (SEP-2663) over the one run model.

A tool call that starts a run is answered, to clients that declare the extension, by a task. There is nothing beside
the run: the task's id is the run's, sealed to whoever started it, so that any replica and any later process knows it.
What a run that it started waits for, as a subagent's approval, is asked at the task too: its client knows no other.
"""

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from pydantic import Field, JsonValue

from engine.errors import Conflict, NotFound
from engine.ports import Control, RunFilter
from engine.runs import Run, Task
from engine.values import Principal, canonical_json
from server.keys import Unsealable
from server.mcp.extensions import MODERN, check_name_header, declares, required
from server.mcp.house import Call, House, principal_of
from server.mcp.provider import Changes
from server.mcp.replies import STARTED
from server.mcp.sealing import run_of_task, signed_task
from server.mcp.task_forms import able, ask, read
from server.mcp.watch import watch_runs
from skills.running import MAX_CHARS
from skills.tasks import may_answer

TASKS = "io.modelcontextprotocol/tasks"
RECONCILED = "reconciled/status"
"""The key of the event with which a run was closed that could not close itself."""

TTL_MS = 30 * 24 * 3600 * 1000
"""What clients are promised; runs are kept longer."""

POLL_MS = 1_000
MAX_DECLINED = 10_000
MAX_FAMILY = 200
"""How many runs below a task's own are looked at for what they wait for."""

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]


class TaskParams(types.RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str = Field(min_length=1, max_length=300)


class TaskUpdateParams(TaskParams):
    """The parameters of `tasks/update`: answers by the key under which `tasks/get` asked."""

    input_responses: dict[str, dict[str, Any]] = Field(default={}, max_length=100)


@dataclass(frozen=True)
class WatchedTask:
    """A task of the protocol that a stream tells of: when it changed, and what to tell."""

    task_id: str
    changes: Changes
    state: Callable[[], Awaitable[dict[str, Any]]]


class RunTasks(Extension):
    """The extension on a house."""

    identifier = TASKS

    def __init__(self, house: House) -> None:
        """Keep what is needed; the key ring signs the ids."""
        self._services = house.services
        self._keys = house.keys
        self._hub = house.hub
        # Not asked again by this process: a client would otherwise put the same question at each poll.
        self._declined: OrderedDict[tuple[str, str], None] = OrderedDict()

    def methods(self) -> Sequence[MethodBinding]:
        """Return the three methods."""
        return (
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", TaskUpdateParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        )

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer a call that started a run by a task, to a client that knows what that is."""
        result = await call_next(ctx)
        if not isinstance(result, types.CallToolResult) or result.is_error or not declares(ctx, TASKS):
            return result
        run_id = (result.meta or {}).get(STARTED)
        if not isinstance(run_id, str):
            return result
        principal = principal_of(ctx)
        run = await self._services.runs.get(principal, run_id)
        task_id = signed_task(self._keys, principal, run_id)
        return {"resultType": "task", **_envelope(task_id, run, "working", f"run {run_id} was started")}

    async def watched(self, call: Call, task_ids: Sequence[str]) -> Sequence[WatchedTask]:
        """Return what to tell of the tasks, as they stand at first and then at each change; others are left out.

        Raises:
            MCPError: the client does not declare the extension.
        """
        if not declares(call, TASKS):
            raise required(TASKS)
        principal = principal_of(call)
        return [
            self._watched(call, principal, task_id, run)
            for task_id in task_ids
            if (run := await self._find(principal, task_id)) is not None
        ]

    def _watched(self, call: Call, principal: Principal, task_id: str, run: Run) -> WatchedTask:
        async def state() -> dict[str, Any]:
            return await self._state(call, principal, task_id, await self._services.runs.get(principal, run.run_id))

        async def look() -> str | None:
            now = await state()
            told = {key: now.get(key) for key in ("status", "statusMessage", "inputRequests")}
            return canonical_json(told) if now["status"] in ("working", "input_required") else None

        return WatchedTask(task_id, watch_runs(self._hub, run.tenant, look, None), state)

    async def _get(self, call: Call, params: TaskParams) -> HandlerResult:
        principal, run = await self._open(call, params)
        return await self._state(call, principal, params.task_id, run)

    async def _state(self, call: Call, principal: Principal, task_id: str, run: Run) -> dict[str, Any]:
        """Return a task as it stands, with what it asks for or how it ended."""
        if run.status == "completed":
            return {**_envelope(task_id, run, "completed"), "result": self._result(run)}
        if run.status == "cancelled":
            return _envelope(task_id, run, "cancelled", run.error or "cancelled")
        if run.status == "failed":
            return await self._failed(principal, task_id, run)
        pending, ways = await self._pending(principal, run), able(call)
        asked = {
            task.task_id: ask(task, ways, self._services.task_url(task.task_id), call.protocol_version)
            for task in pending
        }
        where = f"{run.status} {run.position}".strip()
        requests = {
            key: request.model_dump(mode="json", by_alias=True, exclude_none=True)
            for key, request in asked.items()
            if request is not None
        }
        if requests:
            return {**_envelope(task_id, run, "input_required", where), "inputRequests": requests}
        if pending:
            first = pending[0]
            page = self._services.task_url(first.task_id)
            where += f"; {first.title!r} waits for you: answer_run with the run {first.run_id}, or {page}"
        elif run.waits_for:
            where += f"; waits for {run.waits_for}"
        return _envelope(task_id, run, "working", where)

    async def _failed(self, principal: Principal, task_id: str, run: Run) -> dict[str, Any]:
        """Return a run that failed: as a tool's error, or as one of the server when the run was lost."""
        last = await self._services.runs.events(principal, run.run_id, after=max(0, run.events - 1))
        if last and last[-1].key == RECONCILED:
            error = {"code": types.INTERNAL_ERROR, "message": run.error or "the run was lost"}
            return {**_envelope(task_id, run, "failed", run.error), "error": error}
        return {**_envelope(task_id, run, "completed", run.error), "result": self._result(run)}

    async def _update(self, call: Call, params: TaskUpdateParams) -> HandlerResult:
        principal, run = await self._open(call, params)
        pending = {task.task_id: task for task in await self._pending(principal, run)}
        for key, response in params.input_responses.items():
            # What is not asked any more was answered in the meantime, by somebody else or by the same message before.
            if (task := pending.get(key)) is not None:
                await self._answer(principal, task, response)
        return {}

    async def _answer(self, principal: Principal, task: Task, response: dict[str, Any]) -> None:
        content = response.get("content")
        if response.get("action") != "accept" or not isinstance(content, dict):
            self._declined[principal.subject, task.task_id] = None
            while len(self._declined) > MAX_DECLINED:
                self._declined.popitem(last=False)
            return
        try:
            await self._services.control.answer(principal, task.task_id, read(task, content, principal))
        except Conflict:
            return

    async def _cancel(self, call: Call, params: TaskParams) -> HandlerResult:
        principal, run = await self._open(call, params)
        if not run.finished:
            control = Control(action="cancel", by=principal, reason="tasks/cancel")
            try:
                await self._services.control.control(principal, run.run_id, control)
            except Conflict:
                # It ended by itself in between.
                return {}
        return {}

    async def _open(self, call: Call, params: TaskParams) -> tuple[Principal, Run]:
        """Return who asks and the run that the task is.

        Raises:
            MCPError: the client does not declare the extension, a header disagrees, or there is no such task for it.
        """
        if not declares(call, TASKS):
            raise required(TASKS)
        check_name_header(call, params.task_id)
        principal = principal_of(call)
        run = await self._find(principal, params.task_id)
        if run is not None:
            return principal, run
        raise MCPError(
            types.INVALID_PARAMS, f"There is no task {params.task_id[:80]!r} for you", {"taskId": params.task_id}
        )

    async def _find(self, principal: Principal, task_id: str) -> Run | None:
        """Return the run of a task's id; None for every other id, whether or not there is such a run."""
        try:
            return await self._services.runs.get(principal, run_of_task(self._keys, principal, task_id))
        except (Unsealable, NotFound):
            return None

    async def _pending(self, principal: Principal, run: Run) -> list[Task]:
        """Return what the run and those below it wait for, this caller may answer and has not declined to."""
        return [
            task
            for run_id in await self._family(principal, run)
            for task in await self._services.runs.tasks(principal, run_id=run_id)
            if may_answer(principal, task) and (principal.subject, task.task_id) not in self._declined
        ]

    async def _family(self, principal: Principal, run: Run) -> Sequence[str]:
        """Return the ids of a run and of the unfinished runs below it, from the top down."""
        found = [run.run_id]
        for run_id in found:
            children = await self._services.runs.list(principal, RunFilter(parent_id=run_id, limit=MAX_FAMILY))
            found += [child.run_id for child in children if not child.finished][: MAX_FAMILY - len(found)]
        return found

    def _result(self, run: Run) -> dict[str, Any]:
        """Return what the tool call that started the run comes to, as a tool's result."""
        value: dict[str, JsonValue] = {
            "run_id": run.run_id,
            "status": run.status,
            "url": self._services.run_url(run.run_id),
            "result": run.result,
            **({"error": run.error} if run.error else {}),
        }
        text = json.dumps(value, ensure_ascii=False)
        content: list[types.ContentBlock] = [types.TextContent(text=text[:MAX_CHARS])]
        structured: dict[str, JsonValue] | None = value
        if len(text) > MAX_CHARS:
            uri = f"run://{run.run_id}"
            content.append(types.ResourceLink(uri=uri, name="the whole result", mime_type="application/json"))
            structured = {**value, "result": None, "cut": {"rest": uri}}
        result = types.CallToolResult(content=content, structured_content=structured, is_error=run.status == "failed")
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def _envelope(task_id: str, run: Run, status: TaskStatus, message: str | None = None) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "status": status,
        **({"statusMessage": message} if message else {}),
        "createdAt": _moment(run.created_at),
        "lastUpdatedAt": _moment(run.updated_at),
        "ttlMs": TTL_MS,
        "pollIntervalMs": POLL_MS,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
