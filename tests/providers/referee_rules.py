"""What the referee's wires share: a turn to say, what was said, and the rules that hold on more than one of them.

The rules come from the SDKs' docstrings and the providers' documentation, in our own words.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
MARKS = ("cache_control", "prompt_cache_breakpoint")
"""Cache markers: they may move from request to request and are no part of what was said."""


class Foul(Exception):
    """A rule is broken; the text is the answer's message."""


@dataclass
class Turn:
    """What the model says next: blocks or items, and how it ends. `raw` replaces the whole HTTP answer."""

    content: list[Json] = field(default_factory=list[Json])
    stop: str = "end_turn"
    usage: Json | None = None
    extra: Json = field(default_factory=dict[str, Any])
    raw: tuple[int, dict[str, str], bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Exchange:
    """A request that was accepted, and what was said to it under which id."""

    body: Json
    turn: Turn
    reply_id: str


def event(data: Json | bytes) -> bytes:
    """Return one server-sent event; bytes go out as they are."""
    if isinstance(data, bytes):
        return data
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def check(holds: object, foul: str) -> None:
    """Raise the foul unless `holds`."""
    if not holds:
        raise Foul(foul)


def unmarked(value: Any) -> Any:
    """Return the JSON value without cache markers."""
    if isinstance(value, list):
        return [unmarked(entry) for entry in value]
    if isinstance(value, dict):
        return {name: unmarked(entry) for name, entry in value.items() if name not in MARKS}
    return value


def own_turns_unchanged(said: Iterable[Any], present: Iterable[Any]) -> None:
    """Every turn comes back, in order and with the same bytes."""
    waiting = iter([json.dumps(turn) for turn in present])
    for turn in said:
        text = json.dumps(turn)
        check(text in waiting, f"a turn of mine is missing or changed: {text[:200]}")


def prefix_unchanged(before: tuple[Any, list[Any]], now: tuple[Any, list[Any]]) -> None:
    """What stood before a turn with bound reasoning still stands there: the head (system, tools) and every entry."""
    check(json.dumps(before[0]) == json.dumps(now[0]), "the reasoning is bound to a different conversation: its head")
    old, new = before[1], now[1][: len(before[1])]
    check(json.dumps(old) == json.dumps(new), "the reasoning is bound to a different conversation: its entries")


def halves(text: str) -> list[str]:
    """Cut the text in two."""
    return [text[: len(text) // 2], text[len(text) // 2 :]]
