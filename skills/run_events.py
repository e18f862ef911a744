"""The events of a run as an answer can hold them: a page of a bounded size, long ones by their beginning."""

import json
from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from engine.agent.log import PLAN
from engine.runs import Event
from engine.values import Value

MAX_EVENT, MAX_PAGE = 8_000, 32_000
"""How many characters of JSON one event may take in an answer, and all of them together."""

BEGINNING = 1_000


class RunEvent(Value):
    """One event of a run; `cut` in its data stands for what is too long, with where the whole is."""

    seq: int
    type: str
    at: datetime
    data: dict[str, JsonValue] = {}


def page_of(events: Sequence[Event], *, newest: bool) -> list[RunEvent]:
    """Return as many events as an answer holds: the first of them, or the newest; at least one."""
    fitting: list[RunEvent] = []
    room = MAX_PAGE
    for event in reversed(events) if newest else events:
        one, size = _shown(event)
        room -= size
        if room < 0 and fitting:
            break
        fitting.append(one)
    return fitting[::-1] if newest else fitting


def _shown(event: Event) -> tuple[RunEvent, int]:
    data: dict[str, JsonValue] = dict(event.data)
    tools = data.get("tools")
    if event.type == PLAN and isinstance(tools, list):
        # Whole definitions: what a client wants to know is which tools there are.
        data["tools"] = [tool["name"] for tool in tools if isinstance(tool, dict)]
    text = json.dumps(data, ensure_ascii=False)
    if len(text) > MAX_EVENT:
        whole = f"run://{event.run_id}/events?after={event.seq - 1}"
        cut: dict[str, JsonValue] = {"beginning": text[:BEGINNING], "chars": len(text), "whole": whole}
        data.clear()
        data["cut"] = cut
        text = json.dumps(data, ensure_ascii=False)
    return RunEvent(seq=event.seq, type=event.type, at=event.at, data=data), len(text)
