"""A long conversation costs a request little on every wire: no SDK walks through it on the event loop."""

import cProfile
import pstats

import anyio
import pytest

from engine.transcript import Message, ModelRequest, Route, Text, system, user
from providers.base import Provider
from tests.providers.conftest import Connect
from tests.providers.referee import Referee, Turn
from tests.providers.wires import Wire

pytestmark = pytest.mark.anyio

SHORT, LONG = 20, 220
PER_MESSAGE = 200
"""Function calls that one more message may cost; the transformation of one SDK takes thousands."""


def talk(length: int) -> ModelRequest:
    said = [
        user(f"Said {number}.") if number % 2 else Message(role="assistant", parts=(Text(text=f"Heard {number}."),))
        for number in range(1, length)
    ]
    return ModelRequest(
        route=Route(provider="any", model="any-model"), messages=(system("Be brief."), *said), cache_key="run_1"
    )


async def calls_of(provider: Provider, referee: Referee, wire: Wire, request: ModelRequest) -> int:
    """Return how many functions run in this thread while the request is made and answered."""
    referee.past.clear()
    referee.will_say(Turn(wire.say("ok"), stop=wire.ends["done"]))
    profile = cProfile.Profile()
    with anyio.fail_after(20):
        profile.enable()
        try:
            await provider.generate(request)
        finally:
            profile.disable()
    counted = pstats.Stats(profile)
    return counted.total_calls  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]


async def test_one_more_message_costs_few_function_calls(connect: Connect, referee: Referee, wire: Wire):
    provider = connect(wire.name, referee.url + wire.referee)
    await calls_of(provider, referee, wire, talk(SHORT))
    short = await calls_of(provider, referee, wire, talk(SHORT))
    long = await calls_of(provider, referee, wire, talk(LONG))
    assert (long - short) / (LONG - SHORT) < PER_MESSAGE
