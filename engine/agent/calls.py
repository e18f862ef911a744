"""The tool calls of a turn: asking for approval, running them side by side, seeing that they lead somewhere."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from engine.agent.approvals import approval
from engine.agent.conduct import Conduct, reason_of
from engine.agent.controls import carry_out
from engine.agent.stuck import Seen, round_of
from engine.agent.ways_out import note_round
from engine.phases import Admitted, admit, after
from engine.ports import (
    STORE_RETRY,
    AgentToolCalls,
    AgentToolDone,
    AgentToolsDone,
    CallRef,
    GivenAnswer,
    TurnMade,
    agent_tools,
)

TOOL_RETRY = RetryPolicy(maximum_attempts=3)
"""A crash of a worker or store ends an attempt. The next one finds the record of the effect, which decides whether
the call is made again, answered from the record, or reported as unknown."""

READS_AT_ONCE, EFFECTS_AT_ONCE = 8, 8
"""How many calls of a run are made in the same moment, of those that only read and of the others."""

SPARE = timedelta(seconds=10)
"""What an activity has beyond the time of its tools, to record what they gave."""


class _Gates:
    """What the calls of a turn share: the order of tools, and places to be made in."""

    def __init__(self, order: dict[str, Admitted]) -> None:
        self.order = order
        self.slots = asyncio.Semaphore(EFFECTS_AT_ONCE)


async def run_calls(conduct: Conduct, made: TurnMade, bound: str | None) -> None:
    """Run the calls of a turn side by side; each is answered exactly once, whatever happens to it.

    Raises:
        Stopped: the run is to end, or it goes round in a circle.
    """
    await conduct.hold()
    refusal = f"not run: the budget of {bound} is used up" if bound is not None else None
    order = _in_order(conduct, made)
    gates = _Gates(order)
    # All of them come to their end before the first one's stop or cancellation goes on.
    groups = [_run(conduct, made.turn, group, refusal, gates) for group in _groups(conduct, made, order)]
    done = await asyncio.gather(*groups, return_exceptions=True)
    ended = [one for one in done if isinstance(one, BaseException)]
    if ended:
        raise ended[0]
    if bound is None:
        answers = {one.call_id: one for group in done if isinstance(group, AgentToolsDone) for one in group.done}
        await _go_on(conduct, made.turn, order, answers)
        seen = [_seen(conduct, made.turn, call, answers[call.call_id]) for call in made.calls]
        await note_round(conduct, round_of(made.turn, seen))


def _in_order(conduct: Conduct, made: TurnMade) -> dict[str, Admitted]:
    """Return where the calls of a turn stand in the phases of the agent's tools; those beside them are left out."""
    phases, beside = conduct.plan.phases, conduct.plan.beside
    ordered = [call for call in made.calls if phases and call.tool not in beside]
    found = admit(phases, conduct.state.progress, [call.tool for call in ordered])
    return {call.call_id: one for call, one in zip(ordered, found, strict=True)}


async def _go_on(conduct: Conduct, turn: int, order: dict[str, Admitted], answers: dict[str, AgentToolDone]) -> None:
    """Count the calls that were answered without an error; a phase that begins by them is in the audit."""
    before = conduct.state.progress
    done = [one.phase for call, one in order.items() if one.refusal is None and answers[call].outcome == "ok"]
    conduct.remember(progress=after(before, done))
    phase = conduct.state.progress.phase
    if phase != before.phase:
        key = f"phase/{turn}"
        data = {"phase": phase + 1, "of": len(conduct.plan.phases), "tools": list(conduct.plan.phases[phase].tools)}
        await conduct.change(key, audit=conduct.audit("run.phase", data, key=key))


def _groups(conduct: Conduct, made: TurnMade, order: dict[str, Admitted]) -> list[tuple[CallRef, ...]]:
    """Return what shares an activity: the calls that only read, and those that are refused for leading nowhere.

    What has effects is approved, recorded, retried and reported call by call.
    """
    barred = tuple(call for call in made.calls if _barred(conduct, made.turn, call))
    early = [call for call in made.calls if call.call_id in order and order[call.call_id].refusal is not None]
    reading = tuple(call for call in made.calls if call.effect == "read_only" and call not in (*barred, *early))
    single = [(call,) for call in made.calls if call not in barred and call not in reading]
    return [group for group in (barred, reading, *single) if group]


def _barred(conduct: Conduct, turn: int, call: CallRef) -> bool:
    return conduct.state.ladder.barred.get(call.tool, -1) >= turn


def _seen(conduct: Conduct, turn: int, call: CallRef, done: AgentToolDone) -> Seen:
    return Seen(
        call_id=call.call_id,
        tool=call.tool,
        call=done.call,
        result=done.result,
        error=done.outcome != "ok",
        fault=done.fault,
        barred=_barred(conduct, turn, call),
        polls=call.polls,
    )


async def _run(
    conduct: Conduct, turn: int, calls: tuple[CallRef, ...], refusal: str | None, gates: _Gates
) -> AgentToolsDone:
    refusal = refusal or _refusal(conduct, turn, calls[0], gates)
    refusal = refusal or await _approved(conduct, turn, calls[0])
    given = GivenAnswer(text=refusal, is_error=True) if refusal else None
    order = AgentToolCalls(
        run=conduct.run, principal=conduct.principal, turn=turn, calls=calls, given=given, at_once=READS_AT_ONCE
    )
    try:
        async with gates.slots:
            done = await conduct.interruptible(agent_tools(order, timeout=_limit(calls), retry=TOOL_RETRY))
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        # Told to the model as it is: a call may have had its effect, and it will not be made again.
        what = f"outcome unknown: the call was interrupted ({reason_of(error)})"
        return await _answer(conduct, order, GivenAnswer(text=what, is_error=True))
    wanted = done.done[0].order
    if wanted is None:
        return done
    said = await conduct.interruptible(carry_out(conduct, turn, calls[0], wanted))
    return await _answer(conduct, order, said)


def _limit(calls: Sequence[CallRef]) -> timedelta:
    waves = -(-len(calls) // READS_AT_ONCE)
    return timedelta(seconds=waves * max(call.timeout_s for call in calls)) + SPARE


def _refusal(conduct: Conduct, turn: int, call: CallRef, gates: _Gates) -> str | None:
    if not _barred(conduct, turn, call):
        return gates.order[call.call_id].refusal if call.call_id in gates.order else None
    until = conduct.state.ladder.barred[call.tool]
    return (
        f"not run: calls of {call.tool} have led nowhere, so it is refused up to turn {until}. Use what you know, try "
        "another way, or finish with what you have."
    )


async def _approved(conduct: Conduct, turn: int, call: CallRef) -> str | None:
    """Return why a call may not be made, or None as soon as it may and the run is not paused."""
    refusal = await conduct.interruptible(approval(conduct, turn, call))
    await workflow.wait_condition(lambda: not conduct.state.paused or conduct.stop is not None)
    if conduct.stop is not None:
        raise conduct.stop
    return refusal


async def _answer(conduct: Conduct, order: AgentToolCalls, said: GivenAnswer) -> AgentToolsDone:
    given = order.model_copy(update={"given": said})
    return await conduct.interruptible(agent_tools(given, retry=STORE_RETRY))
