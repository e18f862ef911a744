"""Learning a skill makes its tools callable on every wire and changes no byte of what a cache holds.

A new wire is one row in `wires.WIRES`.
"""

import json
from typing import Any

import pytest

from engine.transcript import Message, ModelReply, ModelRequest, Route, ToolResult, ToolSpec, system, user
from providers.base import Provider
from providers.errors import InvalidRequest
from tests.providers import referee_anthropic
from tests.providers.conftest import Connect
from tests.providers.referee import Referee, Turn
from tests.providers.wires import BY_NAME, Wire

pytestmark = pytest.mark.anyio

LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
RAIN = ToolSpec(
    name="weather.rain",
    description="Rain of a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}},
    deferred=True,
)
LATE = RAIN.model_copy(update={"name": "weather.late", "description": "A tool of tomorrow.", "deferred": False})
LESSON = "The weather.\n\nticket: weather@1"


@pytest.fixture
def provider(connect: Connect, referee: Referee, wire: Wire) -> Provider:
    return connect(wire.name, referee.url + wire.referee)


def opening(*tools: ToolSpec, **options: Any) -> ModelRequest:
    return ModelRequest(
        route=Route(provider="any", model="any-model", options=options),
        messages=(system("Be brief."), user("Rain?")),
        tools=tools,
        cache_key="run_1",
    )


async def turn(
    provider: Provider, referee: Referee, wire: Wire, request: ModelRequest, number: int, calls: bool
) -> ModelReply:
    """Make a turn with reasoning that learns the skill, or one that only says something."""
    learning = wire.call(f"call_{number}", "learn_weather", {}) if calls else wire.say(f"Said {number}.")
    end = wire.ends["tool_calls" if calls else "done"]
    referee.will_say(Turn([*wire.think(number), *learning], stop=end))
    return await provider.generate(request)


def after(request: ModelRequest, reply: ModelReply, *reveals: ToolSpec) -> ModelRequest:
    """Append the reply and the answers to its calls, each of which reveals, or what the user says to it."""
    results = [
        ToolResult(call_id=call.id, name=call.name, text=LESSON, reveals=reveals) for call in reply.message.tool_calls
    ]
    said = Message(role="tool", parts=tuple(results)) if results else user("Go on.")
    return request.model_copy(update={"messages": (*request.messages, reply.message, said)})


async def test_learning_appends_and_the_prefix_keeps_its_bytes(provider: Provider, referee: Referee, wire: Wire):
    request = opening(LEARN, RAIN)
    request = after(request, await turn(provider, referee, wire, request, 1, calls=True), RAIN)
    request = after(request, await turn(provider, referee, wire, request, 2, calls=True), RAIN)
    request = after(request, await turn(provider, referee, wire, request, 3, calls=False))
    reply = await turn(provider, referee, wire, request, 4, calls=False)
    assert len(referee.past) == 4
    assert referee.only_appended()
    assert reply.cache is not None
    assert reply.cache.reason == "too_short"


async def test_a_learned_tool_can_be_called(provider: Provider, referee: Referee, wire: Wire):
    request = opening(LEARN, RAIN)
    request = after(request, await turn(provider, referee, wire, request, 1, calls=True), RAIN)
    name, given = "weather__rain", {"city": "Rome"}
    if wire.reveal == "use_tool":
        name, given = "use_tool", {"ticket": "weather@1", "tool": "weather.rain", "arguments": given}
    referee.will_say(Turn(wire.call("call_2", name, given), stop=wire.ends["tool_calls"]))
    (call,) = (await provider.generate(request)).message.tool_calls
    assert (call.name, call.arguments) == ("weather.rain", {"city": "Rome"})


