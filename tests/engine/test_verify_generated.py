"""The verifier against definitions that are sound by construction, and against the same with one defect each."""

from collections import Counter
from copy import deepcopy
from random import Random

import pytest

from engine.process.definition import parse_definition
from engine.process.verify import verify
from tests.engine import generated_faults_flow, generated_faults_nodes
from tests.engine.generated import EVERY, generated
from tests.engine.generated_faults import Fault, places
from tests.engine.generated_values import Node

FAULTS = [*generated_faults_flow.FAULTS, *generated_faults_nodes.FAULTS]
DEFINITIONS = [generated(seed) for seed in range(20)]
SAMPLE = 250
ALL = 10_000


def found_in(definition: Node) -> set[str]:
    return {finding.code for finding in verify(parse_definition(definition))}


def missed(fault: Fault, seed: int, definition: Node) -> str | None:
    """Return "" where the fault is found, what was found instead where it is not, None where it fits nowhere."""
    changed = deepcopy(definition)
    if not fault.seed(changed, Random(seed)):
        return None
    codes = found_in(changed)
    return (
        "" if codes & fault.codes else f"seed {seed}: {fault.name} should be {sorted(fault.codes)}, not {sorted(codes)}"
    )


def test_definitions_that_are_sound_by_construction_have_no_finding() -> None:
    alarms = {seed: codes for seed in range(SAMPLE) if (codes := found_in(generated(seed)))}
    assert alarms == {}


def test_the_generated_definitions_hold_every_node_type_and_every_way_to_go_on() -> None:
    nodes = [place for seed in range(60) for place in places(generated(seed))]
    assert {place.node["type"] for place in nodes} == {*EVERY, "end"}
    assert {"next", "on_error", "on_timeout", "compensate", "max_visits"} <= {key for one in nodes for key in one.node}
    assert {way.get("trigger", "auto") for one in nodes for way in one.node.get("next", ())} == {
        "auto",
        "agent",
        "user",
    }
    assert any(one.nested for one in nodes)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_seeded_defect_is_found_by_its_code(fault: Fault) -> None:
    results = [missed(fault, seed, DEFINITIONS[seed]) for seed in range(len(DEFINITIONS))]
    tried = [result for result in results if result is not None]
    assert tried, "the fault fits none of the definitions"
    assert [result for result in tried if result] == []


@pytest.mark.sweep
def test_of_ten_thousand_no_sound_one_raises_an_alarm_and_no_defect_is_missed(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if request.config.getoption("--sweep") != "all":
        pytest.skip("the ten thousand run with --sweep=all (make sweep)")
    seeded, found, alarms, misses = Counter[str](), Counter[str](), Counter[str](), list[str]()
    nodes = 0
    for seed in range(ALL):
        definition = generated(seed)
        nodes += sum(1 for _ in places(definition))
        alarms.update(found_in(definition))
        # Each kind of defect has its turn.
        fault = FAULTS[seed % len(FAULTS)]
        said = missed(fault, seed, definition)
        seeded[fault.name] += said is not None
        found[fault.name] += said == ""
        misses += [said] if said else []
    with capsys.disabled():
        print(f"\n{ALL} sound definitions, {nodes} nodes: {alarms.total()} false alarms")
        print(f"{seeded.total()} seeded defects of {len(FAULTS)} kinds: {found.total()} found")
        for fault in FAULTS:
            print(f"  {fault.name:40} {found[fault.name]:5} of {seeded[fault.name]:5}")
    assert not alarms
    assert not misses, misses[:20]
