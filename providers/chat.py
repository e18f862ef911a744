"""OpenAI Chat Completions, the wire that most other vendors and local servers speak.

The official SDK carries the bytes, the events are read here and strictly; what differs from vendor to vendor is a row
of `providers.chat_vendors`. Always streamed, never retried. A stream counts only with its finish reason and
its `[DONE]`.
"""

from typing import Any, cast

import httpx2
import openai
from pydantic import JsonValue

from engine.transcript import Delta, FinishKind, Message, ModelReply, ModelRequest, Native, Price, Usage
from providers.base import DEFAULT_TIMEOUT_S, LoadMedia, OnDelta
from providers.cache import Outgoing, last_own
from providers.chat_render import API, RENDERERS, WRITTEN_HERE
from providers.chat_reply import FINISHES, INTERRUPTED, Assembly, error_fields, read_usage
from providers.chat_tools import ChatTools
from providers.chat_vendors import VENDORS, Vendor
from providers.errors import InvalidRequest, MalformedReply, Overloaded, Unauthorized
from providers.openai_post import posted
from providers.prices import price
from providers.streams import Attempt, Together
from providers.wire import check_request, parsed_output, settle


class Chat:
    """The Chat Completions wire of one vendor for one account. Options of a route go onto the wire as they are, apart
    from `effort`; a query in `base_url` is sent with every call."""

    def __init__(
        self,
        api_key: str = "",
        base_url: str | None = None,
        load_media: LoadMedia | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        vendor: Vendor = VENDORS["chat"],
    ) -> None:
        self.name = vendor.name
        self._vendor = vendor
        self._load_media = load_media
        if vendor.needs_key and not api_key:
            raise Unauthorized(f"No API key is configured for {vendor.name}.", provider=vendor.name)
        address = base_url or vendor.base_url
        if address is None:
            raise InvalidRequest(f"{vendor.name} has no address of its own; set its base URL.", provider=vendor.name)
        url = httpx2.URL(address)
        # The SDK would add what the environment says about OpenAI's own accounts; that is nobody else's business.
        self._headers: dict[str, Any] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        if vendor.auth == "api-key":
            self._headers.update({"api-key": api_key, "Authorization": openai.Omit()})
        elif not api_key:
            self._headers["Authorization"] = openai.Omit()
        self._client = openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=str(url.copy_with(query=None)),
            default_query=dict(url.params),
            max_retries=0,
            timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Stream one completion and return its whole reply, or raise a `ProviderError`."""
        tools = ChatTools(request, self.name)
        check_request(request, self.name, WRITTEN_HERE)
        body = await RENDERERS[request.renderer](request, self._vendor, tools, self._load_media)
        written = body["messages"]
        before = last_own(request.messages, self.name, API)
        going = Outgoing.of(request, before, tools=body.get("tools"), system=written[:1], entries=written)
        attempt = Attempt(self.name, request.route.model)
        told = Together(on_delta)
        reader = _Reader(attempt, self._vendor, tools, request, going, told)
        try:
            async with posted(self._client, "/chat/completions", body, self._headers) as response:
                attempt.opened(response.headers, response.headers.get("x-request-id"))
                if response.headers.get("content-type", "").startswith("application/json"):
                    raise _not_streamed(attempt, await response.aread())
                await attempt.follow(response.aiter_bytes(), reader, told, reader.done)
        except openai.APIStatusError as error:
            fields = error_fields(error.body if error.body is not None else error.response.text)
            raise attempt.refused(error.status_code, error.response.headers, fields) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise attempt.cut(error) from error
        return reader.reply()


def _not_streamed(attempt: Attempt, body: bytes) -> Exception:
    """Return the error for an answer of 200 that is one JSON document instead of a stream."""
    fields = error_fields(body)
    if fields["message"]:
        return attempt.broken(fields)
    return attempt.failure(MalformedReply, f"{attempt.provider} answered a request for a stream with one document.")


class _Reader:
    """Gathers the first choice of a completion; it is whole once its finish reason and the end were read.

    One event may hold several pieces, so they are told from here.
    """

    def __init__(
        self,
        attempt: Attempt,
        vendor: Vendor,
        tools: ChatTools,
        request: ModelRequest,
        going: Outgoing,
        told: Together,
    ) -> None:
        self.finished = False
        self._attempt = attempt
        self._vendor = vendor
        self._tools = tools
        self._request = request
        self._going = going
        self._told = told
        self._said = Assembly(vendor)
        self._finish: str | None = None
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None

    def take(self, event: dict[str, Any]) -> Delta | None:
        """Take one event; what is not known in it is passed over."""
        if event.get("error"):
            raise self._attempt.broken(error_fields(event))
        for name in ("id", "model", "service_tier"):
            if event.get(name):
                self._head[name] = event[name]
        groq = event.get("x_groq")
        self._usage = event.get("usage") or (groq or {}).get("usage") or self._usage
        for choice in event.get("choices") or ():
            if choice.get("index", 0) == 0:
                self._take_choice(choice)
        return None

    def _take_choice(self, choice: dict[str, Any]) -> None:
        if choice.get("error"):
            raise self._attempt.broken(error_fields(choice))
        try:
            for piece in self._said.take(choice.get("delta") or {}):
                if piece.text:
                    self._told(piece)
        except ValueError as error:
            raise self._attempt.failure(MalformedReply, f"{self._attempt.provider} broke the wire: {error}.") from error
        self._usage = choice.get("usage") or self._usage
        self._finish = choice.get("finish_reason") or self._finish
        if self._finish == INTERRUPTED:
            raise self._attempt.failure(Overloaded, f"{self._attempt.provider} gave up the answer ({INTERRUPTED}).")

    def done(self) -> None:
        """The stream said `[DONE]`: finish, if a finish reason was read."""
        self.finished = self._finish is not None

    def reply(self) -> ModelReply:
        """Return the whole reply; there is one once the reader has finished."""
        assert self._finish is not None
        reply_id = str(self._head.get("id") or self._attempt.request_id or "")
        block = self._said.block(reply_id)
        kind: FinishKind = FINISHES.get(self._finish, self._vendor.finishes.get(self._finish, "error"))
        kind = "refusal" if self._said.refused else kind
        parts, finish = settle(self._said.parts(self._tools), kind, self._finish)
        model = str(self._head.get("model") or self._request.route.model)
        usage = read_usage(self._usage, self._request, self._said.size)
        native = Native(
            provider=self._vendor.name,
            api=API,
            model=model,
            blocks=(cast(JsonValue, block),),
            renderer=self._request.renderer,
            reply_id=reply_id or None,
            sent=self._going.sent(usage),
        )
        return ModelReply(
            message=Message(role="assistant", parts=parts, native=native),
            usage=usage,
            finish=finish,
            price=self._price(model, usage),
            provider=self._vendor.name,
            model=model,
            request_id=self._attempt.request_id,
            output=parsed_output(self._request, parts, finish),
            cache=self._going.facts(usage),
            rates=self._attempt.rates,
            diagnostics=self._diagnostics(usage),
        )

    def _price(self, model: str, usage: Usage) -> Price:
        told = usage.raw.get(self._vendor.cost) if self._vendor.cost else None
        if isinstance(told, int | float) and not usage.raw.get("is_byok"):
            return Price(usd=float(told), source=f"reported by {self._vendor.name}")
        tier = self._head.get("service_tier")
        context = {"service_tier": tier} if isinstance(tier, str) else {}
        return price(self._vendor.name, model, usage, context)

    def _diagnostics(self, usage: Usage) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {"message_id": str(self._head.get("id") or "")}
        return {**found, "usage": "estimated"} if usage.raw.get("estimated") else found
