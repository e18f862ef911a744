"""Definitions with a finding and their twins without: of names, schemas, data flow and types."""

from tests.engine.verify_changes import (
    APPROVE,
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

CASES: list[tuple[str, Changes, Changes]] = [
    ("schema_invalid", {f"{KEY}/payment": {"type": "objekt"}}, {}),
    ("schema_invalid", {"/input/type": 5}, {}),
    ("schema_invalid", {f"{APPROVE}/ask/form": {"properties": []}}, {}),
    ("context_not_object", {"/context/schema/type": "array"}, {}),
    (
        "unknown_write",
        {"/input/properties/more": {"type": "string"}},
        {"/input/properties/more": {"type": "string"}, f"{KEY}/more": {"type": "string"}},
    ),
    (
        "unknown_write",
        {"/context/initial": {"more": 1}},
        {"/context/initial": {"more": 1}, f"{KEY}/more": {"type": "number"}},
    ),
    ("unknown_write", {f"{PAY}/writes": ["paymnt"]}, {}),
    ("initial_invalid", {"/context/initial": {"payment": 1}}, {"/context/initial": {"payment": {}}}),
    ("unknown_name", {f"{PAY}/input/invoice": {"var": "invoise"}}, {}),
    (
        "unknown_name",
        {f"{KEY}/invoice/additionalProperties": False, f"{READ}/next/0/when": {">": [var("sum"), 1]}},
        {f"{KEY}/invoice/additionalProperties": False},
    ),
    (
        "unknown_name",
        {f"{APPROVE}/ask/title": "Pay {{#if invois}}x{{/if}}?"},
        {f"{APPROVE}/ask/title": "{{#each invoice.lines}}{{price}}{{/each}}"},
    ),
    (
        "unknown_name",
        foreach(body=body(input={"x": {"var": "thing.id"}})),
        foreach(body=body(input={"x": {"var": "item.id"}})),
    ),
    (
        "read_before_assigned",
        {f"{READ}/input/document": {"var": "payment"}},
        {f"{READ}/input/document": {"var": ["payment", None]}},
    ),
    (
        "read_before_assigned",
        {f"{PAY}/input/invoice": {"var": "approval"}},
        {f"{PAY}/input/invoice": {"??": [{"var": "approval"}, 1]}},
    ),
    (
        "read_before_assigned",
        {"/input/required": []},
        {"/input/required": [], "/context/initial": {"document_id": "x"}},
    ),
    (
        "read_before_assigned",
        {f"{READ}/next/0/when": {"var": "payment"}},
        {f"{READ}/next/0/when": {"exists": "payment"}},
    ),
    ("read_before_assigned", {f"{READ}/reads": ["payment"]}, {f"{PAY}/reads": ["invoice"]}),
    (
        "read_before_assigned",
        {
            **branch(whens=(None, True)),
            "/nodes/rejected/output": 1,
            f"{PAY}/input/invoice": {"var": "approval"},
            f"{READ}/next": [{"to": "approve"}],
            f"{APPROVE}/writes": [],
            "/nodes/split/arms/0/when": {"exists": "x"},
            f"{APPROVE}/ask/title": "t",
        },
        {
            **branch(),
            f"{PAY}/input/invoice": {"var": "approval"},
            f"{READ}/next": [{"to": "approve"}],
            f"{APPROVE}/writes": [],
        },
    ),
    (
        "read_before_assigned",
        {"/nodes/done/output": {"var": "payment"}, f"{READ}/on_error": [{"to": "done"}]},
        {"/nodes/done/output": {"var": "payment"}},
    ),
    (
        "optional_read",
        {f"{KEY}/invoice/required": ["total"], f"{PAY}/input/invoice": var("supplier")},
        {f"{KEY}/invoice/required": ["supplier", "total"], f"{PAY}/input/invoice": var("supplier")},
    ),
    (
        "not_in_reads",
        agent(reads=["payment"], instructions="Pay {{invoice.total}}."),
        agent(reads=["invoice"], instructions="Pay {{invoice.total}}."),
    ),
    ("expression", {f"{READ}/next/0/when": {"less": [1, 2]}}, {}),
    (
        "expression",
        {f"{PAY}/input/invoice": {"a": 1, "b": 2}},
        {f"{PAY}/input/invoice": {"preserve": {"a": 1, "b": 2}}},
    ),
    ("shadowed", foreach(**{"as": "payment"}), foreach()),
]
