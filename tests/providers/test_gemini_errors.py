"""Google's errors by their structured codes, on both APIs, as HTTP answers and inside a stream that began well."""

import json
import sys
from typing import Any

import anyio
import pytest

from engine.errors import Unavailable
from engine.routes import Route
from engine.transcript import ModelRequest, user
from providers.base import Provider, make_provider
from providers.errors import (
    ContextFull,
    InvalidRequest,
    Overloaded,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SpendLimit,
    Unauthorized,
)
from tests.providers.conftest import Connect, LLMock
from tests.providers.referee import Json, Referee, Turn, event

pytestmark = pytest.mark.anyio

TYPE = "type.googleapis.com/google.rpc."
APIS = ["generateContent", "interactions"]


def ask(api: str = "generateContent") -> ModelRequest:
    route = Route(provider="gemini", model="any-model", options={"api": api})
    return ModelRequest(route=route, messages=(user("Hi"),))


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("gemini", referee.url)


def error(code: int, status: str, *details: Json, message: str = "so it goes") -> Json:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def because(reason: str) -> Json:
    return {"@type": f"{TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(name: str) -> Json:
    return {"@type": f"{TYPE}QuotaFailure", "violations": [{"quotaMetric": "m", "quotaId": name}]}


def again_in(delay: str) -> Json:
    return {"@type": f"{TYPE}RetryInfo", "retryDelay": delay}


PER_MINUTE = quota("GenerateRequestsPerMinutePerProjectPerModel")
PER_DAY = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
LONG = "The input token count (9001) exceeds the maximum number of tokens allowed (8192)."

ERRORS: list[tuple[str, Json, type[ProviderError]]] = [
    ("a quota of a minute", error(429, "RESOURCE_EXHAUSTED", PER_MINUTE), RateLimited),
    ("a quota of a day", error(429, "RESOURCE_EXHAUSTED", PER_DAY, again_in("30s")), SpendLimit),
    ("no billing", error(403, "PERMISSION_DENIED", because("BILLING_DISABLED")), SpendLimit),
    ("a wrong key", error(400, "INVALID_ARGUMENT", because("API_KEY_INVALID")), Unauthorized),
    ("no key", error(401, "UNAUTHENTICATED"), Unauthorized),
    ("no right", error(403, "PERMISSION_DENIED"), Unauthorized),
    ("a country without the API", error(400, "FAILED_PRECONDITION"), Unauthorized),
    ("a wrong field", error(400, "INVALID_ARGUMENT"), InvalidRequest),
    ("too long a prompt", error(400, "INVALID_ARGUMENT", message=LONG), ContextFull),
    ("too large a body", error(413, "INVALID_ARGUMENT"), ContextFull),
    ("no such model", error(404, "NOT_FOUND"), InvalidRequest),
    ("a broken server", error(500, "INTERNAL"), ProviderUnavailable),
    ("an overloaded model", error(503, "UNAVAILABLE"), Overloaded),
    ("a deadline", error(504, "DEADLINE_EXCEEDED"), ProviderUnavailable),
]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("body", "kind"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
async def test_an_error_is_named_by_its_codes(
    provider: Provider, referee: Referee, api: str, body: Json, kind: type[ProviderError]
):
    status = body["error"]["code"]
    referee.will_say(Turn(raw=(status, {"content-type": "application/json"}, json.dumps(body).encode())))
    with pytest.raises(kind, match=str(status)) as raised:
        await provider.generate(ask(api))
    assert type(raised.value) is kind
    assert raised.value.model == "any-model"


@pytest.mark.parametrize(("body", "kind"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
async def test_an_error_inside_a_good_stream_is_the_same(
    provider: Provider, referee: Referee, body: Json, kind: type[ProviderError]
):
    begun: Json = {"candidates": [{"content": {"parts": [{"text": "So"}]}}]}
    referee.will_say(Turn(raw=(200, {"content-type": "text/event-stream"}, event(begun) + event(body))))
    with pytest.raises(kind) as raised:
        await provider.generate(ask())
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("https://ai.google.dev/errors/RESOURCE_EXHAUSTED", RateLimited),
        ("UNAVAILABLE", Overloaded),
        ("an_error_of_next_year", ProviderUnavailable),
    ],
)
async def test_an_error_event_of_an_interaction_is_named_by_its_uri(
    provider: Provider, referee: Referee, code: str, kind: type[ProviderError]
):
    body = event({"event_type": "error", "error": {"code": code, "message": "so it goes"}})
    referee.will_say(Turn(raw=(200, {"content-type": "text/event-stream"}, body)))
    with pytest.raises(kind, match="so it goes") as raised:
        await provider.generate(ask("interactions"))
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("headers", "details", "wait"),
    [
        ({}, [], None),
        ({"retry-after": "7"}, [], 7.0),
        ({}, [again_in("34.5s")], 34.5),
        ({"retry-after": "7"}, [again_in("34s")], 34.0),
        ({"retry-after": "70"}, [again_in("34s")], 70.0),
        ({}, [again_in("soon")], None),
    ],
)
async def test_the_wait_is_the_longer_of_header_and_detail(
    provider: Provider, referee: Referee, headers: dict[str, str], details: list[Json], wait: float | None
):
    body = json.dumps(error(429, "RESOURCE_EXHAUSTED", *details)).encode()
    referee.will_say(Turn(raw=(429, {"content-type": "application/json", **headers}, body)))
    with pytest.raises(RateLimited) as raised:
        await provider.generate(ask())
    assert raised.value.retry_after_s == wait


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b'{"error": "no"}', b""])
async def test_an_error_in_another_shape_is_named_by_its_status(provider: Provider, referee: Referee, body: bytes):
    referee.will_say(Turn(raw=(502, {"content-type": "text/html"}, body)))
    with pytest.raises(ProviderUnavailable, match="502"):
        await provider.generate(ask())


async def test_a_redirect_is_not_followed_with_the_key(provider: Provider, referee: Referee):
    referee.will_say(Turn(raw=(307, {"location": "http://127.0.0.1:9/", "content-length": "0"}, b"")))
    with pytest.raises(ProviderError, match="307"):
        await provider.generate(ask())
    assert len(referee.bodies) == 1


def test_a_missing_key_is_said_before_anything_is_sent():
    with pytest.raises(Unauthorized, match="gemini"):
        make_provider("gemini")


def test_a_missing_package_is_said_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("providers.base.PROVIDERS", {})
    monkeypatch.setitem(sys.modules, "google.genai._api_client", None)
    for name in [name for name in sys.modules if name.startswith("providers.gemini")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(Unavailable, match=r"upstairs\[gemini\]"):
        make_provider("gemini", api_key="k")


async def test_llmocks_full_window_is_a_full_context(connect: Connect, mock: LLMock):
    behavior: dict[str, Any] = {"type": "fail", "status": 400, "message": LONG}
    mock.script(behavior)
    with anyio.fail_after(10), pytest.raises(ContextFull):
        await connect("gemini", mock.base_url("gemini")).generate(ask())
