"""What every activity has around it: failures in the engine's terms, and a heartbeat while it works."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from engine.capacity import NOT_YET, WaitUntil
from engine.errors import Problem, Unavailable
from engine.ports import Activity
from engine.runs import RunRef
from engine.values import Value, digest
from providers.errors import NotYet, ProviderError
from server.capacity import ASKING, Asking

In = TypeVar("In", bound=Value)
Out = TypeVar("Out", bound=Value)

HEARTBEAT_S = 2.0


def implements(
    stub: Activity[In, Out],
) -> Callable[[Callable[[In], Awaitable[Out]]], Callable[[In], Awaitable[Out]]]:
    """Register an async function as the activity of `stub`; its Problems become failures of a named kind."""

    def decorate(work: Callable[[In], Awaitable[Out]]) -> Callable[[In], Awaitable[Out]]:
        async def guarded(message: In) -> Out:
            beating = asyncio.ensure_future(_beat())
            if stub.queue == "model":
                ASKING.set(_asking(stub.name, message))
            try:
                return await work(message)
            except Problem as problem:
                raise as_failure(problem) from problem
            finally:
                beating.cancel()
                with suppress(asyncio.CancelledError):
                    await beating

        # Temporal reads the types of a message from here; the name is what the workers sort activities by.
        guarded.__name__ = stub.name
        guarded.__annotations__ = {"message": stub.takes, "return": stub.gives}
        return activity.defn(name=stub.name)(guarded)

    return decorate


def _asking(name: str, order: Value) -> Asking:
    """Return the ticket of an order: the same for every attempt, and for the order that is given anew after a wait."""
    run: RunRef = getattr(order, "run")  # noqa: B009 - every order of a model call has it
    said = digest(order.model_dump(mode="json", exclude={"tried"}))
    return Asking(ticket=f"{run.run_id}/{name}/{said[:24]}", run=run)


async def _beat() -> None:
    # The first one only after a while: most activities are over by then, and each would cost the server a write.
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        activity.heartbeat()


def as_failure(problem: Problem) -> ApplicationError:
    """Return the failure that a workflow sees: its type is the problem's code, and it says whether to try again."""
    if isinstance(problem, NotYet):
        # The workflow waits and orders it again; meanwhile no worker has anything of it.
        until = WaitUntil(until=problem.until, why=problem.why, attempt=activity.info().attempt)
        return ApplicationError(
            problem.message, until, type=NOT_YET, non_retryable=True, category=ApplicationErrorCategory.BENIGN
        )
    if isinstance(problem, ProviderError):
        wait = problem.retry_after_s
        return ApplicationError(
            problem.message,
            problem.as_json(),
            type=problem.code,
            non_retryable=not problem.retryable,
            next_retry_delay=timedelta(seconds=wait) if wait is not None and problem.retryable else None,
        )
    return ApplicationError(
        problem.message,
        problem.as_json(),
        type=problem.code,
        non_retryable=not isinstance(problem, Unavailable),
    )
