"""Where the floor is measured: the whole house and its peers in one process, on one embedded Temporal."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from pydantic import JsonValue
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter

from benchmarks.bare import bare_workers
from benchmarks.figures import process_cpu
from engine.errors import Invalid
from engine.ports import AgentTask
from engine.runs import Run, RunKind, StartRun
from engine.transcript import ModelRequest
from engine.values import PLATFORM_ROLES, Empty, Principal, Value
from providers.scripted import Scripted, ScriptedReply, calls, register_script
from server.data_folder import open_data_folder
from server.platform import Platform, open_platform
from server.settings import Settings, TemporalSettings
from server.temporal import connect
from server.temporal_child import EmbeddedTemporal
from server.worker import workers

SKILLS = Path(__file__).parent / "skills"
RESULT_CHARS = 1_000
WAIT_S = 600.0
_numbers = count()


@dataclass(frozen=True)
class Peer:
    """Plain workflows on queues of their own; `name` says what their payloads are."""

    name: str
    client: Client
    prefix: str

    async def start(self, workflow: str, message: Value) -> WorkflowHandle[object, Empty]:
        """Start a workflow under a new id."""
        return await self.client.start_workflow(
            workflow, message, id=f"local/{self.prefix}-{next(_numbers)}", task_queue=f"{self.prefix}.engine"
        )

    async def run(self, workflow: str, message: Value) -> WorkflowHandle[object, Empty]:
        """Start a workflow and wait until it is over."""
        handle = await self.start(workflow, message)
        await handle.result()
        return handle


@dataclass(frozen=True)
class House:
    """Ours and the peers, side by side."""

    platform: Platform
    temporal: EmbeddedTemporal
    peers: tuple[Peer, ...]
    principal: Principal

    def cpu(self) -> float:
        """Return the CPU seconds used so far by this process and by the Temporal server together."""
        return time.process_time() + process_cpu(self.temporal.running.pid)

    async def publish(self, name: str, text: str) -> None:
        """Publish a process definition."""
        await self.platform.definitions.publish_text(self.principal, name, text)

    async def start(self, kind: RunKind, definition: str, input: dict[str, JsonValue] | None = None) -> Run:
        """Start a run as every surface does."""
        order = StartRun(kind=kind, definition=definition, version="1", input=input or {})
        return await self.platform.control.start(self.principal, order)

    async def run(self, kind: RunKind, definition: str, input: dict[str, JsonValue] | None = None) -> Run:
        """Start a run and wait until it is over.

        Raises:
            Invalid: it did not complete; what it would have measured is something else.
        """
        run = await self.start(kind, definition, input)
        await self.platform.control.result(run)
        run = await self.platform.runs.get(self.principal, run.run_id)
        if run.status != "completed":
            raise Invalid(f"the run {run.run_id} of {definition} ended as {run.status}: {run.error}")
        return run

    async def changed(self, run: Run) -> Run:
        """Return the run once its record has changed, or as it is when it is over."""
        return await self.platform.runs.wait(self.principal, run.run_id, after=run.events, timeout_s=WAIT_S)

    async def talk(self, turns: int) -> Run:
        """Run an agent that calls its tool once in each turn but the last, in which it answers."""
        task = AgentTask(task=f"{turns}", skills=(), tools=("probe.look",), model="scripted/floor", approval="full")
        return await self.run("agent", "floor", task.model_dump(mode="json"))


def _script(provider: Scripted, request: ModelRequest) -> ScriptedReply | str:
    """Call the tool, each time with another argument, as often as the task says; then answer."""
    # The provider keeps every request for tests to look at: here the whole transcript of each of a thousand turns.
    provider.requests.clear()
    made = sum(message.role == "assistant" for message in request.messages)
    asked = next(message.text for message in request.messages if message.role == "user")
    return calls(("probe.look", {"number": made, "size": RESULT_CHARS})) if made < int(asked) else "done"


@asynccontextmanager
async def open_house(root: Path, durability: Literal["full", "normal"]) -> AsyncGenerator[House]:
    """Give the house of an empty data folder with all its workers, and both peers with theirs."""
    folder = open_data_folder(root)
    settings = Settings(data=root, skills=(str(SKILLS),), temporal=TemporalSettings(durability=durability))
    plain = DataConverter(payload_converter_class=PydanticPayloadConverter)
    async with AsyncExitStack() as stack:
        temporal = await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        provider = await platform.models.provider("local", "scripted")
        assert isinstance(provider, Scripted)
        register_script("floor", partial(_script, provider))
        await stack.enter_async_context(workers(platform))
        peers = (
            Peer("bare, sealed", platform.client, "sealed"),
            Peer("bare, plain", await connect(settings.temporal, folder, plain), "plain"),
        )
        for peer in peers:
            await stack.enter_async_context(bare_workers(peer.client, peer.prefix))
        roles = PLATFORM_ROLES | {"finance"}
        yield House(platform, temporal, peers, Principal(tenant="local", subject="floor", roles=roles))
