"""What the prompt cache gave is told on every wire, and a miss has a named cause.

A new wire is one row in `wires.WIRES`. Where the provider gives the cause itself, its word is in the wire's own tests.
"""

from collections.abc import Callable
from typing import Any

import pytest

from engine.transcript import CacheFacts, Message, ModelReply, ModelRequest, Route, ToolSpec, Usage, system, user
from providers.base import Provider
from providers.cache import Outgoing, Told, last_own
from tests.providers.conftest import Connect
from tests.providers.referee import Referee, Turn
from tests.providers.wires import Wire

pytestmark = pytest.mark.anyio

RAIN = ToolSpec(name="rain", description="Rain of a city.", input_schema={"type": "object"})
SNOW = RAIN.model_copy(update={"name": "snow"})
TOTAL = 8000


@pytest.fixture
def provider(connect: Connect, referee: Referee, wire: Wire) -> Provider:
    return connect(wire.name, referee.url + wire.referee)


def opening() -> ModelRequest:
    return ModelRequest(
        route=Route(provider="any", model="any-model"),
        messages=(system("Be brief."), user("Rain?")),
        tools=(RAIN,),
        cache_key="run_1",
    )


async def said(
    provider: Provider, referee: Referee, wire: Wire, request: ModelRequest, read: int, total: int = TOTAL
) -> ModelReply:
    """Make one turn of plain text whose usage reports `read` tokens from the cache."""
    referee.will_say(Turn(wire.say("ok"), stop=wire.ends["done"], usage=wire.usage(total, read)))
    return await provider.generate(request)


def after(request: ModelRequest, reply: ModelReply) -> ModelRequest:
    """Append the reply, as the store gives it back, and what the user says to it."""
    stored = Message.model_validate_json(reply.message.model_dump_json())
    return request.model_copy(update={"messages": (*request.messages, stored, user("And now?"))})


async def test_the_first_turn_of_a_conversation_can_hit_nothing(provider: Provider, referee: Referee, wire: Wire):
    reply = await said(provider, referee, wire, opening(), 0)
    assert reply.cache == CacheFacts(hit=False, read=0, reason="first_turn")


async def test_reading_what_the_turn_before_sent_is_a_hit(provider: Provider, referee: Referee, wire: Wire):
    one = await said(provider, referee, wire, opening(), 0)
    two = await said(provider, referee, wire, after(opening(), one), TOTAL - 100)
    assert two.cache == CacheFacts(hit=True, read=TOTAL - 100)


def _model(request: ModelRequest) -> ModelRequest:
    return request.model_copy(update={"route": Route(provider="any", model="other-model")})


def _tools(request: ModelRequest) -> ModelRequest:
    return request.model_copy(update={"tools": (SNOW, RAIN)})


def _system(request: ModelRequest) -> ModelRequest:
    return request.model_copy(update={"messages": (system("Be long."), *request.messages[1:])})


def _messages(request: ModelRequest) -> ModelRequest:
    return request.model_copy(update={"messages": (request.messages[0], user("Snow?"), *request.messages[2:])})


def _choice(request: ModelRequest) -> ModelRequest:
    return request.model_copy(update={"tool_choice": "none"})


def _nothing(request: ModelRequest) -> ModelRequest:
    return request


CAUSES = {
    "model_changed": _model,
    "tools_changed": _tools,
    "system_changed": _system,
    "messages_changed": _messages,
    "settings_changed": _choice,
    "not_kept": _nothing,
}


@pytest.mark.parametrize(("cause", "change"), CAUSES.items(), ids=list(CAUSES))
async def test_a_miss_is_named_after_what_was_changed(
    provider: Provider, referee: Referee, wire: Wire, cause: str, change: Callable[[ModelRequest], ModelRequest]
):
    one = await said(provider, referee, wire, opening(), 0)
    two = await said(provider, referee, wire, change(after(opening(), one)), 0)
    assert two.cache == CacheFacts(hit=False, read=0, missed_tokens=TOTAL, reason=cause)


async def test_a_prefix_that_no_provider_would_cache_is_no_miss_to_mend(
    provider: Provider, referee: Referee, wire: Wire
):
    one = await said(provider, referee, wire, opening(), 0, total=500)
    two = await said(provider, referee, wire, after(opening(), one), 0, total=600)
    assert two.cache is not None
    assert two.cache.reason == "too_short"


async def test_the_comparison_survives_another_process(connect: Connect, referee: Referee, wire: Wire):
    first, second = (connect(wire.name, referee.url + wire.referee) for _ in range(2))
    one = await said(first, referee, wire, opening(), 0)
    two = await said(second, referee, wire, _tools(after(opening(), one)), 0)
    assert two.cache is not None
    assert two.cache.reason == "tools_changed"


async def test_half_a_prefix_read_is_a_miss(provider: Provider, referee: Referee, wire: Wire):
    one = await said(provider, referee, wire, opening(), 0)
    two = await said(provider, referee, wire, _messages(after(opening(), one)), 3000)
    assert two.cache == CacheFacts(hit=False, read=3000, missed_tokens=5000, reason="messages_changed")


def facts(told: Told | None, **usage: Any) -> CacheFacts:
    """Return the facts of a request whose turn before sent the same, and reported 8,000 tokens."""
    going = Outgoing.of(opening(), None, tools=[], system=None, entries=[{"role": "user"}])
    again = Outgoing(now=going.now, before=going.sent(Usage(input_total=TOTAL)), changed=None)
    return again.facts(Usage(**usage), told)


def test_the_providers_word_goes_before_our_own():
    told = Told(reason="verbosity_changed", missed_tokens=42)
    assert facts(told, cache_read=7) == CacheFacts(hit=False, read=7, missed_tokens=42, reason="verbosity_changed")
    assert facts(Told(hit=True), cache_read=7) == CacheFacts(hit=True, read=7)
    assert facts(Told(), cache_read=0).reason == "not_kept"


def test_only_turns_of_the_same_wire_are_compared():
    assert last_own(opening().messages, "anthropic", "messages") is None
