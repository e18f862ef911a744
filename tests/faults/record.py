"""What a run leaves behind, without what differs between any two runs: ids, moments, what is derived from them."""

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from engine.values import digest
from tests.faults.house import FaultHouse, Row

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(?:Z|\+00:00)?")
FRESH_IDS = re.compile(r"\b(entry|exe|notice|pay)_[0-9a-z]{16,26}\b")
OF_THE_ATTEMPT = ("usage", "cache", "request_id", "diagnostics", "seen", "seconds")
"""What belongs to one attempt: a cache is cold after a restart, and a script computes for as long as it does."""

STATE = "run.status"
RESTARTED = "turn.restarted"
"""The one event that a cut may add: clients drop what they were streamed of the turn before."""


@dataclass(frozen=True)
class Left:
    """The remains of a run and of its agents; two runs of the same input are equal in all of it."""

    status: str
    context: Row
    result: Any
    spent: Row
    events: list[Any]
    audit: list[Any]
    artifacts: list[Any]
    payments: list[Any]
    tasks: list[Any]
    agents: list[Any] = field(default_factory=lambda: [])
    registers: list[Any] = field(default_factory=lambda: [])


def left_by(house: FaultHouse, run_id: str) -> Left:
    """Return what a finished run has left, after checking what must hold for any run."""
    run = row_of(house, run_id)
    children = sorted(
        house.rows("SELECT run_id, definition, input FROM runs WHERE parent_id = ?", run_id),
        key=lambda child: (child["definition"], _without_fresh(child["input"])),
    )
    plain = Plain(house, [run_id, *(child["run_id"] for child in children)])
    finished = [event for event in events_of(house, run_id) if event["type"] == "process.finished"]
    assert len(finished) == 1
    context = finished[0]["data"]["context"]
    audit = audit_of(house, run_id)
    # The digest covers moments and ids, so it is checked here and not compared.
    assert audit[-1]["data"]["context"] == digest(context)
    audit[-1]["data"]["context"] = "<checked>"
    return Left(
        status=run["status"],
        context=plain(context),
        result=plain(json.loads(run["result"] or "null")),
        spent=json.loads(run["spent"]),
        events=ordered([plain([event["key"], [event["type"], event["data"]]]) for event in events_of(house, run_id)]),
        audit=ordered([plain([_key(one), [one["actor"], one["action"], one["node"], one["data"]]]) for one in audit]),
        artifacts=artifacts_of(house, run_id),
        payments=[plain(entry) for entry in payments(house, run_id)],
        tasks=[
            plain([task["node"], task["title"], task["status"], task["answer"], task["answered_by"]])
            for task in house.rows("SELECT * FROM tasks WHERE run_id = ? ORDER BY node, title, created_at", run_id)
        ],
        agents=[_agent(house, child["run_id"], plain) for child in children],
        registers=sorted(plain(registers(house)), key=lambda entry: json.dumps(entry, sort_keys=True)),
    )


def _agent(house: FaultHouse, run_id: str, plain: "Plain") -> Any:
    run = row_of(house, run_id)
    events = events_of(house, run_id)
    audit = audit_of(house, run_id)
    return [
        run["status"],
        plain(json.loads(run["result"] or "null")),
        json.loads(run["spent"]),
        side_by_side([plain([event["type"], event["data"]]) for event in events if event["type"] != RESTARTED]),
        [plain([one["actor"], one["action"], one["node"], one["data"]]) for one in audit],
        artifacts_of(house, run_id),
    ]


def payments(house: FaultHouse, run_id: str) -> list[Row]:
    """Return the payments of a run from the ledgers."""
    lines = [line for ledger in house.ledgers.values() if ledger.exists() for line in ledger.read_text().splitlines()]
    return [entry for entry in map(json.loads, lines) if entry["key"].startswith(f"{run_id}/")]


def registers(house: FaultHouse) -> list[Any]:
    """Return every entry and notice in the registers of the examples, without ids and moments."""
    if not house.registers.exists():
        return []
    with closing(sqlite3.connect(f"file:{house.registers}?mode=ro", uri=True, timeout=10)) as connection:
        entries = connection.execute("SELECT register, subject, details, withdrawn FROM entries").fetchall()
        notices = connection.execute("SELECT told, subject, body FROM notices").fetchall()
    return [["entry", *entry] for entry in entries] + [["notice", *notice] for notice in notices]


