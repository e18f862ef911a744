"""Scenarios: a process is played by the real engine, without models, network or real time."""

from typing import Any

import pytest

from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.simulate import Played, play, play_all

PAY: dict[str, Any] = {
    "format": 1,
    "process": "pay",
    "input": {"type": "object"},
    "context": {
        "schema": {
            "type": "object",
            "properties": {"sum": {"type": "number"}, "ok": {"type": "object"}, "paid": {"type": "string"}},
        }
    },
    "start": "read",
    "nodes": {
        "read": {
            "type": "tool",
            "tool": "erp.read",
            "writes": ["sum"],
            "next": [{"to": "pay", "when": {"<=": [{"var": "sum"}, 1000]}}, {"to": "approve"}],
        },
        "approve": {
            "type": "supervisor",
            "seat": {"roles": ["finance"]},
            "ask": {"title": "Pay {{sum}}?"},
            "decisions": ["yes", "no"],
            "deadline": "P2D",
            "escalate": [{"after": "P1D", "to": {"roles": ["cfo"]}}],
            "on_timeout": {"to": "rejected"},
            "writes": ["ok"],
            "next": [{"to": "pay", "when": {"==": [{"var": "ok.decision"}, "yes"]}}, {"to": "rejected"}],
        },
        "pay": {
            "type": "tool",
            "tool": "erp.pay",
            "writes": ["paid"],
            "on_error": [{"to": "rejected", "match": ["bank"]}],
            "next": [{"to": "done"}],
        },
        "done": {"type": "end", "outcome": "paid", "output": {"var": "paid"}},
        "rejected": {"type": "end", "outcome": "rejected"},
    },
}
ACTORS = {"fay": {"roles": ["finance"]}, "cleo": {"roles": ["cfo"]}, "sam": {"roles": ["sales"]}}
SMALL = {"read": {"result": 10}, "pay": {"result": "p-1"}}
LARGE = {"read": {"result": 5000}, "pay": {"result": "p-1"}}


def process(*scenarios: dict[str, Any], **changes: Any) -> ProcessDefinition:
    named = [{"name": f"s{number}", **one} for number, one in enumerate(scenarios)]
    return parse_definition({**PAY, "scenarios": named, **changes})


def only(scenario: dict[str, Any], **changes: Any) -> Played:
    definition = process(scenario, **changes)
    return play(definition, definition.scenarios[0])


def test_a_scenario_goes_the_way_its_fixtures_lead_and_writes_what_they_give() -> None:
    played = only({"fixtures": SMALL, "expect": {"path": ["read", "pay", "done"], "outcome": "paid"}})
    assert played.problems == ()
    assert (played.status, played.output, played.context) == ("completed", "p-1", {"sum": 10, "paid": "p-1"})
    (guard,) = [guard for step in played.steps for guard in step.guards]
    assert isinstance(guard, dict)
    assert (guard["to"], guard["holds"]) == ("pay", True)
    assert "10" in str(guard["trace"])


def test_an_actor_decides_after_the_time_that_the_scenario_gives() -> None:
    decided = {"decision": "yes", "by": "fay", "elapsed": "PT5H"}
    played = only({"actors": ACTORS, "fixtures": {**LARGE, "approve": decided}, "expect": {"tasks": ["approve"]}})
    assert (played.problems, played.outcome, played.seconds) == ((), "paid", 5 * 3600)
    assert isinstance(played.context["ok"], dict)
    assert (played.context["ok"]["decision"], played.context["ok"]["by"]) == ("yes", "fay")


def test_where_nobody_decides_the_deadline_passes() -> None:
    played = only({"fixtures": LARGE, "expect": {"outcome": "rejected"}})
    assert (played.problems, played.seconds) == ((), 2 * 24 * 3600)


@pytest.mark.parametrize(
    ("hours", "problem"), [(30, ""), (20, 'cleo has no seat at approve; it is {"roles":["finance"]}')]
)
def test_a_seat_admits_whom_it_was_escalated_to_and_not_before(hours: int, problem: str) -> None:
    decided = {"decision": "yes", "by": "cleo", "elapsed": f"PT{hours}H"}
    played = only({"actors": ACTORS, "fixtures": {**LARGE, "approve": decided}})
    assert played.problems == ((problem,) if problem else ())


