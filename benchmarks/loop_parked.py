"""How fast a run obeys: a stop while its model is asked, and the wake of one among many that are parked."""

import asyncio
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Row, Sample
from benchmarks.floor_house import WAIT_S, House
from engine.agent.state import AgentInput, AgentState
from engine.ports import AgentPlan, AgentTask, Control, RunFilter
from engine.runs import Run, StartedWorkflow, StartRun
from engine.transcript import ModelRequest, Route
from engine.values import utc_now
from providers.scripted import register_script

MOST_STOP = 500.0
AT_ONCE = 40
"""How many runs are being parked in the same moment."""


@dataclass
class Asked:
    """A model that notes when it is asked, and when the call is given up; it answers only if it does so `at_once`."""

    name: str
    at_once: bool
    asked: "asyncio.Queue[float]" = field(default_factory=lambda: asyncio.Queue[float]())
    given_up: "asyncio.Queue[float]" = field(default_factory=lambda: asyncio.Queue[float]())

    async def __call__(self, request: ModelRequest) -> str:
        """Answer, or wait for ever."""
        self.asked.put_nowait(time.perf_counter())
        try:
            await asyncio.sleep(0 if self.at_once else WAIT_S)
        except asyncio.CancelledError:
            self.given_up.put_nowait(time.perf_counter())
            raise
        return "done"

    @property
    def task(self) -> AgentTask:
        """A task for this model."""
        return AgentTask(task="Wait.", skills=(), tools=("probe.look",), model=f"scripted/{self.name}", approval="full")


def _order(asked: Asked) -> StartRun:
    return StartRun(kind="agent", definition="floor", version="1", input=asked.task.model_dump(mode="json"))


async def measure_stops(house: House, stops: int) -> list[Row]:
    """Return how long it takes from the call that stops a run until its model call is given up."""
    asked = Asked("loop-held", at_once=False)
    register_script(asked.name, asked)
    found: list[float] = []
    for _ in range(stops + 1):
        run = await house.platform.control.start(house.principal, _order(asked))
        await asked.asked.get()
        began = time.perf_counter()
        await _control(house, run, "stop")
        found.append((await asked.given_up.get() - began) * 1000)
        await house.platform.control.result(run)
    return [Row("stop to model call given up", "ms", Sample(found[1:]), "", goal=MOST_STOP)]


async def measure_wakes(house: House, parked: int, wakes: int) -> list[Row]:
    """Return how long it takes from the call that resumes a paused run until its model is asked, among `parked`.

    All are paused in front of their first turn. Those that are woken were parked first, so that with more of them
    than the worker keeps in memory each has to be made again from its history.
    """
    asked = Asked("loop-woken", at_once=True)
    register_script(asked.name, asked)
    before = _memory()
    began = time.perf_counter()
    woken = await _park(house, asked, wakes, opened=True)
    await _park(house, asked, parked - wakes, opened=False)
    await _all_parked(house)
    took, grown = time.perf_counter() - began, _memory() - before
    found: list[float] = []
    for run in woken:
        start = time.perf_counter()
        await _control(house, run, "resume")
        found.append((await asked.asked.get() - start) * 1000)
        await house.platform.control.result(run)
    among = f"among {parked:,} parked runs"
    return [
        Row(f"wake of one {among}", "ms", Sample(found), ""),
        Row(f"parking, {parked:,} runs", "ms each", Sample([took * 1000 / parked]), ""),
        Row(f"memory of this process, {parked:,} parked runs", "MiB more", Sample([grown]), ""),
    ]


async def _control(house: House, run: Run, action: str) -> None:
    control = Control.model_validate({"action": action, "by": house.principal})
    await house.platform.control.control(house.principal, run.run_id, control)


async def _park(house: House, asked: Asked, count: int, *, opened: bool) -> Sequence[Run]:
    """Start runs that are paused from the beginning; only those that are to be woken are `opened` with a plan."""
    state = AgentState(paused=True, started_at=utc_now())
    plan = AgentPlan(route=Route(provider="scripted", model=asked.name), output_required=False, approval="full")
    queue = f"{house.platform.settings.temporal.task_queue_prefix}.engine"
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> Run:
        async with slots:
            run, _ = await house.platform.runs.create(house.principal, _order(asked))
            started = StartedWorkflow(run=run.ref, principal=house.principal)
            start = AgentInput(run=started, plan=None if opened else plan, state=state)
            client = house.platform.client
            await client.start_workflow("AgentWorkflow", start, id=run.ref.workflow_id, task_queue=queue)
            return run

    return await asyncio.gather(*(one() for _ in range(count)))


async def _all_parked(house: House) -> None:
    async with asyncio.timeout(6 * WAIT_S):
        for status in ("starting", "running"):
            wanted = RunFilter.model_validate({"status": status, "limit": 1})
            while await house.platform.runs.list(house.principal, wanted):  # noqa: ASYNC110 - workers park them
                await asyncio.sleep(0.5)


def _memory() -> float:
    """Return the most memory that this process has used so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
