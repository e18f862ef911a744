"""Activities of the agent loop: plan, model turn, tool call; everything long lies in the run's log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from pydantic import JsonValue
from temporalio import activity

from content.objects import ContentStore
from engine.agent import prompts as prompt_names
from engine.agent.log import (
    CHECKPOINT,
    SYSTEM_KEY,
    TASK_KEY,
    TURN,
    assistant_key,
    finished_key,
    message_event,
)
from engine.agent.replay import sent_of
from engine.errors import Exhausted, Invalid
from engine.ports import (
    AgentAnswer,
    AgentPlan,
    AgentTask,
    AgentToolCalls,
    AgentToolsDone,
    TurnMade,
    TurnOrder,
    UserMessage,
    agent_answer,
    agent_tools,
    append_message,
    model_turn,
    plan_agent,
)
from engine.routes import Passed, Routing
from engine.runs import Change, EventDraft, Recorded, RunRef, StartedWorkflow
from engine.transcript import (
    Finish,
    Media,
    Message,
    ModelReply,
    Part,
    Route,
    Text,
    ToolSpec,
    system,
    user,
)
from engine.values import Principal, Spent, canonical_json
from providers.errors import ContextFull
from providers.output import output_errors, schema_validator
from providers.routing import OnFailed
from providers.wire import RENDERER, strict_json
from server.activities.agent_calls import AgentWork, acting, append, call_ref, run_calls, told_apart, unless_over
from server.activities.agent_checkpoint import needed, turn_request
from server.activities.agent_opening import open_with, take_over
from server.activities.agent_prompts import loop_prompts, words_of
from server.activities.agent_spending import within
from server.activities.guard import implements
from server.activities.transcripts import PLAN, Transcript
from server.hub import TurnStream
from server.hub_values import LiveDelta
from server.models import Routed
from skills.toolbox import Toolbox

MAX_PROBLEM = 2_000
"""How much of what is wrong with an answer travels through the history, in characters."""


def agent_activities(work: AgentWork) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the house's parts."""

    @implements(plan_agent)
    async def plan(started: StartedWorkflow) -> AgentPlan:
        return await _plan(work, started)

    @implements(model_turn)
    async def turn(order: TurnOrder) -> TurnMade:
        return await _turn(work, order)

    @implements(agent_tools)
    async def tools(calls: AgentToolCalls) -> AgentToolsDone:
        return await run_calls(work, calls)

    @implements(append_message)
    async def append(message: UserMessage) -> Recorded:
        return await _hear(work, message)

    @implements(agent_answer)
    async def answer(run: RunRef) -> AgentAnswer:
        return await _answer(work, run)

    return [plan, turn, tools, append, answer]


async def _plan(work: AgentWork, started: StartedWorkflow) -> AgentPlan:
    """Fix route and tools for the whole run, and write the first messages of its transcript."""
    run = await work.runs.load(started.run)
    task, routed = _checked(work, started.run.tenant, run.input)
    tools = _tools_for(work.toolbox, started.principal, task)
    prompts = await loop_prompts(work.services.interactions, started.principal)
    first: list[Part] = [Text(text=task.task)]
    if task.facts:
        first.append(Text(text=f"\n\nFacts given with the task:\n{canonical_json(task.facts)}", data=True))
    first += [await _attachment(work.content, started.principal, ref) for ref in task.attachments]
    data: dict[str, JsonValue] = {
        "route": routed.route.model_dump(mode="json"),
        "route_origin": routed.origin,
        "tools": [tool.model_dump(mode="json") for tool in tools],
        "renderer": RENDERER,
        "prompts": prompts,
    }
    opening = f"{words_of(prompts, prompt_names.SYSTEM)}\n\n{task.instructions}".strip()
    events = (
        EventDraft(key=PLAN, type=PLAN, data=data),
        message_event(SYSTEM_KEY, system(opening)),
        message_event(TASK_KEY, Message(role="user", parts=tuple(first), breakpoint=True)),
    )
    if task.forked_from is not None:
        route = {"route": data["route"], "route_origin": data["route_origin"]}
        await take_over(work, started, task.forked_from, route)
    await work.runs.apply(Change(run=started.run, key=PLAN, events=events))
    begun = await open_with(work, started, run, task)
    # A repeat finds what the first attempt wrote, whatever the settings say by now.
    written, *made = await work.runs.log(started.run, types=(PLAN, CHECKPOINT))
    route = Route.model_validate(written.data["route"])
    reviewer = work.models.route(started.run.tenant, ("reviewer", task.reviewer)).route if task.reviewer else None
    return AgentPlan(
        route=route,
        output_required=task.output_schema is not None,
        approval=task.approval,
        reviewer=reviewer,
        on_stuck=task.on_stuck,
        on_budget=task.on_budget,
        depth=begun.depth,
        turn=begun.turn,
        checkpoints=len(made),
        steps=begun.steps,
        calls=begun.calls,
        phases=task.phases,
        beside=_beside(work.toolbox, started.principal, tools) if task.phases else (),
    )


