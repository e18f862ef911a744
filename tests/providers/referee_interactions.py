"""The referee's rules for Gemini's Interactions API, and how it speaks there.

Sources: the field descriptions of the `google-genai` SDK's interaction types (`store`, `defer_loading`, `tool_search`,
`call_id`, `signature`), in our own words.
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
)

ANSWERS = {"function_result": "function_call", "tool_search_result": "tool_search_call"}


def judge(body: Json, headers: dict[str, str], past: list[Exchange]) -> None:
    """Check one request."""
    check(body.get("store") is False, "store must be false: nothing is kept here")
    check(body.get("stream") is True, "every interaction is streamed")
    check("previous_interaction_id" not in body, "nothing was stored that could go on")
    check(headers.get("api-revision"), "no revision of the API is named")
    steps: list[Json] = body["input"]
    mine = [step for exchange in past for step in exchange.turn.content]
    if "continuation_token" not in body:
        own_turns_unchanged(mine, steps)
    check(all(step in mine for step in steps if step["type"] == "thought"), "a thought that is not mine")
    for exchange in past:
        prefix_unchanged(prefix(exchange.body), prefix(body))
    tools: list[Json] = body.get("tools", [])
    deferred = {tool["name"] for tool in tools if tool.get("defer_loading")}
    check(all(tool.get("short_description") for tool in tools if tool.get("defer_loading")), "no short description")
    search = [tool for tool in tools if tool["type"] == "tool_search"]
    check(not deferred or [tool["execution"] for tool in search] == ["client"], "deferred tools without a search")
    _judge_calls(steps, {tool["name"] for tool in tools if tool["type"] == "function"} - deferred)


def prefix(body: Json) -> tuple[Any, list[Any]]:
    """Return what a cache compares: the declarations and the system instruction as the head, and the steps."""
    return [body.get("tools"), body.get("system_instruction")], body["input"]


def _judge_calls(steps: list[Json], callable_now: set[str]) -> None:
    unanswered: dict[str, str] = {}
    for step in steps:
        kind = step["type"]
        if kind in ANSWERS.values():
            check(kind != "function_call" or step["name"] in callable_now, f"{step} is called before it is loaded")
            unanswered[step["id"]] = kind
        elif kind in ANSWERS:
            check(unanswered.pop(step["call_id"], None) == ANSWERS[kind], f"{kind} without its open call")
            loaded = [entry for entry in step["result"] if entry["type"] == "function"]
            check(kind == "function_result" or loaded == step["result"], "a search is answered with functions alone")
            callable_now |= {entry["name"] for entry in loaded}
        else:
            check(kind == "thought" or not unanswered, f"calls {unanswered} are open before the next step")
    check(not unanswered, f"calls {unanswered} have no answer")


def speak(turn: Turn, body: Json, reply_id: str) -> Iterator[Json | bytes]:
    """Stream the turn as events; `stop` is the status at the end."""
    interaction: Json = {"id": reply_id, "model": body["model"], "status": "in_progress", "object": "interaction"}
    yield {"event_type": "interaction.created", "interaction": interaction}
    yield {"event_type": "interaction.status_update", "interaction_id": reply_id, "status": "in_progress"}
    for index, step in enumerate(turn.content):
        opening, deltas = _begun(step)
        yield {"event_type": "step.start", "index": index, "step": opening}
        for delta in deltas:
            yield {"event_type": "step.delta", "index": index, "delta": delta}
        yield {"event_type": "step.stop", "index": index}
    usage = turn.usage or {"total_input_tokens": 10, "total_output_tokens": 5, "total_tokens": 15}
    status = "completed" if turn.stop == "end_turn" else turn.stop
    yield {
        "event_type": "interaction.completed",
        "interaction": {**interaction, "status": status, "usage": usage, **turn.extra},
    }
    yield b"event: done\ndata: [DONE]\n\n"


def _begun(step: Json) -> tuple[Json, list[Json]]:
    """Return the step as it starts, and the deltas that complete it."""
    if step["type"] == "model_output":
        texts = [piece for content in step["content"] for piece in halves(content["text"])]
        return {"type": "model_output"}, [{"type": "text", "text": text} for text in texts]
    if step["type"] == "thought":
        texts = [piece for entry in step["summary"] for piece in halves(entry["text"])]
        summary = [{"type": "thought_summary", "content": {"type": "text", "text": text}} for text in texts]
        return {"type": "thought"}, [*summary, {"type": "thought_signature", "signature": step["signature"]}]
    if step["type"] == "function_call":
        pieces = halves(json.dumps(step["arguments"]))
        return {**step, "arguments": {}}, [{"type": "arguments_delta", "arguments": piece} for piece in pieces]
    rest = {name: value for name, value in step.items() if name not in ("arguments", "signature")}
    return {**rest, "arguments": {}}, [
        {"type": step["type"], **{name: step[name] for name in ("arguments", "signature") if name in step}}
    ]
