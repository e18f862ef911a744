"""The sweep over every example: killed at any point of its longest way, and of one that is undone, it ends alike.

The points are counted from the run that nothing disturbs. `--sweep=all` takes every one, `--sweep=sample` a few by a
fixed seed.
"""

import json
import random
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from tests.faults.conftest import EXAMPLES, recovered
from tests.faults.drive import drive
from tests.faults.house import FaultHouse
from tests.faults.parts import FAMILY, Part, find_parts, people_of
from tests.faults.play import PLAYED, set_play
from tests.faults.record import Left, differences, left_by
from tests.faults.traps import set_trap

pytestmark = pytest.mark.sweep

PARTS = find_parts()
NAMES = [part.name for part in PARTS]

EVENT, AGAIN = "event", "event-again"
PLACES = {
    EVENT: "events",  # right after it: server and Temporal killed at once
    AGAIN: "events",  # the same, and again one event later, while the run recovers
    "start:before": "starts",
    "start:after": "starts",
    "change:after": "changes",
    "answered:after": "answers",
    "model:before": "turns",
    "model:after": "turns",
    "intent:after": "effects",
    "outcome:before": "effects",
    "outcome:after": "effects",
}
"""Where a run is cut, and what of it is counted for that."""

SEED = random.Random(20261123)
SAMPLE = [
    (SEED.choice([name for name in NAMES if name.endswith("_done")]), EVENT, SEED.random()),
    (SEED.choice([name for name in NAMES if name.endswith("_undone")]), "outcome:before", 1.0),
]
"""One event of a long way, and the last effect of a run that fails: it is in the middle of being undone."""


@dataclass
class Stage:
    """The house of the sweep and what its undisturbed runs have left, each with how often it comes by each place."""

    house: FaultHouse
    latest: str = ""
    uncut: dict[str, tuple[Left, dict[str, int]]] = field(default_factory=lambda: {})

    def undisturbed(self, part: Part) -> tuple[Left, dict[str, int]]:
        """Return what a part leaves when nothing happens to it, and its points."""
        if part.name not in self.uncut:
            left = self.run(part)
            self.uncut[part.name] = left, self._points(part)
        return self.uncut[part.name]

    def run(self, part: Part, *, after: tuple[int, ...] = (), trap: tuple[str, int] | None = None) -> Left:
        """Run a part, cut where it is said, and return what it has left."""
        house = self.house
        house.trap.unlink(missing_ok=True)
        house.restart_if_ended()
        house.registers.unlink(missing_ok=True)
        set_play(house.play, part.play)
        if trap is not None:
            set_trap(house.trap, *trap)
        deaths = len(after) or (trap is not None)
        driven = drive(house, part.name, part.scenario.input, cut=after, deaths=deaths, attend=part.attend)
        recovered.extend(driven.recovered)
        assert driven.deaths == deaths
        self.latest = driven.run_id
        return left_by(house, driven.run_id)

    def _points(self, part: Part) -> dict[str, int]:
        def count(table: str, where: str = "") -> int:
            query = f"SELECT count(*) AS n FROM {table} WHERE run_id IN {FAMILY} {where}"
            return self.house.rows(query, self.latest)[0]["n"]

        spent = self.house.rows("SELECT spent ->> 'turns' AS turns FROM runs WHERE run_id = ?", self.latest)
        return {
            "events": count("events") - 1,  # the last one is the end: there is nothing behind it to be cut
            "starts": 1,
            "changes": count("changes"),
            "answers": count("tasks", "AND status = 'answered'"),
            "turns": int(spent[0]["turns"]),
            "effects": count("effects"),
        }

    def cut(self, part: Part, place: str, number: int) -> list[str]:
        """Cut a part at one point and return where it differs from what the undisturbed run has left."""
        uncut, _ = self.undisturbed(part)
        if place in (EVENT, AGAIN):
            found = self.run(part, after=(number,) if place == EVENT else (number, number + 1))
        else:
            found = self.run(part, trap=(place, number))
        return differences(found, uncut)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """A server with all examples in it, told to take no time."""
    house = FaultHouse(
        tmp_path_factory.mktemp("processes") / "data",
        users=people_of(PARTS),
        model=f"scripted/{PLAYED}",
        scripts=("tests.faults.traps", "tests.faults.play"),
    )
    house.start()
    try:
        for path in sorted((EXAMPLES / "interactions").glob("*.prompt")):
            house.publish("interactions", path.stem, path.read_text())
        for part in PARTS:
            house.publish("processes", part.name, json.dumps(part.definition.canonical()))
        yield Stage(house)
    finally:
        house.stop()


def part_of(name: str) -> Part:
    return next(part for part in PARTS if part.name == name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the sweep every place of every part, or the sample."""
    if "place" not in metafunc.fixturenames:
        return
    chosen = SAMPLE
    if metafunc.config.getoption("--sweep") == "all":
        chosen = [(name, place, None) for name in NAMES for place in PLACES]
    metafunc.parametrize(("name", "place", "share"), chosen, ids=[f"{name}-{place}" for name, place, _ in chosen])


def test_every_example_is_swept_and_some_of_them_are_undone() -> None:
    examples = {path.stem for path in (EXAMPLES / "processes").glob("*.yaml")}
    assert {name.rpartition("_")[0] for name in NAMES} == examples
    assert len(examples) >= 8
    assert len([name for name in NAMES if name.endswith("_undone")]) >= 5


@pytest.mark.usefixtures("exhaustive")
@pytest.mark.parametrize("name", NAMES)
def test_a_part_goes_the_way_that_the_simulator_says(stage: Stage, name: str) -> None:
    part = part_of(name)
    left, points = stage.undisturbed(part)
    outer = [entry[2] for entry in left.audit if entry[1].startswith("node.") and "/" not in entry[3]["step"]]
    assert (left.status, tuple(outer)) == (part.expected.status, part.expected.path)
    undone = [entry for entry in left.audit if entry[1] == "node.compensated"]
    assert bool(undone) == name.endswith("_undone")
    assert min(points["events"], points["changes"]) >= 5


def test_killed_at_any_point_an_example_ends_as_it_would_have(
    stage: Stage, name: str, place: str, share: float | None
) -> None:
    part = part_of(name)
    _, points = stage.undisturbed(part)
    last = points[PLACES[place]] - (place == AGAIN)
    chosen = range(1, last + 1) if share is None else [max(1, round(share * last))]
    found: list[str] = []
    for number in chosen:
        try:
            found += [f"{place} {number}: {line}" for line in stage.cut(part, place, number)]
        except AssertionError as failed:
            found.append(f"{place} {number}: {failed}")
    assert found == []
