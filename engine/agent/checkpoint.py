"""Making the transcript smaller between two turns: who asks for it, that it is made once, and that it doesn't storm."""

from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from engine.agent.conduct import Conduct, Stopped, reason_of
from engine.agent.state import last_turn_by, left_of
from engine.agent.stuck import THRASH_CHECKPOINTS, thrash
from engine.agent.ways_out import give_up
from engine.ports import CheckpointOrder, Control, make_checkpoint
from engine.runs import EventDraft
from engine.values import Principal

VERB = "checkpoint"
"""The control verb that is carried out here."""

CHECKPOINT_TIMEOUT = timedelta(minutes=15)
CHECKPOINT_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=3
)
"""One that fails three times is a failure of the run: it would fail before every further turn."""


async def checkpoint(conduct: Conduct, reason: str, *, full: bool) -> None:
    """Make the transcript smaller before the next turn; `full`: it had to be, so it counts towards thrashing.

    Raises:
        Stopped: it can't be made, or it is needed again right after each of the last ones.
    """
    if full:
        await _note_full(conduct)
    state = conduct.state
    order = CheckpointOrder(
        run=conduct.run,
        principal=conduct.principal,
        number=state.checkpoints + 1,
        turn=state.turn + 1,
        route=conduct.plan.route,
        reason=reason,
        plan=tuple(f"{step.status}: {step.title}" for step in state.plan),
        models=last_turn_by(conduct.budget, state, workflow.now()) is None,
        left=left_of(conduct.budget, state),
    )
    try:
        made = await conduct.interruptible(make_checkpoint(order, timeout=CHECKPOINT_TIMEOUT, retry=CHECKPOINT_RETRY))
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        raise Stopped("failed", f"the checkpoint before turn {order.turn} failed: {reason_of(error)}") from error
    spent = conduct.state.spent.plus(made.spent)
    conduct.remember(checkpoints=order.number, fresh=True, spent=spent)


async def _note_full(conduct: Conduct) -> None:
    turn = conduct.state.turn + 1
    filled = (*conduct.state.filled, turn)[-THRASH_CHECKPOINTS:]
    found = thrash(filled)
    if found is not None:
        await give_up(conduct, found, turn, conduct.state.rounds)
        # A person wants it to go on all the same: it counts anew.
        filled = ()
    conduct.remember(filled=filled)


def ask_for(conduct: Conduct, by: Principal) -> None:
    """Note that somebody wants a checkpoint: it is made before the next turn."""
    conduct.remember(asked=f"asked for by {by.subject}")


async def ask_by_control(conduct: Conduct, control: Control) -> None:
    """Take in the control verb, with its record."""
    await workflow.wait_condition(lambda: conduct.planned is not None or conduct.ending)
    conduct.check_open()
    ask_for(conduct, control.by)
    key, by = f"control/{workflow.uuid4()}", control.by.subject
    data: dict[str, JsonValue] = {"by": by, "reason": control.reason}
    await conduct.change(
        key,
        events=(EventDraft(key=key, type="checkpoint.asked", data=data),),
        audit=conduct.audit("run.checkpoint", data, by=by, key=key),
    )
