"""`task://…`: what waits for a person, as a resource that can be watched; it is answered with answer_run."""

from collections.abc import Hashable, Sequence

import mcp_types as types

from engine.errors import NotFound
from engine.runs import RunRef, Task
from engine.values import Principal, new_id
from server.mcp.contents import JSON, Body
from server.mcp.house import Call, House, principal_of
from server.mcp.provider import Changes
from server.mcp.resources import Form, Forms, Values, no_such_resource
from server.mcp.watch import watch_runs
from skills.services import ToolContext
from skills.tasks import open_task

INBOX = "task://inbox"
MOST = 500


class InboxResources(Forms):
    """The caller's inbox, and each task that it may see."""

    def __init__(self, house: House) -> None:
        """Name the forms."""
        self._services = house.services
        self._hub = house.hub
        super().__init__(
            [
                Form.of(INBOX, "inbox", "The open tasks that the caller may answer", JSON, self._inbox),
                Form.of("task://{task_id}", "task", "What a run waits for, or how it was answered", JSON, self._task),
            ],
            house.settings.limits.max_result_bytes,
        )

    async def resources(self, call: Call) -> Sequence[types.Resource]:
        """Return the inbox."""
        about = "open tasks that you may answer, oldest first"
        return [types.Resource(uri=INBOX, name="inbox", description=about, mime_type=JSON)]

    async def templates(self, call: Call) -> Sequence[types.ResourceTemplate]:
        """Return the form of a task; the inbox is no template."""
        return (await super().templates(call))[1:]

    async def changes(self, call: Call, uri: str) -> Changes | None:
        """Return the changes of the inbox or of a task."""
        values, principal = self._match(uri), principal_of(call)
        if values is None:
            return None
        if uri == INBOX:

            async def look() -> Hashable:
                return tuple((task.task_id, task.seat.model_dump_json()) for task in await self._mine(principal))

            return watch_runs(self._hub, principal.tenant, look, await look())
        try:
            task = await self._services.runs.task(principal, values["task_id"])
        except NotFound as problem:
            raise no_such_resource(uri, problem.message) from None

        async def look_at_task() -> Hashable | None:
            now = await self._services.runs.task(principal, task.task_id)
            return now.seat.model_dump_json() if now.status == "open" else None

        if task.status != "open":
            return None
        run = RunRef(tenant=task.tenant, run_id=task.run_id)
        return watch_runs(self._hub, run, look_at_task, task.seat.model_dump_json())

    async def _mine(self, principal: Principal) -> Sequence[Task]:
        tasks = await self._services.runs.tasks(principal, limit=MOST)
        return [task for task in tasks if task.seat.admits(principal)]

    async def _inbox(self, principal: Principal, values: Values) -> Body:
        context = self._context(principal)
        tasks = [open_task(context, task).model_dump(mode="json") for task in await self._mine(principal)]
        return Body.of_json({"tasks": tasks})

    async def _task(self, principal: Principal, values: Values) -> Body:
        task = await self._services.runs.task(principal, values["task_id"])
        said = open_task(self._context(principal), task).model_dump(mode="json")
        answer = None if task.answer is None else task.answer.model_dump(mode="json")
        return Body.of_json({**said, "status": task.status, "answered_by": task.answered_by, "answer": answer})

    def _context(self, principal: Principal) -> ToolContext:
        return ToolContext(principal=principal, services=self._services, key=new_id("call"))
