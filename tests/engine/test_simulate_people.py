"""People in scenarios: quorums, ways that they choose, failures that they decide, verbs by hand; and years of time."""

from typing import Any

import pytest

from engine.process.definition import parse_definition
from engine.process.simulate import Played, play, play_all
from engine.process.simulate.clock import VirtualLoop

ACTORS = {
    "fay": {"roles": ["finance"]},
    "fin": {"roles": ["finance"]},
    "otto": {"roles": ["operator"]},
    "lea": {"roles": ["lead"]},
    "sam": {"roles": ["sales"]},
}
DAY = 24 * 3600


def process(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "process": "pay",
        "context": {
            "schema": {
                "type": "object",
                "properties": {"sum": {"type": "number"}, "ok": {"type": "object"}, "paid": {"type": "string"}},
            }
        },
        "start": "approve",
        "nodes": {
            "approve": {
                "type": "supervisor",
                "seat": {"roles": ["finance"]},
                "ask": {"title": "Pay?"},
                "decisions": ["yes", "no"],
                "quorum": 2,
                "deadline": "P200D",
                "remind_every": "P10D",
                "on_timeout": {"to": "late"},
                "writes": ["ok"],
                "next": [{"to": "pay", "when": {"==": [{"var": "ok.decision"}, "yes"]}}, {"to": "rejected"}],
            },
            "pay": {
                "type": "tool",
                "tool": "erp.pay",
                "writes": ["paid"],
                "next": [
                    {"to": "booked", "trigger": "user", "label": "book it"},
                    {"to": "watched", "trigger": "user", "when": {"==": [{"var": "paid"}, "large"]}},
                ],
            },
            "booked": {"type": "end", "outcome": "booked"},
            "watched": {"type": "end", "outcome": "watched"},
            "rejected": {"type": "end", "outcome": "rejected"},
            "late": {"type": "end", "outcome": "late"},
        },
        **changes,
    }


def only(scenario: dict[str, Any], **changes: Any) -> Played:
    made = process(**changes)
    definition = parse_definition({**made, "scenarios": [{"name": "s", "actors": ACTORS, **scenario}]})
    return play(definition, definition.scenarios[0])


AGREED = {
    "decision": "yes",
    "by": "fay",
    "elapsed": "PT1H",
    "also": [{"decision": "yes", "by": "fin", "elapsed": "PT3H"}],
}
PAID: dict[str, Any] = {"result": "small", "then": {"decision": "booked", "by": "otto", "elapsed": "PT2H"}}


def test_a_quorum_is_reached_by_different_people_and_a_way_is_chosen_by_a_person() -> None:
    played = only(
        {"fixtures": {"approve": AGREED, "pay": PAID}, "expect": {"outcome": "booked", "status": "completed"}}
    )
    assert played.problems == ()
    assert (played.path, played.seconds) == (("approve", "pay", "booked"), 5 * 3600)
    assert isinstance(played.context["ok"], dict)
    assert played.context["ok"]["by"] == "fin"


def test_one_person_is_not_a_quorum_however_often_they_answer() -> None:
    twice = {**AGREED, "also": [{"decision": "yes", "by": "fay", "elapsed": "PT3H", "refused": True}]}
    assert only({"fixtures": {"approve": twice}, "expect": {"outcome": "late"}}).problems == ()
    wrong = {**twice, "also": [{"decision": "yes", "by": "fay", "elapsed": "PT3H"}]}
    (problem,) = only({"fixtures": {"approve": wrong}}).problems
    assert problem.startswith("the decision 'yes' of fay is refused")


def test_what_should_be_refused_and_is_taken_fails_the_scenario() -> None:
    taken = {**AGREED, "also": [{"decision": "yes", "by": "fin", "refused": True}]}
    (problem,) = only({"fixtures": {"approve": taken, "pay": PAID}}).problems
    assert problem == "the decision 'yes' of fin should be refused, and was taken"


def test_votes_that_differ_wait_for_the_deadline() -> None:
    split = {**AGREED, "also": [{"decision": "no", "by": "fin", "elapsed": "PT3H"}]}
    played = only({"fixtures": {"approve": split}, "expect": {"outcome": "late", "tasks": ["approve"]}})
    assert (played.problems, played.seconds) == ((), 200 * DAY)


def test_a_way_whose_guard_does_not_hold_is_not_offered() -> None:
    closed = {"result": "small", "then": {"decision": "watched", "by": "otto"}}
    (problem,) = only({"fixtures": {"approve": AGREED, "pay": closed}}).problems
    assert problem.startswith("the decision 'watched' of otto is refused")
    opened = {"result": "large", "then": {"decision": "watched", "by": "otto"}}
    assert only({"fixtures": {"approve": AGREED, "pay": opened}, "expect": {"outcome": "watched"}}).problems == ()