async def test_a_tool_that_is_withdrawn_stays_declared(provider: Provider, referee: Referee, wire: Wire):
    """The gate refuses its calls; neither that answer nor anything else takes the declaration away."""
    request = opening(LEARN, RAIN)
    request = after(request, await turn(provider, referee, wire, request, 1, calls=True), RAIN)
    reply = await turn(provider, referee, wire, request, 2, calls=True)
    (call,) = reply.message.tool_calls
    refused = ToolResult(call_id=call.id, name=call.name, text="learn_weather was withdrawn.", is_error=True)
    messages = (*request.messages, reply.message, Message(role="tool", parts=(refused,)))
    request = request.model_copy(update={"messages": messages})
    await turn(provider, referee, wire, request, 3, calls=False)
    assert referee.only_appended()
    assert "withdrawn" in json.dumps(referee.bodies[-1])


def additions(referee: Referee) -> list[str]:
    """Return the names of the tools that the last request defines in its conversation."""
    blocks = [block for turn in referee.bodies[-1]["messages"] for block in turn["content"]]
    return [block["tool"]["definition"]["name"] for block in blocks if block["type"] == "tool_addition"]


async def test_a_model_that_takes_tools_in_the_conversation_gets_a_late_one_appended(
    connect: Connect, referee: Referee
):
    wire = BY_NAME["anthropic"]
    provider = connect("anthropic", referee.url)
    request = opening(LEARN, RAIN, inline_tools=True)
    request = after(request, await turn(provider, referee, wire, request, 1, calls=True), RAIN, LATE)
    # Somebody speaks before the next turn: it belongs to the user's turn, and the addition stands behind it.
    request = request.model_copy(update={"messages": (*request.messages, user("Hurry."))})
    request = after(request, await turn(provider, referee, wire, request, 2, calls=True), LATE)
    await turn(provider, referee, wire, request, 3, calls=False)
    assert additions(referee) == ["weather__late"]
    assert referee.only_appended()
    first, *_, last = referee.bodies
    assert json.dumps(last["tools"]) == json.dumps(first["tools"])
    assert [entry["role"] for entry in last["messages"]] == ["user", "assistant", "user", "system", "assistant", "user"]
    assert "inline_tools" not in last
    assert referee.headers[-1]["anthropic-beta"] == referee_anthropic.INLINE_TOOLS


async def test_a_late_tool_of_another_model_is_declared_behind_what_is_cached(connect: Connect, referee: Referee):
    wire = BY_NAME["anthropic"]
    provider = connect("anthropic", referee.url)
    request = opening(LEARN)
    request = after(request, await turn(provider, referee, wire, request, 1, calls=True), LATE)
    await turn(provider, referee, wire, request, 2, calls=False)
    assert additions(referee) == []
    assert referee.bodies[-1]["tools"][-1]["name"] == "weather__late"
    assert referee.bodies[-1]["tools"][-1]["defer_loading"] is True
    assert referee.only_appended()


async def test_a_late_tool_is_an_appended_item_of_the_responses_wire(connect: Connect, referee: Referee):
    wire = BY_NAME["openai"]
    provider = connect("openai", referee.url + wire.referee)
    request = opening(LEARN)
    request = after(request, await turn(provider, referee, wire, request, 1, calls=True), LATE)
    request = after(request, await turn(provider, referee, wire, request, 2, calls=True), LATE)
    await turn(provider, referee, wire, request, 3, calls=False)
    added = [item for item in referee.bodies[-1]["input"] if item["type"] == "additional_tools"]
    assert [[tool["name"] for tool in item["tools"]] for item in added] == [["weather__late"]]
    assert referee.only_appended()


async def test_the_referee_sees_a_tool_that_is_put_into_the_list(connect: Connect, referee: Referee):
    wire = BY_NAME["anthropic"]
    provider = connect("anthropic", referee.url)
    request = opening(LEARN)
    grown = after(request, await turn(provider, referee, wire, request, 1, calls=True)).model_copy(
        update={"tools": (LEARN, LATE)}
    )
    with pytest.raises(InvalidRequest, match="different conversation"):
        await provider.generate(grown)
