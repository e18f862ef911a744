"""The tool calls of agents: whether one may be made at all, and making it; arguments and results lie in the log."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import JsonValue

from content.objects import ContentStore
from engine.agent.log import call_name, message_event, result_key
from engine.agent.state import call_fingerprint
from engine.errors import Conflict, Invalid, Problem
from engine.ports import AgentToolCall, AgentToolDone, CallRef, ToolOutcome
from engine.runs import Change, EventDraft, Recorded, RunRef
from engine.transcript import Message, ToolCall, ToolResult
from engine.values import Principal, canonical_json, digest
from server.activities.keeping import keep_as_artifact
from server.activities.transcripts import Transcript, Transcripts
from server.hub import Hub
from server.models import Models
from server.store.runs import SqlRunStore
from skills.services import Services, ToolContext
from skills.toolbox import Ran, Resolved, Toolbox, failed

MAX_TARGET = 300
LOOK_S = 0.5
"""How often a call looks whether its run is over; in the process that ended it, it is told at once."""

Done = TypeVar("Done")


@dataclass(frozen=True)
class AgentWork:
    """What the activities of agents need."""

    runs: SqlRunStore
    models: Models
    toolbox: Toolbox
    services: Services
    content: ContentStore
    hub: Hub
    transcripts: Transcripts


def call_ref(work: AgentWork, principal: Principal, call: ToolCall, log: Transcript) -> CallRef:
    """Return a call as the workflow handles it; one that will be refused anyway asks nobody for approval."""
    try:
        resolved = admitted(work, principal, call, log)
    except Problem:
        return CallRef(call_id=call.id, tool=call.name[:64])
    spec = resolved.spec
    return CallRef(
        call_id=call.id,
        tool=spec.name,
        effect=spec.effect,
        repeatable=spec.repeatable,
        timeout_s=spec.timeout_s,
        target=_target(resolved),
    )


def _target(resolved: Resolved) -> str:
    """Return the arguments, cut where they are long; what was cut is told apart by its digest."""
    arguments = dict(resolved.arguments)
    text = canonical_json(arguments)
    return text if len(text) <= MAX_TARGET else f"{text[:MAX_TARGET]}… sha256:{digest(arguments)[:16]}"


def admitted(work: AgentWork, principal: Principal, call: ToolCall, log: Transcript) -> Resolved:
    """Return what a call means, if this run may make it.

    Raises:
        Problem: it can't be read, there is no such tool for this run, its skill was not learned, or its arguments
            don't fit; the message is written for the model.
    """
    if call.malformed is not None:
        raise Invalid(f"the arguments of {call.name} are not valid JSON: {call.malformed[:500]}. Make the call again.")
    resolved = work.toolbox.resolve(acting(principal), call.name, call.arguments)
    tools = {spec.name: spec for spec in log.planned()}
    spec = tools.get(resolved.spec.name)
    if spec is None:
        raise Invalid(f"{resolved.spec.name} is not among the tools of this run; you have: {', '.join(sorted(tools))}")
    # `use_tool` carries the ticket that the lesson ends with; a call by name is known from the lesson's answer.
    if spec.deferred and call.name == spec.name and spec.name not in log.revealed:
        raise Invalid(f"{spec.name} belongs to a skill that you have not learned; call learn_{spec.skill} first")
    resolved.tool.parse(resolved.arguments)
    return resolved


def acting(principal: Principal) -> Principal:
    """Return the agent that acts for `principal`: the same rights, never more, and marked as an agent."""
    return principal.model_copy(update={"kind": "agent"})


async def run_call(work: AgentWork, order: AgentToolCall) -> AgentToolDone:
    """Answer one call of a turn once: a repeat after its answer was recorded gives the recorded one."""
    log = await work.transcripts.read(order.run)
    call = log.call(order.turn, order.call.call_id)
    key = result_key(order.turn, call.id)
    if (answered := log.message(key)) is not None:
        (known,) = (part for part in answered.parts if isinstance(part, ToolResult))
        return _done(order, known, "error" if known.is_error else "ok")
    ran = await _make(work, order, call, log)
    result = ToolResult(
        call_id=call.id,
        name=call.name,
        text=ran.outcome.text,
        is_error=ran.outcome.outcome != "ok",
        reveals=ran.reveals,
    )
    await append(work, order.run, key, Message(role="tool", parts=(result,)))
    return _done(order, result, ran.outcome.outcome)


async def _make(work: AgentWork, order: AgentToolCall, call: ToolCall, log: Transcript) -> Ran:
    if order.refusal is not None:
        return Ran(ToolOutcome(outcome="error", text=order.refusal))
    try:
        resolved = admitted(work, order.principal, call, log)
        if resolved.spec.effect != order.call.effect:
            raise Conflict(f"{resolved.spec.name} has changed since it was called; make the call again")
    except Problem as problem:
        return Ran(failed(problem))
    name = call_name(call.id)
    key = f"{order.run.run_id}/{order.turn}/{name}"
    data: dict[str, JsonValue] = {"turn": order.turn, "call_id": call.id, "tool": resolved.spec.name}
    started = EventDraft(key=f"{key}/started", type="tool.started", data=data)
    await work.runs.apply(Change(run=order.run, key=f"{key}/started", events=(started,)))
    ctx = ToolContext(principal=acting(order.principal), services=work.services, key=key, run=order.run)
    keep = keep_as_artifact(work.runs, order.run, f"tools/{order.turn}-{name}.txt", key)
    doing = work.toolbox.run_with_effects(ctx, call.name, call.arguments, keep=keep)
    return await unless_over(work, order.run, doing)


def _done(order: AgentToolCall, result: ToolResult, outcome: Any) -> AgentToolDone:
    seen = call_fingerprint(order.call.tool, order.call.target, result.text, is_error=result.is_error)
    return AgentToolDone(call_id=order.call.call_id, outcome=outcome, fingerprint=seen)


async def append(work: AgentWork, run: RunRef, key: str, message: Message) -> Recorded:
    """Append a message to the transcript once."""
    return await work.runs.apply(Change(run=run, key=key, events=(message_event(key, message),)))


async def unless_over(work: AgentWork, run: RunRef, doing: Coroutine[Any, Any, Done]) -> Done:
    """Await `doing`, but give it up as soon as its run is over: heartbeats tell that much later.

    Raises:
        Conflict: the run ended first; `doing` was cancelled.
    """
    task = asyncio.ensure_future(doing)
    watch = asyncio.ensure_future(_over(work, run))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and watch.exception() is not None:
            # The store can't be read: what is under way goes on, and heartbeats still end it.
            await asyncio.wait((task,))
        if task.done():
            return task.result()
        raise Conflict(f"run {run.run_id} is over; what was under way was given up")
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _over(work: AgentWork, run: RunRef) -> None:
    while not (await work.runs.load(run)).finished:
        await work.hub.wait(run, LOOK_S)
