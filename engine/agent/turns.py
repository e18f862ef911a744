"""The model's turns: making one, and telling whether its answer stands."""

from datetime import timedelta

from temporalio.common import RetryPolicy

from engine.agent.conduct import Conduct, Stopped
from engine.agent.state import REPAIRS
from engine.ports import TurnMade, TurnOrder, model_turn

MODEL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)

CUT_OFF = "your answer was cut off by the output limit; give it again, shorter"
MALFORMED = "your last turn could not be read; give it again"


async def make_turn(conduct: Conduct, *, closing: bool) -> TurnMade:
    """Make the next turn and remember what it took.

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
    )
    made = await conduct.interruptible(model_turn(order, timeout=timedelta(minutes=15), retry=MODEL_RETRY))
    spent = conduct.state.spent.plus(made.spent)
    conduct.remember(turn=order.turn, spent=spent, last=made.spent, seen=made.seen, note="")
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
    kind, problem = made.finish.unified, made.contract_error
    if bound is None and (made.calls or kind in ("paused", "compacted")):
        return False
    if kind == "malformed":
        problem = MALFORMED
    if kind in ("length", "cut_off"):
        problem = CUT_OFF
    if problem is None:
        return True
    if bound is not None:
        raise Stopped("failed", f"the budget of {bound} is used up and the answer is not valid: {problem}")
    if conduct.state.repairs >= REPAIRS:
        raise Stopped("failed", f"the answer broke its contract {REPAIRS + 1} times: {problem}")
    conduct.remember(repairs=conduct.state.repairs + 1, note=problem)
    return False