def test_a_scenario_that_does_not_say_which_way_a_person_takes_is_told_so() -> None:
    (problem,) = only({"fixtures": {"approve": AGREED, "pay": {"result": "small"}}}).problems
    assert problem == "the scenario does not say what a person decides after pay; give `then`"


SUPERVISED = {"seat": {"roles": ["lead"]}, "may": ["retry", "skip"]}


def test_a_failure_is_put_to_the_seat_over_the_run_that_tries_again_or_goes_on_without() -> None:
    failed = {"error": "bank", "then": {"decision": "retry", "by": "lea", "elapsed": "PT1H"}}
    skip = {"decision": "skip", "by": "lea", "values": {"paid": "by hand"}}
    left = {"error": "bank", "then": [skip, {"decision": "booked", "by": "otto"}]}
    tasks = ["approve", "pay", "pay", "pay"]
    played = only(
        {
            "fixtures": {"approve": AGREED, "pay": [failed, left]},
            "expect": {"outcome": "booked", "context": {"paid": "by hand"}, "tasks": tasks},
        },
        supervision=SUPERVISED,
    )
    assert played.problems == ()
    short = {**left, "then": [skip]}
    (problem,) = only({"fixtures": {"approve": AGREED, "pay": [failed, short]}}, supervision=SUPERVISED).problems
    assert problem == "the scenario does not say what a person decides after pay; give `then`"


@pytest.mark.parametrize(
    ("operation", "expect"),
    [
        ({"action": "skip", "target": "approve", "values": {"ok": {"decision": "no"}}}, {"outcome": "rejected"}),
        ({"action": "advance", "target": "approve", "to": "late"}, {"outcome": "late"}),
        ({"action": "set_context", "values": {"sum": 7}}, {"outcome": "late", "context": {"sum": 7}}),
        ({"action": "cancel", "reason": "a mistake"}, {"status": "cancelled"}),
        ({"action": "stop"}, {"status": "cancelled"}),
    ],
)
def test_an_operator_steers_the_run_by_hand(operation: dict[str, Any], expect: dict[str, Any]) -> None:
    played = only({"operations": [{"after": "P1D", "by": "otto", **operation}], "expect": expect})
    assert played.problems == ()


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ({"by": "sam", "action": "skip", "target": "approve"}, "to skip approve by sam is refused: to skip this run"),
        ({"by": "otto", "action": "advance", "to": "paid"}, "to advance by otto is refused: no transition of approve"),
        ({"by": "max", "action": "pause"}, "the scenario has no actor 'max'"),
        ({"by": "otto", "action": "cancel", "refused": True}, "to cancel by otto should be refused, and was taken"),
        ({"by": "otto", "after": "P300D", "action": "pause"}, "the run was over before otto could pause after P300D"),
    ],
)  # fmt: skip
def test_what_the_engine_does_not_let_people_do_is_said(operation: dict[str, Any], problem: str) -> None:
    (found,) = only({"operations": [{"after": "P1D", **operation}]}).problems
    assert found.startswith(problem)
    if "is refused" in problem:
        expected = {"after": "P1D", **operation, "refused": True}
        assert only({"operations": [expected], "expect": {"outcome": "late"}}).problems == ()


def test_a_paused_run_goes_on_where_it_was_resumed() -> None:
    operations = [
        {"after": "PT30M", "by": "otto", "action": "pause"},
        {"after": "P2D", "by": "otto", "action": "resume"},
    ]
    played = only({"fixtures": {"approve": AGREED, "pay": PAID}, "operations": operations})
    assert (played.problems, played.seconds) == ((), 2 * DAY + 2 * 3600)


def rewound(**changes: Any) -> Played:
    """Pay, then go back before the payment, which is refunded, and pay again."""
    nodes = process()["nodes"]
    nodes["pay"]["compensate"] = "refund"
    nodes["refund"] = {"type": "tool", "tool": "erp.refund", "input": {"paid": {"var": "paid"}}}
    first = {**PAID, "then": {**PAID["then"], "refused": True}}
    again = {"result": "large", "then": {"decision": "watched", "by": "otto", "elapsed": "PT1H"}}
    scenario: dict[str, Any] = {
        "fixtures": {"approve": [AGREED, AGREED], "pay": [first, again], "refund": {"result": "refunded"}},
        "operations": [{"after": "PT4H", "by": "otto", "action": "rewind", "target": "pay", "reason": "too little"}],
        "expect": {"outcome": "watched", "context": {"paid": "large"}, "path": ["approve", "pay", "pay", "watched"]},
    }
    return only({**scenario, **changes}, nodes=nodes)