def _checked(work: AgentWork, tenant: str, given: dict[str, JsonValue]) -> tuple[AgentTask, Routed]:
    """Return task and route; what would fail later, or for ever, is refused before the first turn."""
    try:
        task = AgentTask.model_validate(given)
        routed = work.models.route(tenant, ("run", task.model))
        if task.reviewer is not None:
            work.models.route(tenant, ("reviewer", task.reviewer))
    except ValueError as error:
        raise Invalid(f"the task of this agent can't be carried out: {error}") from error
    if task.output_schema is not None:
        schema_validator(task.output_schema)
    return task, routed


def _tools_for(toolbox: Toolbox, principal: Principal, task: AgentTask) -> tuple[ToolSpec, ...]:
    """Return the whole list of a run: direct tools by name, then the tools of its skills, shown once learned."""
    excluded = set(task.exclude_tools)
    if task.tools is None:
        learning = {spec.name for spec in toolbox.learn_tools(principal)} | {"use_tool"}
        core = [spec for spec in toolbox.surface(principal) if spec.name not in learning]
        steering = [spec for spec in toolbox.loop_tools() if spec.effect == "control"]
        direct = [*(spec for spec in core if spec.effect == "read_only"), *steering]
    else:
        direct = [toolbox.find(acting(principal), name).spec for name in task.tools]
    catalogue = toolbox.catalogue
    wanted = [catalogue.get(principal, name) for name in task.skills] if task.skills is not None else None
    skills = catalogue.visible(principal) if wanted is None else wanted
    lessons = [toolbox.find(principal, f"learn_{skill.key}").spec for skill in skills]
    base = sorted({spec.name: spec for spec in (*direct, *lessons)}.values(), key=lambda spec: spec.name)
    known = {spec.name for spec in base}
    later = [
        tool.spec.model_copy(update={"deferred": True})
        for skill in skills
        for tool in skill.tools_for(principal)
        if tool.spec.name not in known
    ]
    return tuple(spec for spec in (*base, *later) if spec.name not in excluded)


def _beside(toolbox: Toolbox, principal: Principal, tools: Sequence[ToolSpec]) -> tuple[str, ...]:
    """Return the tools of a run that no order of tools says anything of: those of the loop itself, and lessons."""
    lessons = {spec.name for spec in toolbox.learn_tools(principal)}
    return tuple(spec.name for spec in tools if spec.effect == "control" or spec.name in lessons)


async def _attachment(content: ContentStore, principal: Principal, object_id: str) -> Part:
    version = (await content.get(principal, object_id)).version
    if version.mime.startswith("image/") or version.mime == "application/pdf":
        return Media(ref=version.digest, mime=version.mime, name=version.name)
    reading = await content.read_text(principal, object_id)
    return Text(text=f"\n\nAttached {version.name}:\n{reading.text}", data=True)


