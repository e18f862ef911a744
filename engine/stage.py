"""What a workflow asks of the durable engine: the time, waiting, activities, children.

The code of the house asks here and not the library itself, so that the same code can be carried out on another stage:
a simulation sets one for its own context and plays activities, children and time. Without one, this is Temporal.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar
from uuid import UUID

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType, ParentClosePolicy

__all__ = ["ActivityCancellationType", "Child", "ParentClosePolicy", "Stage", "on"]


Result = TypeVar("Result")
Given = TypeVar("Given", covariant=True)


class Child(Protocol[Given]):
    """A child workflow that has begun: awaited for its result, and told things."""

    def __await__(self) -> Generator[Any, None, Given]:
        """Return its result."""
        ...

    async def signal(self, signal: str, arg: Any) -> None:
        """Tell it something."""
        ...


class Stage(Protocol):
    """Another place than Temporal where workflow code can be carried out."""

    def now(self) -> datetime:
        """Return the present moment, with its zone."""
        ...

    async def wait_condition(self, holds: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        ...

    async def execute_activity(self, name: str, message: Any) -> Any:
        """Return what the activity gives."""
        ...

    async def execute_child_workflow(self, name: str, message: Any, *, id: str) -> Any:
        """Return what the child gives."""
        ...

    def uuid4(self) -> UUID:
        """Return an id that nothing else has."""
        ...

    def continue_as_new(self, message: Any) -> NoReturn:
        """End this history by an exception; the workflow is begun anew with `message`."""
        ...


on: ContextVar[Stage | None] = ContextVar("stage", default=None)
"""The stage of the present context; None is Temporal."""


def now() -> datetime:
    """Return the present moment: the same at every replay."""
    stage = on.get()
    return workflow.now() if stage is None else stage.now()


def uuid4() -> UUID:
    """Return an id: the same at every replay."""
    stage = on.get()
    return workflow.uuid4() if stage is None else stage.uuid4()


async def wait_condition(holds: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    stage = on.get()
    await (workflow.wait_condition(holds) if stage is None else stage.wait_condition(holds))


async def first_done(tasks: "Sequence[asyncio.Task[Any]]") -> None:
    """Return when one of the tasks is done."""
    if on.get() is None:
        # Not asyncio.wait, which gives a set: its order is another at each replay.
        await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def heeding(work: Awaitable[Result]) -> Result:
    """Await `work`; a cancellation that comes meanwhile counts, even if its outcome comes in the same moment.

    Temporal gives the outcome then, as `asyncio.wait_for` of Python 3.11 does, and the cancellation is lost: whoever
    cancelled would wait for what goes on and asks people, say.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    outcome = await work
    if task.cancelling() > before and patched("lost-cancellation"):
        raise asyncio.CancelledError
    return outcome


async def wait_for(work: Awaitable[Result], seconds: float | None) -> Result:
    """Await `work` for so many seconds at most.

    Raises:
        TimeoutError: they have passed.
    """
    return await heeding(asyncio.wait_for(work, seconds))


async def to_its_end(work: Awaitable[Result], *, heed: bool = True) -> Result:
    """Do `work` whole, however often whoever awaits it is cancelled; that counts after it, if it is heeded."""
    task = asyncio.ensure_future(work)
    given_up: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as cancelled:
            given_up = cancelled
    if given_up is None or not heed:
        return task.result()
    if not task.cancelled():
        # Looked at, or it would be logged as one that nobody has seen.
        task.exception()
    raise given_up


async def cancel_all(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel what is under way, and return when it is over: once each, or what one does at its end would be cut short.

    Never in a `finally`: a workflow that is dropped from the cache is closed there, where nothing may be awaited.
    """
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await to_its_end(asyncio.gather(*ending, return_exceptions=True))


async def execute_activity(name: str, message: Any, **options: Any) -> Any:
    """Carry out an activity; `options` are Temporal's."""
    stage = on.get()
    if stage is None:
        return await heeding(workflow.execute_activity(name, message, **options))
    return await stage.execute_activity(name, message)


async def execute_child_workflow(name: str, message: Any, *, id: str, **options: Any) -> Any:
    """Carry out a child workflow to its end; `options` are Temporal's."""
    stage = on.get()
    if stage is None:
        return await heeding(workflow.execute_child_workflow(name, message, id=id, **options))
    return await stage.execute_child_workflow(name, message, id=id)


def simulated() -> bool:
    """Tell whether this is a simulation: nothing costs anything, and nothing outlives it."""
    return on.get() is not None


async def start_child_workflow(name: str, message: Any, *, id: str, result_type: type[Result]) -> "Child[Result]":
    """Return a child workflow once it has begun; cancelling who awaits it cancels it. Not in a simulation."""
    return await workflow.start_child_workflow(
        name, message, id=id, result_type=result_type, parent_close_policy=ParentClosePolicy.REQUEST_CANCEL
    )


async def tell_workflow(id: str, name: str, message: Any) -> None:
    """Signal another workflow. Not in a simulation."""
    await workflow.get_external_workflow_handle(id).signal(name, message)


def patched(change: str) -> bool:
    """Tell whether the code after a change is meant: not where a run is replayed that came by here before it."""
    return on.get() is not None or workflow.patched(change)


def task_queue() -> str:
    """Return the queue that the workflow itself is on; a simulation has none."""
    return "" if on.get() is not None else workflow.info().task_queue


def new_history_is_due() -> bool:
    """Tell whether the run should go on in a new history: this one is long, or there is a newer build to go on with."""
    return on.get() is None and (workflow.info().is_continue_as_new_suggested() or _build_is_old())


def _build_is_old() -> bool:
    return workflow.info().is_target_worker_deployment_version_changed()


def all_handlers_finished() -> bool:
    """Tell whether no message is being taken in."""
    return on.get() is not None or workflow.all_handlers_finished()


def continue_as_new(message: Any) -> NoReturn:
    """Go on in a new history, and on the current build where the run is pinned to another."""
    stage = on.get()
    if stage is not None:
        stage.continue_as_new(message)
    upgrade = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if _build_is_old() else None
    workflow.continue_as_new(message, initial_versioning_behavior=upgrade)