def ordered(entries: Sequence[tuple[str, Any]]) -> list[Any]:
    """Return entries, given with their keys, with what lies between two steps of the run sorted by whose it is.

    Items and branches run side by side. Which of them changes the state of the run is up to who is first, too.
    """
    found: list[Any] = []
    for beside, stretch in groupby(entries, lambda entry: _beside(_whose(entry[0]))):
        own = list(stretch)
        if beside and len({_whose(key) for key, _ in own}) > 1:
            own = sorted((one for one in own if one[1][0] != STATE), key=lambda entry: _whose(entry[0]))
        found += [entry for _, entry in own]
    return found


def _key(record: Row) -> str:
    """Return whose a record of the audit is, as keys of events say it."""
    return f"step/{record['data']['step']}" if "step" in record["data"] else str(record["data"].get("task_id", ""))


def _whose(key: str) -> str:
    """Return the step or the task that an entry is about, by its key."""
    about, _, rest = key.partition("/")
    if about == "step":
        return rest
    return rest.rpartition("/")[0] if about == "event" else about


def _beside(whose: str) -> bool:
    return "/" in whose or whose.startswith("<task")


def _of_a_call(event: Any) -> bool:
    return event[0].startswith("tool.") or event[1].get("role") == "tool"


def side_by_side(events: Sequence[Any]) -> list[Any]:
    """Return events with the calls of each turn sorted: they run side by side."""
    found: list[Any] = []
    for called, stretch in groupby(events, _of_a_call):
        entries = list(stretch)
        found += sorted(entries, key=lambda event: json.dumps(event, sort_keys=True)) if called else entries
    return found


def differences(found: Any, expected: Any, at: str = "") -> list[str]:
    """Return where two remains differ, each with what was found and what was expected."""
    if isinstance(found, Left) and isinstance(expected, Left):
        return differences(vars(found), vars(expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted({*found, *expected})
        return [line for name in names for line in differences(found.get(name), expected.get(name), f"{at}/{name}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for number, pair in pairs for line in differences(*pair, f"{at}/{number}")]
    return [] if found == expected else [f"{at}: {str(found)[:300]} instead of {str(expected)[:300]}"]


class Plain:
    """Takes out of a value what is fresh in every run, or belongs to a request."""

    def __init__(self, house: FaultHouse, runs: Sequence[str]) -> None:
        marks = ", ".join("?" for _ in runs)
        query = f"SELECT task_id FROM tasks WHERE run_id IN ({marks}) ORDER BY node, title, created_at"
        self._names = {run_id: f"<run {number}>" for number, run_id in enumerate(runs)}
        self._names |= {task["task_id"]: f"<task {number}>" for number, task in enumerate(house.rows(query, *runs))}

    def __call__(self, value: Any) -> Any:
        text = json.dumps(_without(value, OF_THE_ATTEMPT), sort_keys=True)
        for name, stand_in in self._names.items():
            text = text.replace(name, stand_in)
        return json.loads(_without_fresh(text))


def _without_fresh(text: str) -> str:
    return FRESH_IDS.sub(r"<\1>", MOMENT.sub("<moment>", text))


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _without(inner, names) for name, inner in value.items() if name not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value


def row_of(house: FaultHouse, run_id: str) -> Row:
    """Return the row of a run."""
    return house.rows("SELECT * FROM runs WHERE run_id = ?", run_id)[0]


def events_of(house: FaultHouse, run_id: str) -> list[Row]:
    """Return the events of a run, after checking that they are numbered from 1 without gap or double."""
    events = house.rows("SELECT seq, key, type, data FROM events WHERE run_id = ? ORDER BY seq", run_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), "a gap or a double in the numbers"
    return [{**event, "data": json.loads(event["data"])} for event in events]


def audit_of(house: FaultHouse, run_id: str) -> list[Row]:
    """Return the audit of a run, after checking that its chain is whole and anchored."""
    page = house.use("processes", "export_audit", run_id=run_id, limit=500)
    assert page["valid"], page["reason"]
    assert page["anchored"]
    assert page["next_after"] is None
    return [json.loads(line) for line in page["jsonl"].splitlines()]


def artifacts_of(house: FaultHouse, run_id: str) -> list[Any]:
    """Return the artifacts of a run by path and digest."""
    rows = house.rows("SELECT * FROM artifacts WHERE run_id = ? ORDER BY path, version", run_id)
    return [[row["path"], row["version"], row["digest"], row["mime"], row["size"]] for row in rows]
