"""The real engine on a stage of its own, with a plan for everything that comes from outside."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from engine import stage
from engine.ports import Control, ProcessSnapshot, TaskAnswer
from engine.process.definition import Fixture, ProcessDefinition, Scenario, parse_definition
from engine.process.simulate.clock import Stalled, VirtualLoop
from engine.process.simulate.coverage import STEPS
from engine.process.simulate.people import RUN, People, Unprepared, principal
from engine.process.simulate.world import World
from engine.process.workflow import ProcessInput, ProcessWorkflow
from engine.runs import Change, EventWait, Recorded, StartedWorkflow, TaskDraft
from engine.values import Principal
from tests.engine.generated_values import Node
from tests.processes.engine_machine_plan import Happening, Plan

OPERATOR = Principal(tenant=RUN.tenant, subject="olga", roles=frozenset({"operator"}))


@dataclass(frozen=True)
class Ran:
    """How a run went: `error` is the kind of its failure, `path` the nodes of the outermost graph in turn.

    `wrong` is what must never be: a second answer taken, an answer refused that should count, a late one that counts.
    """

    status: str
    outcome: str | None
    error: str | None
    path: tuple[str, ...]
    context: dict[str, JsonValue]
    seconds: float
    wrong: tuple[str, ...] = ()


class Everybody(People):
    """The people of a plan: they answer twice, and with what cannot be; `wrong` is what of it was taken."""

    def __init__(self, scenario: Scenario, world: "Planned") -> None:
        super().__init__(scenario, lambda name: None, lambda name: None, {})
        self._world = world
        self._chose: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def answer(self, task: TaskDraft) -> None:
        """Answer as planned, once in a way that counts, and otherwise in ways that must not."""
        asked = self._world.plan.nodes[task.node].get("decisions")
        if asked is not None and task.decisions == tuple(asked):
            found = self._world.happening(task.node)
        else:
            self._chose[task.node] += 1
            found = self._world.plan.chosen(task.node, self._chose[task.node], list(task.decisions))
        await self._must_refuse(task, "postponed", {})
        if found.never:
            return
        await asyncio.sleep(found.seconds)
        late = task.deadline is not None and self._world.now() >= task.deadline
        taken = await self._said(task, str(found.decision), found.result or {})
        if taken and late:
            self.wrong.append(f"an answer to {task.node} was taken after its deadline")
        if taken:
            for decision in task.decisions:
                await self._must_refuse(task, decision, found.result or {})

    async def _must_refuse(self, task: TaskDraft, decision: str, values: dict[str, JsonValue]) -> None:
        if await self._said(task, decision, values):
            self.wrong.append(f"{decision!r} was taken for {task.node}, which can't be")

    async def _said(self, task: TaskDraft, decision: str, values: dict[str, JsonValue]) -> bool:
        """Tell whether an answer was taken."""
        answer = TaskAnswer(task_id=task.task_id, by=self._somebody(task), decision=decision, values=values)
        assert self.flow is not None
        try:
            await as_handler(ProcessWorkflow.answer, self.flow, answer)
        except ApplicationError:
            return False
        return True

    def _somebody(self, task: TaskDraft) -> Principal:
        seat = self.seats.get(task.task_id, task.seat)
        return principal(next(iter(seat.users), f"somebody for {task.node}"), seat.roles, seat.groups)


class Planned(World):
    """A world in which everything happens as planned."""

    def __init__(self, definition: ProcessDefinition, plan: Plan, loop: VirtualLoop) -> None:
        scenario = Scenario(name="planned", input=plan.input)
        super().__init__(definition, scenario, loop, lambda text, data: text)
        self.plan = plan
        self._came: Counter[str] = Counter()
        self._waits: dict[str, str] = {}
        self._given_up: set[str] = set()
        self.everybody = self.people = Everybody(scenario, self)

    def happening(self, node_id: str) -> Happening:
        """Return what happens to a node that was come to once more."""
        self._came[node_id] += 1
        return self.plan.at(node_id, self._came[node_id])

    def _take(self, node_id: str) -> Fixture | None:
        found = self.happening(node_id)
        if found.never:
            return None
        return Fixture(result=found.result, error=found.error, elapsed=f"PT{found.seconds:.3f}S")

    async def _apply(self, change: Change) -> Recorded:
        self._waits |= {one.step: one.node for one in change.awaited}
        for step in change.arrived:
            self._waits.pop(step, None)
            if all(event.type != "event.received" for event in change.events):
                self._given_up.add(step)
        return await super()._apply(change)

    async def _bring(self, wait: EventWait, fixture: Fixture) -> None:
        # What comes too late for one visit of a node may fit the next, which the model knows nothing of.
        if wait.step not in self._given_up or wait.node not in self._waits.values():
            await super()._bring(wait, fixture)

    async def pauses(self) -> None:
        """Pause and resume the run as planned."""
        if self.plan.pause is None:
            return
        begin, end = self.plan.pause
        await asyncio.sleep(begin)
        await self._control("pause")
        await asyncio.sleep(end - begin)
        await self._control("resume")

    async def _control(self, action: Any) -> None:
        assert self.flow is not None
        await as_handler(ProcessWorkflow.control, self.flow, Control(action=action, by=OPERATOR))


async def as_handler(update: Any, flow: ProcessWorkflow, message: Any) -> Any:
    """Send the run an update; its type is that of Temporal's own."""
    return await update(flow, message)


def run_engine(data: Node, plan: Plan) -> Ran:
    """Carry a definition out as planned, in virtual time."""
    definition = parse_definition(data)
    loop = VirtualLoop()
    try:
        world = Planned(definition, plan, loop)
        return loop.run_until_complete(_to_the_end(definition, world, loop))
    finally:
        _close(loop)


async def _to_the_end(definition: ProcessDefinition, world: Planned, loop: VirtualLoop) -> Ran:
    stage.on.set(world)
    snapshot = ProcessSnapshot(definition=definition.canonical(), digest=definition.digest(), version="")
    start = ProcessInput(run=StartedWorkflow(run=RUN, principal=world.starter()), snapshot=snapshot)
    flow = ProcessWorkflow(start)
    world.begin(flow)
    running = asyncio.ensure_future(flow.run(start))
    beside = asyncio.ensure_future(world.pauses())
    outcome = error = None
    try:
        await asyncio.wait((running, world.trouble), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            world.trouble.result()
        outcome = running.result().outcome
    except ApplicationError as failed:
        error = failed.type
    except (Unprepared, Stalled) as stuck:
        error = f"stuck: {stuck}"
    finally:
        beside.cancel()
    steps = [record for record in world.records if record.action in STEPS and "/" not in str(record.data["step"])]
    path = tuple(record.node for record in steps)
    return Ran(world.status, outcome, error, path, world.context(), loop.time(), tuple(world.everybody.wrong))


def _close(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with contextlib.suppress(Stalled, RuntimeError):
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()