@pytest.mark.parametrize(
    ("scenario", "problem"),
    [
        ({"fixtures": {"read": {"result": 10}}}, "the scenario has no fixture for pay; give its result or its error"),
        ({"fixtures": {**LARGE, "approve": {"decision": "yes", "by": "max"}}}, "the scenario has no actor 'max'"),
        ({"fixtures": {**LARGE, "approve": {"decision": "maybe"}}}, "the decision 'maybe'"),
        ({"fixtures": {**SMALL, "read": []}}, "the scenario has 0 fixtures for read, which came 1 times"),
        ({"fixtures": {**SMALL, "read": {"result": "ten"}}}, "the run failed: invalid_output"),
        ({"fixtures": {**SMALL, "pay": {"error": "fire"}}}, "the run failed: fire"),
        ({"fixtures": SMALL, "expect": {"outcome": "rejected"}}, "the outcome should be 'rejected', and it"),
        ({"fixtures": SMALL, "expect": {"path": ["read", "approve"]}}, "step 2 of the path should be approve, not pay"),
        ({"fixtures": SMALL, "expect": {"path": ["read", "pay"]}}, "step 3 of the path should be the end, not done"),
        ({"fixtures": SMALL, "expect": {"context": {"sum": 11}}}, "'sum' in the context should be 11, and is 10"),
        ({"fixtures": SMALL, "expect": {"context": {"ok": {}}}}, "the context should have 'ok': nothing was written"),
        ({"fixtures": SMALL, "expect": {"tasks": ["approve"]}}, "the tasks should be those of ['approve']"),
        ({"fixtures": SMALL, "expect": {"error": "bank"}}, "the run should fail with 'bank', and it ended with 'paid'"),
    ],
)  # fmt: skip
def test_what_was_not_as_expected_is_said(scenario: dict[str, Any], problem: str) -> None:
    played = only(scenario)
    assert not played.passed
    assert played.problems[0].startswith(problem)


def test_a_failure_takes_the_way_of_its_kind_or_ends_the_run_as_expected() -> None:
    fixtures = {**SMALL, "pay": {"error": "bank"}}
    assert only({"fixtures": fixtures, "expect": {"outcome": "rejected"}}).passed
    assert only({"fixtures": {**SMALL, "pay": {"error": "fire"}}, "expect": {"error": "fire"}}).passed


def test_a_node_that_takes_longer_than_it_may_is_out_of_time() -> None:
    slow = {**SMALL, "pay": {"result": "p-1", "elapsed": "PT2H"}}
    played = only({"fixtures": slow, "expect": {"error": "timeout"}}, defaults={"timeout": "PT1H"})
    assert (played.problems, played.seconds) == ((), 3600)


def test_the_scenarios_together_cover_nodes_transitions_and_guards_both_ways() -> None:
    yes, no = ({"fixtures": {**LARGE, "approve": {"decision": word}}} for word in ("yes", "no"))
    report = play_all(process({"fixtures": SMALL}, yes, no))
    assert report.passed
    assert report.coverage.nodes.missing == ()
    assert report.coverage.guards.missing == ()
    assert report.coverage.transitions.missing == ("/nodes/approve/on_timeout", "/nodes/pay/on_error/0")
    assert report.coverage.transitions.percent == pytest.approx(71.4)
    nobody, bank = {"fixtures": LARGE}, {"fixtures": {**SMALL, "pay": {"error": "bank"}}}
    assert play_all(process({"fixtures": SMALL}, yes, no, nobody, bank)).coverage.whole
    first = play_all(process({"fixtures": SMALL})).coverage
    assert first.nodes.missing == ("/nodes/approve", "/nodes/rejected")
    assert "/nodes/read/next/0/when false" in first.guards.missing


