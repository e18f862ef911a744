"""OpenAI Responses: the official SDK carries the bytes, the events are read here and strictly.

Source: the types of the `openai` SDK 3.54. Always streamed, never retried, nothing stored at the provider. The body
is handed over as bytes, because the SDK's own transformation of `input` blocks the event loop for long inputs.
"""

from typing import Any, cast

import httpx2
import openai
from pydantic import JsonValue

from engine.transcript import (
    Delta,
    FinishKind,
    Message,
    ModelReply,
    ModelRequest,
    Native,
    Part,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from providers.base import DEFAULT_TIMEOUT_S, LoadMedia, OnDelta
from providers.cache import Outgoing, Told, last_own
from providers.errors import MalformedReply, Unauthorized
from providers.openai_compact import PATH, compact_body, compacted
from providers.openai_post import posted
from providers.openai_render import API, PROVIDER, RENDERERS, WRITTEN_HERE, outgoing
from providers.prices import price
from providers.streams import Attempt, Together
from providers.wire import (
    ToolNames,
    check_request,
    parse_arguments,
    parsed_output,
    revealed_tools,
    settle,
    strict_json,
)

BASE_URL = "https://api.openai.com/v1"

INCOMPLETE: dict[str, FinishKind] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "refusal",
    "steered": "paused",
}
"""`incomplete_details.reason` → the unified finish; a reason that is not listed finishes as `error`."""

_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.function_call_arguments.delta": "tool",
}


