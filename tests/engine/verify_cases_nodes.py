"""Definitions with a finding and their twins without: of arms that write together, of typing and of single nodes."""

from tests.engine.verify_changes import (
    APPROVE,
    COMPLETE,
    DONE,
    PAY,
    REMOVED,
    Changes,
    agent,
    body,
    branch,
    foreach,
    guard,
    scripted,
    undone,
    var,
)

CASES: list[tuple[str, Changes, Changes]] = [
    ("parallel_write", {**branch(), "/nodes/split/arms/1/body": body("approval")}, branch()),
    (
        "parallel_write",
        {**branch(), "/nodes/split/arms/1/body": body("approval")},
        {**branch("first"), "/nodes/split/arms/1/body": body("approval")},
    ),
    ("guard_type", guard({"<": [var("total"), "1000"]}), guard({"<": [var("total"), 1000]})),
    ("guard_type", guard({"==": [var("supplier"), 5]}), guard({"==": [var("supplier"), "5"]})),
    (
        "guard_type",
        guard({"<": [{"+": [var("lines"), 1]}, 3]}, lines={"type": "array"}),
        guard({"<": [{"+": [{"length": [var("lines")]}, 1]}, 3]}, lines={"type": "array"}),
    ),
    (
        "guard_type",
        {f"{PAY}/input/invoice": {"cat": ["of ", {"var": "invoice"}]}},
        {f"{PAY}/input/invoice": {"cat": ["of ", var("total")]}},
    ),
    (
        "nullable_comparison",
        guard({"<": [var("total"), 5]}, total={"type": ["number", "null"]}),
        guard({"<": [var("total"), 5]}),
    ),
    (
        "never_equal",
        guard({"==": [var("risk"), "hihg"]}, risk=COMPLETE),
        guard({"==": [var("risk"), "high"]}, risk=COMPLETE),
    ),
    ("never_equal", {f"{APPROVE}/next/0/when": {"==": [{"var": "approval.decision"}, "aprove"]}}, {}),
    (
        "policy_counts",
        agent(policy=[{"tools": ["a"], "min_calls": 3, "max_calls": 2}]),
        agent(policy=[{"tools": ["a"], "min_calls": 1, "max_calls": 2}]),
    ),
    ("policy_tool", agent(tools=["b"], policy=[{"tools": ["a"]}]), agent(tools=["a"], policy=[{"tools": ["a"]}])),
    ("duplicate_arm", {**branch(), "/nodes/split/arms/1/name": "arm0"}, branch()),
    ("join_of_one", branch("first", "any", (True, None)), branch("first", "all", (True, None))),
    ("join_never", branch(join={"at_least": 3}), branch(join={"at_least": 2})),
    (
        "join_may_never",
        branch(join={"at_least": 2}, whens=(None, True)),
        branch(join={"at_least": 1}, whens=(None, True)),
    ),
    (
        "undeclared_write",
        foreach(collect={"into": "list", "fields": ["item"]}),
        foreach(collect={"into": "list", "fields": ["item"]}, writes=["list"]),
    ),
    (
        "undeclared_write",
        {PAY: {"type": "process", "process": "p", "returns": {"payment": 1}, "next": DONE}},
        {PAY: {"type": "process", "process": "p", "returns": {"payment": 1}, "writes": ["payment"], "next": DONE}},
    ),
    (
        "collect_unknown",
        foreach(collect={"into": "list", "fields": ["pay"]}, writes=["list"]),
        foreach(collect={"into": "list", "fields": ["payment"]}, writes=["list"]),
    ),
    ("empty_seat", {f"{APPROVE}/seat": {}}, {f"{APPROVE}/seat": {"agent": {"instructions": "Decide."}}}),
    ("empty_seat", {f"{APPROVE}/escalate/0/to": {}}, {}),
    ("no_deadline", {f"{APPROVE}/deadline": REMOVED}, {}),
    ("no_on_timeout", {f"{APPROVE}/on_timeout": REMOVED}, {}),
    (
        "no_on_timeout",
        {PAY: {"type": "wait", "event": {"name": "paid"}, "deadline": "P1D", "next": DONE}},
        {
            PAY: {
                "type": "wait",
                "event": {"name": "paid"},
                "deadline": "P1D",
                "on_timeout": {"to": "rejected"},
                "next": DONE,
            }
        },
    ),
    (
        "event_without_deadline",
        {PAY: {"type": "wait", "event": {"name": "paid"}, "next": DONE}},
        {PAY: {"type": "wait", "for": "P1D", "next": DONE}},
    ),
    ("duplicate_decision", {f"{APPROVE}/decisions": ["approve", "approve"]}, {}),
    (
        "quorum_never",
        {f"{APPROVE}/seat": {"users": ["ann"]}, f"{APPROVE}/quorum": 2},
        {f"{APPROVE}/seat": {"users": ["ann", "bob"]}, f"{APPROVE}/quorum": 2},
    ),
    ("escalation_never", {f"{APPROVE}/escalate/0/after": "P3D"}, {}),
    ("after_end", {"/nodes/done/next": [{"to": "rejected"}]}, {}),
    ("after_end", {"/nodes/done/writes": ["payment"]}, {}),
    ("compensation_end", undone(), undone({"type": "tool", "tool": "refund"}, by="undo")),
    ("compensation_end", undone({"type": "end"}, by="undo"), undone({"type": "tool", "tool": "refund"}, by="undo")),
    (
        "compensation_nested",
        undone({"type": "tool", "tool": "refund", "compensate": "pay"}, by="undo"),
        undone({"type": "tool", "tool": "refund"}, by="undo"),
    ),
    (
        "compensation_next",
        undone({"type": "tool", "tool": "refund", "next": [{"to": "done"}]}, by="undo"),
        undone({"type": "tool", "tool": "refund"}, by="undo"),
    ),
    (
        "read_before_assigned",
        undone({"type": "tool", "tool": "refund", "input": {"id": {"var": "approval"}}}, by="undo"),
        undone({"type": "tool", "tool": "refund", "input": {"id": {"var": "payment"}}}, by="undo"),
    ),
    ("script_syntax", scripted("{'payment': 1"), scripted("{'payment': 1}")),
    ("script_value", scripted("payment = 1"), scripted("payment = 1\n{'payment': payment}")),
    ("script_name", scripted("{'payment': 1}", **{"a-b": 1}), scripted("{'payment': 1}", a_b=1)),
]
