"""One HTTP attempt at a model: reading server-sent events strictly, and naming whatever goes wrong.

The SDKs carry the bytes; they accept streams that end early and events that are not JSON, so the reading is done here.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

import anyio
import httpx2
from pydantic import ValidationError

from engine.transcript import Delta, RateFacts
from providers.base import OnDelta
from providers.errors import (
    ContextFull,
    InvalidRequest,
    MalformedReply,
    Overloaded,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Refused,
    SpendLimit,
    Unauthorized,
)
from providers.pace import PACE, Pace
from providers.rates import rate_facts, retry_after
from providers.wire import strict_json

OVERLOAD = (503, 529)
"""The statuses that mean: nobody is served at the moment."""

DRAIN_S = 0.2
"""Seconds granted to the end of a stream after its last event, so that its connection can be used again."""

_KINDS: dict[str, type[ProviderError]] = {
    "rate_limit_error": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "ramp_limit_exceeded": RateLimited,
    "overloaded_error": Overloaded,
    "overloaded": Overloaded,
    "server_is_overloaded": Overloaded,
    "slow_down": Overloaded,
    "context_length_exceeded": ContextFull,
    "exceed_context_size_error": ContextFull,
    "request_too_large": ContextFull,
    "billing_error": SpendLimit,
    "billing_required": SpendLimit,
    "billing_hard_limit_reached": SpendLimit,
    "insufficient_quota": SpendLimit,
    "contract_spend_limit_reached": SpendLimit,
    "enforced_spend_limit_reached": SpendLimit,
    "linked_organization_spend_limit_reached": SpendLimit,
    "authentication_error": Unauthorized,
    "invalid_api_key": Unauthorized,
    "permission_error": Unauthorized,
    "not_found_error": InvalidRequest,
    "invalid_prompt": Refused,
    "bio_policy": Refused,
    "content_filter": Refused,
    "content_policy_violation": Refused,
    "image_content_policy_violation": Refused,
    "misalignment_policy_violation": Refused,
    "api_error": ProviderUnavailable,
    "timeout_error": ProviderUnavailable,
    "server_error": ProviderUnavailable,
    "internal_error": ProviderUnavailable,
    "vector_store_timeout": ProviderUnavailable,
}
"""What the providers' own words for errors mean; the most specific word of an answer is looked up first."""

# Anthropic has no code for an overlong prompt, only this sentence under `invalid_request_error`.
_TOO_LONG = re.compile(
    r"prompt is too long|maximum context length|exceeds? (the )?context (window|limit)", re.IGNORECASE
)


def error_kind(status: int | None, words: list[str], message: str) -> type[ProviderError]:
    """Return the class for an answer with this HTTP status (None inside a stream) and these error words."""
    named = next((_KINDS[word] for word in words if word in _KINDS), None)
    if named is not None:
        # "Server error" is all that some say beside the status that means overload.
        return Overloaded if named is ProviderUnavailable and status in OVERLOAD else named
    if status in (None, 400, 413, 422) and _TOO_LONG.search(message):
        return ContextFull
    if status is None:
        return InvalidRequest if "invalid_request_error" in words else ProviderUnavailable
    by_status = {401: Unauthorized, 402: SpendLimit, 403: Unauthorized, 413: ContextFull, 429: RateLimited}
    if status in by_status:
        return by_status[status]
    if status in OVERLOAD:
        return Overloaded
    return ProviderUnavailable if status in (408, 409) or status >= 500 else InvalidRequest


