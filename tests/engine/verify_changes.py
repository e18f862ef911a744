"""The example of the format, changed in one place or another: what the verifier is tested on."""

from typing import Any

from engine.process.definition import parse_definition
from tests.engine.test_definition import INVOICE

Changes = dict[str, Any]
REMOVED = object()


def invoice(changes: Changes | None = None) -> dict[str, Any]:
    """Return the example of the format with the values at the given pointers changed."""
    data = parse_definition(INVOICE).canonical()
    for path, value in (changes or {}).items():
        *parents, last = path.removeprefix("/").split("/")
        here: Any = data
        for part in parents:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        if value is REMOVED:
            del here[last]
        elif isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value
    return data


READ, APPROVE, PAY = "/nodes/read", "/nodes/approve", "/nodes/pay"
KEY = "/context/schema/properties"
END: Changes = {"type": "end"}
DONE = [{"to": "done"}]
SCRIPT: Changes = {"type": "script", "code": "{}", "next": DONE}


def script(**fields: Any) -> Changes:
    return {**SCRIPT, **fields}


def body(*writes: str, **fields: Any) -> Changes:
    return {"start": "a", "nodes": {"a": {"type": "script", "code": "{}", "writes": list(writes), **fields}}}


def branch(take: str = "every", join: Any = "all", whens: tuple[Any, ...] = (None, None), **fields: Any) -> Changes:
    """Return changes that put a branch between the end of reading and the payment."""
    arms = [
        {
            "name": f"arm{index}",
            "body": body("payment" if index else "approval"),
            **({} if when is None else {"when": when}),
        }
        for index, when in enumerate(whens)
    ]
    node = {"type": "branch", "take": take, "join": join, "arms": arms, "next": [{"to": "pay"}], **fields}
    return {"/nodes/split": node, f"{APPROVE}/next": [{"to": "split"}]}


def foreach(**fields: Any) -> Changes:
    node = {
        "type": "foreach",
        "items": [1, 2],
        "as": "item",
        "body": body("payment"),
        "next": [{"to": "pay"}],
        **fields,
    }
    return {"/nodes/each": node, f"{APPROVE}/next": [{"to": "each"}], f"{KEY}/list": {"type": "array", "maxItems": 7}}


def agent(**fields: Any) -> Changes:
    return {PAY: {"type": "agent", "instructions": "Pay it.", "writes": ["payment"], "next": DONE, **fields}}


def loop(**fields: Any) -> Changes:
    again = {"to": "read", "when": {"<": [{"var": "invoice.total"}, 5]}}
    return {
        f"{PAY}/next": [again, {"to": "done"}],
        f"{READ}/next": [{"to": "pay"}],
        APPROVE: REMOVED,
        "/nodes/rejected": REMOVED,
        **{f"{READ}/{name}": value for name, value in fields.items()},
    }


def guard(rule: Any, **properties: Any) -> Changes:
    """Return changes that make a rule the guard after reading, with these properties of the invoice."""
    schema = {
        "type": "object",
        "properties": {"total": {"type": "number"}, "supplier": {"type": "string"}, **properties},
    }
    return {f"{READ}/next/0/when": rule, f"{KEY}/invoice": schema}


def ways(*whens: Any, **properties: Any) -> Changes:
    """Return changes that give reading one way to `pay` for each guard and none without, and `approve` is one's own."""
    return {
        **guard(True, **properties),
        f"{READ}/next": [{"to": "pay" if index else "approve", "when": when} for index, when in enumerate(whens)],
    }


def var(name: str) -> Changes:
    return {"var": f"invoice.{name}"}


COMPLETE = {"type": "string", "enum": ["low", "high"]}


def undone(node: Any = None, by: str = "pay") -> Changes:
    """Return a payment that `node`, of the name `by`, undoes; without one it undoes itself."""
    changes: Changes = {f"{PAY}/compensate": by}
    return changes if node is None else {**changes, f"/nodes/{by}": node}


def scripted(code: str, **values: Any) -> Changes:
    """Return a script in the place of the payment."""
    return {PAY: {"type": "script", "code": code, "input": values, "writes": ["payment"], "next": DONE}}
