"""What the transcript of an agent begins with beside its task: skills learned, calls made, the turns of another run."""

from pydantic import JsonValue

from engine.agent.family import MAX_DEPTH, SUBAGENT
from engine.agent.log import LOGGED, PLAN, STEPS, assistant_key, message_event
from engine.errors import Conflict, Invalid
from engine.ports import AgentTask, CallRef, Fork, PlanStep
from engine.runs import AuditDraft, Change, EventDraft, Run, RunRef, StartedWorkflow
from engine.transcript import Message, ToolCall, ToolResult, user
from engine.values import Principal, Value
from server.activities.agent_calls import AgentWork, acting, call_ref
from server.forking import finished_turns, made_from, renumbered
from skills.lesson import learn

FIRST_TURN = 0
"""The turn in whose place the calls stand that are made before any turn."""


class Opening(Value):
    """What a run begins with: see `AgentPlan`."""

    depth: int
    turn: int
    steps: tuple[PlanStep, ...]
    calls: tuple[CallRef, ...]


async def depth_of(work: AgentWork, run: Run) -> int:
    """Return how many runs stand above `run`, as far as it matters.

    Raises:
        Conflict: it is a subagent, and the agent that started it has ended.
    """
    depth = 0
    while run.parent_id is not None and depth < MAX_DEPTH:
        parent = await work.runs.load(RunRef(tenant=run.tenant, run_id=run.parent_id))
        if depth == 0 and parent.finished and run.definition == SUBAGENT:
            raise Conflict(f"the agent {parent.run_id} that started this one is {parent.status} already")
        run, depth = parent, depth + 1
    return depth


async def open_with(work: AgentWork, started: StartedWorkflow, run: Run, task: AgentTask) -> Opening:
    """Write what the task wants known and asked before the first turn, once; the transcript has its task already.

    Raises:
        Invalid: a call has effects.
        NotFound: a skill or a tool isn't there for the principal.
    """
    log = await work.transcripts.read(started.run)
    turns = finished_turns([one.event for one in log.entries])
    if not turns and (task.learned or task.calls):
        await _begin_with(work, started, task)
        log = await work.transcripts.read(started.run)
    called = log.message(assistant_key(FIRST_TURN))
    calls = (
        [] if turns or called is None else [call_ref(work, started.principal, one, log) for one in called.tool_calls]
    )
    return Opening(
        depth=await depth_of(work, run),
        turn=max(turns, default=0),
        steps=await _steps(work, started.run) if task.forked_from is not None else (),
        calls=tuple(calls),
    )


async def _steps(work: AgentWork, run: RunRef) -> tuple[PlanStep, ...]:
    """Return the plan that was kept last in what a fork has taken over."""
    kept = await work.runs.log(run, types=(STEPS,))
    steps = kept[-1].data["steps"] if kept else []
    assert isinstance(steps, list)
    return tuple(PlanStep.model_validate(step) for step in steps)


async def _begin_with(work: AgentWork, started: StartedWorkflow, task: AgentTask) -> None:
    events = [
        *_lessons(work, acting(started.principal), task.learned),
        *_first_calls(work, acting(started.principal), task),
    ]
    await work.runs.apply(Change(run=started.run, key="opening", events=tuple(events)))


def _lessons(work: AgentWork, principal: Principal, names: tuple[str, ...]) -> list[EventDraft]:
    """Return the skills as if the model had asked for them: the same lessons, tickets and tools."""
    if not names:
        return []
    taught = [learn(principal, work.toolbox.catalogue.get(principal, name)) for name in names]
    asked = [work.toolbox.catalogue.get(principal, name).key for name in names]
    calls = tuple(ToolCall(id=f"learned_{place}", name=f"learn_{key}") for place, key in enumerate(asked, start=1))
    answers = tuple(
        ToolResult(call_id=call.id, name=call.name, text=lesson.text, reveals=lesson.tools)
        for call, lesson in zip(calls, taught, strict=True)
    )
    return [
        message_event("opening/lessons", Message(role="assistant", parts=calls)),
        message_event("opening/lessons/read", Message(role="tool", parts=answers)),
    ]


def _first_calls(work: AgentWork, principal: Principal, task: AgentTask) -> list[EventDraft]:
    if not task.calls:
        return []
    for call in task.calls:
        spec = work.toolbox.resolve(principal, call.tool, call.arguments).spec
        if spec.effect != "read_only":
            raise Invalid(f"{call.tool} does more than read; only calls that read can be made before the first turn")
    asked = tuple(
        ToolCall(id=f"first_{place}", name=call.tool, arguments=call.arguments)
        for place, call in enumerate(task.calls, start=1)
    )
    return [message_event(assistant_key(FIRST_TURN), Message(role="assistant", parts=asked))]


async def take_over(work: AgentWork, started: StartedWorkflow, fork: Fork, plan: dict[str, JsonValue]) -> None:
    """Copy the transcript of another run as it was before a turn, once; `plan` has the route of the new run.

    Calls that are answered there stay answered: none of their effects is repeated. The new run's audit begins with
    where it comes from.

    Raises:
        NotFound: the principal may not see the run, or it has no such turn.
    """
    source = await work.runs.get(started.principal, fork.run_id)
    events = await work.runs.log(source.ref, types=(*LOGGED, STEPS))
    already = (await work.runs.load(started.run)).events
    copied = [
        draft.model_copy(update={"data": {**draft.data, **plan}}) if draft.type == PLAN else draft
        for draft in renumbered(made_from(events, fork.turn), already)
    ]
    said = [message_event("fork/message", user(fork.message))] if fork.message else []
    data: dict[str, JsonValue] = {"forked_from": source.run_id, "turn": fork.turn, "events": len(copied)}
    key = "fork"
    await work.runs.apply(
        Change(
            run=started.run,
            key=key,
            events=(*copied, *said, EventDraft(key=key, type="run.forked", data=data)),
            audit=(AuditDraft(key=key, actor=started.principal.subject, action="run.forked", data=data),),
        )
    )
