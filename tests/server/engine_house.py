"""A house with real stores and a real Temporal, where models and tools are given by the test."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from content.blobs import Blobs
from content.database import Database
from engine.errors import Problem
from engine.ports import (
    InteractionCall,
    InteractionResult,
    ProcessAddress,
    ProcessSnapshot,
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
from server.activities.guard import implements
from server.activities.runs import run_activities
from server.codec import make_data_converter
from server.control import Runs
from server.data_folder import open_data_folder
from server.hub import Hub
from server.keys import open_key_ring
from server.payloads import open_payload_store
from server.queues import SLOTS, WORKFLOWS
from server.settings import Settings
from server.store.runs import SqlRunStore
from server.temporal import connect
from server.temporal_child import EmbeddedTemporal

Answering = Callable[[InteractionCall], JsonValue]
Calling = Callable[[ToolInvocation], ToolOutcome]


@dataclass
class EngineHouse:
    """What a test of the engine holds in its hands."""

    store: SqlRunStore
    control: Runs
    client: Client
    database: Database
    definitions: dict[str, str] = field(default_factory=lambda: {})
    answers: dict[str, Answering] = field(default_factory=lambda: {})
    tools: dict[str, Calling] = field(default_factory=lambda: {})

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
        while True:
            found = await self.store.wait(principal, run.run_id, after=seen, timeout_s=10)
            if found.finished:
                return found
            seen = found.events

    async def asked(self, principal: Principal, run: Run, count: int = 1) -> list[Any]:
        """Wait until `count` tasks of a run are open."""
        seen = 0
        while True:
            tasks = await self.store.tasks(principal, run_id=run.run_id)
            if len(tasks) >= count:
                return list(tasks)
            found = await self.store.wait(principal, run.run_id, after=seen, timeout_s=10)
            assert not found.finished, f"the run ended as {found.status}: {found.error}"
            seen = found.events

    def activities(self) -> list[Callable[[Any], Awaitable[Any]]]:
        """Return the activities: the real ones of the run model, the test's own for the rest."""

        @implements(load_process)
        async def load(address: ProcessAddress) -> ProcessSnapshot:
            canonical = parse_definition(self.definitions[address.name]).canonical()
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
                return self.tools[invocation.tool](invocation)
            except Problem as problem:
                return ToolOutcome(outcome="error", text=problem.message)

        return [*run_activities(self.store), load, interact, tool]


@asynccontextmanager
async def engine_house(root: Path) -> AsyncGenerator[EngineHouse]:
    """Give a house whose workers run while the block runs."""
    folder = open_data_folder(root)
    settings = Settings(data=root)
    database = Database(settings.database)
    await database.migrate()
    keys = open_key_ring(folder)
    store = SqlRunStore(database, Blobs(settings.blobs), keys, Hub())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        converter = make_data_converter(keys, open_payload_store(settings.blobs))
        client = await connect(settings.temporal, folder, converter)
        house = EngineHouse(store, Runs(store, client, "upstairs"), client, database)
        activities = house.activities()
        for kind in SLOTS:
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=f"upstairs.{kind}",
                    workflows=WORKFLOWS if kind == "engine" else [],
                    activities=activities,
                    workflow_runner=SandboxedWorkflowRunner(
                        restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
                    ),
                )
            )
        yield house
