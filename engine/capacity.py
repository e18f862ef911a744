"""Waiting for the capacity of a model inside a workflow: a durable timer, and no worker slot held meanwhile.

The activity asks the gate first. Where it says "not yet", the activity ends at once with a failure of that kind, which
tells until when; the workflow sleeps and orders the activity again. The gate knows it by its order: the place in the
queue is kept.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from engine import stage
from engine.values import Value

Out = TypeVar("Out")

NOT_YET = "not_yet"

LONGEST = timedelta(hours=24)
"""A call that has waited for so long fails with what it waited for."""

LONGEST_AWAY = timedelta(hours=1)
"""The same where the provider doesn't answer at all."""

LEAST = timedelta(milliseconds=50)


class WaitUntil(Value):
    """What an activity ends with that has to wait: `until` in seconds since 1970, `why` as a code.

    `attempt` is the number of the attempt that was sent back.
    """

    until: float
    why: str
    attempt: int = 1


class LimitReport(Value):
    """A quota of an account as it is known: `limit` per `window_s`, `planned_per_minute`, and what is `left` now.

    `learned`: `told` by the provider, or `guessed` from the rate at which it began to refuse. `left` below 0 is
    promised to calls that have a slot.
    """

    kind: str
    limit: float
    window_s: float
    planned_per_minute: float
    left: float
    learned: str


class GateReport(Value):
    """What the gate in front of a model on an account knows.

    `breaker` is `closed` (calls go through), `open` (none do until `paused_until`) or `half-open` (one at a time), with
    the code of the failure in `because`. `waiting` counts calls by tenant; tenants other than the caller's are one.
    `share` is the part of the limits that is planned with, less than 1 after refusals.
    """

    model: str
    account: str
    breaker: str
    because: str
    paused_until: datetime | None
    limits: tuple[LimitReport, ...]
    share: float
    under_way: int
    leased: int
    waiting: dict[str, int]
    next_grant: datetime | None
    granted: int
    refused: int


async def patiently(order: Callable[[int], Awaitable[Out]], *, within: timedelta | None = None) -> Out:
    """Give an order again and again until the gate lets it through; `order` takes the number of attempts made so far.

    Raises:
        ActivityError: it failed for another reason, or it would have to wait longer than `within` or than is sensible.
    """
    began, tried = stage.now(), 0
    while True:
        try:
            return await order(tried)
        except ActivityError as error:
            wait = _wait_of(error)
            if wait is None:
                raise
            longest = LONGEST_AWAY if wait.why == "provider_unavailable" else LONGEST
            away = datetime.fromtimestamp(wait.until, UTC) - began
            if stage.now() - began > longest or (within is not None and away > within):
                raise
            tried += wait.attempt
        # Not in the handler: a cancellation while it sleeps is no failure of the activity.
        left = timedelta(seconds=wait.until - stage.now().timestamp())
        await workflow.sleep(max(left, LEAST))


def _wait_of(error: ActivityError) -> WaitUntil | None:
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != NOT_YET or not cause.details:
        return None
    return WaitUntil.model_validate(cause.details[0])
