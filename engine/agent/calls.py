"""The tool calls of a turn: asking for approval, running them side by side, seeing that they lead somewhere."""

import asyncio
from datetime import timedelta

from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from engine.agent.conduct import Conduct, Stopped, reason_of
from engine.agent.state import REMEMBERED, ends_at, loop_of, turn_fingerprint
from engine.ports import STORE_RETRY, AgentToolCall, AgentToolDone, CallRef, TurnMade, agent_tool
from engine.runs import Seat, TaskDraft, derived_id

TOOL_RETRY = RetryPolicy(maximum_attempts=3)
"""A crash of a worker or store ends an attempt. The next one finds the record of the effect, which decides whether
the call is made again, answered from the record, or reported as unknown."""

NUDGE = (
    "You have made the same calls with the same results several times. Do not repeat them: use what you know, "
    "try another way, or finish with what you have."
)


async def run_calls(conduct: Conduct, made: TurnMade, bound: str | None) -> None:
    """Run the calls of a turn side by side; each is answered exactly once, whatever happens to it.

    Raises:
        Stopped: the run is to end, or it goes round in a circle.
    """
    await conduct.hold()
    refusal = f"not run: the budget of {bound} is used up" if bound is not None else None
    calls = (_run_call(conduct, made.turn, call, refusal) for call in made.calls)
    # All of them come to their end before the first one's stop or cancellation goes on.
    done = await asyncio.gather(*calls, return_exceptions=True)
    ended = [one for one in done if isinstance(one, BaseException)]
    if ended:
        raise ended[0]
    prints = turn_fingerprint(tuple(one.fingerprint for one in done if isinstance(one, AgentToolDone)))
    kept = (*conduct.state.fingerprints, prints)[-REMEMBERED:]
    conduct.remember(fingerprints=kept)
    loop = loop_of(kept) if bound is None else None
    if loop is not None and loop[0] == "stuck":
        raise Stopped("failed", f"stuck: {loop[1]}")
    if loop is not None:
        conduct.remember(note=NUDGE)


async def _run_call(conduct: Conduct, turn: int, call: CallRef, refusal: str | None) -> AgentToolDone:
    refusal = refusal or await conduct.interruptible(_approval(conduct, turn, call))
    order = AgentToolCall(run=conduct.run, principal=conduct.principal, turn=turn, call=call, refusal=refusal)
    limit = timedelta(seconds=call.timeout_s + 10)
    try:
        return await conduct.interruptible(agent_tool(order, timeout=limit, retry=TOOL_RETRY))
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        # Told to the model as it is: the call may have had its effect, and it will not be made again.
        what = f"outcome unknown: the call of {call.tool} was interrupted ({reason_of(error)})"
        unknown = order.model_copy(update={"refusal": what})
        return await conduct.interruptible(agent_tool(unknown, retry=STORE_RETRY))


async def _approval(conduct: Conduct, turn: int, call: CallRef) -> str | None:
    """Return why a call may not run, or None; a call with effects waits here for a person."""
    always = call.effect == "always_ask"
    needs = always or (call.effect == "side_effecting" and conduct.plan.approval == "ask")
    grant = f"{call.tool}\0{call.target}"
    if not needs or (not always and grant in conduct.state.granted):
        return None
    answer = await conduct.people.ask(
        TaskDraft(
            task_id=derived_id("task", conduct.run.workflow_id, str(turn), call.call_id),
            kind="approval",
            node=f"turn {turn}",
            title=f"Allow {call.tool}?",
            description=call.target,
            decisions=("allow", "deny") if always else ("allow", "allow_for_run", "deny"),
            seat=Seat(users=(conduct.principal.subject,), roles=("approver",)),
            context={"turn": turn, "call_id": call.call_id, "tool": call.tool},
            deadline=ends_at(conduct.budget, conduct.state),
        )
    )
    if answer is None:
        return f"nobody approved {call.tool} in time; it was not run"
    if answer.decision == "deny":
        why = f": {answer.comment}" if answer.comment else ""
        return f"{call.tool} was refused by {answer.by.subject} and was not run{why}"
    if answer.decision == "allow_for_run":
        conduct.remember(granted=(*conduct.state.granted, grant))
    return None
