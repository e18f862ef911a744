"""The way to Google's Gemini API: the SDK builds, signs and sends the request, and hands the bytes of the answer over.

Source: `google-genai` 3.4. Its typed calls parse every chunk into models, accept streams that end early and read lines
that are not events; its request interface, `BaseApiClient`, has none of that, so the channel is a subclass of it.
"""

import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, cast

import httpx2
from pydantic import JsonValue

from engine.errors import Unavailable
from providers.errors import ContextFull, ProviderError, RateLimited, SpendLimit, Unauthorized
from providers.rates import retry_after
from providers.streams import Attempt, error_kind

try:
    from google.genai._api_client import BaseApiClient
    from google.genai.errors import APIError
    from google.genai.types import HttpOptions
except ImportError as missing:
    raise Unavailable(
        "The provider gemini needs the package google-genai, which is not installed; install upstairs[gemini].",
        provider="gemini",
    ) from missing

BASE_URL = "https://generativelanguage.googleapis.com"
API_VERSION = "v1"
API_REVISION = "2026-05-20"
"""The shape of the Interactions events that is read here; the SDK is generated from the same revision."""

_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_LASTING = re.compile(r"PerDay|PerMonth|Daily|Monthly")
# There is no code for an overlong prompt, only this sentence under `INVALID_ARGUMENT`.
_TOO_LONG = re.compile(r"token count.{0,40} exceeds the maximum", re.IGNORECASE)

_KINDS: dict[str, type[ProviderError]] = {
    "API_KEY_INVALID": Unauthorized,
    "API_KEY_EXPIRED": Unauthorized,
    "API_KEY_SERVICE_BLOCKED": Unauthorized,
    "CONSUMER_INVALID": Unauthorized,
    "CONSUMER_SUSPENDED": Unauthorized,
    "SERVICE_DISABLED": Unauthorized,
    "BILLING_DISABLED": SpendLimit,
    "QUOTA_EXHAUSTED": SpendLimit,
    "RATE_LIMIT_EXCEEDED": RateLimited,
}
"""`ErrorInfo.reason` where the HTTP status alone would mislead."""

_STATUS_CODES = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""`google.rpc.Code` → HTTP status, for errors inside a stream."""


def endpoint(base_url: str | None) -> tuple[str, str]:
    """Split the base URL into server and API version: `https://host/v1beta` asks for `v1beta`, no version for `v1`."""
    server, _, last = (base_url or BASE_URL).rstrip("/").rpartition("/")
    return (server, last) if _VERSION.fullmatch(last) else (f"{server}/{last}", API_VERSION)


class Channel(BaseApiClient):
    """One account at the Gemini API. No request is repeated; `timeout_s` is the longest silence on a stream."""

    def __init__(self, api_key: str, base_url: str | None, timeout_s: float) -> None:
        server, version = endpoint(base_url)
        self._silence = httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s))
        self._connections = httpx2.AsyncClient(timeout=self._silence, verify=_trust())
        options = HttpOptions(
            base_url=server,
            api_version=version,
            httpx_async_client=self._connections,
            client_args={"verify": _trust()},
            async_client_args={"ssl": _trust()},
        )
        super().__init__(vertexai=False, api_key=api_key, http_options=options)

    @asynccontextmanager
    async def stream(
        self, path: str, body: dict[str, Any], attempt: Attempt, api_version: str | None = None
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Post `body` and give out the chunks of the answer; every failure on the way is a `ProviderError`."""
        options = HttpOptions(api_version=api_version, headers={"Api-Revision": API_REVISION})
        order = self._build_request("post", path, body, options)
        # The SDK takes one figure for the whole call and announces it to the server; here it bounds silence only.
        order.timeout = cast(Any, self._silence)
        try:
            answer = await self._async_request(order, stream=True)
            response = cast(httpx2.Response, answer.response_stream)
            attempt.opened(response.headers, response.headers.get("x-request-id"))
            try:
                yield response.aiter_bytes()
            finally:
                await response.aclose()
        except APIError as error:
            headers = cast(Mapping[str, str], getattr(error.response, "headers", {}))
            attempt.opened(headers, headers.get("x-request-id"))
            raise failure(attempt, error.code, error.details) from error
        except httpx2.HTTPError as error:
            raise attempt.cut(error) from error

    async def aclose(self) -> None:
        """Close the connections; the channel can't be used afterwards."""
        await self._connections.aclose()
        self.close()


@cache
def _trust() -> ssl.SSLContext:
    """Return the certificates that are trusted, read once: the SDK would read them three times for each account."""
    return httpx2.create_ssl_context()


def failure(attempt: Attempt, status: int | None, body: object) -> ProviderError:
    """Return the error that Google tells of, as the body of an HTTP answer or (`status` is None) inside a stream."""
    error = cast(dict[str, Any], body) if isinstance(body, dict) else {}
    error = error["error"] if isinstance(error.get("error"), dict) else error
    details = [entry for entry in error.get("details") or [] if isinstance(entry, dict)]
    words = _words(error, details)
    code = error.get("code")
    if status is None:
        by_word = (_STATUS_CODES[word] for word in words if word in _STATUS_CODES)
        status = code if isinstance(code, int) else next(by_word, None)
    text = str(error.get("message") or "no reason given")[:500]
    kind = _kind(status, words, text, _quotas(details))
    waits = [_told_delay(details), retry_after(attempt.headers)]
    return attempt.failure(
        kind,
        f"{attempt.provider} answered {status or 'with an error'}{f' ({words[0]})' if words else ''}: {text}",
        status=status,
        reason=words[0] if words else None,
        quotas=cast(JsonValue, _quotas(details)),
        retry_after_s=max((wait for wait in waits if wait is not None), default=None)
        if kind.retryable_as_a_rule
        else None,
    )


def _kind(status: int | None, words: list[str], text: str, quotas: list[str]) -> type[ProviderError]:
    """Return the class by structured codes first. A quota of a day or a month is not back soon, whatever delay the
    answer names."""
    if any(_LASTING.search(quota) for quota in quotas):
        return SpendLimit
    for word in words:
        if word in _KINDS:
            return _KINDS[word]
    if status in (None, 400) and _TOO_LONG.search(text):
        return ContextFull
    if status == 400 and "FAILED_PRECONDITION" in words:
        # The documentation has one cause for it: the account's country or billing gives no right to the API.
        return Unauthorized
    return error_kind(status, words, text)


def _words(error: Mapping[str, Any], details: list[dict[str, Any]]) -> list[str]:
    """Return the error's codes, the most specific first; the Interactions API writes its code as a URI."""
    reasons = [entry.get("reason") for entry in details if _is(entry, "ErrorInfo")]
    code = error.get("code")
    name = code.rstrip("/").rpartition("/")[2] if isinstance(code, str) else None
    return [word for word in (*reasons, name, error.get("status"), error.get("type")) if isinstance(word, str) and word]


def _quotas(details: list[dict[str, Any]]) -> list[str]:
    found = [entry.get("violations") or [] for entry in details if _is(entry, "QuotaFailure")]
    return [str(violation.get("quotaId") or violation.get("subject") or "") for list_ in found for violation in list_]


def _told_delay(details: list[dict[str, Any]]) -> float | None:
    delays = [_DELAY.fullmatch(str(entry.get("retryDelay"))) for entry in details if _is(entry, "RetryInfo")]
    return max((float(delay.group(1)) for delay in delays if delay), default=None)


def _is(entry: Mapping[str, Any], name: str) -> bool:
    return str(entry.get("@type")).rpartition(".")[2] == name
