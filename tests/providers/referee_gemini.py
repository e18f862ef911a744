"""The referee's rules for Gemini's generateContent, and how it speaks there.

Sources: the field descriptions of the `google-genai` SDK's types (`thought_signature`, `function_call`,
`function_response`, `FinishReason.MISSING_THOUGHT_SIGNATURE`), in our own words.
"""

import base64
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.providers.referee_rules import Exchange, Json, Turn, check, own_turns_unchanged

SKIP = "skip_thought_signature_validator"
"""What stands in the place of a signature on a call that Gemini did not make."""


def signature(text: str) -> str:
    """Return the base64 text of a signature, as JSON carries bytes."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def say(text: str) -> list[Json]:
    """Return a turn of one text."""
    return [{"text": text}]


def call(call_id: str, name: str, arguments: Json) -> list[Json]:
    """Return the part of one call, signed as the first call of a turn is."""
    return [
        {
            "functionCall": {"id": call_id, "name": name, "args": arguments},
            "thoughtSignature": signature(f"call {call_id}"),
        }
    ]


def think(number: int) -> list[Json]:
    """Return a thought and an empty part that carries nothing but a signature, different for each number."""
    return [
        {"text": f"Thought {number}.", "thought": True},
        {"text": "", "thoughtSignature": signature(f"thought {number}")},
    ]


def usage(total: int, read: int) -> Json:
    """Return the usage of a call with `total` tokens of input, `read` of them from the cache."""
    return {"promptTokenCount": total, "cachedContentTokenCount": read, "candidatesTokenCount": 5}


def judge(body: Json, headers: dict[str, str], past: list[Exchange]) -> None:
    """Check one generateContent request."""
    contents: list[Json] = body["contents"]
    check(contents and contents[0]["role"] == "user", "the first content is the user's")
    check(all(content.get("parts") for content in contents), "an empty content")
    check(all(a["role"] != b["role"] for a, b in pairwise(contents)), "the contents alternate")
    _judge_own([exchange.turn.content for exchange in past], contents)
    _judge_calls(contents)
    declared = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    check(len(set(declared)) == len(declared), "a function is declared twice")
    check(len(declared) <= 512, f"{len(declared)} function declarations")


def prefix(body: Json) -> tuple[Any, list[Any]]:
    """Return what a cache compares: the declarations and the system instruction as the head, and the contents."""
    return [body.get("tools"), body.get("systemInstruction")], body["contents"]


def _judge_own(said: list[list[Json]], contents: list[Json]) -> None:
    """Signed parts come back each in a part of its own, turns whole; only plain text may have been joined."""
    present = [part for content in contents if content["role"] == "model" for part in content["parts"]]
    signed = [part["thoughtSignature"] for part in present if "thoughtSignature" in part]
    for part in (part for turn in said for part in turn if "thoughtSignature" in part):
        check(_bytes(part["thoughtSignature"]) in map(_bytes, signed), f"a thought signature is missing: {part}")
    mine = [_joined(content["parts"]) for content in contents if content["role"] == "model"]
    own_turns_unchanged([_joined(turn) for turn in said], mine)


def _joined(parts: list[Json]) -> list[Json]:
    """Return the parts with unsigned texts of one kind joined and bytes in one spelling."""
    joined: list[Json] = []
    for part in parts:
        now = {name: _bytes(value) if name == "thoughtSignature" else value for name, value in sorted(part.items())}
        last = joined[-1] if joined else {}
        same = {*now, *last} <= {"text", "thought"} and last.get("thought") == now.get("thought")
        if joined and same:
            joined[-1] = {**last, "text": last["text"] + now["text"]}
        else:
            joined.append(now)
    return joined


def _bytes(text: str) -> str:
    return text.replace("+", "-").replace("/", "_").rstrip("=")


def _judge_calls(contents: list[Json]) -> None:
    asked: list[tuple[Any, str]] = []
    for content in contents:
        answers = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        given = [(answer.get("id"), answer["name"]) for answer in answers]
        check(sorted(map(str, given)) == sorted(map(str, asked)), "calls and responses don't match")
        calls = [part for part in content["parts"] if "functionCall" in part]
        check(not calls or content["role"] == "model", "only the model calls")
        check(not calls or calls[0].get("thoughtSignature"), "the first call of a turn has no thought signature")
        asked = [(part["functionCall"].get("id"), part["functionCall"]["name"]) for part in calls]
    check(not asked, "a call without a response")


def speak(turn: Turn, body: Json, reply_id: str) -> Iterator[Json]:
    """Stream the turn as chunks of one part each; the last one says why it ended."""
    head: Json = {"responseId": reply_id, "modelVersion": "any-model"}
    usage = turn.usage or {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    for part in turn.content:
        yield {**head, "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]}
    reason = "STOP" if turn.stop in ("end_turn", "tool_use") else turn.stop
    yield {**head, "candidates": [{"index": 0, "finishReason": reason}], "usageMetadata": usage, **turn.extra}
