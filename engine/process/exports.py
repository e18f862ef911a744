"""Audits as event logs that process-mining tools read: XES (IEEE 1849) and OCEL 2.0 (JSON).

A case is one run. Every record of its chain becomes one event, in order; nothing is left out, so that a log can be
checked against the chain by number and hash.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import quoteattr

from pydantic import JsonValue

from engine.runs import AuditRecord
from engine.values import Value, canonical_json

XES_EXTENSIONS = (
    ("Concept", "concept", "http://www.xes-standard.org/concept.xesext"),
    ("Time", "time", "http://www.xes-standard.org/time.xesext"),
    ("Organizational", "org", "http://www.xes-standard.org/org.xesext"),
    ("Lifecycle", "lifecycle", "http://www.xes-standard.org/lifecycle.xesext"),
)

LIFECYCLE = {
    "process.started": "start",
    "run.started": "start",
    "task.opened": "schedule",
    "task.escalated": "reassign",
    "node.failed": "ate_abort",
    "process.failed": "ate_abort",
    "process.cancelled": "pi_abort",
    "process.pause": "suspend",
    "process.resume": "resume",
}
"""Steps of the standard lifecycle; what is not named here is complete when it is recorded."""


class Case(Value):
    """One run with its whole chain."""

    run_id: str
    process: str
    version: str = ""
    status: str = ""
    records: tuple[AuditRecord, ...]


def xes(cases: Iterable[Case]) -> str:
    """Return the runs as one XES document: a trace for each, its records as events."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<log xes.version="1849-2016" xes.features="">']
    lines += [f'<extension name="{name}" prefix="{prefix}" uri="{uri}"/>' for name, prefix, uri in XES_EXTENSIONS]
    lines.append('<classifier name="Activity" keys="concept:name lifecycle:transition"/>')
    for case in cases:
        lines += ["<trace>", _string("concept:name", case.run_id), _string("process", case.process)]
        lines += [_string("version", case.version), _string("status", case.status)]
        for record in case.records:
            lines += _xes_event(record)
        lines.append("</trace>")
    return "\n".join([*lines, "</log>"]) + "\n"


def _xes_event(record: AuditRecord) -> list[str]:
    return [
        "<event>",
        _string("concept:name", activity_of(record)),
        _string("org:resource", record.actor),
        _string("lifecycle:transition", LIFECYCLE.get(record.action, "complete")),
        f'<date key="time:timestamp" value={quoteattr(record.at.isoformat())}/>',
        _string("action", record.action),
        _string("node", record.node),
        f'<int key="sequence" value="{record.seq}"/>',
        f'<int key="attempt" value="{record.attempt}"/>',
        _string("hash", record.hash),
        _string("data", canonical_json(record.data)),
        "</event>",
    ]


def _string(key: str, value: str) -> str:
    # XML 1.0 has no way to write most control characters; their escaped form keeps the text readable and whole.
    said = "".join(one if one in "\t\n\r" or one >= " " else json.dumps(one)[1:-1] for one in value)
    said = said.encode("utf-8", "backslashreplace").decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    return f"<string key={quoteattr(key)} value={quoteattr(said)}/>"


def activity_of(record: AuditRecord) -> str:
    """Return what a record is about in one name: the node where there is one, else the action."""
    return record.node or record.action


EVENT_ATTRIBUTES = (
    ("activity", "string"),
    ("actor", "string"),
    ("sequence", "integer"),
    ("attempt", "integer"),
    ("hash", "string"),
    ("data", "string"),
)
RUN_ATTRIBUTES = (("process", "string"), ("version", "string"), ("status", "string"))


def ocel(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the runs as one OCEL 2.0 document; objects are runs, actors, and the tasks and child runs they name."""
    objects: dict[str, dict[str, Any]] = {}
    events: list[dict[str, Any]] = []
    for case in cases:
        begun = case.records[0].at if case.records else None
        values = {"process": case.process, "version": case.version, "status": case.status}
        _object(objects, case.run_id, "run", values, begun)
        events += [_ocel_event(case, record, objects) for record in case.records]
    actions = sorted({record.action for case in cases for record in case.records})
    kinds = sorted({one["type"] for one in objects.values()})
    return {
        "objectTypes": [
            {"name": kind, "attributes": _typed(RUN_ATTRIBUTES if kind == "run" else ())} for kind in kinds
        ],
        "eventTypes": [{"name": action, "attributes": _typed(EVENT_ATTRIBUTES)} for action in actions],
        "objects": list(objects.values()),
        "events": events,
    }


def _ocel_event(case: Case, record: AuditRecord, objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    related = [(case.run_id, "run"), (_object(objects, f"actor:{record.actor}", "actor", {}, None), "actor")]
    for name, kind in (("task_id", "task"), ("agent_run", "child run"), ("child_run", "child run")):
        named = record.data.get(name)
        if isinstance(named, str):
            related.append((_object(objects, named, kind.replace(" ", "_"), {}, None), kind))
    values: dict[str, JsonValue] = {
        "activity": activity_of(record),
        "actor": record.actor,
        "sequence": record.seq,
        "attempt": record.attempt,
        "hash": record.hash,
        "data": canonical_json(record.data),
    }
    return {
        "id": f"{case.run_id}/{record.seq}",
        "type": record.action,
        "time": record.at.isoformat(),
        "attributes": [{"name": name, "value": value} for name, value in values.items()],
        "relationships": [{"objectId": one, "qualifier": qualifier} for one, qualifier in related],
    }


def _object(
    objects: dict[str, dict[str, Any]], name: str, kind: str, values: Mapping[str, str], at: datetime | None
) -> str:
    time = at.isoformat() if at is not None else "1970-01-01T00:00:00+00:00"
    attributes = [{"name": key, "time": time, "value": value} for key, value in values.items()]
    objects.setdefault(name, {"id": name, "type": kind, "attributes": attributes, "relationships": []})
    return name


def _typed(attributes: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in attributes]
