"""The audit of a run as a timeline: who did what, why a way was taken, and the values that each guard saw."""

from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from engine.process.provenance import TRANSITIONS, Guard, Transition, explain
from engine.runs import AuditRecord, Run
from engine.values import canonical_json
from server.pages.layout import moment
from server.pages.markup import Html, element, joined
from server.pages.runs import shown

LATEST = 200
"""How many records a page shows, the latest; the whole chain is a resource and a command away."""


def timeline(run: Run, records: Sequence[AuditRecord]) -> Html | None:
    """Return the records in their order, each with what it says unfolding."""
    if not records:
        return None
    ways = {way.seq: way for way in explain(records)}
    earlier = None
    if len(records) > LATEST:
        earlier = element("p", f"{len(records) - LATEST:,} earlier ones: run://{run.run_id}/audit")
    items = [_record(record, ways.get(record.seq)) for record in records[-LATEST:]]
    summary = element("summary", element("h2", "Audit"))
    folded = element("details", summary, earlier, element("ol", *items), id="records", open=run.kind == "process")
    return element("section", folded, id="audit", aria_label="Audit")


def _record(record: AuditRecord, way: Transition | None) -> Html:
    attempt = f" (visit {record.attempt})" if record.attempt > 1 and record.action in TRANSITIONS else ""
    line = element(
        "summary",
        moment(record.at),
        " ",
        element("strong", record.node or record.action),
        f" {record.action if record.node else ''}{attempt} ",
        element("span", f"by {record.actor}", class_="aside"),
        element("span", way.because, class_="because") if way is not None else _reason(record),
    )
    parts: list[Html] = []
    if way is not None and way.guards:
        parts.append(_guards(way.guards))
    arms: Any = record.data.get("arms")
    if isinstance(arms, list):
        parts.append(_guards([_arm(arm) for arm in arms]))
    patch: Any = record.data.get("patch")
    if patch:
        parts.append(_changes(patch))
    data = element("pre", shown(record.data))
    folded = element("details", element("summary", "Record"), data, id=f"data-{record.seq}")
    name = f"record-{record.seq}"
    item = element("details", line, *parts, folded, id=f"{name}-more")
    return element("li", item, id=name, class_="bad" if record.data.get("error") else None)


def _reason(record: AuditRecord) -> Html | None:
    said = [str(record.data[name]) for name in ("title", "decision", "reason", "comment") if record.data.get(name)]
    error: Any = record.data.get("error")
    if error:
        said.append(f"{error['kind']}: {error['message']}" if isinstance(error, dict) else str(error))
    return element("span", " · ".join(said), class_="because") if said else None


def _arm(arm: Any) -> Guard:
    clauses = (arm.get("trace") or {}).get("clauses", [])
    return Guard(to=f"arm {arm.get('arm')}", holds=bool(arm.get("holds")), clauses=clauses)


def _guards(guards: Sequence[Guard]) -> Html:
    head = element(
        "tr", *(element("th", name, scope="col") for name in ("Guard to", "Held", "Clauses and what they saw"))
    )
    rows = [
        element(
            "tr",
            element("td", guard.to),
            element("td", "yes" if guard.holds else "no"),
            element("td", _clauses(guard.clauses)),
        )
        for guard in guards
    ]
    return element("table", element("thead", head), element("tbody", *rows), class_="guards")


def _clauses(clauses: Sequence[JsonValue]) -> Html:
    return element("ul", *(_clause(clause) for clause in clauses if isinstance(clause, dict)))


def _clause(clause: dict[str, JsonValue]) -> Html:
    seen = f"error {canonical_json(clause['error'])}" if "error" in clause else canonical_json(clause.get("value"))
    inside = clause.get("clauses")
    nested = _clauses(inside) if isinstance(inside, list) and inside else None
    return element("li", element("code", canonical_json(clause.get("clause"))), " → ", element("code", seen), nested)


def _changes(patch: Sequence[Any]) -> Html:
    rows = [
        joined(
            element("dt", f"{one.get('op')} {one.get('path')}"),
            element("dd", element("code", shown(one.get("value")) if "value" in one else "")),
        )
        for one in patch
    ]
    return element("dl", *rows, class_="changes")