NESTED: dict[str, Any] = {
    "format": 1,
    "process": "many",
    "context": {
        "schema": {
            "type": "object",
            "properties": {"items": {"type": "array"}, "all": {"type": "array"}, "left": {}, "right": {}, "made": {}},
        }
    },
    "start": "each",
    "nodes": {
        "each": {
            "type": "foreach",
            "items": {"var": "items"},
            "as": "one",
            "on_error": "collect",
            "collect": {"into": "all", "fields": ["made"]},
            "writes": ["all"],
            "body": {"start": "make", "nodes": {"make": {"type": "tool", "tool": "m.make", "writes": ["made"]}}},
            "next": [{"to": "race"}],
        },
        "race": {
            "type": "branch",
            "take": "every",
            "join": "any",
            "arms": [
                {"name": "left", "body": {"start": "l", "nodes": {"l": {"type": "wait", "for": "P1D"}}}},
                {
                    "name": "right",
                    "body": {
                        "start": "r",
                        "nodes": {
                            "r": {"type": "wait", "event": {"name": "came"}, "writes": ["right"], "deadline": "P9D"}
                        },
                    },
                },
            ],
            "next": [{"to": "sub"}],
        },
        "sub": {"type": "process", "process": "other", "writes": ["left"], "next": [{"to": "end"}]},
        "end": {"type": "end"},
    },
}


def test_items_arms_events_and_children_are_played_and_covered() -> None:
    scenario = {
        "name": "all",
        "input": {"items": [1, 2, 3]},
        "fixtures": {
            "make": [{"result": "a"}, {"error": "broken"}, {"result": "c"}],
            "r": {"result": {"at": "noon"}, "elapsed": "PT2H"},
            "sub": {"result": {"outcome": "done", "output": 7}, "elapsed": "PT1H"},
        },
        "expect": {"path": ["each", "race", "sub", "end"], "context": {"right": {"at": "noon"}, "left": 7}},
    }
    report = play_all(parse_definition({**NESTED, "scenarios": [scenario]}))
    (played,) = report.played
    assert (played.problems, played.seconds) == ((), 3 * 3600)
    made, failed, last = played.context["all"]  # type: ignore[misc]
    assert (made, last) == ({"made": "a"}, {"made": "c"})
    assert failed["error"]["kind"] == "broken"  # type: ignore[index,call-overload]
    assert report.coverage.nodes.missing == ("/nodes/race/arms/0/body/nodes/l",)


def test_what_waits_for_ever_is_said_and_not_waited_for() -> None:
    nodes = {"a": {"type": "wait", "event": {"name": "never"}, "next": [{"to": "b"}]}, "b": {"type": "end"}}
    definition = parse_definition(
        {"format": 1, "process": "p", "start": "a", "nodes": nodes, "scenarios": [{"name": "s"}]}
    )
    (played,) = play_all(definition).played
    assert played.status == "unfinished"
    assert played.problems == ("the scenario has no event for a, and its wait has no deadline",)


def test_an_event_that_the_engine_refuses_is_the_scenario_s_fault_and_no_failure_of_the_run() -> None:
    waiting = {
        "type": "wait",
        "event": {"name": "paid"},
        "deadline": "P1D",
        "on_timeout": {"to": "b"},
        "writes": ["sum"],
    }
    schema = {"type": "object", "properties": {"sum": {"type": "object", "required": ["total"]}}}
    definition = parse_definition(
        {
            "format": 1,
            "process": "p",
            "context": {"schema": schema},
            "start": "a",
            "nodes": {"a": {**waiting, "next": [{"to": "b"}]}, "b": {"type": "end"}},
            "scenarios": [
                {"name": "wrong", "fixtures": {"a": {"result": {"sum": 7}}}},
                {"name": "right", "fixtures": {"a": {"result": {"total": 7}}}},
            ],
        }
    )
    wrong, right = play_all(definition).played
    assert (wrong.status, wrong.error) == ("unfinished", None)
    assert wrong.problems[0].startswith("the event for a is refused: the payload of 'paid' does not fit what a writes")
    assert (right.problems, right.context) == ((), {"sum": {"total": 7}})


def test_the_same_scenario_is_played_alike_every_time() -> None:
    definition = process({"fixtures": LARGE}, {"fixtures": SMALL})
    assert play_all(definition) == play_all(definition)
