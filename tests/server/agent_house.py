"""A whole house for agents: real Temporal, real stores, real workers; models say what a test has written for them."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
from pydantic import JsonValue
from temporalio.client import WorkflowHandle, WorkflowHistory

from engine.agent.state import AgentInput
from engine.ports import AgentTask, Control, Say, TaskAnswer
from engine.runs import Event, Run, StartedWorkflow, StartRun, Task
from engine.transcript import Message, ModelRequest, ToolCall, ToolResult
from engine.values import Budget, Principal, new_id
from providers.scripted import Line, ScriptedReply, register_script
from server.data_folder import open_data_folder
from server.platform import Platform, open_platform
from server.settings import ModelSettings, Settings
from server.temporal_child import EmbeddedTemporal
from server.worker import workers

SKILLS = Path(__file__).parent / "agent_skills"
PATIENCE_S = 90

Said = Line | Callable[[ModelRequest], Line | Awaitable[Line]]


@dataclass
class Talk:
    """A script that says one line for each turn, the last one again and again; it keeps every request."""

    lines: Sequence[Said]
    name: str
    requests: list[ModelRequest] = field(default_factory=lambda: [])

    async def __call__(self, request: ModelRequest) -> Line:
        """Say the line of the turn that the request asks for."""
        self.requests.append(request)
        line = self.lines[min(turn_of(request), len(self.lines)) - 1]
        said = line(request) if callable(line) else line
        return await said if inspect.isawaitable(said) else said

    @property
    def route(self) -> str:
        """The route that this script answers."""
        return f"scripted/{self.name}"


def turn_of(request: ModelRequest) -> int:
    """Return the number of the turn that a request asks for."""
    return sum(message.role == "assistant" for message in request.messages) + 1


def call(name: str, arguments: dict[str, JsonValue] | None = None, call_id: str = "") -> ToolCall:
    """Return a call as a script makes it."""
    return ToolCall(id=call_id, name=name, arguments=arguments or {})


def calling(*wanted: ToolCall) -> ScriptedReply:
    """Return a reply with calls."""
    return ScriptedReply(tool_calls=wanted)


def results(request: ModelRequest) -> list[ToolResult]:
    """Return the results that the request carries, in order."""
    return [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]


LEARN = calling(call("learn_desk"))


class Held:
    """A line that is said when the test lets go of it; `aborted` is set when the call is cancelled before."""

    def __init__(self, line: Said) -> None:
        self.line = line
        self.entered = anyio.Event()
        self.released = anyio.Event()
        self.aborted = anyio.Event()

    async def __call__(self, request: ModelRequest) -> Line:
        """Wait, then say the line."""
        self.entered.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.aborted.set()
            raise
        said = self.line(request) if callable(self.line) else self.line
        return await said if inspect.isawaitable(said) else said

    async def reached(self) -> None:
        """Return when the model is asked for the line."""
        with anyio.fail_after(PATIENCE_S):
            await self.entered.wait()


@dataclass
class AgentHouse:
    """What a test of agents holds in its hands."""

    platform: Platform

    def talk(self, *lines: Said) -> Talk:
        """Register a script of its own name."""
        talk = Talk(lines, new_id("talk"))
        register_script(talk.name, talk)
        return talk

    async def start(
        self, principal: Principal, talk: Talk, *, budget: Budget | None = None, key: str | None = None, **task: Any
    ) -> Run:
        """Start an agent as every caller does."""
        return await self.platform.control.start(principal, start_of(talk.route, budget, key, **task))

    async def start_with(self, principal: Principal, talk: Talk, *, turns_per_history: int, **task: Any) -> Run:
        """Start an agent whose histories are short."""
        run, _ = await self.platform.runs.create(principal, start_of(talk.route, None, None, **task))
        start = AgentInput(run=StartedWorkflow(run=run.ref, principal=principal), turns_per_history=turns_per_history)
        queue = f"{self.platform.settings.temporal.task_queue_prefix}.engine"
        await self.platform.client.start_workflow("AgentWorkflow", start, id=run.ref.workflow_id, task_queue=queue)
        return run

    async def finished(self, run: Run) -> Run:
        """Wait until a run has ended, and its workflow with it."""
        found = await self.until(run, lambda now: now.finished)
        with anyio.fail_after(PATIENCE_S):
            await self.platform.control.result(found)
        return found

    async def until(self, run: Run, holds: Callable[[Run], bool]) -> Run:
        """Wait until the row of a run is as wanted."""
        found = await self.platform.runs.load(run.ref)
        with anyio.fail_after(PATIENCE_S):
            while not holds(found):
                assert not found.finished, f"the run ended as {found.status}: {found.error}"
                found = await self.platform.runs.wait(run.principal, run.run_id, after=found.events, timeout_s=10)
        return found

    async def asked(self, run: Run, count: int = 1) -> list[Task]:
        """Wait until `count` tasks of a run are open."""
        tasks: list[Task] = []
        with anyio.fail_after(PATIENCE_S):
            found = await self.platform.runs.load(run.ref)
            while len(tasks) < count:
                assert not found.finished, f"the run ended as {found.status}: {found.error}"
                tasks = list(await self.platform.runs.tasks(run.principal, run_id=run.run_id))
                if len(tasks) < count:
                    found = await self.platform.runs.wait(run.principal, run.run_id, after=found.events, timeout_s=10)
        return tasks

    async def decide(self, who: Principal, task: Task, decision: str, comment: str = "") -> Task:
        """Answer a task."""
        answer = TaskAnswer(task_id=task.task_id, by=who, decision=decision, comment=comment)
        return await self.platform.control.answer(who, task.task_id, answer)

    async def control(self, run: Run, action: Literal["stop", "cancel", "pause", "resume"], reason: str = "") -> Run:
        """Steer a run as its starter."""
        control = Control(action=action, by=run.principal, reason=reason)
        return await self.platform.control.control(run.principal, run.run_id, control)

    async def say(self, run: Run, text: str, key: str) -> None:
        """Say something to a running agent."""
        await self.platform.control.say(run.principal, run.run_id, Say(by=run.principal, text=text, key=key))

    async def events(self, run: Run, *types: str) -> list[Event]:
        """Return the events of a run, of some types if any are named."""
        return list(await self.platform.runs.log(run.ref, types=types))

    async def messages(self, run: Run, role: str) -> list[Message]:
        """Return the messages of a role as they stand in the log."""
        found = [Message.model_validate(event.data) for event in await self.events(run, "message")]
        return [message for message in found if message.role == role]

    def handle(self, run: Run) -> "WorkflowHandle[Any, Any]":
        """Return the workflow of a run."""
        return self.platform.client.get_workflow_handle(run.ref.workflow_id)

    async def histories(self, run: Run) -> list[WorkflowHistory]:
        """Return the histories of a run, oldest first: each one but the first continues the one before it."""
        found: list[WorkflowHistory] = []
        handle = self.handle(run)
        while True:
            found.insert(0, await handle.fetch_history())
            before = found[0].events[0].workflow_execution_started_event_attributes.continued_execution_run_id
            if not before:
                return found
            handle = self.platform.client.get_workflow_handle(run.ref.workflow_id, run_id=before)


def start_of(route: str, budget: Budget | None, key: str | None, **task: Any) -> StartRun:
    """Return the start of an agent; without `skills` it has those of the desk."""
    given: dict[str, Any] = {"task": "Do what is to be done.", "model": route, "skills": ("desk",), "tools": ()}
    return StartRun(
        kind="agent",
        definition="agent",
        input=AgentTask.model_validate(given | task).model_dump(mode="json"),
        budget=budget or Budget(),
        idempotency_key=key,
    )


def settings_of(root: Path, models: ModelSettings | None = None) -> Settings:
    """Return the settings of a house below `root`."""
    return Settings(data=root, skills=(str(SKILLS),), models=models or ModelSettings(default="scripted/echo"))


@asynccontextmanager
async def agent_house(
    root: Path, *, working: bool = True, models: ModelSettings | None = None
) -> AsyncGenerator[AgentHouse]:
    """Give a house whose workers run while the block runs, or none where others are to do the work."""
    settings, folder = settings_of(root, models), open_data_folder(root)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        if working:
            await stack.enter_async_context(workers(platform))
        yield AgentHouse(platform)


def check_log(events: Sequence[Event]) -> None:
    """Check that events are numbered from 1 without gap and that no key stands twice."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.key for event in events}) == len(events)
