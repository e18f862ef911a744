"""Anthropic Messages: the official SDK carries the bytes, the events are read here and strictly.

Source: the types of the `anthropic` SDK 2.12. Always streamed, never retried.
"""

from contextlib import aclosing
from typing import Any, cast

import anthropic
import httpx2
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
from providers.anthropic_render import API, PROVIDER, RENDERERS, WRITTEN_HERE, all_tools, beta_names, outgoing, unparsed
from providers.base import DEFAULT_TIMEOUT_S, LoadMedia, OnDelta
from providers.cache import Outgoing, Told, last_own
from providers.errors import MalformedReply, ProviderUnavailable, Unauthorized
from providers.prices import price
from providers.streams import Attempt, Together
from providers.wire import ToolNames, check_request, encoded, parse_arguments, parsed_output, settle

BASE_URL = "https://api.anthropic.com"

FINISHES: dict[str, FinishKind] = {
    "end_turn": "done",
    "stop_sequence": "done",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "pause_turn": "paused",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_full",
    "compaction": "compacted",
}
"""`stop_reason` → the unified finish; a reason that is not listed finishes as `error`."""


class Anthropic:
    """The Messages wire for one account. Options of a route go onto the wire as they are, apart from `effort`,
    `cache_ttl` (`5m`, `1h`), `betas` (a list of beta names for the header) and `inline_tools` (true for a model that
    takes the definition of a new tool in the middle of a conversation)."""

    name = PROVIDER

    def __init__(
        self,
        api_key: str = "",
        base_url: str | None = None,
        load_media: LoadMedia | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if not api_key:
            raise Unauthorized("No API key is configured for anthropic.", provider=PROVIDER)
        self._load_media = load_media
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url or BASE_URL,
            max_retries=0,
            timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            open_telemetry=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Stream one Messages call and return its whole reply, or raise a `ProviderError`."""
        names = ToolNames(all_tools(request), PROVIDER, request.route.model)
        check_request(request, PROVIDER, WRITTEN_HERE)
        body = await RENDERERS[request.renderer](request, names, self._load_media)
        before = last_own(request.messages, PROVIDER, API)
        going = outgoing(request, before, body)
        if request.cache_key is not None:
            body["diagnostics"] = {"previous_message_id": before.reply_id if before else None}
        betas = beta_names(request)
        headers = {"anthropic-beta": ",".join(betas)} if betas else None
        attempt = Attempt(PROVIDER, request.route.model)
        reader = _Reader(attempt, names, request, going)
        try:
            # As bytes: of a body the SDK makes a copy, value by value, before it sends it.
            stream = await self._client.post(
                "/v1/messages",
                cast_to=httpx2.Response,
                content=encoded(body),
                options={"headers": headers} if headers else {},
                stream=True,
                stream_cls=anthropic.AsyncStream[Any],
            )
            async with aclosing(cast(httpx2.Response, stream)) as response:
                attempt.opened(response.headers, response.headers.get("request-id"))
                await attempt.follow(response.aiter_bytes(), reader, Together(on_delta))
        except anthropic.APIStatusError as error:
            raise attempt.refused(error.status_code, error.response.headers, error.body) from error
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            raise attempt.cut(error) from error
        return reader.reply()


class _Reader:
    """Builds the message out of the events; blocks stay as they came, only their pieces are joined."""

    def __init__(self, attempt: Attempt, names: ToolNames, request: ModelRequest, going: Outgoing) -> None:
        self.finished = False
        self._reply: ModelReply | None = None
        self._request = request
        self._going = going
        self.message: dict[str, Any] = {}
        self._attempt = attempt
        self._names = names
        self._blocks: dict[int, dict[str, Any]] = {}
        self._input: dict[int, str] = {}
        self._malformed: dict[int, str] = {}
        self._open: set[int] = set()
        self._usage: dict[str, Any] = {}
        self._stop: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> Delta | None:
        """Take one event; kinds that are not known are passed over, as the wire's versioning asks."""
        kind = event["type"]
        if kind == "content_block_delta":
            return self._piece(event["index"], event["delta"])
        if kind == "message_start":
            self.message = event["message"]
            self._usage.update(self.message["usage"])
        elif kind == "content_block_start":
            self._blocks[event["index"]] = dict(event["content_block"])
            self._open.add(event["index"])
        elif kind == "content_block_stop":
            self._close(event["index"])
        elif kind == "message_delta":
            self._stop.update(event["delta"])
            self._usage.update({name: value for name, value in event["usage"].items() if value is not None})
        elif kind == "message_stop":
            self._end()
        elif kind == "error":
            raise self._attempt.broken(event["error"])
        return None

    def _piece(self, index: int, delta: dict[str, Any]) -> Delta | None:
        block = self._blocks[index]
        kind = delta["type"]
        if kind == "text_delta":
            block["text"] += delta["text"]
            return Delta(kind="text", text=delta["text"])
        if kind == "thinking_delta":
            block["thinking"] += delta["thinking"]
            return Delta(kind="reasoning", text=delta["thinking"])
        if kind == "input_json_delta":
            self._input[index] = self._input.get(index, "") + delta["partial_json"]
            return Delta(kind="tool", text=delta["partial_json"], call_id=block["id"])
        if kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        else:
            block.update({name: value for name, value in delta.items() if name != "type"})
        return None

    def _close(self, index: int) -> None:
        self._open.remove(index)
        text = self._input.get(index, "")
        if not text:
            return
        block = self._blocks[index]
        arguments = parse_arguments(text)
        if arguments is None:
            self._malformed[index] = text
        block["input"] = arguments if arguments is not None else unparsed(text)

    def _end(self) -> None:
        if not self.message or self._open:
            raise self._attempt.failure(MalformedReply, "anthropic ended a message whose blocks were still open.")
        if not self._stop.get("stop_reason"):
            raise self._attempt.failure(
                ProviderUnavailable, "anthropic ended a message without saying why it stopped.", cut=True
            )
        self._reply = self._whole(self._request)
        self.finished = True

    def reply(self) -> ModelReply:
        """Return the whole reply; there is one once the reader has finished."""
        assert self._reply is not None
        return self._reply

    def _whole(self, request: ModelRequest) -> ModelReply:
        """Put the reply together; empty text blocks are left out, as the wire refuses to take them back."""
        kept = [
            (index, block)
            for index, block in sorted(self._blocks.items())
            if not (block["type"] == "text" and not block["text"])
        ]
        raw = str(self._stop["stop_reason"])
        parts, finish = settle(self._parts(kept), FINISHES.get(raw, "error"), raw)
        model = str(self.message.get("model") or request.route.model)
        usage = read_usage(self._usage)
        native = Native(
            provider=PROVIDER,
            api=API,
            model=model,
            blocks=tuple(cast(JsonValue, block) for _, block in kept),
            renderer=request.renderer,
            reply_id=self.message["id"],
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
            cache=self._going.facts(usage, _told(self.message.get("diagnostics"))),
            rates=self._attempt.rates,
            diagnostics=self._diagnostics(),
        )

    def _parts(self, kept: list[tuple[int, dict[str, Any]]]) -> list[Part]:
        parts: list[Part] = []
        for index, block in kept:
            if block["type"] == "text":
                parts.append(Text(text=block["text"]))
            elif block["type"] == "compaction" and block.get("content"):
                parts.append(Text(text=block["content"]))
            elif block["type"] == "thinking" and block["thinking"]:
                parts.append(Reasoning(text=block["thinking"]))
            elif block["type"] == "tool_use":
                malformed = self._malformed.get(index)
                parts.append(
                    ToolCall(
                        id=block["id"],
                        name=self._names.from_wire(block["name"]),
                        arguments=block["input"] if malformed is None else {},
                        malformed=malformed,
                    )
                )
        return parts

    def _diagnostics(self) -> dict[str, JsonValue]:
        """Return what the provider adds to its answer: what it says of the cache, why it refused, what it dropped."""
        told = {name: self.message.get(name) for name in ("diagnostics", "input_transformations")}
        told["stop_details"] = self._stop.get("stop_details")
        return {name: cast(JsonValue, value) for name, value in told.items() if value}


def _told(diagnostics: Any) -> Told | None:
    """Return the cause of a miss as the provider names it; it can't tell the cause, or not yet, in every case."""
    reason = diagnostics.get("cache_miss_reason") if isinstance(diagnostics, dict) else None
    if not isinstance(reason, dict) or not str(reason.get("type")).endswith("_changed"):
        return None
    return Told(reason=str(reason["type"]), missed_tokens=reason.get("cache_missed_input_tokens"))


def read_usage(raw: dict[str, Any]) -> Usage:
    """Return the unified usage; this wire's `input_tokens` is only what no cache gave and none was given.

    What a compaction took stands beside the sums, as an iteration of its own.
    """
    iterations: list[dict[str, Any]] = raw.get("iterations") or []
    counts = [raw, *(one for one in iterations if one.get("type") == "compaction")]
    fresh = sum(int(one.get("input_tokens") or 0) for one in counts)
    read = sum(int(one.get("cache_read_input_tokens") or 0) for one in counts)
    written = sum(int(one.get("cache_creation_input_tokens") or 0) for one in counts)
    long = sum(int((one.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0) for one in counts)
    tools = raw.get("server_tool_use") or {}
    return Usage(
        input_total=fresh + read + written,
        input_uncached=fresh,
        cache_read=read,
        cache_write_short=written - long,
        cache_write_long=long,
        output_total=sum(int(one.get("output_tokens") or 0) for one in counts),
        reasoning=int((raw.get("output_tokens_details") or {}).get("thinking_tokens") or 0),
        server_tools={name: count for name, count in tools.items() if isinstance(count, int) and count},
        raw=raw,
    )
