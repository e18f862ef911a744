"""The examples as they are swept: of each process the longest way on which nobody waits, and one that is undone.

A scenario of a definition says what models, tools and people give. What would take days is told to take no time, by one
rule for all definitions: timers are over at once, deadlines that pass in the scenario are a second, and so is the
escalation that lets in who decides. The simulator says whether the scenario still goes the way it went.
"""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import examples
from engine.process.definition import Fixture, ProcessDefinition, Scenario, parse_definition, parse_duration
from engine.process.simulate import Played, play
from tests.faults.drive import Look, decide
from tests.faults.house import FaultHouse
from tests.faults.play import Play, all_nodes, play_of

FOLDER = Path(examples.__file__).parent
AT_ONCE, SOON, THEN = "PT0S", "PT1S", "PT2S"
ANYBODY = "anybody"

FAMILY = "(SELECT run_id FROM runs WHERE root_id = ?)"


@dataclass(frozen=True)
class Part:
    """A scenario of an example, hurried. `rungs`: the roles that an escalation lets in before a node is decided."""

    name: str
    definition: ProcessDefinition
    scenario: Scenario
    expected: Played
    rungs: Mapping[str, frozenset[str]]

    @property
    def play(self) -> Play:
        """What the server has to know."""
        return play_of(self.definition, self.scenario)

    def attend(self, house: FaultHouse, look: Look, run_id: str) -> None:
        """Give what people and the world outside give in the scenario."""
        for node, run, task_id, seat, number in look(OPEN, run_id):
            fixture = self._fixture(node, number)
            admitted = frozenset(json.loads(seat)["roles"])
            if fixture is not None and fixture.decision is not None and self.rungs.get(node, frozenset()) <= admitted:
                who = fixture.by or self._somebody(admitted)
                decide(house, who, run, task_id, fixture.decision, fixture.values)
        for run, step, node, name, data in look(WAITING, run_id):
            fixture = self._fixture(node, 0)
            if fixture is not None and isinstance(fixture.result, dict):
                happened = {"name": name, "payload": fixture.result, "match": json.loads(data)["match"]}
                house.use("processes", "send_event", **happened, run_id=run, idempotency_key=f"{run}/{step}")

    def _fixture(self, node: str, number: int) -> Fixture | None:
        given = self.scenario.fixtures.get(node)
        return given[min(number, len(given) - 1)] if isinstance(given, tuple) else given

    def _somebody(self, roles: frozenset[str]) -> str:
        return next((name for name, actor in self.scenario.actors.items() if roles & set(actor.roles)), ANYBODY)


OPEN = (
    "SELECT node, run_id, task_id, seat, (SELECT count(*) FROM tasks AS earlier WHERE earlier.run_id = tasks.run_id "
    "AND earlier.node = tasks.node AND earlier.created_at < tasks.created_at) "
    f"FROM tasks WHERE status = 'open' AND run_id IN {FAMILY}"
)
WAITING = (
    "SELECT waits.run_id, waits.step, waits.node, waits.name, events.data FROM event_waits AS waits JOIN events "
    "ON events.tenant = waits.tenant AND events.run_id = waits.run_id "
    f"AND events.key = 'event/' || waits.step || '/awaited' WHERE waits.run_id IN {FAMILY}"
)


def find_parts() -> list[Part]:
    """Return the parts of every process in the folder of the examples."""
    found: list[Part] = []
    for path in sorted((FOLDER / "processes").glob("*.yaml")):
        definition = parse_definition(path.read_text())
        candidates = list(_candidates(definition))
        done = [part for part in candidates if part.expected.status == "completed"]
        undone = [part for part in candidates if part.expected.status == "failed" and _undoes(part) and _alone(part)]
        for way in (done, undone):
            found += sorted(way, key=_length, reverse=True)[:1]
    return found


def people_of(parts: list[Part]) -> dict[str, list[str]]:
    """Return everybody who acts in the parts with their roles, and one who has every role."""
    people: dict[str, set[str]] = {}
    for part in parts:
        for name, actor in part.scenario.actors.items():
            people.setdefault(name, {"viewer"}).update(actor.roles)
    seats = {role for part in parts for seat in _seats(part.definition.canonical()) for role in seat.get("roles", [])}
    return {name: sorted(roles) for name, roles in (people | {ANYBODY: {"viewer", *seats}}).items()}


def _candidates(definition: ProcessDefinition) -> Iterator[Part]:
    # Which of several items is given which fixture would be up to which of them is first; scripts run for real.
    inside = {name for name, _ in all_nodes(definition.nodes)} - set(definition.nodes)
    scripts = {name for name, node in all_nodes(definition.nodes) if node.type == "script"}
    for scenario in definition.scenarios:
        if any(isinstance(given, tuple) and name in inside | scripts for name, given in scenario.fixtures.items()):
            continue
        unhurried = play(definition, scenario)
        hurried = _Hurried(definition, scenario, {step.node for step in unhurried.steps})
        if not hurried.possible:
            continue
        again = parse_definition(hurried.data)
        expected = play(again, hurried.scenario)
        if expected.passed and expected.path == unhurried.path:
            kind = "done" if expected.status == "completed" else "undone"
            named = again.model_copy(update={"process": f"{definition.process}_{kind}"})
            yield Part(named.process, named, hurried.scenario, expected, hurried.rungs)


