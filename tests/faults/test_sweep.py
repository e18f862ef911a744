"""The sweep: the example's process, killed at every step, leaves exactly what it leaves when nothing happens.

`--sweep=sample` takes a few points by a fixed seed, `--sweep=all` takes every one.
"""

import random
from collections.abc import Sequence

import pytest

from tests.faults.conftest import PROCESS, recovered
from tests.faults.drive import Driven, drive
from tests.faults.house import FaultHouse
from tests.faults.record import Left, differences, left_by
from tests.faults.traps import set_trap

pytestmark = pytest.mark.sweep

EVENTS, CHANGES, MODEL_CALLS, EFFECTS = 45, 29, 7, 3
"""What the run and its agent have: events, transactions, calls of models, and effects whose intent is recorded."""

PLACES = {
    "start:before": 1,  # the row of the run is there, its workflow is not
    "start:after": 1,  # the workflow is there, its starter does not know
    "change:after": CHANGES,  # committed, not acknowledged
    "answered:after": 1,  # the same for the decision of a person, who was not told
    "model:before": MODEL_CALLS,  # on its way to the model
    "model:after": MODEL_CALLS,  # the model has answered, which is not recorded
    "intent:after": EFFECTS,  # about to happen
    "outcome:before": EFFECTS,  # has happened, which is not recorded
    "outcome:after": EFFECTS,  # recorded, not acknowledged
}
"""The places inside the server at which it can die, and how often the run comes by."""

SEED = random.Random(20261122)
SAMPLE = {
    "cut_at": sorted(SEED.sample(range(1, EVENTS), 3)),
    "cut_again_at": SEED.sample(range(1, EVENTS - 1), 1),
    "trap": [
        ("start:before", 1),
        ("change:after", SEED.randint(1, CHANGES)),
        ("answered:after", 1),
        ("model:after", SEED.randint(1, MODEL_CALLS)),
        ("outcome:before", EFFECTS),
    ],
}
EVERYTHING = {
    "cut_at": range(1, EVENTS),
    "cut_again_at": range(1, EVENTS - 1),
    "trap": [(place, number) for place, last in PLACES.items() for number in range(1, last + 1)],
}
"""The last event is the end of the run: there is nothing behind it to be cut."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test all its points, or the sample."""
    points = EVERYTHING if metafunc.config.getoption("--sweep") == "all" else SAMPLE
    for name, chosen in points.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen, ids=_name)


def _name(point: int | tuple[str, int]) -> str:
    return str(point) if isinstance(point, int) else f"{point[0]}-{point[1]}"


def test_the_sweep_has_as_many_points_as_the_run(house: FaultHouse, uncut_run: Driven) -> None:
    def count(table: str) -> int:
        tree = "(SELECT run_id FROM runs WHERE root_id = ?)"
        return house.rows(f"SELECT count(*) AS n FROM {table} WHERE run_id IN {tree}", uncut_run.run_id)[0]["n"]

    assert (count("events"), count("changes"), count("effects")) == (EVENTS, CHANGES, EFFECTS)
    spent = house.rows("SELECT spent ->> 'turns' AS turns FROM runs WHERE run_id = ?", uncut_run.run_id)
    assert spent[0]["turns"] == MODEL_CALLS


def test_a_run_that_nothing_disturbs_pays_once(uncut: Left) -> None:
    assert (uncut.status, uncut.result["outcome"]) == ("completed", "paid")
    assert len(uncut.payments) == 1
    assert [task[2] for task in uncut.tasks] == ["answered"]


def cut(
    house: FaultHouse, document: str, uncut: Left, *, after: Sequence[int] = (), trap: tuple[str, int] | None = None
) -> None:
    """Cut a run and check that it has left what the uncut one did."""
    if trap is not None:
        set_trap(house.trap, *trap)
    deaths = len(after) or 1
    driven = drive(house, PROCESS, {"document": document}, cut=after, deaths=deaths)
    recovered.extend(driven.recovered)
    assert driven.deaths == deaths
    assert differences(left_by(house, driven.run_id), uncut) == []


def test_killed_after_an_event_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, cut_at: int
) -> None:
    cut(whole, document, uncut, after=[cut_at])


@pytest.mark.usefixtures("exhaustive")
def test_killed_again_during_recovery_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, cut_again_at: int
) -> None:
    cut(whole, document, uncut, after=[cut_again_at, cut_again_at + 1])


def test_killed_in_the_middle_of_a_step_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, trap: tuple[str, int]
) -> None:
    cut(whole, document, uncut, trap=trap)


def test_only_the_durable_floor_is_killed_and_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left
) -> None:
    driven = drive(whole, PROCESS, {"document": document}, cut=[20], kill=whole.kill_temporal)
    assert driven.deaths == 0
    assert differences(left_by(whole, driven.run_id), uncut) == []