class OpenAI:
    """The Responses wire for one account. Options of a route go onto the wire as they are, apart from `effort`."""

    name = PROVIDER

    def __init__(
        self,
        api_key: str = "",
        base_url: str | None = None,
        load_media: LoadMedia | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if not api_key:
            raise Unauthorized("No API key is configured for openai.", provider=PROVIDER)
        self._load_media = load_media
        self._client = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url or BASE_URL,
            max_retries=0,
            timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Stream one Responses call and return its whole reply, or raise a `ProviderError`."""
        names = ToolNames([*request.tools, *revealed_tools(request.messages)], PROVIDER, request.route.model)
        check_request(request, PROVIDER, WRITTEN_HERE)
        before = last_own(request.messages, PROVIDER, API)
        body = await RENDERERS[request.renderer](request, names, self._load_media, before)
        going = outgoing(request, before, body)
        attempt = Attempt(PROVIDER, request.route.model)
        if request.compact:
            return await self._compact(request, body, attempt, going)
        reader = _Reader(attempt, names, request, going)
        try:
            async with posted(self._client, "/responses", body) as response:
                attempt.opened(response.headers, response.headers.get("x-request-id"))
                await attempt.follow(response.aiter_bytes(), reader, Together(on_delta))
        except openai.APIStatusError as error:
            raise attempt.refused(error.status_code, error.response.headers, error.body) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise attempt.cut(error) from error
        return reader.reply()

    async def _compact(
        self, request: ModelRequest, body: dict[str, Any], attempt: Attempt, going: Outgoing
    ) -> ModelReply:
        try:
            answer = await self._client.post(PATH, body=compact_body(body), cast_to=httpx2.Response)
            attempt.opened(answer.headers, answer.headers.get("x-request-id"))
            told = strict_json(answer.text)
        except openai.APIStatusError as error:
            raise attempt.refused(error.status_code, error.response.headers, error.body) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise attempt.cut(error) from error
        except ValueError as error:
            raise attempt.failure(MalformedReply, f"openai answered a compaction in no JSON: {error}.") from error
        return compacted(told, attempt, request, going, read_usage)


class _Reader:
    """Gathers the finished output items; the terminal event says whether they are all."""

    def __init__(self, attempt: Attempt, names: ToolNames, request: ModelRequest, going: Outgoing) -> None:
        self.finished = False
        self._reply: ModelReply | None = None
        self._request = request
        self._going = going
        self.response: dict[str, Any] = {}
        self._attempt = attempt
        self._names = names
        self._done: dict[int, dict[str, Any]] = {}
        self._call_ids: dict[int, str] = {}

    def take(self, event: dict[str, Any]) -> Delta | None:
        """Take one event; kinds that are not known are passed over."""
        kind = event["type"]
        if kind in _DELTAS:
            call_id = self._call_ids.get(event["output_index"]) if _DELTAS[kind] == "tool" else None
            return Delta(kind=cast(Any, _DELTAS[kind]), text=event["delta"], call_id=call_id)
        if kind == "response.output_item.added" and event["item"]["type"] == "function_call":
            self._call_ids[event["output_index"]] = event["item"]["call_id"]
        elif kind == "response.output_item.done":
            self._done[event["output_index"]] = event["item"]
        elif kind in ("response.completed", "response.incomplete"):
            self.response = event["response"]
            self._check_items()
            self._reply = self._whole(self._request)
            self.finished = True
        elif kind == "response.failed":
            raise self._attempt.broken(event["response"].get("error") or {})
        elif kind == "error":
            raise self._attempt.broken(event["error"] if isinstance(event.get("error"), dict) else event)
        return None

    def _check_items(self) -> None:
        """Complete the items from the terminal event, which holds what an unfinished output never closed."""
        final: list[dict[str, Any]] = self.response.get("output") or []
        if final and any(index >= len(final) for index in self._done):
            raise self._attempt.failure(MalformedReply, "openai ended a response with fewer items than it streamed.")
        for index, item in enumerate(final):
            self._done.setdefault(index, item)

    def reply(self) -> ModelReply:
        """Return the whole reply; there is one once the reader has finished."""
        assert self._reply is not None
        return self._reply

    def _whole(self, request: ModelRequest) -> ModelReply:
        """Put the reply together, with its items verbatim in the order of the output."""
        items = [item for _, item in sorted(self._done.items())]
        refused = any(content["type"] == "refusal" for item in items for content in _contents(item))
        kind: FinishKind = "refusal" if refused else "done"
        raw = str(self.response.get("status") or "completed")
        if raw == "incomplete":
            raw = str((self.response.get("incomplete_details") or {}).get("reason") or "incomplete")
            kind = INCOMPLETE.get(raw, "error")
        parts, finish = settle(self._parts(items), kind, raw)
        model = str(self.response.get("model") or request.route.model)
        usage = read_usage(self.response.get("usage") or {})
        native = Native(
            provider=PROVIDER,
            api=API,
            model=model,
            blocks=tuple(cast(JsonValue, item) for item in items),
            renderer=request.renderer,
            reply_id=self.response["id"],
            sent=self._going.sent(usage),
        )
        return ModelReply(
            message=Message(role="assistant", parts=parts, native=native),
            usage=usage,
            finish=finish,
            price=price(PROVIDER, model, usage),
            provider=PROVIDER,
            model=model,
            request_id=self._attempt.request_id,
            output=parsed_output(request, parts, finish),
            cache=self._going.facts(usage, _told(self.response.get("prompt_cache_diagnostics"))),
            rates=self._attempt.rates,
            diagnostics=self._diagnostics(items),
        )

    def _parts(self, items: list[dict[str, Any]]) -> list[Part]:
        parts: list[Part] = []
        for item in items:
            if item["type"] == "message":
                texts = [content.get("text") or content.get("refusal") or "" for content in _contents(item)]
                parts.extend(Text(text=text) for text in texts if text)
            elif item["type"] == "reasoning":
                thoughts = [entry["text"] for entry in item.get("summary") or item.get("content") or []]
                if thoughts:
                    parts.append(Reasoning(text="\n\n".join(thoughts)))
            elif item["type"] == "function_call":
                parts.append(self._call(item))
        return parts

    def _call(self, item: dict[str, Any]) -> ToolCall:
        text = item["arguments"]
        whole = item.get("status", "completed") == "completed"
        arguments = parse_arguments(text) if whole else None
        return ToolCall(
            id=item["call_id"],
            name=self._names.from_wire(item["name"]),
            arguments=arguments or {},
            malformed=text if arguments is None else None,
        )

    def _diagnostics(self, items: list[dict[str, Any]]) -> dict[str, JsonValue]:
        """Return what the provider adds to its answer: what it says of the cache, what it dropped, the last phase."""
        told = {name: self.response.get(name) for name in ("prompt_cache_diagnostics", "input_transformations")}
        told["phase"] = next((item["phase"] for item in reversed(items) if item.get("phase")), None)
        return {name: cast(JsonValue, value) for name, value in told.items() if value}


def _told(diagnostics: Any) -> Told | None:
    """Return the provider's diagnosis of the cache; None where none was asked for or it could give none."""
    if not isinstance(diagnostics, dict) or diagnostics.get("type") not in ("cache_hit", "cache_miss"):
        return None
    return Told(
        hit=diagnostics["type"] == "cache_hit",
        reason=diagnostics.get("reason"),
        missed_tokens=diagnostics.get("cache_missed_tokens"),
    )


def _contents(item: dict[str, Any]) -> list[dict[str, Any]]:
    return item["content"] if item["type"] == "message" else []


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return the unified usage; this wire's `input_tokens` includes what was read from and written to caches."""
    inside = raw.get("input_tokens_details") or {}
    total = int(raw.get("input_tokens") or 0)
    read = int(inside.get("cached_tokens") or 0)
    written = int(inside.get("cache_write_tokens") or 0)
    long = int((inside.get("cache_write_tokens_details") or {}).get("ttl_12h_tokens") or 0)
    return Usage(
        input_total=total,
        input_uncached=max(0, total - read - written),
        cache_read=read,
        cache_write_short=max(0, written - long),
        cache_write_long=long,
        output_total=int(raw.get("output_tokens") or 0),
        reasoning=int((raw.get("output_tokens_details") or {}).get("reasoning_tokens") or 0),
        raw=raw,
    )
