"""The sweep: the example's process, killed at every step, leaves exactly what it leaves when nothing happens.

`--sweep=sample` takes a few points by a fixed seed, `--sweep=all` takes every one.
"""

import random
from collections.abc import Sequence

import pytest

from tests.faults.conftest import PROCESS, recovered
from tests.faults.drive import Driven, drive
from tests.faults.house import FaultHouse
from tests.faults.record import Left, left_by, payments
from tests.faults.traps import set_trap

pytestmark = pytest.mark.sweep

SEED = 20261122

EVENTS = 50
"""Events of the run and its agent."""

CHANGES = 41
"""Transactions that the run and its agent commit."""

MODEL_CALLS = 7
INTENTS = 3
"""Effects whose intent is recorded: two interactions and the payment."""

TWICE = ("cut_again_at",)
POINTS = {
    "cut_at": (range(1, EVENTS), 3),
    "cut_again_at": (range(1, EVENTS - 1), 1),
    "change": (range(1, CHANGES + 1), 2),
    "model_call": (range(1, MODEL_CALLS + 1), 1),
    "intent": (range(1, INTENTS + 1), 1),
}
"""The points of each kind, and how many of them a sample takes. The last event is the end of the run."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test all its points, or the sample."""
    for name, (points, few) in POINTS.items():
        if name in metafunc.fixturenames:
            everything = metafunc.config.getoption("--sweep") == "all"
            chosen: Sequence[int] = points if everything else sorted(random.Random(f"{SEED}/{name}").sample(points, few))
            metafunc.parametrize(name, chosen)


def test_the_sweep_has_as_many_points_as_the_run(house: FaultHouse, uncut_run: Driven) -> None:
    tree = "(SELECT run_id FROM runs WHERE root_id = ?)"

    def count(table: str) -> int:
        return house.rows(f"SELECT count(*) AS n FROM {table} WHERE run_id IN {tree}", uncut_run.run_id)[0]["n"]

    assert (count("events"), count("changes"), count("effects")) == (EVENTS, CHANGES, INTENTS)
    spent = house.rows("SELECT spent ->> 'turns' AS turns FROM runs WHERE run_id = ?", uncut_run.run_id)
    assert spent[0]["turns"] == MODEL_CALLS


def test_a_run_that_nothing_disturbs_pays_once(uncut: Left) -> None:
    assert uncut.status == "completed"
    assert uncut.result["outcome"] == "paid"
    assert len(uncut.payments) == 1
    assert [task[2] for task in uncut.tasks] == ["answered"]


def check(house: FaultHouse, driven: Driven, uncut: Left, deaths: int) -> None:
    """Check that a cut run has left what the uncut one did."""
    recovered.extend(driven.recovered)
    assert driven.deaths == deaths
    assert left_by(house, driven.run_id) == uncut
    assert len(payments(house, driven.run_id)) == 1


def test_killed_after_an_event_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, cut_at: int
) -> None:
    check(whole, drive(whole, PROCESS, {"document": document}, cut=(cut_at,)), uncut, deaths=1)


def test_killed_again_during_recovery_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, cut_again_at: int
) -> None:
    cut = (cut_again_at, cut_again_at + 1)
    check(whole, drive(whole, PROCESS, {"document": document}, cut=cut), uncut, deaths=2)


def test_killed_between_a_commit_and_its_acknowledgement_nothing_is_written_twice(
    whole: FaultHouse, document: str, uncut: Left, change: int
) -> None:
    set_trap(whole.trap, "change:after", change)
    check(whole, drive(whole, PROCESS, {"document": document}), uncut, deaths=1)


def test_killed_while_a_model_answers_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, model_call: int
) -> None:
    set_trap(whole.trap, "model:before", model_call)
    check(whole, drive(whole, PROCESS, {"document": document}), uncut, deaths=1)


def test_killed_when_a_model_has_answered_and_nothing_is_recorded_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left, model_call: int
) -> None:
    set_trap(whole.trap, "model:after", model_call)
    check(whole, drive(whole, PROCESS, {"document": document}), uncut, deaths=1)


@pytest.mark.parametrize("place", ["intent:after", "outcome:before", "outcome:after"])
def test_killed_around_an_effect_it_happens_once(
    whole: FaultHouse, document: str, uncut: Left, place: str, intent: int
) -> None:
    set_trap(whole.trap, place, intent)
    check(whole, drive(whole, PROCESS, {"document": document}), uncut, deaths=1)


@pytest.mark.parametrize("place", ["start:before", "start:after"])
def test_killed_while_a_run_is_started_it_is_started_once(
    whole: FaultHouse, document: str, uncut: Left, place: str
) -> None:
    set_trap(whole.trap, place)
    check(whole, drive(whole, PROCESS, {"document": document}), uncut, deaths=1)


def test_killed_while_the_decision_is_being_answered_it_counts_once(
    whole: FaultHouse, document: str, uncut: Left
) -> None:
    set_trap(whole.trap, "answered:after")
    check(whole, drive(whole, PROCESS, {"document": document}), uncut, deaths=1)


def test_the_durable_floor_alone_is_killed_and_the_run_ends_as_it_would_have(
    whole: FaultHouse, document: str, uncut: Left
) -> None:
    driven = drive(whole, PROCESS, {"document": document}, cut=(20,), kill=whole.kill_temporal)
    check(whole, driven, uncut, deaths=0)
