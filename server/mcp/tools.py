"""The tools of the house over MCP: the stable short list, and every call through the one chain of the toolbox."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import mcp_types as types
from pydantic import JsonValue

from engine.errors import NotFound, Problem
from engine.runs import TERMINAL
from engine.transcript import ToolSpec
from engine.values import new_id
from server.mcp.apps import page_meta
from server.mcp.asking import Asking
from server.mcp.house import Call, House, principal_of
from server.mcp.kept import Kept
from server.mcp.logs import log
from server.mcp.provider import Provider
from server.mcp.replies import failure, success
from server.mcp.session import learned, remember
from server.mcp.task_forms import able
from skills.catalogue import skill_key
from skills.running import Defect
from skills.runs import ASKS_HERE
from skills.services import ToolContext
from skills.tool import ToolReply
from skills.toolbox import Resolved

logger = logging.getLogger(__name__)

ALWAYS_LOAD: dict[str, Any] = {"anthropic/alwaysLoad": True}
USE_TOOL = "use_tool"
LEARN = "learn"
FIND_TOOLS = "find_tools"
FOLLOWED = ("get_run",)
SAID = ("text.delta", "reasoning.delta")
"""The deltas that read as words; those of a tool call are fragments of its arguments."""


class SkillTools(Provider):
    """`learn_<skill>`, the core tools and `use_tool`, the same for every connection of one principal.

    A tool of a skill may also be called by its full name: showing tools late is no authorisation.
    """

    def __init__(self, house: House, kept: Kept) -> None:
        """Keep what is needed; `kept` takes the texts of answers that are cut."""
        self._house = house
        self._toolbox = house.toolbox
        self._kept = kept
        self._asking = Asking(house)
        self._running: set[asyncio.Task[Any]] = set()

    async def tools(self, call: Call) -> Sequence[types.Tool]:
        """Return the short list, which depends on the caller's rights and on nothing else.

        On a session of an older era the tools of the skills that it has learned follow.
        """
        principal = principal_of(call)
        listed = {spec.name: spec for spec in self._toolbox.surface(principal)}
        for skill in learned(call):
            with contextlib.suppress(NotFound):
                listed |= {spec.name: spec for spec in self._toolbox.flat(principal, skill)}
        return [described(spec) for spec in listed.values()]

    async def call_tool(
        self, call: Call, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Run a tool; what goes wrong in it is an answer the model can act on."""
        principal = principal_of(call)
        arguments = cast("dict[str, JsonValue]", params.arguments or {})
        try:
            resolved = self._toolbox.resolve(principal, params.name, arguments)
        except NotFound as problem:
            if params.name != USE_TOOL:
                return None
            return failure(problem)
        except Problem as problem:
            return failure(problem)
        context = ToolContext(
            principal=principal,
            services=self._house.services,
            key=new_id("call"),
            progress=_Progress(call),
            extra={ASKS_HERE: able(call) is not None},
        )

        async def run(given: Mapping[str, JsonValue]) -> types.CallToolResult:
            return await self._run(call, context, params.name, resolved, given)

        try:
            asked = await self._asking(call, params, context, resolved, run)
        except Problem as problem:
            return failure(problem)
        return await run(arguments) if asked is None else asked

    async def _run(
        self, call: Call, context: ToolContext, name: str, resolved: Resolved, arguments: Mapping[str, JsonValue]
    ) -> types.CallToolResult:
        async def keep(text: str) -> str:
            return await self._kept.keep(context.principal, text)

        running = self._toolbox.call(context, name, arguments, keep=keep)
        try:
            async with self._followed(call, context, resolved):
                # A client that goes away may stop a reading; what has effects is carried to its end.
                reply = await (running if resolved.spec.effect == "read_only" else self._to_its_end(running))
        except Problem as problem:
            if isinstance(problem, Defect):
                await log(call, "error", problem.message)
            return failure(problem)
        if reply.reveals and (skill := _taught(resolved)) is not None:
            await remember(call, skill)
        listed = resolved.spec.name == name and resolved.spec.output_schema is not None
        return success(reply, has_schema=listed, started=_started(resolved, reply))

    @asynccontextmanager
    async def _followed(self, call: Call, context: ToolContext, resolved: Resolved) -> AsyncGenerator[None]:
        """Carry the live deltas of the run that is asked for as progress, to a client that wants progress."""
        run_id = resolved.arguments.get("run_id")
        wanted = call.meta is not None and "progress_token" in call.meta
        if not wanted or resolved.spec.name not in FOLLOWED or not isinstance(run_id, str):
            yield
            return
        following = asyncio.ensure_future(self._follow(context, run_id))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def _follow(self, context: ToolContext, run_id: str) -> None:
        assert context.progress is not None
        try:
            run = await self._house.services.runs.get(context.principal, run_id)
        except NotFound:
            return
        async with self._house.hub.watch(run.ref) as deltas:
            await context.progress(run.events, None, f"{run.status} {run.position}".strip())
            count = 1
            while True:
                delta = await deltas.get()
                text = delta.data.get("text")
                if delta.type not in SAID or not isinstance(text, str):
                    continue
                count += 1
                # Between this event and the next: deltas have no number of their own.
                await context.progress(run.events + 1 - 1 / count, None, text)

    async def _to_its_end(self, running: Coroutine[Any, Any, ToolReply]) -> ToolReply:
        task = asyncio.ensure_future(running)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[ToolReply]) -> None:
        self._running.discard(task)
        # Asked for, so that a failure nobody waits for any more is not reported as forgotten.
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Problem):
            logger.error("a tool call failed after its client had gone", exc_info=error)


