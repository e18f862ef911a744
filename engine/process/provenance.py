"""Where a value of a context comes from, and why a run went the way it went: read from its audit alone."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast

from pydantic import Field, JsonValue

from engine.errors import Invalid
from engine.runs import AuditRecord
from engine.values import Value, canonical_json

MAX_SHOWN = 200
TRANSITIONS = ("node.finished", "node.failed", "node.skipped", "node.retried", "node.advanced")


class Write(Value):
    """One change of a key: when, by which node or person, and what it took.

    `model` and `prompt` are the provider's model and the version of the interaction, where one was called; `run` is the
    agent or process that gave the value; `scope` is the item of a foreach whose value it is, "" for the context.
    """

    seq: int
    at: datetime
    op: str
    path: str
    value: JsonValue = None
    scope: str = ""
    actor: str = Field(description="the person or the process that changed it")
    action: str
    node: str = ""
    step: str = ""
    attempt: int = 1
    by: str | None = Field(default=None, description="the person who decided")
    prompt: str | None = None
    model: str | None = None
    run: str | None = None
    tool: str | None = None
    usd: float = 0.0


class Guard(Value):
    """A guard that was looked at: whether it held, and each clause with the value it saw."""

    to: str
    holds: bool
    clauses: list[JsonValue]


class Transition(Value):
    """One way that a run took, in words and with what was looked at for it; `run_id` is whose audit has it."""

    run_id: str
    seq: int
    at: datetime
    step: str
    node: str
    to: str | None
    because: str
    guards: list[Guard] = []
    error: dict[str, JsonValue] | None = None


def provenance(records: Sequence[AuditRecord], key: str) -> list[Write]:
    """Return every change of a key of the context, oldest first; the last one is where its value comes from."""
    return [write for record in records for write in _writes(record, key)]


def _writes(record: AuditRecord, key: str) -> Iterator[Write]:
    data: dict[str, Any] = record.data
    called: dict[str, Any] = data.get("interaction") or {}
    for operation in data.get("patch") or ():
        path = str(operation["path"])
        if path[1:].split("/")[0].replace("~1", "/").replace("~0", "~") != key:
            continue
        yield Write(
            seq=record.seq,
            at=record.at,
            op=operation["op"],
            path=path,
            value=operation.get("value"),
            scope=data.get("scope", ""),
            actor=record.actor,
            action=record.action,
            node=record.node,
            step=data.get("step", ""),
            attempt=record.attempt,
            by=data.get("by"),
            prompt=f"{called['interaction']}@{called['version']}" if called else None,
            model=f"{called['provider']}/{called['model']}" if called else None,
            run=data.get("agent_run") or data.get("process_run"),
            tool=data.get("tool"),
            usd=(data.get("spent") or {}).get("usd", 0.0),
        )


def explain(records: Sequence[AuditRecord], step: str = "") -> list[Transition]:
    """Return why the run went where it went: of one step, of each step of one node, or of all, oldest first.

    Raises:
        Invalid: the run has made no such step.
    """
    made = [record for record in records if record.action in TRANSITIONS]
    found = [record for record in made if not step or step in (record.node, record.data.get("step"))]
    if step and not found:
        known = ", ".join(dict.fromkeys(record.node for record in made)) or "none yet"
        raise Invalid(f"the run has made no step {step!r}; its nodes are {known}", field="step")
    return [_transition(record) for record in found]


def _transition(record: AuditRecord) -> Transition:
    data: dict[str, Any] = record.data
    guards = [
        Guard(to=str(one["to"]), holds=bool(one["holds"]), clauses=(one.get("trace") or {}).get("clauses", []))
        for one in data.get("guards") or ()
    ]
    to = data.get("to")
    return Transition(
        run_id=record.run_id,
        seq=record.seq,
        at=record.at,
        step=str(data.get("step", "")),
        node=record.node,
        to=to,
        because=_because(record, data, guards, to),
        guards=guards,
        error=data.get("error"),
    )


def _because(record: AuditRecord, data: dict[str, Any], guards: list[Guard], to: str | None) -> str:
    node = record.node
    if data.get("error"):
        ends = f"so the run went to {to}" if to else "which nothing in the process handles"
        return f"{node} failed with {data['error']['kind']}: {data['error']['message']}; {ends}"[:1_000]
    if data.get("order"):
        return f"{record.actor} ordered {data['order']} at {node}, so the run went to {to}"
    if "outcome" in data and to is None and data.get("type") == "end":
        return f"{node} ended the run as {data['outcome']}"
    if to is None:
        return f"nothing comes after {node}"
    taken = next((guard for guard in guards if guard.holds and guard.to == to), None)
    failed = "; ".join(f"not to {guard.to}: {_seen(guard)}" for guard in guards if not guard.holds)
    if taken is not None:
        return f"{node} led to {to}: {_seen(taken)}" + (f" ({failed})" if failed else "")
    return f"{node} led to {to}, the way without a guard" + (f" ({failed})" if failed else "")


def _seen(guard: Guard) -> str:
    """Return a guard in one line: the rule, and what its variables were."""
    rules = ", ".join(canonical_json(one.get("clause")) for one in guard.clauses if isinstance(one, dict))
    seen = ", ".join(dict.fromkeys(_variables(guard.clauses)))
    said = f"{rules[:MAX_SHOWN]} {'held' if guard.holds else 'did not hold'}"
    return f"{said} with {seen[:MAX_SHOWN]}" if seen else said


def _variables(clauses: Sequence[JsonValue]) -> Iterator[str]:
    for one in clauses:
        clause: Any = one
        rule: Any = clause.get("clause")
        if isinstance(rule, dict) and ("var" in rule or "val" in rule):
            named: Any = rule.get("var", rule.get("val"))
            name = ".".join(map(str, cast("list[Any]", named))) if isinstance(named, list) else str(named)
            yield f"{name} = {canonical_json(clause.get('value', clause.get('error')))}"
        yield from _variables(clause.get("clauses") or ())
