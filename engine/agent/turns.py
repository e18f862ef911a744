"""The model's turns: making one, and telling whether its answer stands."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType

from engine.agent.conduct import Conduct, Stopped
from engine.agent.prompts import CUT_OFF, MALFORMED
from engine.agent.state import REPAIRS, ends_at, left_of
from engine.capacity import LEAST, NOT_YET
from engine.phases import lacking
from engine.ports import CallRef, TurnMade, TurnOrder, model_turn
from engine.transcript import Finish
from engine.values import Spent

MODEL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)


CLOSING = timedelta(minutes=2)
"""What the last turn of a run may take whose time is over."""


async def make_turn(conduct: Conduct, *, closing: bool) -> TurnMade | None:
    """Make the next turn and remember what it took; none is made where a checkpoint is needed first, or
    more budget. None where the run's time was over before its model had answered.

    Raises:
        Stopped: the model itself has ended the run, no call of such a turn is made; or its last turn took too long.
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
    within = _time_left(conduct, closing=closing)
    turn = model_turn(order, timeout=timedelta(minutes=15), within=within, retry=MODEL_RETRY)
    try:
        made = await conduct.interruptible(turn)
    except ActivityError as error:
        if within is None or not _out_of_time(error):
            raise
        if closing:
            raise Stopped("failed", "the budget of seconds is used up") from error
        # It may have failed early: where neither capacity nor another attempt comes before the end.
        await conduct.interruptible(workflow.sleep(max(_until_end(conduct), timedelta(0))))
        return None
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


def _time_left(conduct: Conduct, *, closing: bool) -> timedelta | None:
    if conduct.budget.seconds is None:
        return None
    return max(_until_end(conduct), CLOSING if closing else LEAST)


def _until_end(conduct: Conduct) -> timedelta:
    end = ends_at(conduct.budget, conduct.state)
    return timedelta(0) if end is None else end - workflow.now()


def _out_of_time(error: ActivityError) -> bool:
    """Tell whether an activity failed because its time was over, or would have been before it could be tried again."""
    cause = error.cause
    ended = isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_CLOSE
    waits = isinstance(cause, ApplicationError) and cause.type == NOT_YET
    return ended or waits or error.retry_state == RetryState.TIMEOUT


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
    missing = lacking(conduct.plan.phases, conduct.state.progress)
    if problem is None and missing is not None:
        problem = note = f"the order of the tools is not kept: {missing}"
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
