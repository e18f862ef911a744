"""What an agent and its subagents leave behind, without what differs between any two runs."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from engine.agent.log import LOGGED, assemble, entry
from engine.runs import Event
from engine.values import utc_now
from tests.faults.agent_drive import Ended, tree_of
from tests.faults.agent_house import AgentHouse
from tests.faults.agent_script import BLIND
from tests.faults.record import RESTARTED, Plain, artifacts_of, audit_of, events_of, payments, row_of

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
"""Over what names a run or a case; that what was sent is what the log says is checked by making it again."""

UNKNOWN = "outcome unknown: "
PAID_OR_UNKNOWN = "<paid, or outcome unknown>"


@dataclass(frozen=True)
class LeftByAgent:
    """The remains of one run of the tree; two runs of the same task are equal in all of it."""

    status: str
    result: Any
    spent: Any
    transcript: list[Any]
    events: list[Any]
    audit: list[Any]
    artifacts: list[Any]
    tasks: list[Any]


@dataclass(frozen=True)
class Effects:
    """How often each amount was paid, and whether the chief was told that the tool without a key may not have paid."""

    paid: dict[float, int]
    unknown: bool


def left_by_agents(house: AgentHouse, ended: Ended) -> list[LeftByAgent]:
    """Return what each run of the tree has left, the chief first, its subagents by name."""
    ids = tree_of(house, ended.run_id)
    below = sorted(ids[1:], key=lambda run_id: str(row_of(house, run_id)["title"]))
    plain = _plain(Plain(house, [ended.run_id, *below]), ended.case)
    return [_left(house, run_id, plain) for run_id in (ended.run_id, *below)]


def effects_of(house: AgentHouse, ended: Ended) -> Effects:
    """Return the payments of a case, and whether one of them is told as unknown."""
    paid: dict[float, int] = {}
    for run_id in tree_of(house, ended.run_id):
        for entry_ in payments(house, run_id):
            paid[entry_["amount"]] = paid.get(entry_["amount"], 0) + 1
    texts = [
        part["text"]
        for event in events_of(house, ended.run_id)
        if event["type"] == "message"
        for part in event["data"]["parts"]
        if part.get("name") == BLIND and part["type"] == "tool_result"
    ]
    assert len(texts) == 1, "the call was not answered exactly once"
    return Effects(paid, texts[0].startswith(UNKNOWN))


def _plain(plain: Plain, case: str) -> Any:
    def without(value: Any) -> Any:
        return json.loads(DIGEST.sub("<digest>", json.dumps(plain(value)).replace(case, "<case>")))

    return without


def _left(house: AgentHouse, run_id: str, plain: Any) -> LeftByAgent:
    run, events = row_of(house, run_id), events_of(house, run_id)
    again = house.use("agents", "replay", run_id=run_id)
    assert again["same"], again["difference"]
    tasks = house.rows("SELECT * FROM tasks WHERE run_id = ? ORDER BY created_at", run_id)
    kept = [[event["type"], _blind_or_not(event["data"])] for event in events if event["type"] != RESTARTED]
    return LeftByAgent(
        status=run["status"],
        result=plain(json.loads(run["result"] or "null")),
        spent=json.loads(run["spent"]),
        transcript=plain([_blind_or_not(message) for message in _transcript(run_id, events)]),
        events=turn_by_turn([plain(event) for event in kept]),
        audit=_sorted(
            [plain([one["actor"], one["action"], one["node"], one["data"]]) for one in audit_of(house, run_id)]
        ),
        artifacts=artifacts_of(house, run_id),
        tasks=[plain([task["title"], task["status"], task["answer"], task["answered_by"]]) for task in tasks],
    )


def _transcript(run_id: str, events: Sequence[Any]) -> list[Any]:
    """Return the messages that a next turn would be made from."""
    log = [
        Event(run_id=run_id, key=event["key"], seq=event["seq"], type=event["type"], at=utc_now(), data=event["data"])
        for event in events
        if event["type"] in LOGGED
    ]
    return [message.model_dump(mode="json") for message in assemble([entry(event) for event in log])]


def _blind_or_not(data: Any) -> Any:
    """Return what an event or a message says; the answer of the tool that honours no key stands for both it may be."""
    if data.get("tool") == BLIND and "outcome" in data:
        return {**data, "outcome": PAID_OR_UNKNOWN, "chars": 0}
    parts = data.get("parts", ())
    if any(part.get("name") == BLIND and part["type"] == "tool_result" for part in parts):
        either = [
            {**part, "text": PAID_OR_UNKNOWN, "is_error": False} if part.get("name") == BLIND else part
            for part in parts
        ]
        return {**data, "parts": either}
    return data


def turn_by_turn(events: Sequence[Any]) -> list[Any]:
    """Return events with what happens between two turns sorted: the calls of a turn run side by side."""
    found: list[Any] = []
    for between, stretch in groupby(events, _between_turns):
        side_by_side = list(stretch)
        found += _sorted(side_by_side) if between else side_by_side
    return found


def _between_turns(event: Any) -> bool:
    return event[0] != "turn.finished" and event[1].get("role") in (None, "tool")


def _sorted(entries: list[Any]) -> list[Any]:
    return sorted(entries, key=lambda entry_: json.dumps(entry_, sort_keys=True))