async def _turn(work: AgentWork, order: TurnOrder) -> TurnMade:
    """Make one model call from the log; a turn that was made before a crash is paid for and is not made again."""
    run = await work.runs.load(order.run)
    task = AgentTask.model_validate(run.input)
    log = await work.transcripts.read(order.run)
    known = _already(log, order.turn)
    if known is not None:
        return _made(work, order, task, log, *known)
    await _note_start(work, order, log)
    seen = log.seq
    asked = turn_request(order, task, log)
    request = asked.model_copy(update={"tool_choice": "none" if order.closing else "auto"})
    why = needed(work, order, request, log)
    if why:
        return _unmade(order, why)
    try:
        request = within(work.models, request, order.left)
    except Exhausted as short:
        return _short_of(order, short)
    stream = TurnStream(work.hub, order.run, order.turn, _attempt(order))
    answering = work.models.answering(order.run.tenant, _fallback(work, order, stream))
    try:
        said = await unless_over(work, order.run, answering.generate(request, stream))
    except ContextFull:
        if order.fresh:
            raise
        return _unmade(order, "context_full")
    reply = told_apart(said, order.turn)
    routing = answering.routings[-1]
    if reply.finish.unified == "context_full" and not order.fresh:
        spent = reply.spent.plus(routing.spent)
        await _drop_turn(work, order, spent)
        return _unmade(order, "context_full", spent)
    await _keep_turn(work, order, reply, seen, routing, sent_of(request))
    return _made(work, order, task, log, reply, seen, routing)


def _unmade(order: TurnOrder, why: Literal["full", "context_full", "expired"], spent: Spent | None = None) -> TurnMade:
    finish = Finish(unified="context_full", raw=why)
    return TurnMade(
        turn=order.turn, checkpoint=why, finish=finish, spent=spent or Spent(), model="", provider=order.route.provider
    )


def _short_of(order: TurnOrder, short: Exhausted) -> TurnMade:
    finish = Finish(unified="error", raw=short.message)
    bound = short.details["bound"]
    return TurnMade(
        turn=order.turn, short_of=bound, finish=finish, spent=Spent(), model="", provider=order.route.provider
    )


async def _drop_turn(work: AgentWork, order: TurnOrder, spent: Spent) -> None:
    """Count an answer that ended where the window did; clients drop what they have seen of it."""
    key = f"turn/{order.turn}/dropped"
    data: dict[str, JsonValue] = {"turn": order.turn, "attempt": _attempt(order), "reason": "context_full"}
    event = EventDraft(key=key, type="turn.restarted", data=data)
    await work.runs.apply(Change(run=order.run, key=key, spent=spent, events=(event,)))


def _attempt(order: TurnOrder) -> int:
    """Return the number of this attempt at a turn, also where it had to wait for capacity between them."""
    return order.tried + activity.info().attempt


def _fallback(work: AgentWork, order: TurnOrder, stream: TurnStream) -> OnFailed:
    """Return what records a candidate that failed; clients drop what it has streamed, for the next one begins anew."""
    attempt, failed = _attempt(order), 0

    async def record(passed: Passed) -> None:
        nonlocal failed
        failed += 1
        key = f"turn/{order.turn}/passed/{attempt}/{failed}"
        data: dict[str, JsonValue] = {
            "turn": order.turn,
            "attempt": attempt,
            "offset": stream.offset,
            "passed": passed.model_dump(mode="json"),
        }
        event = EventDraft(key=key, type="turn.restarted", data=data)
        await work.runs.apply(Change(run=order.run, key=key, events=(event,)))

    return record


def _already(log: Transcript, turn: int) -> tuple[ModelReply, int, Routing] | None:
    """Return the reply of a turn that stands in the log, the number of the last event that it was made from, and how
    it found its model."""
    finished, message = log.event(finished_key(turn)), log.message(assistant_key(turn))
    if finished is None or message is None:
        return None
    reply, seen = finished.data["reply"], finished.data["seen"]
    assert isinstance(reply, dict)
    assert isinstance(seen, int)
    return (
        ModelReply.model_validate({**reply, "message": message}),
        seen,
        Routing.model_validate(finished.data["routing"]),
    )