def _length(part: Part) -> tuple[int, int]:
    return len({step.node for step in part.expected.steps}), len(part.expected.steps)


def _undoes(part: Part) -> bool:
    undoing = {node.compensate for _, node in all_nodes(part.definition.nodes) if node.compensate}
    return any(name in part.scenario.fixtures for name in undoing)


def _alone(part: Part) -> bool:
    """Tell whether nothing goes on beside what fails: whether that still comes to its end is up to who is first."""
    branches = [node for _, node in all_nodes(part.definition.nodes) if len(list(node.bodies())) > 1]
    beside = {name for node in branches for arm in node.bodies() for name, _ in all_nodes(arm.body.nodes)}
    failing = {name for name, given in part.scenario.fixtures.items() if any(one.error for one in _several(given))}
    return not failing & beside


def _seats(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every seat of a definition, to be changed in its place."""
    if "supervision" in data:
        yield data["supervision"]["seat"]
    for _, node in _raw_nodes(data["nodes"]):
        if node["type"] == "supervisor":
            yield node["seat"]
            yield from (rung["to"] for rung in node.get("escalate", []))


class _Hurried:
    """A definition and its scenario, told to take no time; not `possible` where one node both waits and does not.

    `ended` are the nodes that come to their end in the scenario, be it by their deadline.
    """

    def __init__(self, definition: ProcessDefinition, scenario: Scenario, ended: Set[str]) -> None:
        self.possible = True
        self.rungs: dict[str, frozenset[str]] = {}
        self._ended = ended
        self.data: dict[str, Any] = {**definition.canonical(), "scenarios": []}
        # One word for both: who is in a group here holds a role of its name.
        for seat in _seats(self.data):
            seat["roles"] = [*seat.get("roles", []), *seat.pop("groups", [])]
        self._actors = {
            name: actor.model_copy(update={"roles": (*actor.roles, *actor.groups), "groups": ()})
            for name, actor in scenario.actors.items()
        }
        self._fixtures = dict(scenario.fixtures)
        for node_id, node in _raw_nodes(self.data["nodes"]):
            self._hurry(node_id, node)
        fixtures = {name: _mapped(given, self._elapsed(name)) for name, given in self._fixtures.items()}
        self.scenario = scenario.model_copy(update={"actors": self._actors, "fixtures": fixtures})

    def _elapsed(self, name: str) -> str | None:
        return THEN if name in self.rungs else None

    def _hurry(self, node_id: str, node: dict[str, Any]) -> None:
        if node["type"] == "wait" and "event" not in node:
            node.pop("until", None)
            node["for"] = AT_ONCE
        elif node["type"] in ("wait", "supervisor") and "deadline" in node:
            answered = [_comes(one, node) for one in _several(self._fixtures.get(node_id))]
            if any(answered):
                self.possible &= all(answered)
                self._let_in(node_id, node)
            elif node_id in self._ended:
                # One that something else has come before keeps its time: a second would pass while the server is dead.
                node["deadline"] = SOON
                node.pop("remind_every", None)
                node.pop("escalate", None)
                self._fixtures.pop(node_id, None)

    def _let_in(self, node_id: str, node: dict[str, Any]) -> None:
        """Have the escalation come soon without which somebody who decides would have no seat."""
        if node["type"] != "supervisor":
            return
        for one in _several(self._fixtures[node_id]):
            roles = set(self._actors[one.by].roles) if one.by else set(node["seat"]["roles"])
            if roles & set(node["seat"]["roles"]) or one.by in node["seat"].get("users", []):
                continue
            rung = next((rung for rung in node.get("escalate", []) if roles & set(rung["to"]["roles"])), None)
            self.possible &= rung is not None
            if rung is not None:
                rung["after"] = SOON
                self.rungs[node_id] = self.rungs.get(node_id, frozenset()) | set(rung["to"]["roles"])


def _raw_nodes(nodes: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for node_id, node in nodes.items():
        yield node_id, node
        for body in (node.get("body"), *(arm.get("body") for arm in node.get("arms", []))):
            if body:
                yield from _raw_nodes(body["nodes"])


def _several(given: Fixture | tuple[Fixture, ...] | None) -> tuple[Fixture, ...]:
    if given is None:
        return ()
    return given if isinstance(given, tuple) else (given,)


def _comes(fixture: Fixture, node: dict[str, Any]) -> bool:
    """Tell whether a decision or an event comes before its deadline."""
    if fixture.decision is None and not isinstance(fixture.result, dict):
        return False
    return fixture.elapsed is None or parse_duration(fixture.elapsed) < parse_duration(node["deadline"])


def _mapped(given: Fixture | tuple[Fixture, ...], elapsed: str | None) -> Fixture | tuple[Fixture, ...]:
    changed = tuple(one.model_copy(update={"elapsed": elapsed}) for one in _several(given))
    return changed if isinstance(given, tuple) else changed[0]
