"""The sweep of an agent: worker, server, Temporal killed at every step of a run with subagents, effects, an approval.

`--sweep=sample` takes a few points by a fixed seed, `--sweep=all` takes every one.
"""

import random
from collections.abc import Generator, Sequence

import pytest

from tests.faults.agent_drive import TREE, Cut, Ended, drive_agent
from tests.faults.agent_house import VICTIMS, AgentHouse
from tests.faults.agent_record import Effects, LeftByAgent, effects_of, left_by_agents
from tests.faults.conftest import recovered
from tests.faults.record import differences
from tests.faults.traps import set_trap

pytestmark = pytest.mark.sweep

EVENTS, CHANGES, MODEL_CALLS, EFFECTS = 80, 51, 14, 3
"""What the run and its subagents have: events, transactions, calls of models, and effects whose intent is recorded."""

STARTS = 3

PLACES = {
    "start:before": STARTS,  # the row of a run is there, its workflow is not
    "start:after": STARTS,  # the workflow is there, its starter does not know
    "change:after": CHANGES,  # committed, not acknowledged
    "model:before": MODEL_CALLS,  # on its way to the model, or to the reviewer
    "model:after": MODEL_CALLS,  # the model has answered, which is not recorded
    "intent:after": EFFECTS,  # about to happen
    "effect:before": EFFECTS,  # inside the tool, before the money moves
    "effect:after": EFFECTS,  # inside the tool, after it
    "outcome:before": EFFECTS,  # has happened, which is not recorded
    "outcome:after": EFFECTS,  # recorded, not acknowledged
}
"""The places inside worker and server at which they can die, and how often the run comes by."""

SEED = random.Random(20261122)
EVERY_CUT = [(number, victim) for number in range(1, EVENTS + 1) for victim in VICTIMS]
EVERY_TRAP = [(place, number) for place, last in PLACES.items() for number in range(1, last + 1)]
POINTS = {
    "all": {"cut": EVERY_CUT, "cut_again": EVERY_CUT, "trap": EVERY_TRAP},
    "sample": {  # each of the three dies: inside the tool it is the worker
        "cut": [(SEED.randint(1, EVENTS), "server")],
        "cut_again": [(SEED.randint(1, EVENTS), "temporal")],
        "trap": [("effect:after", SEED.randint(1, EFFECTS))],
    },
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test all its points, or the sample."""
    for name, chosen in POINTS[str(metafunc.config.getoption("--sweep"))].items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen, ids=lambda point: f"{point[0]}-{point[1]}")


@pytest.fixture(scope="module")
def agent_house(tmp_path_factory: pytest.TempPathFactory) -> Generator[AgentHouse]:
    """A server, a worker and a Temporal that can die one by one."""
    house = AgentHouse(tmp_path_factory.mktemp("agents") / "data")
    house.start()
    try:
        yield house
    finally:
        house.stop()


@pytest.fixture(scope="module")
def uncut_run(agent_house: AgentHouse) -> Ended:
    """A run that nothing has disturbed."""
    return drive_agent(agent_house)


@pytest.fixture(scope="module")
def uncut(agent_house: AgentHouse, uncut_run: Ended) -> list[LeftByAgent]:
    """What that run has left: what every other run must leave."""
    return left_by_agents(agent_house, uncut_run)


@pytest.fixture
def alive(agent_house: AgentHouse) -> Generator[AgentHouse]:
    """The house without a trap in it, with all its processes."""
    agent_house.trap.unlink(missing_ok=True)
    agent_house.restart_if_ended()
    yield agent_house
    agent_house.trap.unlink(missing_ok=True)


def test_the_sweep_has_as_many_points_as_the_run(agent_house: AgentHouse, uncut_run: Ended) -> None:
    def count(table: str, where: str = "1") -> int:
        query = f"SELECT count(*) AS n FROM {table} WHERE run_id IN {TREE} AND {where}"
        return agent_house.rows(query, uncut_run.run_id)[0]["n"]

    found = [count(table) for table in ("runs", "events", "changes", "effects")]
    assert found == [STARTS, EVENTS, CHANGES, EFFECTS]
    assert count("events", "type IN ('turn.finished', 'approval.reviewed')") == MODEL_CALLS


def test_an_agent_that_nothing_disturbs_settles_its_case(
    agent_house: AgentHouse, uncut_run: Ended, uncut: list[LeftByAgent]
) -> None:
    assert [(one.status, one.result) for one in uncut] == [
        ("completed", "<case> is settled"),
        ("completed", "the deposit is paid"),
        ("completed", "it is read"),
    ]
    assert [task[1] for task in uncut[0].tasks] == ["answered"]
    assert effects_of(agent_house, uncut_run) == Effects({70.0: 1, 30.0: 1, 5.0: 1}, unknown=False)


def check(
    house: AgentHouse,
    uncut: list[LeftByAgent],
    *,
    cut: Sequence[Cut] = (),
    trap: tuple[str, int] | None = None,
) -> None:
    """Cut a run and check what it has left."""
    if trap is not None:
        set_trap(house.trap, *trap)
    ended = drive_agent(house, cut=cut, deaths=0 if trap is None else 1)
    recovered.extend(ended.recovered)
    effects = effects_of(house, ended)
    found, expected = ([vars(one) for one in left] for left in (left_by_agents(house, ended), uncut))
    if effects.unknown:
        # What the model reads of it is longer than a receipt.
        expected[0] = {**expected[0], "spent": {**uncut[0].spent, "input_tokens": found[0]["spent"]["input_tokens"]}}
    assert differences(found, expected) == []
    blind = effects.paid.pop(5.0, 0)
    assert effects.paid == {70.0: 1, 30.0: 1}, "a tool that honours its key has not paid exactly once"
    assert blind == 1 or (blind == 0 and effects.unknown), "an effect was lost and nobody was told, or it was doubled"


def test_killed_after_an_event_the_agent_ends_as_it_would_have(
    alive: AgentHouse, uncut: list[LeftByAgent], cut: Cut
) -> None:
    check(alive, uncut, cut=[cut])


def test_killed_again_during_recovery_the_agent_ends_as_it_would_have(
    alive: AgentHouse, uncut: list[LeftByAgent], cut_again: Cut
) -> None:
    number, victim = cut_again
    check(alive, uncut, cut=[cut_again, (min(number + 1, EVENTS), victim)])


def test_killed_in_the_middle_of_a_step_the_agent_ends_as_it_would_have(
    alive: AgentHouse, uncut: list[LeftByAgent], trap: tuple[str, int]
) -> None:
    check(alive, uncut, trap=trap)
