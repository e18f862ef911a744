"""Runs as MCP tasks: the extension `io.modelcontextprotocol/tasks` (SEP-2663) over the one run model.

A tool call that starts a run is answered, to clients that declare the extension, by a task. There is nothing beside
the run: the task's id is the run's, sealed to whoever started it, so that any replica and any later process knows it.
"""

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from pydantic import Field, JsonValue

from engine.errors import Conflict, NotFound
from engine.ports import Control
from engine.runs import Run, Task
from engine.values import Principal
from server.mcp.extensions import MODERN, check_name_header, declares, required
from server.mcp.house import Call, House, principal_of
from server.mcp.task_forms import ask, read
from skills.toolbox import MAX_CHARS

TASKS = "io.modelcontextprotocol/tasks"
STARTED = "upstairs/run"
"""The key under which the `_meta` of a tool's result names the run that the call started."""

RECONCILED = "reconciled/status"
"""The key of the event with which a run was closed that could not close itself."""

TTL_MS = 30 * 24 * 3600 * 1000
"""What clients are promised; runs are kept longer."""

POLL_MS = 1_000
SEAL = 32
MAX_DECLINED = 10_000

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]


class TaskParams(types.RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str = Field(min_length=1, max_length=300)


class TaskUpdateParams(TaskParams):
    """The parameters of `tasks/update`: answers by the key under which `tasks/get` asked."""

    input_responses: dict[str, dict[str, Any]] = Field(default={}, max_length=100)


class RunTasks(Extension):
    """The extension on a house."""

    identifier = TASKS

    def __init__(self, house: House) -> None:
        """Keep what is needed; the secret of the data folder seals the ids."""
        self._services = house.services
        self._key = hashlib.sha256(b"upstairs task\0" + house.token.encode()).digest()
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
        return {"resultType": "task", **self._envelope(principal, run, "working", f"run {run_id} was started")}

    async def _get(self, call: Call, params: TaskParams) -> HandlerResult:
        principal, run = await self._open(call, params)
        if run.status == "completed":
            return {**self._envelope(principal, run, "completed"), "result": self._result(run)}
        if run.status == "cancelled":
            return self._envelope(principal, run, "cancelled", run.error or "cancelled")
        if run.status == "failed":
            return await self._failed(principal, run)
        requests = {
            task.task_id: request.model_dump(mode="json", by_alias=True, exclude_none=True)
            for task in await self._pending(principal, run)
            if (request := ask(task, _elicitation(call), self._services.run_url(run.run_id))) is not None
        }
        where = f"{run.status} {run.position}".strip()
        if requests:
            return {**self._envelope(principal, run, "input_required", where), "inputRequests": requests}
        if run.waits_for:
            where += f"; waits for {run.waits_for}: answer_run, or {self._services.run_url(run.run_id)}"
        return self._envelope(principal, run, "working", where)

    async def _failed(self, principal: Principal, run: Run) -> dict[str, Any]:
        """Return a run that failed: as a tool's error, or as one of the server when the run was lost."""
        last = await self._services.runs.events(principal, run.run_id, after=max(0, run.events - 1))
        if last and last[-1].key == RECONCILED:
            error = {"code": types.INTERNAL_ERROR, "message": run.error or "the run was lost"}
            return {**self._envelope(principal, run, "failed", run.error), "error": error}
        return {**self._envelope(principal, run, "completed", run.error), "result": self._result(run)}

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
        run_id, _, seal = params.task_id.rpartition(".")
        if hmac.compare_digest(seal.encode(), self._seal(principal, run_id).encode()):
            try:
                return principal, await self._services.runs.get(principal, run_id)
            except NotFound:
                # The same answer as for a wrong seal: neither says whether there is such a run.
                pass
        raise MCPError(
            types.INVALID_PARAMS, f"There is no task {params.task_id[:80]!r} for you", {"taskId": params.task_id}
        )

    async def _pending(self, principal: Principal, run: Run) -> list[Task]:
        """Return what the run waits for and this caller may answer and has not declined to."""
        return [
            task
            for task in await self._services.runs.tasks(principal, run_id=run.run_id)
            if task.seat.admits(principal) and (principal.subject, task.task_id) not in self._declined
        ]

    def _seal(self, principal: Principal, run_id: str) -> str:
        said = "\0".join((principal.tenant, principal.subject, run_id))
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()[:SEAL]

    def _envelope(
        self, principal: Principal, run: Run, status: TaskStatus, message: str | None = None
    ) -> dict[str, Any]:
        return {
            "taskId": f"{run.run_id}.{self._seal(principal, run.run_id)}",
            "status": status,
            **({"statusMessage": message} if message else {}),
            "createdAt": _moment(run.created_at),
            "lastUpdatedAt": _moment(run.updated_at),
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        }

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


def _elicitation(call: Call) -> types.ElicitationCapability | None:
    capabilities = call.session.client_capabilities
    return None if capabilities is None else capabilities.elicitation


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
