"""The compaction of OpenAI Responses: one answer that is no stream, whose items stand for the conversation.

Source: `responses.compact` of the `openai` SDK 3.54. The answer holds what the user said and one item that only the
provider can read; all of it begins the next requests as it came.
"""

from typing import Any, cast

from pydantic import JsonValue

from engine.transcript import Finish, Message, ModelReply, ModelRequest, Native, Part, Text
from providers.cache import Outgoing
from providers.errors import MalformedReply
from providers.openai_render import API, PROVIDER
from providers.prices import price
from providers.streams import Attempt

PATH = "/responses/compact"
TAKEN = ("model", "input", "prompt_cache_key", "service_tier")
"""The fields of a turn's body that a compaction takes as well."""


def compact_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a compaction from that of a turn over the same messages."""
    return {name: body[name] for name in TAKEN if name in body}


def compacted(answer: Any, attempt: Attempt, request: ModelRequest, going: Outgoing, usage: Any) -> ModelReply:
    """Return the answer as a reply that finished as `compacted`; `usage` reads the wire's own account of tokens.

    Raises:
        MalformedReply: the answer holds no compaction item.
    """
    items = answer.get("output") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not any(_is(item, "compaction") for item in cast("list[Any]", items)):
        raise attempt.failure(MalformedReply, "openai answered a compaction without its item.", retryable=False)
    told = cast("dict[str, Any]", answer)
    taken = usage(told.get("usage") or {})
    native = Native(
        provider=PROVIDER,
        api=API,
        model=request.route.model,
        blocks=tuple(cast("list[JsonValue]", items)),
        renderer=request.renderer,
        reply_id=told.get("id"),
        sent=going.sent(taken),
    )
    parts: tuple[Part, ...] = tuple(Text(text=text) for item in cast("list[Any]", items) for text in _texts(item))
    return ModelReply(
        message=Message(role="assistant", parts=parts, native=native),
        usage=taken,
        finish=Finish(unified="compacted", raw="response.compaction"),
        price=price(PROVIDER, request.route.model, taken),
        provider=PROVIDER,
        model=request.route.model,
        request_id=attempt.request_id,
        cache=going.facts(taken),
        rates=attempt.rates,
    )


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, dict) and cast("dict[str, Any]", item).get("type") == kind


def _texts(item: Any) -> list[str]:
    """Return what a message among the items says, for the size of it and for other providers."""
    content = cast("dict[str, Any]", item).get("content") if _is(item, "message") else None
    if isinstance(content, str):
        return [content]
    blocks = cast("list[Any]", content) if isinstance(content, list) else []
    return [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
