"""The tool calls of agents: whether one may be made at all, and making it; arguments and results lie in the log."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import JsonValue
from temporalio import activity

from content.objects import ContentStore
from engine.agent.log import call_name, message_event, result_key
from engine.agent.stuck import call_print, result_print
from engine.errors import Conflict, Invalid, Problem
from engine.ports import AgentToolCalls, AgentToolDone, AgentToolsDone, CallRef, ToolOutcome
from engine.runs import Change, EventDraft, Recorded, RunRef
from engine.transcript import Message, ModelReply, Part, Text, ToolCall, ToolResult
from engine.values import Principal, canonical_json, digest
from server.activities.keeping import keep_as_artifact
from server.activities.transcripts import Transcript, Transcripts
from server.hub import Hub, LiveDelta
from server.models import Models
from server.store.runs import SqlRunStore
from skills.running import failed
from skills.services import Services, ToolContext
from skills.toolbox import Ran, Resolved, Toolbox

MAX_TARGET = 300
LOOK_S = 0.25
"""How often a call looks whether its run is over, where no hub tells it at once."""

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
        target=_told(dict(resolved.arguments)),
        covers=_told({spec.target: resolved.arguments.get(spec.target)}) if spec.target else "",
        polls=spec.polls,
    )


def _told(arguments: dict[str, JsonValue]) -> str:
    """Return the arguments, cut where they are long; what was cut is told apart by its digest."""
    text = canonical_json(arguments)
    return text if len(text) <= MAX_TARGET else f"{text[:MAX_TARGET]}… sha256:{digest(arguments)[:16]}"


def told_apart(reply: ModelReply, turn: int) -> ModelReply:
    """Return the reply with an id of its own for each call.

    A provider would take the answer to the one for the answer to the other. A turn that is changed by that goes back
    in the neutral form, for its maker's own blocks would no longer be what they were.
    """
    parts: list[Part] = []
    taken: set[str] = set()
    for position, part in enumerate(reply.message.parts):
        if isinstance(part, ToolCall) and (not part.id or part.id in taken):
            part = part.model_copy(update={"id": f"call_{turn}_{position}_{digest(part.id)[:8]}"})
        if isinstance(part, ToolCall):
            taken.add(part.id)
        parts.append(part)
    if tuple(parts) == reply.message.parts:
        return reply
    message = reply.message.model_copy(update={"parts": tuple(parts), "native": None})
    return reply.model_copy(update={"message": message})


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


@dataclass(frozen=True)
class Answered:
    """A call with its answer. `fresh`: it was made now, and is not in the log yet. `asked` and `fault` are digests."""

    call: CallRef
    asked: str
    key: str
    result: ToolResult
    outcome: Literal["ok", "error", "unknown"]
    fresh: bool = True
    fault: str = ""
    order: dict[str, JsonValue] | None = None


async def run_calls(work: AgentWork, order: AgentToolCalls) -> AgentToolsDone:
    """Answer calls of a turn once; a repeat after their answers were recorded gives the recorded ones."""
    log = await work.transcripts.read(order.run)
    slots = asyncio.Semaphore(order.at_once)

    async def in_turn(call: CallRef) -> Answered:
        async with slots:
            return await _answered(work, order, call, log)

    doing = _gathered([in_turn(call) for call in order.calls])
    # What the workflow says itself is recorded even while its run ends.
    answers = await (doing if order.given is not None else unless_over(work, order.run, doing))
    fresh = [one for one in answers if one.fresh]
    if fresh:
        events = tuple(event for one in fresh for event in _events(order, one))
        await work.runs.apply(Change(run=order.run, key=fresh[0].key, events=events))
        await _note_late(work, order, fresh)
    return AgentToolsDone(done=tuple(_done(one) for one in answers))


async def _gathered(doing: Sequence[Coroutine[Any, Any, Done]]) -> list[Done]:
    return await asyncio.gather(*doing)


def _events(order: AgentToolCalls, one: Answered) -> tuple[EventDraft, EventDraft]:
    data: dict[str, JsonValue] = {
        "turn": order.turn,
        "call_id": one.call.call_id,
        "tool": one.call.tool,
        "outcome": one.outcome,
        "chars": len(one.result.text),
    }
    finished = EventDraft(key=f"{one.key}/finished", type="tool.finished", data=data)
    return message_event(one.key, Message(role="tool", parts=(one.result,))), finished


async def _answered(work: AgentWork, order: AgentToolCalls, ref: CallRef, log: Transcript) -> Answered:
    call = log.call(order.turn, ref.call_id)
    key = result_key(order.turn, call.id)
    asked = call_print(ref.tool, ref.target or call.malformed or call.arguments)
    if (answered := log.message(key)) is not None:
        (known,) = (part for part in answered.parts if isinstance(part, ToolResult))
        return Answered(ref, asked, key, known, "error" if known.is_error else "ok", fresh=False)
    ran, fault = await _make(work, order, ref, call, log)
    outcome = ran.outcome.outcome
    result = ToolResult(
        call_id=call.id, name=call.name, text=ran.outcome.text, is_error=outcome != "ok", reveals=ran.reveals
    )
    return Answered(ref, asked, key, result, outcome, fresh=ran.order is None, fault=fault, order=ran.order)


async def _note_late(work: AgentWork, order: AgentToolCalls, fresh: Sequence[Answered]) -> None:
    """Append what came after a call was given up: the answer it got stays, for it was sent to the model."""
    log = await work.transcripts.read(order.run)
    for one in fresh:
        message = log.message(one.key)
        if message is None or one.result in message.parts or order.given is not None:
            continue
        await _append_late(work, order, one.call, one.key, one.result.text)


async def _append_late(work: AgentWork, order: AgentToolCalls, call: CallRef, key: str, text: str) -> None:
    said = f"The call {call.call_id} of {call.tool}, given up before, has ended since with this result:\n"
    note = Message(role="user", parts=(Text(text=said), Text(text=text, data=True)))
    if not (await work.runs.load(order.run)).finished:
        await append(work, order.run, f"{key}/late", note)


async def _make(
    work: AgentWork, order: AgentToolCalls, ref: CallRef, call: ToolCall, log: Transcript
) -> tuple[Ran, str]:
    """Make a call; beside how it ended, say by a digest why it could not be made, if it could not."""
    if order.given is not None:
        return Ran(ToolOutcome(outcome="error" if order.given.is_error else "ok", text=order.given.text)), ""
    try:
        resolved = admitted(work, order.principal, call, log)
        if resolved.spec.effect != ref.effect:
            raise Conflict(f"{resolved.spec.name} has changed since it was called; make the call again")
    except Problem as problem:
        why = "not valid JSON" if call.malformed is not None else problem.message
        return Ran(failed(problem)), result_print(why, is_error=True)
    name = call_name(call.id)
    key = f"{order.run.run_id}/{order.turn}/{name}"
    await _note_start(work, order, resolved, call, key)
    ctx = ToolContext(principal=acting(order.principal), services=work.services, key=key, run=order.run)
    keep = keep_as_artifact(work.runs, order.run, f"tools/{order.turn}-{name}.txt", key)

    async def late(outcome: ToolOutcome) -> None:
        await _append_late(work, order, ref, result_key(order.turn, call.id), outcome.text)

    return await work.toolbox.run_with_effects(ctx, call.name, call.arguments, keep=keep, late=late), ""


async def _note_start(work: AgentWork, order: AgentToolCalls, resolved: Resolved, call: ToolCall, key: str) -> None:
    """Tell who watches that a call begins; only of one with effects it must be known later, too."""
    data: dict[str, JsonValue] = {"turn": order.turn, "call_id": call.id, "tool": resolved.spec.name}
    if resolved.spec.effect == "read_only":
        attempt = activity.info().attempt
        started = LiveDelta(run=order.run, type="tool.started", turn=order.turn, attempt=attempt, offset=0, data=data)
        work.hub.publish(started)
        return
    event = EventDraft(key=f"{key}/started", type="tool.started", data=data)
    await work.runs.apply(Change(run=order.run, key=f"{key}/started", events=(event,)))


def _done(answered: Answered) -> AgentToolDone:
    result = answered.result
    return AgentToolDone(
        call_id=answered.call.call_id,
        outcome=answered.outcome,
        call=answered.asked,
        result=result_print(result.text, is_error=result.is_error),
        fault=answered.fault,
        order=answered.order,
    )


async def append(work: AgentWork, run: RunRef, key: str, message: Message) -> Recorded:
    """Append a message to the transcript once."""
    return await work.runs.apply(Change(run=run, key=key, events=(message_event(key, message),)))


async def unless_over(work: AgentWork, run: RunRef, doing: Coroutine[Any, Any, Done]) -> Done:
    """Await `doing`, but give it up as soon as its run is over or will be: heartbeats tell that much later.

    Raises:
        Conflict: the run ended first, or has taken the order to; `doing` was cancelled.
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
    while not (work.hub.is_stopping(run) or (await work.runs.load(run)).finished):
        await work.hub.wait(run, max(LOOK_S, work.hub.look_s))
