"""The referee's rules for Chat Completions, and how it speaks there.

Sources: the docstrings of the `openai` SDK's message params (each `tool_call_id` answers a call of the message before,
`stream_options.include_usage`, roles), in our own words. Own turns come back unchanged.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.providers.referee_rules import Exchange, Json, Turn, check, halves, own_turns_unchanged

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ROLES = ("system", "developer", "user", "assistant", "tool")


def say(text: str) -> list[Json]:
    """Return a turn of one text."""
    return [{"type": "text", "text": text}]


def call(call_id: str, name: str, arguments: Json) -> list[Json]:
    """Return the entry of one call."""
    return [{"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}]


def think(number: int) -> list[Json]:
    """Return a comment: this wire binds no reasoning to what stands around it."""
    return say(f"Comment {number}.")


def message_of(content: list[Json]) -> Json:
    """Return the message that a turn is, out of its texts and calls."""
    text = "".join(block["text"] for block in content if block["type"] == "text")
    calls = [block for block in content if block["type"] == "function"]
    message: Json = {"role": "assistant", "content": text or None}
    return {**message, "tool_calls": calls} if calls else message


def usage(total: int, read: int) -> Json:
    """Return the usage of a call with `total` tokens of input, `read` of them from the cache."""
    return {"prompt_tokens": total, "prompt_tokens_details": {"cached_tokens": read}, "completion_tokens": 5}


def prefix(body: Json) -> tuple[Any, list[Any]]:
    """Return what a cache holds: the tools as the head, and the messages."""
    return body.get("tools"), body["messages"]


def judge(body: Json, headers: dict[str, str], past: list[Exchange]) -> None:
    """Check one request."""
    check(body.get("stream") is True, "every call is streamed")
    messages: list[Json] = body["messages"]
    check(messages, "no messages")
    own_turns_unchanged([_shape(message_of(exchange.turn.content)) for exchange in past], map(_shape, messages))
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    check(len(names) == len(set(names)), f"declared twice: {names}")
    check(all(NAME.fullmatch(name) for name in names), f"a name that the wire doesn't take: {names}")
    check(all(message["role"] in ROLES for message in messages), "a role of another wire")
    _judge_calls(messages, set(names))


def _shape(message: Json) -> Json:
    """Return a message without the order of its fields."""
    return {name: message[name] for name in sorted(message) if message[name] is not None}


def _judge_calls(messages: list[Json], declared: set[str]) -> None:
    unanswered: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            check(message["tool_call_id"] in unanswered, f"no open call {message['tool_call_id']}")
            unanswered.remove(message["tool_call_id"])
            continue
        check(not unanswered, f"calls {unanswered} are open before the next message")
        for one in message.get("tool_calls", []):
            check(one["function"]["name"] in declared, f"{one['function']['name']} is called and not declared")
            json.loads(one["function"]["arguments"])
            unanswered.add(one["id"])
    check(not unanswered, f"calls {unanswered} have no answer")


def speak(turn: Turn, body: Json, reply_id: str) -> Iterator[Json | bytes]:
    """Stream the turn as chunks; `stop` is the finish reason, with words of other wires standing for the plain one."""
    if turn.stop == "failed":
        yield {"error": turn.extra["error"]}
        return
    head: Json = {"id": reply_id, "object": "chat.completion.chunk", "model": body["model"]}
    message = message_of(turn.content)
    yield {**head, "choices": [_choice({"role": "assistant", "content": ""})]}
    for delta in _deltas(message):
        yield {**head, "choices": [_choice(delta)]}
    plain = "tool_calls" if message.get("tool_calls") else "stop"
    finish = plain if turn.stop in ("end_turn", "tool_use", "completed") else turn.stop
    yield {**head, "choices": [{**_choice({}), "finish_reason": finish}], **turn.extra}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": turn.usage or {"prompt_tokens": 10, "completion_tokens": 5}}
    yield b"data: [DONE]\n\n"


def _choice(delta: Json) -> Json:
    return {"index": 0, "delta": delta, "finish_reason": None}


def _deltas(message: Json) -> Iterator[Json]:
    yield from ({"content": piece} for piece in halves(message["content"] or ""))
    for index, one in enumerate(message.get("tool_calls", [])):
        function: Any = one["function"]
        yield {"tool_calls": [{**one, "index": index, "function": {**function, "arguments": ""}}]}
        for piece in halves(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
