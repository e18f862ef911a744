"""The whole platform on Temporal's time-skipping server: scenarios are played by real workflows, agents and stores.

Nobody waits: whoever plays looks which timer of the run, or which answer of the scenario, is next, and lets the time of
the server pass until then. All time is the workflows'.
"""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import sqlalchemy as sa
from pydantic import JsonValue
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

import examples
from engine.ports import TaskAnswer
from engine.process.definition import Actor, Fixture, ProcessDefinition, Scenario, parse_duration
from engine.process.messages import SendEvent
from engine.process.simulate.world import START
from engine.runs import Event, Run, RunRef, StartRun, Task
from engine.values import Principal, digest
from server.codec import make_data_converter
from server.data_folder import open_data_folder
from server.keys import open_key_ring
from server.payloads import open_payload_store
from server.platform import Platform, open_platform
from server.settings import ModelSettings, Settings, TemporalSettings
from server.store import tables
from server.worker import workers
from tests.faults.play import PLAYED, play_of, set_play
from tests.server.engine_house import time_skipping

FOLDER = Path(examples.__file__).parent
MOMENT = timedelta(milliseconds=50)
BOUND_S = 120.0
LOOK_S = 0.03
OVER = ("WORKFLOW_EXECUTION_COMPLETED", "WORKFLOW_EXECUTION_FAILED", "WORKFLOW_EXECUTION_CANCELED")
BEGINS = {
    "WORKFLOW_TASK_SCHEDULED": "task",
    "ACTIVITY_TASK_SCHEDULED": "activity",
    "START_CHILD_WORKFLOW_EXECUTION_INITIATED": "child",
    "TIMER_STARTED": "timer",
}
ENDS = {
    **{f"WORKFLOW_TASK_{end}": "task" for end in ("COMPLETED", "FAILED", "TIMED_OUT")},
    **{f"ACTIVITY_TASK_{end}": "activity" for end in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED")},
    "CHILD_WORKFLOW_EXECUTION_STARTED": "child",
    "START_CHILD_WORKFLOW_EXECUTION_FAILED": "child",
    "TIMER_FIRED": "timer",
    "TIMER_CANCELED": "timer",
}
ME = Principal(tenant="local", subject="owner", roles=frozenset({"operator", "author", "publisher", "viewer"}))


@dataclass(frozen=True)
class Asked:
    """What a run waits for from outside, a task or an event of a node, and what the scenario has for it."""

    key: str
    node: str
    fixture: Fixture | None
    task: Task | None = None
    wait: Event | None = None


@dataclass(frozen=True)
class UnderWay:
    """What a history shows to be open: whether a worker has something to do, and when its timers fire."""

    busy: bool
    timers: tuple[datetime, ...]


def under_way(history: Iterable[HistoryEvent]) -> UnderWay:
    """Return what is open at the end of a history."""
    begun: dict[tuple[str, str], datetime] = {}
    for event in history:
        kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
        if kind in OVER:
            return UnderWay(False, ())
        if kind in BEGINS:
            begun[BEGINS[kind], _number(event, kind)] = _due(event)
        elif kind in ENDS:
            begun.pop((ENDS[kind], _number(event, kind)), None)
    timers = tuple(at for (what, _), at in begun.items() if what == "timer")
    return UnderWay(len(timers) < len(begun), timers)


def _number(event: HistoryEvent, kind: str) -> str:
    """Return what a beginning and its end have in common."""
    if kind.startswith("TIMER_"):
        started = getattr(event, event.WhichOneof("attributes") or "")
        return str(started.timer_id)
    if kind.startswith("WORKFLOW_TASK_"):
        return ""
    if kind in BEGINS:
        return str(event.event_id)
    of = getattr(event, event.WhichOneof("attributes") or "")
    return str(of.scheduled_event_id if kind.startswith("ACTIVITY_") else of.initiated_event_id)


def _due(event: HistoryEvent) -> datetime:
    lasts = event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
    return event.event_time.ToDatetime(UTC) + lasts


@dataclass
class Lived:
    """A run that ended: its row, the nodes that asked somebody, its events, and how much time has passed in it."""

    run: Run
    tasks: list[Task]
    events: list[Event]
    passed: timedelta


class TimeHouse:
    """The platform and the clock of its Temporal."""

    def __init__(self, platform: Platform, clock: WorkflowEnvironment, play: Path) -> None:
        self.platform = platform
        self.clock = clock
        self._play = play
        self._prompted = False

    async def publish(self, definition: ProcessDefinition) -> str:
        """Publish a definition, and every prompt of the examples; return its version."""
        for path in () if self._prompted else sorted((FOLDER / "interactions").glob("*.prompt")):
            await self.platform.interactions.put_draft(ME, path.stem, path.read_text())
            await self.platform.interactions.publish(ME, path.stem)
        self._prompted = True
        text = json.dumps(definition.canonical())
        await self.platform.definitions.put_draft(ME, definition.process, text)
        return str((await self.platform.definitions.publish(ME, definition.process)).number)

    async def live(
        self, definition: ProcessDefinition, version: str, scenario: Scenario, *, scripts: bool = True
    ) -> Lived:
        """Play a scenario to its end; with `scripts` it gives what they give as well."""
        set_play(self._play, play_of(definition, scenario, scripts=scripts))
        began = await self.clock.get_current_time()
        given = {name: _moved(value, began - START) for name, value in scenario.input.items()}
        start = StartRun(kind="process", definition=definition.process, version=version, input=given)
        run = await self.platform.control.start(ME, start)
        since: dict[str, datetime] = {}
        with anyio.fail_after(BOUND_S):
            while not (run := await self._idle(run)).finished:
                await self._go_on(run, scenario, since)
        passed = await self.clock.get_current_time() - began
        return Lived(run, await self._tasks(run), list(await self.platform.runs.log(run.ref)), passed)

    async def _go_on(self, run: Run, scenario: Scenario, since: dict[str, datetime]) -> None:
        """Let time pass until the next timer, or until somebody acts, who does so then."""
        now = await self.clock.get_current_time()
        coming: list[tuple[datetime, Asked]] = []
        for asked in [*await self._questions(run, scenario), *await self._waits(run, scenario)]:
            began = since.setdefault(asked.key, now)
            if asked.fixture is not None:
                elapsed = parse_duration(asked.fixture.elapsed) if asked.fixture.elapsed else timedelta()
                coming.append((began + elapsed, asked))
        timer = await self._next_timer(run)
        when, first = min(coming, key=lambda one: one[0], default=(None, None))
        if timer is not None and (when is None or timer <= when):
            await self.clock.sleep(max(timer - now, timedelta()) + MOMENT)
        elif when is None or first is None:
            await anyio.sleep(LOOK_S)  # where time is real, the last timer may just have fired
        else:
            await self.clock.sleep(max(when - now, timedelta()))
            await self._give(run, scenario, first)

    async def _give(self, run: Run, scenario: Scenario, asked: Asked) -> None:
        fixture = asked.fixture
        assert fixture is not None
        if asked.task is not None:
            assert fixture.decision is not None
            by = _decider(scenario, asked.task, fixture.by)
            said = TaskAnswer(task_id=asked.task.task_id, by=by, decision=fixture.decision, values=fixture.values)
            await self.platform.control.answer(by, asked.task.task_id, said)
        elif asked.wait is not None:
            happened = {"name": asked.wait.data["name"], "match": asked.wait.data["match"], "payload": fixture.result}
            event = SendEvent.model_validate(
                {**happened, "run_id": run.run_id, "key": digest([run.run_id, asked.key])[:40]}
            )
            await self.platform.control.send_event(ME, event)

    # --- what is under way --------------------------------------------------------------------------------

    async def _idle(self, run: Run) -> Run:
        """Wait until nothing of the run can happen unless time passes or somebody acts."""
        while True:
            before = await self._events(run)
            busy = [one for one in await self._under_way(run) if one.busy]
            run = await self.platform.runs.load(run.ref)
            if run.finished or (not busy and before == await self._events(run)):
                return run
            await anyio.sleep(LOOK_S)

    async def _under_way(self, run: Run) -> list[UnderWay]:
        return [await self._of(ref) for ref in await self.family(run)]

    async def _of(self, ref: RunRef) -> UnderWay:
        try:
            history = await self.platform.client.get_workflow_handle(ref.workflow_id).fetch_history()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return UnderWay(True, ())  # its row is there and its workflow is just being started
        return under_way(history.events)

    async def family(self, run: Run) -> list[RunRef]:
        """Return the runs below a run and, last of all, itself: what ends below is seen before what it leads to."""
        table = tables.runs
        below = sa.select(table.c.run_id).where(table.c.tenant == run.tenant, table.c.root_id == run.run_id)
        async with self.platform.database.read() as connection:
            found = (await connection.execute(below.where(table.c.run_id != run.run_id))).scalars().all()
        return [*(RunRef(tenant=run.tenant, run_id=one) for one in found), run.ref]

    async def _events(self, run: Run) -> int:
        return (await self.platform.runs.load(run.ref)).events

    async def _next_timer(self, run: Run) -> datetime | None:
        """Return when the next timer of the run or of one below it fires."""
        return min((at for one in await self._under_way(run) for at in one.timers), default=None)

    # --- what is asked ------------------------------------------------------------------------------------

    async def _tasks(self, run: Run) -> list[Task]:
        found = await self.platform.runs.tasks(ME, run_id=run.run_id, status=None, family=True)
        return sorted(found, key=lambda task: task.created_at)

    async def _questions(self, run: Run, scenario: Scenario) -> list[Asked]:
        found: list[Asked] = []
        seen: Counter[str] = Counter()
        for task in await self._tasks(run):
            fixture = _of(scenario, task.node, seen[task.node])
            seen[task.node] += 1
            if task.status == "open":
                decided = fixture if fixture is not None and fixture.decision is not None else None
                found.append(Asked(task.task_id, task.node, decided, task=task))
        return found

    async def _waits(self, run: Run, scenario: Scenario) -> list[Asked]:
        found: dict[str, Asked] = {}
        seen: Counter[str] = Counter()
        for event in await self.platform.runs.log(run.ref):
            if event.type == "event.awaited":
                node = str(event.data["node"])
                given = _of(scenario, node, seen[node])
                seen[node] += 1
                comes = given if given is not None and given.result is not None else None
                step = event.key.removeprefix("event/").removesuffix("/awaited")
                found[step] = Asked(event.key, node, comes, wait=event)
            elif event.type == "event.received":
                found.pop(str(event.data["of"]), None)
            elif event.type in ("event.expired", "event.withdrawn"):
                found.pop(event.key.removeprefix("event/").removesuffix("/closed"), None)
        return list(found.values())


def _moved(value: JsonValue, by: timedelta) -> JsonValue:
    """Return a moment of the simulator's calendar in that of the server; anything else as it is."""
    try:
        return (datetime.fromisoformat(value) + by).isoformat() if isinstance(value, str) and "T" in value else value
    except ValueError:
        return value


def _of(scenario: Scenario, node: str, number: int) -> Fixture | None:
    given = scenario.fixtures.get(node)
    return given[min(number, len(given) - 1)] if isinstance(given, tuple) else given


def _decider(scenario: Scenario, task: Task, name: str | None) -> Principal:
    """Return who decides: somebody of the scenario, or anybody who has the seat."""
    actor = scenario.actors[name] if name else Actor(roles=task.seat.roles, groups=task.seat.groups)
    subject = name or next(iter(task.seat.users), "anybody")
    return Principal(
        tenant=ME.tenant, subject=subject, roles=frozenset(("viewer", *actor.roles)), groups=frozenset(actor.groups)
    )


@asynccontextmanager
async def time_house(root: Path) -> AsyncGenerator[TimeHouse]:
    """Give the house while the block runs; `FAULTS_PLAY` has to name `root / "play.json"` meanwhile."""
    folder = open_data_folder(root)
    models = ModelSettings(default=f"scripted/{PLAYED}")
    settings = Settings(data=root, models=models, skills=(str(FOLDER / "skills"),))
    converter = make_data_converter(open_key_ring(folder), open_payload_store(settings.blobs))
    async with AsyncExitStack() as stack:
        clock = await stack.enter_async_context(await time_skipping(converter))
        temporal = TemporalSettings(mode="external", address=clock.client.service_client.config.target_host)
        settings = settings.model_copy(update={"temporal": temporal})
        platform = await stack.enter_async_context(open_platform(settings, folder))
        await stack.enter_async_context(workers(platform))
        yield TimeHouse(platform, clock, root / "play.json")
