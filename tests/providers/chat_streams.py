"""Streams of Chat Completions as vendors send them, for the tests of this wire."""

import json
from typing import Any

from tests.providers.referee import Json, Turn


def said(delta: Json, finish: str | None = None, **more: Any) -> Json:
    """Return one chunk with a delta of the first choice."""
    return {
        "id": "cmpl_1",
        "model": "the-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def called(index: int | None, name: str = "", arguments: Any = "", call_id: str | None = None, **more: Any) -> Json:
    """Return a delta with one piece of a call."""
    function = {**({"name": name} if name else {}), "arguments": arguments}
    piece: Json = {"function": function, **more}
    if index is not None:
        piece["index"] = index
    if call_id is not None:
        piece["id"] = call_id
    return {"tool_calls": [piece]}


def spent(**usage: Any) -> Json:
    """Return the chunk with the usage."""
    return {"id": "cmpl_1", "model": "the-model", "choices": [], "usage": usage}


def stream(*chunks: Json, done: bool = True, headers: dict[str, str] | None = None) -> Turn:
    """Return the turn that sends these chunks as they are."""
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    body = "".join([*events, "data: [DONE]\n\n"] if done else events).encode()
    return Turn(raw=(200, {"content-type": "text/event-stream", **(headers or {})}, body))


def document(status: int, body: Any) -> Turn:
    """Return the turn that answers with one JSON document."""
    return Turn(raw=(status, {"content-type": "application/json"}, json.dumps(body).encode()))