class EventDecoder:
    """Turns chunks of bytes into the data of server-sent events; an event without its blank line is never given out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the data of each event that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                yield data.decode("utf-8", errors="strict")


class Reader(Protocol):
    """Builds a reply out of the events of one wire; `finished` once the terminal event was read."""

    finished: bool

    def take(self, event: dict[str, Any]) -> Delta | None:
        """Take one event; a missing or wrong field may raise KeyError or TypeError."""
        ...


class Together:
    """Hands the live pieces of a reply on: those that one read brought as one, where they are of one kind and call."""

    def __init__(self, on_delta: OnDelta | None) -> None:
        """Keep who is told; None tells nobody."""
        self._on_delta = on_delta
        self._first: Delta | None = None
        self._texts: list[str] = []

    def __call__(self, delta: Delta) -> None:
        """Take a piece; one of another kind or call than before sends off what waits."""
        first = self._first
        if first is not None and (first.kind != delta.kind or first.call_id != delta.call_id):
            self.send()
        if self._first is None:
            self._first = delta
        self._texts.append(delta.text)

    def send(self) -> None:
        """Hand on what waits."""
        first, self._first = self._first, None
        texts, self._texts = self._texts, []
        if first is not None and self._on_delta is not None:
            one = len(texts) == 1
            self._on_delta(first if one else first.model_copy(update={"text": "".join(texts)}))


class Attempt:
    """One request under way; it knows whom it calls, so every failure names provider, model and request."""

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model
        self.request_id: str | None = None
        self.headers: Mapping[str, str] = {}
        self.rates: RateFacts | None = None
        self.marked = False

    def opened(self, headers: Mapping[str, str], request_id: str | None) -> None:
        """Note the head of the answer."""
        self.headers = headers
        self.request_id = request_id
        self.rates = rate_facts(headers)

    def failure(self, kind: type[ProviderError], message: str, **details: Any) -> ProviderError:
        """Return an error of `kind` about this attempt."""
        return kind(
            message,
            provider=self.provider,
            model=self.model,
            request_id=self.request_id,
            rates=self.rates,
            **details,
        )

    def refused(self, status: int, headers: Mapping[str, str], body: object) -> ProviderError:
        """Return the error for an HTTP answer of 4xx or 5xx with its decoded `body`."""
        self.opened(headers, headers.get("request-id") or headers.get("x-request-id"))
        fields = cast(dict[str, Any], body) if isinstance(body, dict) else {}
        fields = fields["error"] if isinstance(fields.get("error"), dict) else fields
        return self._named(status, fields)

    def broken(self, error: Mapping[str, Any]) -> ProviderError:
        """Return the error for an error event inside a stream that had begun well."""
        return self._named(None, error)

    def cut(self, error: Exception) -> ProviderError:
        """Return the error for a connection that could not be made, fell silent or broke off."""
        stalled = isinstance(error, httpx2.TimeoutException) or isinstance(error.__cause__, httpx2.TimeoutException)
        what = "fell silent and timed out" if stalled else f"broke off ({type(error).__name__})"
        return self.failure(ProviderUnavailable, f"The connection to {self.provider} {what}.", stalled=stalled)

    async def follow(
        self,
        chunks: AsyncIterator[bytes],
        reader: "Reader",
        told: Together,
        done: Callable[[], None] | None = None,
        *,
        pace: Pace = PACE,
    ) -> None:
        """Hand each event to `reader` until it has finished; the stream must not end before that.

        A wire without a terminal event of its own passes `done`: it is called at `[DONE]` and may finish the reader.
        """
        decoder = EventDecoder()
        with pace.reading():
            async with aclosing(cast(AsyncGenerator[bytes, None], chunks)):
                async for chunk in chunks:
                    self._tell(decoder, chunk, reader, told)
                    if self.marked and done is not None:
                        done()
                    if reader.finished:
                        await _drain(chunks)
                        return
                    await pace.tick()
        raise self.failure(
            ProviderUnavailable, f"The stream of {self.provider} ended without its terminal event.", cut=True
        )

    def _tell(self, decoder: EventDecoder, chunk: bytes, reader: "Reader", told: Together) -> None:
        try:
            for delta in self._read(decoder, chunk, reader):
                told(delta)
        finally:
            told.send()

    def _read(self, decoder: EventDecoder, chunk: bytes, reader: "Reader") -> Iterator[Delta]:
        for data in self._decoded(decoder, chunk):
            self.marked = self.marked or data == "[DONE]"
            if self.marked or reader.finished:
                continue
            event = self._event(data)
            try:
                delta = reader.take(event)
            except (KeyError, TypeError, AttributeError, IndexError, ValidationError) as error:
                raise self.failure(
                    MalformedReply,
                    f"The event {event.get('type')!r} of {self.provider} breaks the wire's rules "
                    f"({type(error).__name__}: {error}).",
                ) from error
            if delta is not None and delta.text:
                yield delta

    def _decoded(self, decoder: EventDecoder, chunk: bytes) -> list[str]:
        try:
            return list(decoder.feed(chunk))
        except UnicodeDecodeError as error:
            raise self.failure(MalformedReply, f"{self.provider} sent an event that is not UTF-8.") from error

    def _event(self, data: str) -> dict[str, Any]:
        try:
            event = strict_json(data)
        except ValueError as error:
            raise self.failure(MalformedReply, f"{self.provider} sent an event that is not JSON: {error}.") from error
        if not isinstance(event, dict):
            raise self.failure(MalformedReply, f"{self.provider} sent an event that is not a JSON object.")
        return event

    def _named(self, status: int | None, error: Mapping[str, Any]) -> ProviderError:
        details = error.get("details")
        inner = details.get("error_code") if isinstance(details, dict) else None
        words = [word for word in (inner, error.get("code"), error.get("type")) if isinstance(word, str)]
        text = str(error.get("message") or "no reason given")[:500]
        kind = error_kind(status, words, text)
        answered = f"answered {status}" if status else "ended the stream with an error"
        return self.failure(
            kind,
            f"{self.provider} {answered}{f' ({words[0]})' if words else ''}: {text}",
            status=status,
            reason=words[0] if words else None,
            retry_after_s=retry_after(self.headers) if kind.retryable_as_a_rule else None,
        )


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    with anyio.move_on_after(DRAIN_S):
        try:
            async for _ in chunks:
                pass
        except httpx2.HTTPError:
            return
