"""The referee's rules for Anthropic Messages, and how it speaks there.

Sources: the docstrings of the `anthropic` SDK's request types (`tools`, `cache_control`, `defer_loading`,
`tool_reference`, `tool_addition`, `thinking`), in our own words.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.providers.referee_rules import (
    Exchange,
    Json,
    Turn,
    check,
    halves,
    own_turns_unchanged,
    prefix_unchanged,
    unmarked,
)

MAX_MARKS = 4
THOUGHTS = ("thinking", "redacted_thinking")
INLINE_TOOLS = "inline-tools-2026-09-15"


def say(text: str) -> list[Json]:
    """Return a turn of one text."""
    return [{"type": "text", "text": text}]


def call(call_id: str, name: str, arguments: Json) -> list[Json]:
    """Return the block of one call."""
    return [{"type": "tool_use", "id": call_id, "name": name, "input": arguments}]


def think(number: int) -> list[Json]:
    """Return signed thinking and a redacted block, different for each number."""
    thinking = {"type": "thinking", "thinking": f"Thought {number}.", "signature": f"c2ln/{number}+=="}
    return [thinking, {"type": "redacted_thinking", "data": f"b3Bh/{number}"}]


def usage(total: int, read: int) -> Json:
    """Return the usage of a call with `total` tokens of input, `read` of them from the cache."""
    return {"input_tokens": total - read, "cache_read_input_tokens": read, "output_tokens": 5}


def judge(body: Json, headers: dict[str, str], past: list[Exchange]) -> None:
    """Check one Messages request."""
    check(body.get("stream") is True, "every call is streamed")
    tools = {tool["name"]: tool for tool in body.get("tools", [])}
    check(len(tools) == len(body.get("tools", [])), "a tool is declared twice")
    check(not tools or any(not tool.get("defer_loading") for tool in tools.values()), "one tool must not be deferred")
    check(not any("cache_control" in tool and tool.get("defer_loading") for tool in tools.values()), "deferred marked")
    marks = json.dumps(body).count('"cache_control"')
    check(marks <= MAX_MARKS, f"{marks} cache_control markers")
    _judge_turns(body["messages"], past)
    said = [exchange.turn.content for exchange in past]
    own_turns_unchanged(said, [turn["content"] for turn in body["messages"] if turn["role"] == "assistant"])
    for exchange in past:
        if any(block["type"] in THOUGHTS for block in exchange.turn.content):
            prefix_unchanged(prefix(exchange.body), prefix(body))
    _judge_blocks(body["messages"], [block for turn in said for block in turn])
    _judge_reveals(body["messages"], tools, headers)
    if (body.get("thinking") or {}).get("type") == "enabled":
        _judge_open_loop([turn for turn in body["messages"] if turn["role"] != "system"])
    compared = (body.get("diagnostics") or {}).get("previous_message_id")
    check(compared is None or compared in [exchange.reply_id for exchange in past], f"no message {compared}")


def prefix(body: Json) -> tuple[Any, list[Any]]:
    """Return what thinking is bound to: the shown tools and the system as its head, and the turns."""
    shown = [tool for tool in body.get("tools", []) if not tool.get("defer_loading")]
    return unmarked([shown, body.get("system")]), unmarked(body["messages"])


def _judge_turns(turns: list[Json], past: list[Exchange]) -> None:
    check(turns[0]["role"] == "user", "the first turn is the user's")
    check(all(turn["content"] for turn in turns), "an empty turn")
    paused = [exchange.turn.content for exchange in past if exchange.turn.stop == "pause_turn"]
    for before, after in pairwise(turns):
        if after["role"] == "system":
            check(before["role"] == "user", "a system entry follows a user turn")
        elif before["role"] == "system":
            check(after["role"] == "assistant", "a system entry ends the user's turn")
        elif before["role"] == after["role"]:
            check(before["role"] == "assistant" and before["content"] in paused, "the turns alternate")


def _judge_blocks(turns: list[Json], mine: list[Json]) -> None:
    unanswered: list[str] = []
    for turn in turns:
        if turn["role"] == "system":
            continue
        blocks: list[Json] = turn["content"]
        results = [block for block in blocks if block["type"] == "tool_result"]
        check(blocks[: len(results)] == results, "results come first in a turn")
        check(sorted(block["tool_use_id"] for block in results) == sorted(unanswered), "calls and answers don't match")
        unanswered = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            check(block["type"] != "text" or block["text"], "an empty text block")
            check(block["type"] not in THOUGHTS or block in mine, "thinking that I never signed")
            check(block["type"] not in THOUGHTS or "cache_control" not in block, "thinking can't be marked")
    check(not unanswered, "a call without an answer")


def _judge_open_loop(turns: list[Json]) -> None:
    """With thinking enabled, the turn whose calls are being answered begins with thinking."""
    if len(turns) > 1 and any(block["type"] == "tool_result" for block in turns[-1]["content"]):
        check(turns[-2]["content"][0]["type"] in THOUGHTS, "the turn that called must begin with thinking")


def _judge_reveals(turns: list[Json], tools: dict[str, Json], headers: dict[str, str]) -> None:
    defined: set[str] = set()
    for turn in turns:
        for block in turn["content"]:
            if block["type"] == "tool_result":
                _judge_references(block.get("content", []), tools)
            elif block["type"] == "tool_addition":
                check(turn["role"] == "system", "only a system entry adds tools")
                check(INLINE_TOOLS in headers.get("anthropic-beta", ""), f"tool_addition needs the beta {INLINE_TOOLS}")
                name = block["tool"]["definition"]["name"]
                check(name not in defined and name not in tools, f"the tool {name} is defined twice")
                defined.add(name)


def _judge_references(content: list[Json], tools: dict[str, Json]) -> None:
    references = [block for block in content if block["type"] == "tool_reference"]
    check(not references or len(references) == len(content), "a reference beside other blocks")
    for block in references:
        check(tools.get(block["tool_name"], {}).get("defer_loading"), f"unresolved tool_reference {block['tool_name']}")


def speak(turn: Turn, body: Json, reply_id: str) -> Iterator[Json]:
    """Stream the turn as Messages events."""
    usage = turn.usage or {"input_tokens": 10, "output_tokens": 5}
    start = {"id": reply_id, "type": "message", "role": "assistant", "content": []}
    yield {"type": "message_start", "message": {**start, "model": body["model"], "usage": usage, **turn.extra}}
    for index, block in enumerate(turn.content):
        opening, deltas = _opening(block)
        yield {"type": "content_block_start", "index": index, "content_block": opening}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": turn.stop, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def _opening(block: Json) -> tuple[Json, list[Json]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in halves(block["text"])]
    if block["type"] == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in halves(block["thinking"])]
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*thoughts, signature]
    if block["type"] == "tool_use":
        text = json.dumps(block["input"])
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in halves(text)]
    return block, []
