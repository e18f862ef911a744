"""Every deadline, reminder, escalation and timer of the examples, in the workflows' time, which is skipped."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from engine.process.definition import ProcessDefinition, Scenario, parse_definition, parse_duration
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.nodes.wait import WaitNode
from engine.process.simulate import Played, play
from providers.scripted import register_script
from tests.faults.play import PLAYED, all_nodes, played, wrapped
from tests.faults.traps import PLAY
from tests.processes.time_house import FOLDER, Lived, TimeHouse, time_house

pytestmark = pytest.mark.anyio

PROCESSES = sorted((FOLDER / "processes").glob("*.yaml"))
SLACK = timedelta(minutes=2)
"""How much longer a run may take in the workflows' time than in the simulator, where work takes none."""


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[TimeHouse]:
    root = tmp_path_factory.mktemp("time") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLAY, str(root / "play.json"))
        patch.setenv("UPSTAIRS_EXAMPLE_REGISTERS", str(root / "registers.db"))
        patch.setenv("UPSTAIRS_EXAMPLE_LEDGER", str(root / "payments.jsonl"))
        for owner, name, inner in wrapped():
            patch.setattr(owner, name, inner)
        register_script(PLAYED, played)
        async with time_house(root) as opened:
            yield opened


def timed(definition: ProcessDefinition) -> set[tuple[str, str]]:
    """Return all that is timed in a definition: a node, and what passes there."""
    found: set[tuple[str, str]] = set()
    for name, node in all_nodes(definition.nodes):
        if isinstance(node, SupervisorNode):
            found |= {(name, "deadline")} if node.deadline else set()
            found |= {(name, "reminder")} if node.remind_every else set()
            found |= {(name, f"escalation {number}") for number in range(1, len(node.escalate) + 1)}
        elif isinstance(node, WaitNode) and (node.deadline or node.event is None):
            found.add((name, "timer" if node.event is None else "deadline"))
    return found


def passes_in(played: Played) -> set[tuple[str, str]]:
    """Return which deadlines and timers pass in a scenario, as the simulator has it."""
    late = {(step.node, "deadline") for step in played.steps if (step.error or "").startswith("timeout")}
    return late | {(step.node, "timer") for step in played.steps if step.type == "wait" and not step.error}


def chosen(definition: ProcessDefinition) -> list[tuple[Scenario, Played]]:
    """Return the fewest scenarios, as good as one finds them, in which every deadline and every timer passes."""
    wanted = {one for one in timed(definition) if one[1] in ("deadline", "timer")}
    left = [(scenario, play(definition, scenario)) for scenario in definition.scenarios]
    found: list[tuple[Scenario, Played]] = []
    while wanted:
        best = max(left, key=lambda one: len(wanted & passes_in(one[1])))
        assert wanted & passes_in(best[1]), f"no scenario lets {wanted} pass"
        wanted -= passes_in(best[1])
        found.append(best)
    return found


def passed_in(definition: ProcessDefinition, lived: Lived) -> set[tuple[str, str]]:
    """Return what has passed in a run, by its own events."""
    nodes = dict(all_nodes(definition.nodes))
    node_of = {task.task_id: task.node for task in lived.tasks}
    found: set[tuple[str, str]] = set()
    for event in lived.events:
        name = str(event.data.get("node") or node_of.get(str(event.data.get("task_id") or event.key.partition("/")[0])))
        node = nodes.get(name)
        if event.type in ("task.expired", "event.expired"):
            found.add((name, "deadline"))
        elif event.type == "task.reminded":
            found.add((name, "reminder"))
        elif event.type == "task.moved" and isinstance(node, SupervisorNode):
            waited = str(event.data["reason"]).removeprefix("not decided within ")
            found |= {(name, f"escalation {n}") for n, rung in enumerate(node.escalate, 1) if rung.after == waited}
        elif event.type == "node.finished" and isinstance(node, WaitNode) and node.event is None:
            found.add((name, "timer"))
    return found


def check_reminders(definition: ProcessDefinition, lived: Lived) -> None:
    """Check that whoever let a deadline pass was reminded as often as there was time for, by consecutive numbers."""
    for task in lived.tasks:
        node = dict(all_nodes(definition.nodes)).get(task.node)
        if (
            task.status != "expired"
            or not isinstance(node, SupervisorNode)
            or not (node.deadline and node.remind_every)
        ):
            continue
        of_task = [event.data for event in lived.events if event.data.get("task_id") == task.task_id]
        numbers = [data["number"] for data in of_task if "number" in data]
        most = parse_duration(node.deadline) // parse_duration(node.remind_every)
        assert numbers == list(range(1, len(numbers) + 1))
        # A reminder that is due in the moment of the deadline may come or not.
        assert most - 1 <= len(numbers) <= most


def outer(lived: Lived) -> tuple[str, ...]:
    ends = ("node.finished", "node.failed")
    steps = [one.data for one in lived.events if one.type in ends and "/" not in str(one.data["step"])]
    return tuple(str(data["node"]) for data in steps)


@pytest.mark.parametrize("path", PROCESSES, ids=lambda path: path.stem)
async def test_every_deadline_reminder_escalation_and_timer_of_an_example_passes(house: TimeHouse, path: Path) -> None:
    definition = parse_definition(path.read_text())
    version = await house.publish(definition)
    seen: set[tuple[str, str]] = set()
    for scenario, expected in await anyio.to_thread.run_sync(chosen, definition):
        lived = await house.live(definition, version, scenario)
        assert (lived.run.status, outer(lived)) == (expected.status, expected.path), scenario.name
        assert tuple(task.node for task in lived.tasks) == expected.tasks, scenario.name
        late = lived.passed - timedelta(seconds=expected.seconds)
        assert timedelta(0) <= late <= SLACK, f"{scenario.name}: {lived.passed}, expected {expected.seconds} s"
        check_reminders(definition, lived)
        seen |= passed_in(definition, lived)
    assert timed(definition) - seen == set()
