"""The verifier: where findings stand and what they say, bodies, result schemas and the worst case."""

import pytest

from engine.process.definition import parse_definition
from engine.process.verify import Finding, KnownNames, bounds, has_errors, verify, writes_schema
from tests.engine.verify_changes import (
    APPROVE,
    DONE,
    PAY,
    READ,
    REMOVED,
    Changes,
    agent,
    body,
    branch,
    foreach,
    invoice,
    loop,
    var,
    ways,
)


def findings(changes: Changes | None = None, names: KnownNames | None = None) -> list[Finding]:
    return verify(parse_definition(invoice(changes)), names)


KNOWN = KnownNames(
    interactions=frozenset({"extract_invoice"}),
    tools=frozenset({"erp.pay"}),
    skills=frozenset({"research"}),
    processes=frozenset({"archive"}),
)


def test_the_example_of_the_format_has_no_finding() -> None:
    assert findings() == []
    assert findings(names=KNOWN) == []


def test_findings_name_the_place_and_the_counterexample() -> None:
    found = findings(ways({"<": [var("total"), 10]}, {">": [var("total"), 10]}))
    (finding,) = [one for one in found if one.code == "not_total"]
    assert (finding.path, finding.severity) == ("/nodes/read/next", "error")
    assert "invoice.total = 10" in finding.message
    assert has_errors(found)
    assert not has_errors([])


def test_bodies_are_verified_like_the_process_itself() -> None:
    changes = branch()
    changes["/nodes/split/arms/1/body"] = body("payment", next=[{"to": "nowhere"}], input={"x": {"var": "nothing"}})
    assert {(one.code, one.path) for one in findings(changes)} >= {
        ("unknown_target", "/nodes/split/arms/1/body/nodes/a/next/0/to"),
        ("unknown_name", "/nodes/split/arms/1/body/nodes/a/input/x"),
    }


def test_what_every_arm_of_a_choice_writes_is_assigned_after_it() -> None:
    both = {
        **branch("first", whens=({"<": [var("total"), 5]}, None)),
        "/nodes/split/arms/1/body": body("approval"),
        f"{PAY}/input/invoice": {"var": "approval"},
        f"{READ}/next": [{"to": "approve"}],
        f"{APPROVE}/writes": [],
    }
    assert "read_before_assigned" not in [one.code for one in findings({**both, f"{APPROVE}/ask/title": "t"})]
    either = {**both, "/nodes/split/arms/1/body": body("payment")}
    assert "read_before_assigned" in [one.code for one in findings(either)]


def test_the_result_schema_is_what_a_node_writes_within_the_schema_of_the_context() -> None:
    definition = parse_definition(invoice())
    assert writes_schema(definition, definition.nodes["approve"]) == {
        "type": "object",
        "properties": {"approval": {"type": "object", "properties": {"decision": {"type": "string"}}}},
        "required": ["approval"],
        "additionalProperties": False,
    }


def test_the_worst_case_adds_up_along_the_dearest_way() -> None:
    worst = bounds(parse_definition(invoice()))
    # Three attempts of five minutes with pauses of 1 s and 2 s, twice, and two days for the person.
    assert worst.model_dump() == {"model_calls": 3, "usd": 6.0, "seconds": 2 * (900 + 3) + 172_800, "unbounded": ()}


def test_loops_and_items_multiply_the_worst_case() -> None:
    looped = bounds(parse_definition(invoice(loop(max_visits=4))))
    assert (looped.model_calls, looped.usd) == (12, 24.0)
    call = {"type": "interaction", "interaction": "i", "retry": {"max_attempts": 1}}
    each = foreach(items={"var": "list"}, max_concurrency=2, body={"start": "a", "nodes": {"a": call}})
    counted = bounds(parse_definition(invoice(each)))
    assert (counted.model_calls, counted.usd, counted.seconds) == (10, 20.0, 2 * 903 + 172_800 + 4 * 300)


@pytest.mark.parametrize(
    ("changes", "dimension", "path"),
    [
        ({"/defaults/budget": REMOVED}, "usd", READ),
        (agent(), "model_calls", PAY),
        ({f"{APPROVE}/deadline": REMOVED}, "seconds", APPROVE),
        ({PAY: {"type": "process", "process": "p", "next": DONE}}, "usd", PAY),
        (loop(), "model_calls", PAY),
        (foreach(items={"var": "document_id"}), "seconds", "/nodes/each"),
    ],
)
def test_without_a_bound_the_node_to_blame_is_named(changes: Changes, dimension: str, path: str) -> None:
    worst = bounds(parse_definition(invoice(changes)))
    assert worst.model_dump()[dimension] is None
    assert (dimension, path) in [(one.dimension, one.path) for one in worst.unbounded]


def test_bodies_nested_many_times_are_verified_without_growing_costs() -> None:
    inner: Changes = body("payment")
    for _ in range(8):
        inner = {
            "start": "b",
            "nodes": {"b": {"type": "branch", "take": "every", "arms": [{"name": "only", "body": inner}]}},
        }
    changes = {**branch(), "/nodes/split/arms/1/body": inner}
    assert not has_errors(findings(changes))