class FlatTools(SkillTools):
    """The same tools without lessons, tickets and search, for hosts that bring a search of tools of their own.

    At `/mcp/s/<skill>` they are those of one skill, elsewhere all: each path is a server of its own to its clients.
    """

    async def tools(self, call: Call) -> Sequence[types.Tool]:
        """Return the tools of the path."""
        return [described(spec) for spec in self._flat(call)]

    async def call_tool(
        self, call: Call, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Run a tool of the path."""
        if all(spec.name != params.name for spec in self._flat(call)):
            return None
        return await super().call_tool(call, params)

    def _flat(self, call: Call) -> Sequence[ToolSpec]:
        skill = None if call.request is None else call.request.path_params.get("skill")
        return [spec for spec in self._toolbox.flat(principal_of(call), skill) if spec.name != FIND_TOOLS]


class _Progress:
    """Reports what a tool says as progress of the request, only ever forwards, as the protocol wants it."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._last = -1.0

    async def __call__(self, done: float, total: float | None, message: str) -> None:
        if done > self._last:
            self._last = done
            await self._call.session.report_progress(done, total, message or None)


def _taught(resolved: Resolved) -> str | None:
    """Return the key of the skill that a call taught, if it did."""
    name = resolved.spec.name
    if name == LEARN:
        return skill_key(str(resolved.arguments.get("skill", "")))
    return name.removeprefix(f"{LEARN}_") if name.startswith(f"{LEARN}_") else None


def described(spec: ToolSpec) -> types.Tool:
    """Return a tool as clients see it; those that lead to all others ask hosts not to hide them behind a search."""
    leads = spec.name in (USE_TOOL, LEARN) or spec.name.startswith(f"{LEARN}_")
    return types.Tool(
        name=spec.name,
        description=spec.description,
        input_schema=spec.input_schema,
        output_schema=None if spec.output_schema is None else _published(spec.output_schema),
        annotations=annotations(spec),
        _meta=ALWAYS_LOAD if leads else page_meta(spec.name),
    )


def _published(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an output schema that a cut answer fits too: it says where the rest is instead of everything else."""
    return {key: value for key, value in schema.items() if key not in ("required", "additionalProperties")}


def annotations(spec: ToolSpec) -> types.ToolAnnotations:
    """Return what the approval class tells a client; `use_tool` may be any tool."""
    if spec.effect == "read_only" and spec.name != USE_TOOL:
        return types.ToolAnnotations(read_only_hint=True)
    return types.ToolAnnotations(read_only_hint=False, destructive_hint=spec.effect != "side_effecting")


def _started(resolved: Resolved, reply: ToolReply) -> str | None:
    """Return the id of the run that a call has started and that goes on, if it did."""
    value = reply.value
    if resolved.spec.effect != "side_effecting" or not isinstance(value, dict) or value.get("status") in TERMINAL:
        return None
    run_id = value.get("run_id")
    return run_id if isinstance(run_id, str) else None
