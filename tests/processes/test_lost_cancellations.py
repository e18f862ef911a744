"""A cancellation and the outcome of what is cancelled, in the same moment of a workflow: the cancellation counts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from engine import stage
from engine.values import new_id
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio


@workflow.defn
class Leaving:
    """Asks an activity and then waits for ever, in a task that a signal cancels."""

    def __init__(self) -> None:
        self._left = False

    @workflow.run
    async def run(self, queue: str) -> str:
        task = asyncio.ensure_future(self._work(queue))
        await stage.wait_condition(lambda: task.done() or self._left)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        return type(ended).__name__

    async def _work(self, queue: str) -> None:
        await stage.execute_activity("held", None, task_queue=queue, start_to_close_timeout=timedelta(seconds=60))
        await stage.wait_condition(lambda: False)

    @workflow.signal
    def leave(self) -> None:
        self._left = True


@workflow.defn
class Tidying:
    """Is cancelled while it waits, and then has an activity carried out to its end."""

    @workflow.run
    async def run(self, queue: str) -> str:
        task = asyncio.ensure_future(self._work(queue))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    async def _work(self, queue: str) -> str:
        try:
            await stage.wait_condition(lambda: False)
        except asyncio.CancelledError:
            await stage.execute_activity("at_once", None, task_queue=queue, start_to_close_timeout=BOUND)
            return await stage.wait_for(_said("tidied up"), 60)
        return "not cancelled"


BOUND = timedelta(seconds=60)


async def _said(text: str) -> str:
    return text


class Held:
    """An activity that is held until it is let go, and one that is not."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def held(self, _: None) -> None:
        self.begun.set()
        await self.go.wait()

    @activity.defn
    async def at_once(self, _: None) -> None:
        """Do nothing."""


@pytest.fixture
def client(house: EngineHouse) -> Client:
    """A client of the house without its seals: what is told here belongs to no tenant."""
    return Client(house.client.service_client, namespace=house.client.namespace)


@asynccontextmanager
async def workflows(client: Client, queue: str) -> AsyncGenerator[None]:
    async with Worker(
        client, task_queue=queue, workflows=[Leaving, Tidying], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        yield


@asynccontextmanager
async def activities(client: Client, queue: str) -> AsyncGenerator[Held]:
    held = Held()
    async with Worker(client, task_queue=queue, activities=[held.held, held.at_once]):
        yield held


async def completed(handle: "WorkflowHandle[Leaving, str]") -> bool:
    """Tell whether the history says that an activity has completed."""
    return any(
        [event.HasField("activity_task_completed_event_attributes") async for event in handle.fetch_history_events()]
    )


async def test_what_is_cancelled_in_the_moment_of_its_outcome_does_not_go_on(client: Client) -> None:
    queue = new_id("queue")
    with anyio.fail_after(BOUND_S):
        async with activities(client, f"{queue}-held") as held:
            async with workflows(client, queue):
                handle = await client.start_workflow(Leaving.run, f"{queue}-held", id=queue, task_queue=queue)
                await held.begun.wait()
            # With nobody to work on it, both come to the workflow in one activation.
            held.go.set()
            while not await completed(handle):
                await anyio.sleep(0.02)
            await handle.signal(Leaving.leave)
            async with workflows(client, queue):
                assert await handle.result() == "CancelledError"


async def test_what_is_done_after_a_cancellation_is_done_to_its_end(client: Client) -> None:
    queue = new_id("queue")
    with anyio.fail_after(BOUND_S):
        async with activities(client, f"{queue}-held"), workflows(client, queue):
            told = client.execute_workflow(Tidying.run, f"{queue}-held", id=queue, task_queue=queue)
            assert await told == "tidied up"
