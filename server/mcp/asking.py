"""Asking the person at the client for the answer to a task, inside of an ordinary call of answer_run.

Since 2026-07-28 the call is answered by the form, and the client makes it again with what the person filled in. In the
eras before, the form is pushed in the middle of the call, which waits for it no longer than `ASK_SECONDS`: what the
person says later still counts. Whatever the client does, the task stays open until somebody has answered it.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from pydantic import JsonValue, ValidationError

from engine.errors import Exhausted, Invalid, Problem
from engine.runs import RunRef, Task
from engine.values import canonical_json
from server.mcp.house import Call, House
from server.mcp.replies import failure, success
from server.mcp.session import connection_of, has_session
from server.mcp.task_forms import able, ask, read
from server.mcp.watch import watch_runs
from skills.services import ToolContext
from skills.tasks import Answered, answered, is_answer, may_answer, meant_task
from skills.toolbox import Resolved

logger = logging.getLogger(__name__)

ANSWER_RUN = "answer_run"
ASK_SECONDS = 45.0
"""How long a call waits for its person: below the 60 s after which common clients give up on a request."""

MAX_ASKED = 16
"""How many questions may be before the person of one session at a time."""

ASKED = "upstairs.asked"

Run = Callable[[Mapping[str, JsonValue]], Awaitable[types.CallToolResult]]
"""Makes the call of answer_run with other arguments, through the whole chain."""


@dataclass(frozen=True)
class _Question:
    """A task to be put to the person of a call: what the client is asked, and where an answer goes."""

    call: Call
    context: ToolContext
    resolved: Resolved
    task: Task
    request: types.ElicitRequest
    run: Run

    @property
    def by_url(self) -> bool:
        return isinstance(self.request.params, types.ElicitRequestURLParams)

    def reply(self, said: Answered) -> types.CallToolResult:
        return success(self.resolved.tool.reply(said), has_schema=self.resolved.spec.output_schema is not None)

    def still_open(self, accepted: str) -> types.CallToolResult:
        """Return what answers a call that got no answer."""
        url = self.context.services.task_url(self.task.task_id)
        return self.reply(
            Answered(
                run_id=self.task.run_id, task_id=self.task.task_id, accepted=accepted, status=self.task.status, url=url
            )
        )


class Asking:
    """Puts tasks to the person at the client."""

    def __init__(self, house: House) -> None:
        """Keep what is needed."""
        self._services = house.services
        self._hub = house.hub

    async def __call__(
        self, call: Call, params: types.CallToolRequestParams, context: ToolContext, resolved: Resolved, run: Run
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Return the result of a call that asks its person; None for any other, which is made as it is.

        Raises:
            Problem: the arguments don't fit, or no one task is meant.
        """
        if resolved.spec.name != ANSWER_RUN:
            return None
        given = resolved.tool.parse(resolved.arguments)
        state: dict[str, Any] = {} if params.request_state is None else json.loads(params.request_state)
        if given["message"] is not None:
            return None
        task = await meant_task(context, given["run_id"], state.get("task", given["task_id"]))
        if is_answer(task, given["decision"], given["values"], given["comment"]):
            return None
        if not may_answer(context.principal, task):
            # The tool itself says why: decided by somebody else, no seat, no person. By its id, so that it finds it.
            return await run({"run_id": task.run_id, "task_id": task.task_id})
        page = self._services.task_url(task.task_id)
        if (request := ask(task, able(call), page, call.protocol_version)) is None:
            return None
        question = _Question(call, context, resolved, task, request, run)
        if has_session(call):
            return await self._pushed(question)
        response = (params.input_responses or {}).get(task.task_id)
        if state and response is not None:
            if not isinstance(response, types.ElicitResult):
                raise Invalid(f"the response to {task.task_id} is none to elicitation/create", field=task.task_id)
            return await self._said(question, response, by_url=state["by_url"])
        return types.InputRequiredResult(
            input_requests={task.task_id: request},
            request_state=canonical_json({"task": task.task_id, "by_url": question.by_url}),
        )

    async def _said(self, question: _Question, result: types.ElicitResult, *, by_url: bool) -> types.CallToolResult:
        """Hand on what the person did with the form."""
        if result.action == "decline":
            return question.still_open("nothing: the person declined to answer here; the task stays open")
        if result.action == "cancel":
            return question.still_open("nothing: the form was closed without an answer; the task stays open")
        if by_url:
            return question.still_open("nothing yet: the person was sent to the page; get_run shows what is said there")
        task = question.task
        answer = read(task, result.content or {}, question.context.principal)
        filled: dict[str, JsonValue] = {
            "run_id": task.run_id,
            "task_id": task.task_id,
            "values": dict(answer.values),
            "comment": answer.comment,
        }
        return await question.run(filled if answer.decision is None else {**filled, "decision": answer.decision})

    async def _pushed(self, question: _Question) -> types.CallToolResult:
        """Ask in the middle of the call, once however many calls of the session ask for the same."""
        asked, task_id = self._asked(question.call), question.task.task_id
        running = asked.get(task_id)
        mine = running is None
        if running is None:
            if len(asked) >= MAX_ASKED:
                raise Exhausted(
                    f"{MAX_ASKED} questions are before the person already; let some be answered first", limit=MAX_ASKED
                )
            running = asked[task_id] = asyncio.ensure_future(self._until_said(question))
            running.add_done_callback(partial(_forget, asked, task_id))
        try:
            done, _ = await asyncio.wait([running], timeout=ASK_SECONDS)
        except asyncio.CancelledError:
            if mine:
                # The client has withdrawn the call, and so the question that it brought.
                running.cancel()
            raise
        if not done or running.cancelled():
            return question.still_open(
                "nothing yet: the person is still being asked; an answer given later counts, get_run shows it"
            )
        return running.result()

    def _asked(self, call: Call) -> "dict[str, asyncio.Task[types.CallToolResult]]":
        connection = connection_of(call)
        if ASKED not in connection.state:
            asked: dict[str, asyncio.Task[types.CallToolResult]] = {}
            connection.state[ASKED] = asked

            async def end() -> None:
                running = list(asked.values())
                for one in running:
                    one.cancel()
                if running:
                    await asyncio.wait(running)

            connection.exit_stack.push_async_callback(end)
        return connection.state[ASKED]

    async def _until_said(self, question: _Question) -> types.CallToolResult:
        """Return what the person says, or what was decided elsewhere meanwhile; the form is withdrawn then."""
        hearing = asyncio.ensure_future(self._heard(question))
        closing = asyncio.ensure_future(self._closed(question))
        try:
            await asyncio.wait([hearing, closing], return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                result = hearing.result()
                if result is None:
                    return question.still_open("nothing: the client did not ask the person; the task stays open")
                if not (question.by_url and result.action == "accept"):
                    return await self._said(question, result, by_url=False)
                await closing
            return await self._over(question)
        except Problem as problem:
            return failure(problem)
        finally:
            for one in (hearing, closing):
                one.cancel()
            await asyncio.wait([hearing, closing])

    async def _heard(self, question: _Question) -> types.ElicitResult | None:
        """Return what the client answers, whenever it does; None when it can't, or is gone."""
        metadata = ServerMessageMetadata(related_request_id=question.call.request_id)
        try:
            return await question.call.session.send_request(question.request, types.ElicitResult, metadata=metadata)
        except (MCPError, ValidationError):
            return None

    async def _closed(self, question: _Question) -> None:
        """Return when the task is open no longer."""
        principal, task = question.context.principal, question.task

        async def look() -> str | None:
            now = await self._services.runs.task(principal, task.task_id)
            return now.status if now.status == "open" else None

        changes = watch_runs(self._hub, RunRef(tenant=task.tenant, run_id=task.run_id), look, "open")
        async with aclosing(changes):
            async for _ in changes:
                pass

    async def _over(self, question: _Question) -> types.CallToolResult:
        """Return how a task ended that was answered elsewhere."""
        principal, params = question.context.principal, question.request.params
        task = await self._services.runs.task(principal, question.task.task_id)
        if isinstance(params, types.ElicitRequestURLParams) and params.elicitation_id is not None:
            done = types.ElicitCompleteNotificationParams(elicitation_id=params.elicitation_id)
            await question.call.session.send_notification(
                types.ElicitCompleteNotification(params=done), question.call.request_id
            )
        if task.status == "answered" and task.answered_by == principal.subject:
            return question.reply(answered(question.context, task))
        return await question.run({"run_id": task.run_id, "task_id": task.task_id})


def _forget(asked: "dict[str, asyncio.Task[types.CallToolResult]]", task_id: str, done: "asyncio.Task[Any]") -> None:
    asked.pop(task_id, None)
    # Asked for, so that a failure which no call waits for any more is not reported as forgotten.
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("the answer to task %s failed after its call had ended", task_id, exc_info=error)