def test_an_operator_takes_the_run_back_and_it_is_undone_on_the_way() -> None:
    played = rewound()
    # What the person chose at the first payment came an hour after the run had gone back.
    assert (played.problems, played.seconds) == ((), 5 * 3600)
    assert played.tasks == ("approve", "pay", "pay")
    paid = {"result": "small", "then": {"decision": "booked", "by": "otto", "elapsed": "PT2H", "refused": True}}
    assert (
        rewound(fixtures={"approve": AGREED, "pay": paid})
        .problems[0]
        .startswith("the scenario has no fixture for refund")
    )


def test_going_back_further_asks_again_what_was_asked() -> None:
    operation = {"after": "PT4H", "by": "otto", "action": "rewind", "target": "approve"}
    expect = {"outcome": "watched", "path": ["approve", "pay", "approve", "pay", "watched"]}
    played = rewound(operations=[operation], expect=expect)
    assert (played.problems, played.seconds) == ((), (4 + 3 + 1) * 3600)
    assert played.tasks == ("approve", "pay", "approve", "pay")


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ({"target": "booked"}, "to rewind booked by otto is refused: 'booked' is no completed step"),
        ({"target": None}, "to rewind by otto is refused: the verb rewind needs a target"),
        ({"target": "pay", "by": "sam"}, "to rewind pay by sam is refused"),
    ],
)
def test_a_way_back_that_is_not_there_is_refused(operation: dict[str, Any], problem: str) -> None:
    order = {"after": "PT4H", "by": "otto", "action": "rewind", **operation}
    stays: dict[str, Any] = {"fixtures": {"approve": AGREED, "pay": PAID}, "expect": {"outcome": "booked"}}
    (found, *_) = rewound(operations=[order], **stays).problems
    assert found.startswith(problem)
    assert rewound(operations=[{**order, "refused": True}], **stays).problems == ()


def test_a_run_that_was_taken_back_is_paused_and_cancelled_like_any_other() -> None:
    back = {"after": "PT4H", "by": "otto", "action": "rewind", "target": "pay"}
    operations = [back, {"after": "PT270M", "by": "otto", "action": "cancel"}]
    fixtures = {
        "approve": AGREED,
        "pay": [{**PAID, "then": {**PAID["then"], "refused": True}}] * 2,
        "refund": {"result": "refunded"},
    }
    played = rewound(operations=operations, fixtures=fixtures, expect={"status": "cancelled"})
    assert played.problems == ()


def test_ways_that_people_choose_count_as_covered() -> None:
    scenarios = [
        {"fixtures": {"approve": AGREED, "pay": PAID}},
        {"fixtures": {"approve": AGREED, "pay": {"result": "large", "then": {"decision": "watched", "by": "otto"}}}},
        {"fixtures": {"approve": {**AGREED, "decision": "no", "also": [{"decision": "no", "by": "fin"}]}}},
        {},
    ]
    named = [{"name": f"s{number}", "actors": ACTORS, **one} for number, one in enumerate(scenarios)]
    report = play_all(parse_definition({**process(), "scenarios": named}))
    assert [one.problems for one in report.played if one.problems] == []
    assert report.coverage.whole, report.coverage


def test_years_pass_at_once_and_every_timer_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = VirtualLoop.look

    def counted(loop: VirtualLoop) -> bool:
        nonlocal looks
        looks += 1
        assert looks < 5_000, "the loop turns without time passing"
        return look(loop)

    monkeypatch.setattr(VirtualLoop, "look", counted)
    waits = {
        f"w{number}": {"type": "wait", "for": length, "next": [{"to": f"w{number + 1}"}]}
        for number, length in enumerate(["P97D", "P365D", "PT0.1S", "P1000D", "PT1S"])
    }
    last = {
        "w5": process()["nodes"]["approve"],
        **{name: process()["nodes"][name] for name in ("pay", "late", "booked")},
    }
    ends = {name: {"type": "end", "outcome": name} for name in ("watched", "rejected")}
    played = only({"expect": {"outcome": "late"}}, start="w0", nodes={**waits, **last, **ends})
    assert played.problems == ()
    assert played.seconds == pytest.approx((97 + 365 + 1000 + 200) * DAY + 1.1, abs=0.01)
