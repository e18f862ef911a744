"""Audits as event logs: every record once, in order, readable by a parser of the format."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

from engine.process.exports import Case, ocel, xes
from engine.runs import AuditRecord

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
EVIL = 'a "quoted" <b>&\x00\x1b\ud800 name'


def record(seq: int, action: str, node: str = "", actor: str = "engine", **data: Any) -> AuditRecord:
    at = START + timedelta(minutes=seq)
    return AuditRecord(
        run_id="run_1", seq=seq, at=at, actor=actor, action=action, node=node, attempt=1, data=data,
        previous_hash=f"h{seq - 1}", hash=f"h{seq}",
    )  # fmt: skip


CASE = Case(
    run_id="run_1",
    process="pay",
    version="3",
    status="completed",
    records=(
        record(1, "process.started", actor="ann"),
        record(2, "node.finished", "read", patch=[]),
        record(3, "task.opened", "approve", task_id="task_1"),
        record(4, "task.decision", "approve", actor=EVIL, task_id="task_1", comment=EVIL),
        record(5, "node.failed", "pay", agent_run="run_2"),
    ),
)


def test_xes_has_a_trace_for_each_run_and_an_event_for_each_record() -> None:
    root = ElementTree.fromstring(xes([CASE, CASE.model_copy(update={"run_id": "run_9", "records": ()})]))
    first, second = root.findall("trace")
    names = [{one.get("key"): one.get("value") for one in event} for event in first.findall("event")]
    assert [(one["concept:name"], one["lifecycle:transition"]) for one in names] == [
        ("process.started", "start"),
        ("read", "complete"),
        ("approve", "schedule"),
        ("approve", "complete"),
        ("pay", "ate_abort"),
    ]
    assert names[1]["time:timestamp"] == "2026-03-01T09:02:00+00:00"
    assert names[3]["org:resource"] == 'a "quoted" <b>&\\u0000\\u001b\\ud800 name'
    assert [one["hash"] for one in names] == ["h1", "h2", "h3", "h4", "h5"]
    assert second.findall("event") == []
    assert {one.get("prefix") for one in root.findall("extension")} == {"concept", "time", "org", "lifecycle"}


def test_ocel_names_every_object_that_an_event_relates_to_and_every_type() -> None:
    log = json.loads(json.dumps(ocel([CASE])))
    objects = {one["id"]: one["type"] for one in log["objects"]}
    assert objects == {
        "run_1": "run",
        "actor:ann": "actor",
        "actor:engine": "actor",
        f"actor:{EVIL}": "actor",
        "task_1": "task",
        "run_2": "child_run",
    }
    assert {one["name"] for one in log["objectTypes"]} == set(objects.values())
    assert {one["name"] for one in log["eventTypes"]} == {one["type"] for one in log["events"]}
    for event in log["events"]:
        assert {one["objectId"] for one in event["relationships"]} <= set(objects)
    decided = log["events"][3]
    assert [one["objectId"] for one in decided["relationships"]] == ["run_1", f"actor:{EVIL}", "task_1"]
    assert {one["name"] for one in decided["attributes"]} == {
        one["name"] for one in next(kind for kind in log["eventTypes"] if kind["name"] == "task.decision")["attributes"]
    }
    assert [one["id"] for one in log["events"]] == [f"run_1/{seq}" for seq in range(1, 6)]
