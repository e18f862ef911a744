"""The engine against a small model of it, and the promise of the verifier: what has no finding comes to an end.

Definitions, results, faults, decisions, events, timers and pauses are drawn. Everyone who answers answers twice, and
with what nobody asked, and after the deadline. The engine is the real one, mostly in virtual time.
"""

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from engine.process.definition import parse_definition
from engine.process.nodes import NODE_TYPES
from engine.process.run.flow import EXECUTORS
from engine.process.verify import verify
from engine.values import Principal
from tests.engine.generated import generated
from tests.engine.generated_changes import changed
from tests.engine.generated_values import Node
from tests.processes.engine_machine import run_engine
from tests.processes.engine_machine_house import KINDS, AtOnce, run_on_temporal
from tests.processes.engine_machine_model import Model
from tests.processes.engine_machine_plan import ERRORS, Plan
from tests.server.engine_house import EngineHouse

DECLARED = {None, *ERRORS, "max_visits", "timeout"}
"""How a run may fail: by what a node was given, by a count or by a deadline that the definition sets."""

SEEDS = st.integers(min_value=0, max_value=2**32)


def drawn(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
    )


def shown(context: dict[str, Any]) -> dict[str, Any]:
    """Return a context in which an error of an item is only its kind."""
    return {key: [_row(one) for one in value] if isinstance(value, list) else value for key, value in context.items()}


def _row(row: Any) -> Any:
    error = row.get("error") if isinstance(row, dict) else None
    return {**row, "error": error["kind"]} if isinstance(error, dict) else row


def agrees(seed: int) -> None:
    definition = generated(seed)
    plan = Plan(seed, definition)
    model = Model(definition, plan)
    outcome, error = model.run()
    ran = run_engine(definition, plan)
    assert ran.wrong == ()
    assert (ran.outcome, ran.error, ran.path) == (outcome, error, tuple(model.path))
    assert shown(ran.context) == model.context
    assert ran.status == ("completed" if outcome else "failed")
    if outcome:
        assert ran.seconds == pytest.approx(model.clock.now, abs=0.01)


def ends(seed: int, changes: int) -> None:
    definition = changed(generated(seed), Random(seed), changes) if changes else generated(seed)
    assume(not _findings(definition))
    ran = run_engine(definition, Plan(seed, definition))
    assert ran.error in DECLARED, f"seed {seed}, {changes} changes: {ran.error} at {ran.path[-1:]}"
    assert ran.status == ("failed" if ran.error else "completed")


def _findings(definition: Node) -> list[Any]:
    return verify(parse_definition(definition))


@drawn(60)
@given(SEEDS)
def test_the_engine_goes_the_way_of_the_model(seed: int) -> None:
    agrees(seed)


@pytest.mark.parametrize("seed", [580435377, 1967786788, 3692314298, 1104017825, 1479133620, 2135498514, 1596])
def test_the_engine_goes_the_way_of_the_model_where_it_once_did_not(seed: int) -> None:
    agrees(seed)


@drawn(40)
@given(SEEDS, st.integers(0, 3))
@example(11708712, 3)
def test_a_definition_without_findings_comes_to_an_end_or_to_a_declared_failure(seed: int, changes: int) -> None:
    ends(seed, changes)


@pytest.mark.sweep
def test_so_it_is_in_thousands_of_runs(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--sweep") != "all":
        pytest.skip("the thousands run with --sweep=all (make sweep)")
    drawn(10_000)(given(SEEDS)(agrees))()
    drawn(5_000)(given(SEEDS, st.integers(1, 3))(ends))()


def test_the_stories_have_ends_failures_deadlines_pauses_and_choices() -> None:
    seen: set[str] = set()
    for seed in range(60):
        definition = generated(seed)
        plan = Plan(seed, definition)
        model = Model(definition, plan)
        _, error = model.run()
        seen |= {"paused"} if plan.pause and plan.pause[0] < model.clock.now else set()
        seen |= {error or "ended"} | {key.partition("/")[2] for key in model.came}
        seen |= {"again"} if any(name.startswith("again") for name in model.path) else set()
        seen |= {"late"} if any(plan.at(name, 1).seconds > 200_000 for name in model.came if "/" not in name) else set()
    assert {"ended", *ERRORS, "max_visits", "paused", "chosen", "again", "late"} <= seen


def test_every_node_type_is_carried_out() -> None:
    assert set(EXECUTORS) == set(NODE_TYPES)


@pytest.mark.anyio
@pytest.mark.parametrize("seed", [3, 8, 21])
async def test_on_temporal_the_engine_goes_the_way_of_the_model(
    skipping: EngineHouse, alice: Principal, seed: int
) -> None:
    definition = generated(seed, KINDS)
    model = Model(definition, AtOnce(seed, definition))
    outcome, error = model.run()
    ran = await run_on_temporal(skipping, alice, definition, AtOnce(seed, definition))
    assert (ran.outcome, ran.error, ran.path) == (outcome, error, tuple(model.path))
    assert _by_whom(shown(ran.context)) == _by_whom(model.context)


def _by_whom(context: dict[str, Any]) -> dict[str, Any]:
    """Return a context without who has decided: on Temporal it is one and the same person."""
    return {key: {**value, "by": ""} if key.startswith("verdict") else value for key, value in context.items()}
