"""The model's turns: making one, and telling whether its answer stands."""

from datetime import timedelta

from temporalio.common import RetryPolicy

from engine.agent.conduct import Conduct, Stopped
from engine.agent.prompts import CUT_OFF, MALFORMED
from engine.agent.state import REPAIRS, left_of
from engine.ports import CallRef, TurnMade, TurnOrder, model_turn
from engine.transcript import Finish
from engine.values import Spent

MODEL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)


async def make_turn(conduct: Conduct, *, closing: bool) -> TurnMade:
    """Make the next turn and remember what it took; none is made where a checkpoint is needed first, or
    more budget.

    Raises:
        Stopped: the model itself has ended the run; no call of such a turn is made.
    """
    plan, state = conduct.plan, conduct.state
    order = TurnOrder(
        run=conduct.run,
        principal=conduct.principal,
        turn=state.turn + 1,
        route=plan.route,
        closing=closing,
        note=state.note,
        fresh=state.fresh,
        left=left_of(conduct.budget, state),
    )
    made = await conduct.interruptible(model_turn(order, timeout=timedelta(minutes=15), retry=MODEL_RETRY))
    spent = conduct.state.spent.plus(made.spent)
    if made.checkpoint or made.short_of:
        conduct.remember(spent=spent)
        return made
    conduct.remember(turn=order.turn, spent=spent, last=made.spent, seen=made.seen, note="", fresh=False)
    kind, raw = made.finish.unified, made.finish.raw
    if kind == "refusal":
        raise Stopped("failed", f"the model refused: {raw}")
    if kind in ("context_full", "error"):
        raise Stopped("failed", f"the model ended with {kind}: {raw}")
    return made


def stands(conduct: Conduct, made: TurnMade, bound: str | None) -> bool:
    """Tell whether the answer stands; leave a note for the next turn where it doesn't.

    Raises:
        Stopped: it doesn't, and there is no turn left to mend it.
    """
    kind, problem, note = made.finish.unified, made.contract_error, made.contract_error or ""
    if bound is None and (made.calls or kind in ("paused", "compacted")):
        return False
    if kind == "malformed":
        problem, note = "it could not be read", MALFORMED
    if kind in ("length", "cut_off"):
        problem, note = "it was cut off by the output limit", CUT_OFF
    if problem is None:
        return True
    if bound is not None:
        raise Stopped("failed", f"the budget of {bound} is used up and the answer is not valid: {problem}")
    if conduct.state.repairs >= REPAIRS:
        raise Stopped("failed", f"the answer broke its contract {REPAIRS + 1} times: {problem}")
    conduct.remember(repairs=conduct.state.repairs + 1, note=note)
    return False


def before_any_turn(calls: tuple[CallRef, ...]) -> TurnMade:
    """Return the calls that a task wants made at first as if a turn had made them."""
    return TurnMade(
        turn=0, finish=Finish(unified="tool_calls", raw="task"), calls=calls, spent=Spent(), model="", provider=""
    )
