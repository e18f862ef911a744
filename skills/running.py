"""Making one call of a tool, whatever it does: hang, swallow its end, give too much, or fail in a way of its own.

What goes wrong is a `Problem`; an unexpected exception becomes one with a reference id and is logged. A tool that does
not end when it is told to is left behind, and whoever called it is answered without it.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import JsonValue

from engine.errors import Problem
from engine.ports import ToolOutcome
from engine.values import new_id
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply

logger = logging.getLogger(__name__)

MAX_CHARS = 48_000
BEGINNING = 2_000

GRACE_S = 0.2
"""How long a tool that is told to end has to do so."""

Keep = Callable[[str], Awaitable[str]]
"""Stores a whole text and returns where it can be read, as a URI."""

Late = Callable[[ToolOutcome], Awaitable[None]]
"""Is told how a call ended that had been given up before."""


class TimedOut(Problem):
    """The tool did not finish in its time."""

    code = "timed_out"


class Defect(Problem):
    """The tool failed in a way it was not made for; the log has the details under `details.reference`."""

    code = "internal"


class Running:
    """Makes calls of tools; answers longer than `max_chars` are cut. It knows the tools it has left behind."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        """Begin with nothing left behind."""
        self._max_chars = max_chars
        self._left: set[asyncio.Task[None]] = set()

    async def __call__(
        self, ctx: ToolContext, tool: AnyTool, parsed: dict[str, Any], keep: Keep | None, late: Late | None = None
    ) -> ToolReply:
        """Make a call with arguments that were checked; `keep` stores the whole of an answer that has to be cut.

        Raises:
            Problem: everything that can go wrong, never anything else.
        """
        name, seconds = tool.spec.name, tool.spec.timeout_s
        doing = asyncio.ensure_future(_contained(tool.function(ctx, **parsed)))
        try:
            done, _ = await asyncio.wait((doing,), timeout=seconds)
        except asyncio.CancelledError:
            await _let_go(doing)
            raise
        if not done:
            await _let_go(doing)
            self._follow(tool, doing, keep, late)
            raise TimedOut(f"{name} did not finish within {seconds:g} s{advice(tool)}", tool=name)
        # A tool may raise anything, and may pose as cancelled: nothing of it is raised on as it is but a problem.
        error = asyncio.CancelledError() if doing.cancelled() else doing.exception()
        if error is None:
            try:
                return await self._cut(tool.reply(doing.result()), keep)
            except Exception as broken:
                error = broken
        if isinstance(error, Problem):
            raise error
        reference = new_id("ref")
        logger.error(
            "tool %s failed for tenant %s, reference %s", name, ctx.principal.tenant, reference, exc_info=error
        )
        raise Defect(
            f"{name} failed unexpectedly{advice(tool)}. The log of the server has the cause under {reference}.",
            tool=name,
            reference=reference,
        ) from error

    def _follow(self, tool: AnyTool, doing: "asyncio.Task[Any]", keep: Keep | None, late: Late | None) -> None:
        """Wait in the background for a tool that was given up, and tell `late` what it has given after all."""

        async def follow() -> None:
            await asyncio.wait((doing,))
            if doing.cancelled() or doing.exception() is not None or late is None:
                return
            try:
                await late(outcome_of(await self._cut(tool.reply(doing.result()), keep)))
            except Exception:
                logger.exception("the late result of tool %s is lost", tool.spec.name)

        following = asyncio.ensure_future(follow())
        self._left.add(following)
        following.add_done_callback(self._left.discard)

    async def _cut(self, reply: ToolReply, keep: Keep | None) -> ToolReply:
        text = storable(reply.text)
        if text != reply.text:
            reply = replace(reply, text=text, value=None)
        length, limit = len(reply.text), self._max_chars
        if length <= limit:
            return reply
        rest = await keep(reply.text) if keep else None
        where = f"the whole text is at {rest}" if rest else "ask for less to see the rest"
        text = f"{reply.text[:limit]}\n[cut: the first {limit:,} of {length:,} characters; {where}]"
        return replace(reply, text=text, value=None, rest=rest)


async def _contained(work: Awaitable[Any]) -> Any:
    """Await a tool; what would end the process becomes a failure like every other."""
    try:
        return await work
    except (KeyboardInterrupt, SystemExit) as error:
        raise RuntimeError(f"the tool tried to end the process: {error!r}") from error


async def _let_go(doing: "asyncio.Task[Any]") -> None:
    """Tell a tool to end, and wait a moment for it."""
    doing.cancel()
    # Reading the exception here keeps a failure on the way out from being reported as forgotten.
    doing.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.wait((doing,), timeout=GRACE_S)


def outcome_of(reply: ToolReply) -> ToolOutcome:
    """Return an answer as the outcome of a call."""
    value: JsonValue = reply.value
    if reply.rest is not None:
        value = {"artifact": reply.rest, "beginning": reply.text[:BEGINNING]}
    return ToolOutcome(outcome="ok", value=value, text=reply.text, artifact=reply.rest)


def storable(text: str) -> str:
    """Return the text without what no store and no wire takes: halves of surrogate pairs and NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def failed(problem: Problem) -> ToolOutcome:
    """Return a problem as the outcome of a call, cut where a tool has put too much into it."""
    text = problem_text(problem)
    if len(text) > MAX_CHARS:
        return ToolOutcome(outcome="error", text=f"{storable(text[:MAX_CHARS])}\n[cut: {len(text):,} characters]")
    value = json.loads(storable(json.dumps(problem.as_json(), default=str)))
    return ToolOutcome(outcome="error", value=value, text=storable(text))


def problem_text(problem: Problem) -> str:
    """Return a problem as a model is to read it: the message, and the lesson or the details where there are any."""
    lesson = problem.details.get("lesson")
    if lesson:
        return f"{problem.message}\n\n{lesson}"
    details = {key: value for key, value in problem.details.items() if value not in (None, [], {}, "")}
    if not details:
        return problem.message
    return f"{problem.message}\n{json.dumps(details, ensure_ascii=False, sort_keys=True, default=str)}"


def advice(tool: AnyTool) -> str:
    """Return what a caller is told about a call whose end is not known."""
    if tool.spec.repeatable:
        return "; the same call may be made again"
    return ", and whether it had its effect is not known: look before you repeat it"


def unknown(tool: AnyTool, reason: str) -> ToolOutcome:
    """Return the outcome of a call with effects that was begun, whose end is not known, and that is not repeated."""
    text = (
        f"outcome unknown: {reason}. {tool.spec.name} may or may not have had its effect and was not repeated; "
        "find out what the state is before you call it again."
    )
    return ToolOutcome(outcome="unknown", text=text)