async def _note_start(work: AgentWork, order: TurnOrder, log: Transcript) -> None:
    """Write what the turn is told, and, where it is made again, that clients drop what they have seen of it."""
    attempt = _attempt(order)
    key = f"turn/{order.turn}/{'fresh' if order.fresh else 'started'}/{attempt}"
    data: dict[str, JsonValue] = {"turn": order.turn, "attempt": attempt}
    note = log.words(prompt_names.CLOSING if order.closing else order.note)
    drafts = [message_event(f"turn/{order.turn}/{'closing' if order.closing else 'note'}", user(note))] if note else []
    if attempt > 1:
        drafts.append(EventDraft(key=key, type="turn.restarted", data=data))
    if drafts:
        await work.runs.apply(Change(run=order.run, key=key, events=tuple(drafts)))
        await work.transcripts.read(order.run)
    if attempt == 1:
        started = LiveDelta(run=order.run, type="turn.started", turn=order.turn, attempt=1, offset=0, data=data)
        work.hub.publish(started)


async def _keep_turn(
    work: AgentWork, order: TurnOrder, reply: ModelReply, seen: int, routing: Routing, sent: dict[str, JsonValue]
) -> None:
    summary = reply.model_dump(mode="json", exclude={"message"})
    data: dict[str, JsonValue] = {
        "turn": order.turn,
        "seen": seen,
        "request": sent,
        "reply": summary,
        "routing": routing.model_dump(mode="json"),
    }
    events = (
        message_event(assistant_key(order.turn), reply.message),
        EventDraft(key=finished_key(order.turn), type=TURN, data=data),
    )
    change = Change(
        run=order.run,
        key=f"turn/{order.turn}",
        position=f"turn {order.turn}",
        spent=reply.spent.plus(routing.spent),
        events=events,
    )
    await work.runs.apply(change)


def _made(
    work: AgentWork,
    order: TurnOrder,
    task: AgentTask,
    log: Transcript,
    reply: ModelReply,
    seen: int,
    routing: Routing,
) -> TurnMade:
    called = reply.message.tool_calls
    problem = None if called and not order.closing else _contract_error(task, reply)
    return TurnMade(
        turn=order.turn,
        seen=seen,
        finish=reply.finish,
        calls=tuple(call_ref(work, order.principal, call, log) for call in called),
        spent=reply.spent.plus(routing.spent),
        model=reply.model,
        provider=reply.provider,
        contract_error=problem[:MAX_PROBLEM] if problem else None,
    )


def _contract_error(task: AgentTask, reply: ModelReply) -> str | None:
    if task.output_schema is None:
        return None if reply.message.text.strip() else "your answer is empty; give it as text"
    try:
        value = strict_json(reply.message.text)
    except ValueError as error:
        return f"your answer must be one JSON value and nothing else ({error})"
    errors = output_errors(value, task.output_schema)
    return f"your answer does not fit its schema: {'; '.join(errors)}" if errors else None


async def _hear(work: AgentWork, message: UserMessage) -> Recorded:
    """Append what a person said once; the number is that of the message, also when it is said again."""
    attached = [await _attachment(work.content, message.principal, ref) for ref in message.attachments]
    said = Message(role="user", parts=(Text(text=message.text), *attached))
    await append(work, message.run, message.key, said)
    event = (await work.transcripts.read(message.run)).event(message.key)
    assert event is not None
    return Recorded(last_seq=event.seq)


async def _answer(work: AgentWork, ref: RunRef) -> AgentAnswer:
    run, log = await asyncio.gather(work.runs.load(ref), work.transcripts.read(ref))
    task = AgentTask.model_validate(run.input)
    last = [message for message in log.assembled() if message.role == "assistant"][-1]
    if task.output_schema is None:
        return AgentAnswer(value=last.text)
    return AgentAnswer(value=strict_json(last.text))
