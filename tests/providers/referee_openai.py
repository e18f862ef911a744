"""The referee's rules for OpenAI Responses, and how it speaks there.

Sources: the docstrings of the `openai` SDK's request types (`store`, `phase`, `reasoning`, `additional_tools`,
`function_call_output`, `prompt_cache_options`), in our own words.
"""

import json
from collections.abc import Iterator
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

COMPLETE = ("end_turn", "completed", "tool_use")


def say(text: str) -> list[Json]:
    """Return a turn of one final text."""
    return [_message(text, "final_answer")]


def call(call_id: str, name: str, arguments: Json) -> list[Json]:
    """Return the item of one call."""
    given = json.dumps(arguments)
    item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name, "arguments": given}
    return [{**item, "status": "completed"}]


def think(number: int) -> list[Json]:
    """Return encrypted reasoning and a comment with its phase, different for each number."""
    summary = [{"type": "summary_text", "text": f"Thought {number}."}]
    reasoning = {"type": "reasoning", "id": f"rs_{number}", "summary": summary, "encrypted_content": f"Z2Vo/{number}+"}
    return [reasoning, _message(f"Comment {number}.", "commentary")]


def _message(text: str, phase: str) -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{text}", "role": "assistant", "phase": phase, "content": content}


def usage(total: int, read: int) -> Json:
    """Return the usage of a call with `total` tokens of input, `read` of them from the cache."""
    return {"input_tokens": total, "input_tokens_details": {"cached_tokens": read}, "output_tokens": 5}


def judge(body: Json, headers: dict[str, str], past: list[Exchange]) -> None:
    """Check one Responses request."""
    check(body.get("stream") is True, "every call is streamed")
    check(body.get("store") is False, "store must be false: nothing is kept here")
    items: list[Json] = body["input"]
    mine = [item for exchange in past for item in exchange.turn.content]
    _judge_phases(items, mine)
    own_turns_unchanged(mine, items)
    for exchange in past:
        if any(item["type"] == "reasoning" for item in exchange.turn.content):
            prefix_unchanged(prefix(exchange.body), prefix(body))
    check(all(item in mine for item in items if item["type"] == "reasoning"), "reasoning that is not mine")
    _judge_calls(items, {tool["name"] for tool in body.get("tools", [])})
    compared = (body.get("prompt_cache_options") or {}).get("comparison_response_id")
    check(compared is None or compared in [exchange.reply_id for exchange in past], f"no response {compared}")


def prefix(body: Json) -> tuple[Any, list[Any]]:
    """Return what reasoning is bound to: tools and instructions as the head, and the items."""
    return [body.get("tools"), body.get("instructions")], unmarked(body["input"])


def _judge_phases(items: list[Json], mine: list[Json]) -> None:
    phases = {item["id"]: item["phase"] for item in mine if item["type"] == "message"}
    for item in items:
        if item["type"] == "message" and item.get("id") in phases:
            check(item.get("phase") == phases[item["id"]], f"the phase of {item['id']} was dropped or changed")


def _judge_calls(items: list[Json], callable_now: set[str]) -> None:
    unanswered: set[str] = set()
    for item in items:
        kind = item["type"]
        if kind == "function_call":
            check(item["name"] in callable_now, f"{item['name']} is called before it is declared")
            unanswered.add(item["call_id"])
        elif kind == "function_call_output":
            check(item["call_id"] in unanswered, f"no open call {item['call_id']}")
            unanswered.remove(item["call_id"])
        elif kind == "additional_tools":
            check(item["role"] == "developer", "only a developer adds tools")
            added = {tool["name"] for tool in item["tools"]}
            check(not added & callable_now, f"declared twice: {sorted(added & callable_now)}")
            callable_now |= added
        else:
            check(kind == "reasoning" or not unanswered, f"calls {unanswered} are open before the next turn")
    check(not unanswered, f"calls {unanswered} have no answer")


def speak(turn: Turn, body: Json, reply_id: str) -> Iterator[Json]:
    """Stream the turn as Responses events; `stop` is the status, or the reason of an incomplete response."""
    response: Json = {"id": reply_id, "model": body["model"], "status": "in_progress"}
    yield {"type": "response.created", "response": response}
    for index, item in enumerate(turn.content):
        yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
        for kind, text in _texts(item):
            for piece in halves(text):
                yield {"type": f"response.{kind}.delta", "output_index": index, "delta": piece}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    if turn.stop == "failed":
        yield {"type": "response.failed", "response": {**response, "status": "failed", **turn.extra}}
        return
    complete = turn.stop in COMPLETE
    response["status"] = "completed" if complete else "incomplete"
    response["incomplete_details"] = None if complete else {"reason": turn.stop}
    response["usage"] = turn.usage or {"input_tokens": 10, "output_tokens": 5}
    yield {"type": f"response.{response['status']}", "response": {**response, "output": turn.content, **turn.extra}}


def _begun(item: Json) -> Json:
    unfinished = {"arguments": "", "encrypted_content": "incomplete", "content": [], "status": "in_progress"}
    return {**item, **{name: value for name, value in unfinished.items() if name in item}}


def _texts(item: Json) -> Iterator[tuple[str, str]]:
    if item["type"] == "message":
        yield from (("output_text", content["text"]) for content in item["content"])
    elif item["type"] == "reasoning":
        yield from (("reasoning_summary_text", entry["text"]) for entry in item["summary"])
    elif item["type"] == "function_call":
        yield "function_call_arguments", item["arguments"]
