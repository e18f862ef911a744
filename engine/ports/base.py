"""The typed stub of an activity, and what every call of one says about queues, repeats and silence."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Literal, TypeVar

from temporalio.common import RetryPolicy

from engine import stage
from engine.capacity import patiently
from engine.values import Value

In = TypeVar("In", bound=Value)
Out = TypeVar("Out", bound=Value)

Queue = Literal["engine", "tools", "content", "model", "scripts"]

STORE_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
"""Our own store comes back: its activities are repeated for as long as it takes."""

ONCE = RetryPolicy(maximum_attempts=1)

HEARTBEAT = timedelta(seconds=10)
"""How long an activity may be silent before it counts as dead: it is what a crash of a worker costs."""


@dataclass(frozen=True)
class Activity(Generic[In, Out]):
    """A typed stub: calling it inside a workflow schedules the activity of that name and awaits its answer."""

    name: str
    takes: type[In]
    gives: type[Out]
    queue: Queue = "engine"

    async def __call__(
        self,
        message: In,
        *,
        timeout: timedelta = timedelta(seconds=30),
        within: timedelta | None = None,
        retry: RetryPolicy = STORE_RETRY,
        heartbeat: timedelta | None = HEARTBEAT,
        queue: str | None = None,
    ) -> Out:
        """Run the activity; `timeout` bounds one attempt, from its start, `within` all of them with what lies between.

        A model's capacity is waited for.
        """

        async def order(tried: int) -> Out:
            return await stage.execute_activity(
                self.name,
                message.model_copy(update={"tried": tried}) if "tried" in self.takes.model_fields else message,
                result_type=self.gives,
                task_queue=queue or sibling_queue(self.queue),
                start_to_close_timeout=timeout,
                schedule_to_close_timeout=within,
                heartbeat_timeout=heartbeat,
                retry_policy=retry,
                cancellation_type=stage.ActivityCancellationType.TRY_CANCEL,
            )

        return await (patiently(order, within=within) if self.queue == "model" else order(0))


def sibling_queue(kind: str) -> str:
    """Return the queue of `kind` that stands beside the workflow's own, which is named `<prefix>engine`."""
    return stage.task_queue().removesuffix("engine") + kind
