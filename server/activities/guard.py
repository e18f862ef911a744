"""What every activity has around it: failures in the engine's terms, and a heartbeat while it works."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from engine.errors import Problem, Unavailable
from engine.ports import Activity
from engine.values import Value
from providers.errors import ProviderError

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


async def _beat() -> None:
    # The first one only after a while: most activities are over by then, and each would cost the server a write.
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        activity.heartbeat()


def as_failure(problem: Problem) -> ApplicationError:
    """Return the failure that a workflow sees: its type is the problem's code, and it says whether to try again."""
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
