"""Definitions with a finding and their twins without: of what nodes choose, hold and need, and of the input."""

from typing import Any

from tests.engine.verify_changes import (
    APPROVE,
    DONE,
    KEY,
    PAY,
    READ,
    Changes,
    agent,
    body,
    branch,
    foreach,
    var,
)

SMALL, LARGE = {"<": [{"var": "invoice.total"}, 10]}, {">=": [{"var": "invoice.total"}, 10]}
UNSHOWN = {"<": [{"+": [{"var": "invoice.total"}, 1]}, 10]}


def decided(*ways: Changes) -> Changes:
    return {f"{APPROVE}/next": list(ways)}


def chosen(to: str, **fields: Any) -> Changes:
    return {"to": to, "trigger": "agent", **fields}


def offered(to: str, when: Any = None) -> Changes:
    return {"to": to, "trigger": "user", **({} if when is None else {"when": when})}


def waiting(**fields: Any) -> Changes:
    return {PAY: {"type": "wait", "next": DONE, **fields}}


def told(*writes: str) -> Changes:
    return waiting(event={"name": "paid"}, deadline="P1D", on_timeout={"to": "rejected"}, writes=list(writes))


def child(**fields: Any) -> Changes:
    return {PAY: {"type": "process", "process": "p", "writes": ["payment"], "next": DONE, **fields}}


def approval(**fields: Any) -> Changes:
    return {f"{KEY}/approval": {"type": "object", **fields}}


def asking(*writes: str, form: Changes) -> Changes:
    """Return a question whose form may give the payment, which the tool after it reads."""
    return {f"{APPROVE}/writes": list(writes), f"{APPROVE}/ask/form": form, f"{PAY}/input/invoice": {"var": "invoice"}}


PAID = {"type": "object", "properties": {"payment": {"type": "object"}}}
NESTED = {"start": "b", "nodes": {"b": {"type": "branch", "arms": [{"name": "only", "body": body("payment")}]}}}
DECIDES = {"decision": {"type": "string", "enum": ["approve", "reject"]}}
BOTH = {**DECIDES, "by": {"type": "string"}, "comment": {"type": "string"}}

CASES: list[tuple[str, Changes, Changes]] = [
    ("not_total", branch("first", whens=(SMALL, {">": [var("total"), 10]})), branch("first", whens=(SMALL, LARGE))),
    ("not_total", branch(whens=(SMALL, SMALL)), branch(whens=(SMALL, None))),
    (
        "not_total",
        branch("first", whens=(SMALL, SMALL)),
        branch("first", whens=(SMALL, SMALL), on_error=[{"to": "rejected", "match": ["no_arm"]}]),
    ),
    ("no_default", branch("first", whens=(UNSHOWN, UNSHOWN)), branch("first", whens=(UNSHOWN, None))),
    ("never_taken", branch("first", whens=(SMALL, SMALL)), branch("every", whens=(SMALL, SMALL))),
    ("not_total", decided(chosen("pay")), {**decided(chosen("pay")), f"{APPROVE}/decisions": ["pay"]}),
    (
        "not_total",
        decided(chosen("pay", when=SMALL), chosen("rejected")),
        decided(chosen("pay", when=SMALL), chosen("rejected"), {"to": "rejected"}),
    ),
    ("not_total", agent(next=[chosen("done", when=SMALL)]), agent(next=[chosen("done", when=SMALL), {"to": "done"}])),
    (
        "not_total",
        {f"{PAY}/next": [offered("done", SMALL)]},
        {f"{PAY}/next": [offered("done", SMALL), offered("done")]},
    ),
    (
        "never_taken",
        {f"{PAY}/next": [offered("done"), {"to": "rejected"}]},
        {f"{PAY}/next": [offered("done", SMALL), {"to": "rejected"}]},
    ),
    (
        "never_equal",
        {f"{APPROVE}/next/0/when": {"==": [{"var": "approval.decision"}, "other"]}},
        {
            f"{APPROVE}/next/0/to": "again",
            "/nodes/again": {"type": "end", "output": {"==": [{"var": "approval.decision"}, "other"]}},
            "/context/initial": {"approval": {"decision": "other"}},
        },
    ),
    (
        "wrong_type",
        foreach(items={"var": "invoice.total"}),
        foreach(items={"var": "list"}, **{"as": "one"}) | {"/context/initial": {"list": []}},
    ),
    ("wrong_type", waiting(until={"var": "invoice.total"}), waiting(until={"var": "document_id"})),
    (
        "wrong_type",
        {**told("payment"), f"{KEY}/payment": {"type": "boolean"}},
        {**told("payment", "list"), f"{KEY}/payment": {"type": "boolean"}},
    ),
    ("wrong_type", {**told("payment"), f"{KEY}/payment": {"type": "boolean"}}, told("payment")),
    (
        "wrong_type",
        foreach(collect={"into": "payment", "fields": ["item"]}, writes=["payment"]),
        foreach(collect={"into": "list", "fields": ["item"]}, writes=["list"]),
    ),
    ("decision_refused", {f"{KEY}/approval": {"type": "string"}}, approval()),
    (
        "decision_refused",
        approval(properties=DECIDES, additionalProperties=False),
        approval(properties=BOTH, additionalProperties=False),
    ),
    (
        "decision_refused",
        approval(properties={"decision": {"type": "string", "enum": ["approve"]}}),
        approval(properties=DECIDES),
    ),
    ("never_written", waiting(**{"for": "P1D"}, writes=["payment"]), waiting(event={"name": "e"}, writes=["payment"])),
    ("never_written", asking("approval", "payment", form={"type": "object"}), asking("approval", "payment", form=PAID)),
    ("never_written", child(returns={"payment": 1}, writes=["payment", "approval"]), child(returns={"payment": 1})),
    (
        "read_before_assigned",
        {
            **asking("approval", "payment", form=PAID),
            f"{PAY}/input/invoice": {"var": "payment"},
            f"{READ}/next": [{"to": "approve"}],
        },
        {
            **asking("approval", "payment", form={**PAID, "required": ["payment"]}),
            f"{PAY}/input/invoice": {"var": "payment"},
            f"{READ}/next": [{"to": "approve"}],
        },
    ),
    ("expression", child(returns={"payment": {"less": [1]}}), child(returns={"payment": {"var": "output"}})),
    ("unknown_name", child(returns={"payment": {"var": "result"}}), child(returns={"payment": {"var": "outcome"}})),
    (
        "collect_unknown",
        foreach(body=NESTED, collect={"into": "list", "fields": ["approval"]}, writes=["list"]),
        foreach(body=NESTED, collect={"into": "list", "fields": ["payment"]}, writes=["list"]),
    ),
    ("input_misfit", {"/input/properties/document_id": {"type": ["string", "null"]}}, {}),
    ("input_misfit", {"/input/properties/document_id": {}}, {}),
]
