"""How turns and calls end on every wire, judged by the referee over real HTTP: what is said is what comes out.

A new wire is one row in `wires.WIRES`.
"""

import json
from typing import Any

import pytest

from engine.transcript import ModelRequest, Quota, Route, ToolSpec, user
from providers.base import Provider
from providers.errors import InvalidRequest, ProviderError, RateLimited, SpendLimit
from tests.providers.conftest import Connect
from tests.providers.referee import Json, Referee, Turn
from tests.providers.wires import Wire

pytestmark = pytest.mark.anyio

RAIN = ToolSpec(name="rain", description="Rain of a city.", input_schema={"type": "object"})


def ask(**fields: Any) -> ModelRequest:
    return ModelRequest(route=Route(provider="any", model="any-model"), messages=(user("Rain?"),), **fields)


@pytest.fixture
def provider(connect: Connect, referee: Referee, wire: Wire) -> Provider:
    return connect(wire.name, referee.url + wire.referee)


def answered(status: int, error: Json, headers: dict[str, str]) -> Turn:
    """Return an HTTP answer with an error in the shape that the wires share."""
    body = json.dumps({"error": {"code": status, **error}}).encode()
    named = {"content-type": "application/json", "request-id": "req_7", "x-request-id": "req_7"}
    return Turn(raw=(status, {**named, **headers}, body))


@pytest.mark.parametrize("unified", ["done", "length", "refusal", "paused", "context_full"])
async def test_each_end_of_a_turn_has_its_name(provider: Provider, referee: Referee, wire: Wire, unified: str):
    if unified not in wire.ends:
        assert unified in ("paused", "context_full")
        return
    referee.will_say(Turn(wire.say("So it"), stop=wire.ends[unified]))
    reply = await provider.generate(ask())
    assert reply.finish.unified == unified
    assert reply.message.text == "So it"


@pytest.mark.parametrize("unified", ["length", "refusal"])
async def test_a_call_that_an_early_end_may_have_cut_can_not_be_executed(
    provider: Provider, referee: Referee, wire: Wire, unified: str
):
    referee.will_say(Turn(wire.call("call_1", "rain", {"city": "Rome"}), stop=wire.ends[unified]))
    reply = await provider.generate(ask(tools=(RAIN,)))
    assert reply.finish.unified == unified
    (call,) = reply.message.tool_calls
    assert call.arguments == {}
    assert json.loads(call.malformed or "") == {"city": "Rome"}


async def test_calls_make_the_end_of_a_turn_an_order(provider: Provider, referee: Referee, wire: Wire):
    referee.will_say(Turn(wire.call("call_1", "rain", {"city": "Rome"}), stop=wire.ends["tool_calls"]))
    reply = await provider.generate(ask(tools=(RAIN,)))
    assert reply.finish.unified == "tool_calls"
    assert reply.message.tool_calls[0].arguments == {"city": "Rome"}


async def test_an_end_of_next_year_is_an_error_and_no_answer(provider: Provider, referee: Referee, wire: Wire):
    referee.will_say(Turn(wire.say("So"), stop="a_reason_of_next_year"))
    finish = (await provider.generate(ask())).finish
    assert (finish.unified, finish.raw) == ("error", "a_reason_of_next_year")


async def test_an_error_carries_all_that_a_caller_decides_by(provider: Provider, referee: Referee, wire: Wire):
    headers = {"retry-after": "7", **wire.rate_headers}
    referee.will_say(answered(429, {"type": "rate_limit_error", "message": "slow down"}, headers))
    with pytest.raises(RateLimited, match="slow down") as raised:
        await provider.generate(ask())
    error = raised.value
    assert (error.provider, error.model, error.request_id) == (provider.name, "any-model", "req_7")
    assert (error.retryable, error.retry_after_s) == (True, 7.0)
    if wire.rate_headers:
        assert error.rates is not None
        assert error.rates.requests == Quota(limit=50, remaining=49)
        assert error.as_json()["details"]["rates"]["requests"] == {"limit": 50, "remaining": 49}


async def test_a_rate_limit_without_a_wait_names_none(provider: Provider, referee: Referee):
    referee.will_say(answered(429, {"message": "slow down"}, {}))
    with pytest.raises(RateLimited) as raised:
        await provider.generate(ask())
    assert raised.value.retry_after_s is None
    assert raised.value.rates is None


async def test_a_wait_in_milliseconds_goes_before_the_one_in_seconds(provider: Provider, referee: Referee):
    referee.will_say(answered(429, {"message": "slow down"}, {"retry-after-ms": "250", "retry-after": "1"}))
    with pytest.raises(RateLimited) as raised:
        await provider.generate(ask())
    assert raised.value.retry_after_s == 0.25


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (402, {"message": "no money"}, SpendLimit),
        (400, {"message": "`top_p` is not a field"}, InvalidRequest),
        (404, {"message": "no model `any-model`"}, InvalidRequest),
    ],
)
async def test_an_error_that_waiting_does_not_mend_says_why(
    provider: Provider, referee: Referee, status: int, error: Json, kind: type[ProviderError]
):
    referee.will_say(answered(status, error, {"retry-after": "5"}))
    with pytest.raises(kind) as raised:
        await provider.generate(ask())
    assert type(raised.value) is kind
    assert error["message"] in raised.value.message
    assert raised.value.details["status"] == status
    assert (raised.value.retryable, raised.value.retry_after_s) == (False, None)


async def test_every_reply_tells_what_is_left_of_the_quota(provider: Provider, referee: Referee, wire: Wire):
    if not wire.rate_headers:
        return
    referee.will_say(Turn(wire.say("ok"), stop=wire.ends["done"], headers=wire.rate_headers))
    rates = (await provider.generate(ask())).rates
    assert rates is not None
    assert rates.requests == Quota(limit=50, remaining=49)
    assert Quota(remaining=9000) in (rates.tokens, rates.input_tokens)


async def test_a_reply_without_quota_headers_claims_none(provider: Provider, referee: Referee, wire: Wire):
    referee.will_say(Turn(wire.say("ok"), stop=wire.ends["done"]))
    assert (await provider.generate(ask())).rates is None
