"""Definitions with a finding and their twins without: of the shape of a graph and the totality of its guards."""

from tests.engine.verify_changes import (
    APPROVE,
    COMPLETE,
    DONE,
    END,
    PAY,
    READ,
    REMOVED,
    Changes,
    agent,
    branch,
    loop,
    var,
    ways,
)

CASES: list[tuple[str, Changes, Changes]] = [
    ("unknown_target", {f"{PAY}/next/0/to": "nowhere"}, {}),
    (
        "unknown_target",
        {f"{PAY}/compensate": "nowhere"},
        {f"{PAY}/compensate": "undo", "/nodes/undo": {"type": "script", "code": "{}"}},
    ),
    ("unknown_start", {"/start": "nowhere"}, {"/start": "read"}),
    ("unreachable", {"/nodes/extra": END}, {"/nodes/extra": END, f"{READ}/on_error": [{"to": "extra"}]}),
    ("no_way_on", {f"{PAY}/next": REMOVED}, {}),
    (
        "no_end",
        {"/nodes/x": {"type": "wait", "for": "PT1S", "next": [{"to": "x"}]}, f"{APPROVE}/on_timeout/to": "x"},
        {"/nodes/x": {"type": "wait", "for": "PT1S", "next": DONE}, f"{APPROVE}/on_timeout/to": "x"},
    ),
    ("unbounded_loop", loop(), loop(max_visits=3)),
    (
        "unbounded_loop",
        {f"{PAY}/next": [{"to": "read"}], f"{READ}/next": [{"to": "pay"}, {"to": "done"}]},
        {f"{PAY}/next": [{"to": "read", "trigger": "user"}, {"to": "done", "trigger": "user"}]},
    ),
    ("default_not_last", {f"{READ}/next": [{"to": "approve"}, {"to": "pay"}]}, {}),
    ("default_not_last", branch("first", whens=(None, True)), branch("first", whens=(True, None))),
    ("trigger_without_agent", {f"{PAY}/next/0/trigger": "agent"}, agent(next=[{"to": "done", "trigger": "agent"}])),
    (
        "never_taken",
        ways({"<": [var("total"), 10]}, {"<": [var("total"), 5]}, None),
        ways({"<": [var("total"), 5]}, {"<": [var("total"), 10]}, None),
    ),
    ("never_taken", ways({"==": [1, 2]}, None), ways({"==": [var("total"), 2]}, None)),
    (
        "never_taken",
        {f"{READ}/on_error": [{"to": "done"}, {"to": "done", "match": ["timeout"]}]},
        {f"{READ}/on_error": [{"to": "done", "match": ["timeout"]}, {"to": "done"}]},
    ),
    (
        "not_total",
        ways({"<": [var("total"), 10]}, {">": [var("total"), 10]}),
        ways({"<=": [var("total"), 10]}, {">": [var("total"), 10]}),
    ),
    (
        "not_total",
        ways(
            {"==": [var("risk"), "low"]},
            {"==": [var("risk"), "medium"]},
            risk={"type": "string", "enum": ["low", "medium", "high"]},
        ),
        ways({"==": [var("risk"), "low"]}, {"==": [var("risk"), "high"]}, risk=COMPLETE),
    ),
    (
        "not_total",
        ways({"==": [var("supplier"), "a"]}, {"in": [var("supplier"), ["b", "c"]]}),
        ways({"==": [var("supplier"), "a"]}, {"!": [{"==": [var("supplier"), "a"]}]}),
    ),
    (
        "not_total",
        ways({"and": [var("paid"), {"<": [var("total"), 3]}]}, {"!": [var("paid")]}, paid={"type": "boolean"}),
        ways(
            {"and": [var("paid"), {"<": [var("total"), 3]}]},
            {"or": [{"!": [var("paid")]}, {">=": [var("total"), 3]}]},
            paid={"type": "boolean"},
        ),
    ),
    (
        "not_total",
        {f"{APPROVE}/next/1": {"to": "rejected", "when": {"==": [{"var": "approval.decision"}, "approve"]}}},
        {f"{APPROVE}/next/1": {"to": "rejected", "when": {"==": [{"var": "approval.decision"}, "reject"]}}},
    ),
    (
        "no_default",
        ways({"<": [{"+": [var("total"), 1]}, 10]}, {">=": [{"+": [var("total"), 1]}, 10]}),
        ways({"<": [{"+": [var("total"), 1]}, 10]}, None),
    ),
]
