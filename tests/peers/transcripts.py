"""One conversation for each wire: a skill is learned, calls run side by side, another provider speaks in between.

The turns are neutral messages with the native blocks of the wire that made them, as a store gives them back.
"""

from typing import cast

from pydantic import JsonValue

from engine.transcript import (
    Media,
    Message,
    ModelRequest,
    Native,
    Reasoning,
    Route,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    system,
    user,
)
from providers.wire import ToolNames
from tests.providers import referee_chat
from tests.providers.wires import BY_NAME, Json, Wire

LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
LOOK = ToolSpec(
    name="look",
    description="Look at a place.",
    input_schema={"type": "object", "properties": {"at": {"type": "string"}}},
)
RAIN = ToolSpec(
    name="weather.rain",
    description="Rain of a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}},
    deferred=True,
)
SKY = b"the sky"
TICKET = "weather@1"
APIS = {"anthropic": "messages", "openai": "responses", "gemini": "generateContent", "chat": "chat"}
SPEAKERS = {"chat": "llamacpp"}
"""The provider that speaks a wire where its name is another: of Chat Completions, one that wants its reasoning back."""

OPTIONS: dict[str, dict[str, JsonValue]] = {"openai": {"prompt_cache_options": {}}}
"""The options of the route: a model of OpenAI that takes explicit breakpoints."""

Call = tuple[str, str, Json]


def speaker(wire: Wire) -> str:
    """Return the name of the provider that speaks `wire`."""
    return SPEAKERS.get(wire.name, wire.name)


def conversation(wire: Wire, other: Wire) -> ModelRequest:
    """Return the next request of `wire` in a run in which `other` has spoken as well."""
    rome, oslo = ("rain_1", RAIN.name, {"city": "Rome"}), ("rain_2", RAIN.name, {"city": "Oslo"})
    sides = [("look_a", LOOK.name, {"at": "a"}), ("look_b", LOOK.name, {"at": "b"})]
    lesson = f"How rain is asked for.\n\nticket: {TICKET}"
    return ModelRequest(
        route=Route(provider=speaker(wire), model="any-model", options=OPTIONS.get(wire.name, {})),
        messages=(
            system("Be brief."),
            user("Watch the weather."),
            _turn(wire, 1, "", [("learn_1", LEARN.name, {})]),
            _answers(ToolResult(call_id="learn_1", name=LEARN.name, text=lesson, reveals=(RAIN,))),
            _turn(wire, 2, "", sides),
            _answers(
                ToolResult(call_id="look_a", name=LOOK.name, text="Clouds."),
                ToolResult(call_id="look_b", name=LOOK.name, text="It is dark there.", is_error=True),
            ),
            _turn(wire, 3, "Clouds on one side.", []),
            Message(role="user", parts=(Text(text="And this?"), Media(ref="sky", mime="image/png"))),
            _turn(other, 4, "", [rome]),
            _answers(ToolResult(call_id="rain_1", name=RAIN.name, text="Dry.")),
            _turn(other, 5, "Rome is dry.", []),
            user("And Oslo?"),
            _turn(wire, 6, "", [oslo]),
            _answers(ToolResult(call_id="rain_2", name=RAIN.name, text="Wet.")),
        ),
        tools=(LEARN, LOOK, RAIN),
        cache_key="run_1",
    )


def opening(wire: Wire) -> ModelRequest:
    """Return the first request of the conversation."""
    whole = conversation(wire, BY_NAME["anthropic"])
    return whole.model_copy(update={"messages": whole.messages[:2]})


def thought(number: int) -> str:
    """Return the visible reasoning of turn `number`."""
    return f"Thought {number}."


def _answers(*results: ToolResult) -> Message:
    return Message(role="tool", parts=results)


def _turn(wire: Wire, number: int, text: str, calls: list[Call]) -> Message:
    said = [block["content"][0]["text"] for block in wire.think(number) if block.get("type") == "message"]
    shown = [Reasoning(text=thought(number)), *(Text(text=one) for one in (*said, text) if one)]
    asked = [ToolCall(id=call_id, name=name, arguments=given) for call_id, name, given in calls]
    native = Native(
        provider=speaker(wire),
        api=APIS[wire.name],
        model="any-model",
        blocks=tuple(cast(list[JsonValue], _blocks(wire, number, text, calls))),
        reply_id=f"reply_{number}",
    )
    return Message(role="assistant", parts=(*shown, *asked), native=native)


def _blocks(wire: Wire, number: int, text: str, calls: list[Call]) -> list[Json]:
    """Return the turn in the words of its wire.

    Only the first of the calls of a Gemini turn is signed; OpenAI names a learned tool with a namespace.
    """
    names = ToolNames([LEARN, LOOK, RAIN], wire.name, "any-model")
    made: list[Json] = []
    for call_id, name, given in calls:
        if wire.reveal == "use_tool" and name == RAIN.name:
            made += wire.call(call_id, "use_tool", {"ticket": TICKET, "tool": name, "arguments": given})
        else:
            made += wire.call(call_id, names.to_wire(name), given)
    said = wire.say(text) if text else []
    if wire.name == "openai":
        made = [{**call, "namespace": call["name"]} if "__" in call["name"] else call for call in made]
    if wire.name == "chat":
        message = referee_chat.message_of([*said, *made])
        return [{**message, "reasoning_content": thought(number)}]
    if wire.name == "gemini":
        made = [made[0], *({"functionCall": call["functionCall"]} for call in made[1:])] if made else []
    return [*wire.think(number), *said, *made]
