"""Playing scenarios: each through the real workflow, on a stage where nothing costs anything."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from engine import stage
from engine.ports import ProcessSnapshot
from engine.process.definition import ProcessDefinition, Scenario
from engine.process.simulate.clock import Stalled, VirtualLoop
from engine.process.simulate.coverage import STEPS, Coverage, coverage
from engine.process.simulate.people import RUN, Unprepared
from engine.process.simulate.world import Onward, Render, World
from engine.process.workflow import ProcessInput, ProcessResult, ProcessWorkflow
from engine.runs import AuditRecord, StartedWorkflow
from engine.values import Value, canonical_json

MAX_STEPS = 10_000
"""How many steps a scenario may take: a loop without a way out ends there."""


class StepSeen(Value):
    """One step: when it was (seconds from the start), its node, each guard with the values it saw, what it changed."""

    seconds: float
    step: str
    node: str
    type: str
    to: str | None = None
    guards: list[JsonValue] = []
    arms: list[JsonValue] = []
    patch: list[JsonValue] = []
    error: str | None = None
    by: str = ""

    @property
    def text(self) -> str:
        """The step in one line with its guards below it."""
        line = f"{self.seconds:>9.0f}s  {self.step} ({self.type})"
        line += f" failed: {self.error}" if self.error else ""
        line += f" → {self.to}" if self.to else ""
        return "\n".join([line, *(f"{'':>12}{_guard_text(guard)}" for guard in [*self.arms, *self.guards])])


def _guard_text(guard: Any) -> str:
    name = guard.get("to") or f"arm {guard.get('arm')}"
    return f"{'✓' if guard['holds'] else '✗'} {name}: {canonical_json(guard.get('trace'))}"


class Played(Value):
    """How a scenario went: `problems` says where it was not as expected, or why it could not be played to its end."""

    scenario: str
    status: str
    outcome: str | None = None
    output: JsonValue = None
    error: str | None = None
    context: dict[str, JsonValue] = {}
    path: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seconds: float = 0.0
    steps: tuple[StepSeen, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.problems


class Report(Value):
    """All scenarios of a definition and what they cover."""

    played: tuple[Played, ...]
    coverage: Coverage

    @property
    def passed(self) -> bool:
        """Whether every scenario was as expected."""
        return all(one.passed for one in self.played)


def _as_it_is(text: str, data: Mapping[str, JsonValue]) -> str:
    return text


def play(definition: ProcessDefinition, scenario: Scenario, *, render: Render = _as_it_is) -> Played:
    """Play one scenario to its end. It has an event loop of its own: call it where none is running, as in a thread."""
    return _play(definition, scenario, render)[0]


def play_all(definition: ProcessDefinition, *, render: Render = _as_it_is) -> Report:
    """Play every scenario of a definition, and say what they cover together."""
    results = [_play(definition, scenario, render) for scenario in definition.scenarios]
    covered = coverage(definition, [records for _, records in results])
    return Report(played=tuple(played for played, _ in results), coverage=covered)


def _play(definition: ProcessDefinition, scenario: Scenario, render: Render) -> tuple[Played, list[AuditRecord]]:
    loop = VirtualLoop()
    try:
        world = World(definition, scenario, loop, render)
        end = loop.run_until_complete(_to_the_end(definition, world))
        return _told(scenario, world, end, loop.time()), world.records
    finally:
        _close(loop)


class _End:
    """How a run came to its end: its result, the kind of its failure, or why it could not be played on."""

    def __init__(self, *, result: ProcessResult | None = None, error: str = "", message: str = "", stuck: str = ""):
        self.result = result
        self.error = error
        self.message = message
        self.stuck = stuck


async def _to_the_end(definition: ProcessDefinition, world: World) -> _End:
    stage.on.set(world)
    snapshot = ProcessSnapshot(definition=definition.canonical(), digest=definition.digest(), version="")
    start = ProcessInput(run=StartedWorkflow(run=RUN, principal=world.starter()), snapshot=snapshot)
    flow = ProcessWorkflow(start)
    world.begin(flow)
    try:
        while True:
            try:
                return _End(result=await _unless_in_trouble(flow.run(start), world))
            except Onward as onward:
                start = onward.start
                world.people.flow = flow = ProcessWorkflow(start)
    except (Unprepared, Stalled) as problem:
        return _End(stuck=str(problem))
    except ApplicationError as failed:
        return _End(error=failed.type or "error", message=failed.message)


async def _unless_in_trouble(running: Coroutine[Any, Any, ProcessResult], world: World) -> ProcessResult:
    """Return how a history ends; what goes wrong on the stage is raised first."""
    task = asyncio.ensure_future(running)
    await asyncio.wait((task, world.trouble), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        world.trouble.result()
    return task.result()


def _told(scenario: Scenario, world: World, end: _End, seconds: float) -> Played:
    steps = tuple(_step(record, at) for record, at in zip(world.records, world.times, strict=True) if _is_step(record))
    finished: Any = world.context()
    late = world.people.waiting
    played = Played(
        scenario=scenario.name,
        status=world.status if not end.stuck else "unfinished",
        outcome=end.result.outcome if end.result else None,
        output=end.result.output if end.result else None,
        error=end.error or None,
        context=finished,
        path=tuple(one.node for one in steps if "/" not in one.step),
        tasks=tuple(task.node for task in world.asked),
        seconds=seconds,
        steps=steps,
    )
    problems = [end.stuck] if end.stuck else list(_unexpected(scenario, played, end))
    problems += [
        f"the run was over before {one.by} could {one.action} after {one.after}" for one in late if not end.stuck
    ]
    return played.model_copy(update={"problems": tuple(problems)})


def _is_step(record: AuditRecord) -> bool:
    return record.action in STEPS


def _step(record: AuditRecord, at: float) -> StepSeen:
    data: dict[str, Any] = record.data
    error = data.get("error")
    return StepSeen(
        seconds=at,
        step=str(data["step"]),
        node=record.node,
        type=str(data["type"]),
        to=data.get("to"),
        guards=data.get("guards", []),
        arms=data.get("arms", []),
        patch=data.get("patch", []),
        error=f"{error['kind']}: {error['message']}" if isinstance(error, dict) else None,
        by=record.actor,
    )


def _unexpected(scenario: Scenario, played: Played, end: _End) -> list[str]:
    """Return where the run was not as the scenario expects, each with what was found and what was expected."""
    expect = scenario.expect
    found: list[str] = []
    if expect.error is None and played.error is not None:
        found.append(f"the run failed: {played.error}: {end.message}")
    if expect.error is not None and played.error != expect.error:
        found.append(f"the run should fail with {expect.error!r}, and {_ending(played)}")
    if expect.status is not None and played.status != expect.status:
        found.append(f"the run should be left {expect.status!r}, and {_ending(played)}")
    if expect.outcome is not None and played.outcome != expect.outcome:
        found.append(f"the outcome should be {expect.outcome!r}, and {_ending(played)}")
    if expect.path is not None and played.path != expect.path:
        at = next(
            (n for n, (one, other) in enumerate(zip(played.path, expect.path, strict=False)) if one != other), None
        )
        at = min(len(played.path), len(expect.path)) if at is None else at
        went = played.path[at] if at < len(played.path) else "the end"
        wanted = expect.path[at] if at < len(expect.path) else "the end"
        found.append(f"step {at + 1} of the path should be {wanted}, not {went}; it went {' → '.join(played.path)}")
    for name, value in expect.context.items():
        if name not in played.context:
            found.append(f"the context should have {name!r}: nothing was written to it")
        elif canonical_json(played.context[name]) != canonical_json(value):
            shown = canonical_json(played.context[name])
            found.append(f"{name!r} in the context should be {canonical_json(value)}, and is {shown}")
    if expect.tasks is not None and played.tasks != expect.tasks:
        found.append(f"the tasks should be those of {list(expect.tasks)}, and were those of {list(played.tasks)}")
    return found


def _ending(played: Played) -> str:
    return f"the run failed with {played.error!r}" if played.error else f"it ended with {played.outcome!r}"


def _close(loop: VirtualLoop) -> None:
    """End what is still under way, so that nothing outlives the simulation."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with contextlib.suppress(Stalled, RuntimeError):
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
