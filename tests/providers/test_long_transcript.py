"""Thirty turns with reasoning, parallel calls, an image and a learned skill go from provider to provider and back.

Each request is judged by the referee over real HTTP through the official SDK: nothing is lost between turns.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import pytest

from engine.transcript import Media, Message, ModelReply, ModelRequest, Route, Text, ToolResult, ToolSpec, system, user
from providers.base import Provider
from tests.providers.conftest import Connect
from tests.providers.referee import Json, Referee, Turn
from tests.providers.wires import BY_NAME, WIRES, Wire

pytestmark = pytest.mark.anyio

LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
LOOK = ToolSpec(name="look", description="Look at a place.", input_schema={"type": "object"})
RAIN = ToolSpec(
    name="weather.rain",
    description="Rain of a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}},
    deferred=True,
)
STAGES = [("anthropic", 8), ("openai", 8), ("gemini", 5), ("chat", 4), ("anthropic", 5)]
"""Who speaks for how many turns."""


class Conversation:
    """One transcript, and a referee and a provider for each wire that has spoken in it."""

    def __init__(self, connect: Connect, stack: ExitStack) -> None:
        self._connect = connect
        self._stack = stack
        self._turn = 0
        self.referees: dict[str, Referee] = {}
        self._providers: dict[str, Provider] = {}
        self.said: list[tuple[str, list[Json]]] = []
        self.request = ModelRequest(
            route=Route(provider="any", model="any-model"),
            messages=(system("Be brief."), user("Watch the weather.")),
            tools=(LEARN, LOOK, RAIN),
            cache_key="run_1",
        )

    async def speak(self, wire: Wire) -> ModelReply:
        """Let the model behind `wire` make the next turn, and answer what it calls."""
        self._turn += 1
        calls = self._calls(wire)
        spoken = [*wire.think(self._turn), *(calls or wire.say(f"Said {self._turn}."))]
        self.said.append((wire.name, spoken))
        self._referee(wire).will_say(Turn(spoken, stop=wire.ends["tool_calls" if calls else "done"]))
        reply = await self._providers[wire.name].generate(self.request)
        stored = Message.model_validate_json(reply.message.model_dump_json())
        messages = (*self.request.messages, stored, *self._answers(stored))
        self.request = self.request.model_copy(update={"messages": messages})
        return reply

    def _calls(self, wire: Wire) -> list[Json]:
        """Learn the skill first, then by turns: use it, look twice in parallel, look at an image, only talk."""
        number = self._turn
        if number == 1:
            return wire.call("call_learn", "learn_weather", {})
        if number % 4 == 2:
            given: Json = {"city": f"City {number}"}
            if wire.reveal == "use_tool":
                used = {"ticket": "weather@1", "tool": "weather.rain", "arguments": given}
                return wire.call(f"call_{number}", "use_tool", used)
            return wire.call(f"call_{number}", "weather__rain", given)
        if number % 4 == 3:
            return [call for half in "ab" for call in wire.call(f"call_{number}{half}", "look", {"at": half})]
        return []

    def _answers(self, message: Message) -> list[Message]:
        if message.tool_calls:
            return [Message(role="tool", parts=tuple(self._answer(call.id, call.name) for call in message.tool_calls))]
        if self._turn % 8 == 4:
            return [Message(role="user", parts=(Text(text="See this."), Media(ref="sky", mime="image/png")))]
        return [user(f"Go on after {self._turn}.")]

    def _answer(self, call_id: str, name: str) -> ToolResult:
        if name == "learn_weather":
            text = "What rain is.\n\nticket: weather@1"
            return ToolResult(call_id=call_id, name=name, text=text, reveals=(RAIN,))
        return ToolResult(call_id=call_id, name=name, text=f"Seen in turn {self._turn}.")

    def _referee(self, wire: Wire) -> Referee:
        if wire.name not in self.referees:
            referee = self._stack.enter_context(Referee())
            self.referees[wire.name] = referee
            self._providers[wire.name] = self._connect(wire.name, referee.url + wire.referee, load_sky)
        return self.referees[wire.name]


async def load_sky(ref: str) -> bytes:
    return b"the sky"


@pytest.fixture
def conversation(connect: Connect) -> Iterator[Conversation]:
    with ExitStack() as stack:
        yield Conversation(connect, stack)


def secrets(wire: Wire, number: int) -> list[str]:
    """Return what only the provider that made turn `number` may see again: its reasoning, signed or encrypted."""
    thoughts = [piece for piece in wire.think(number) if piece.get("type") not in ("message", "text")]
    return [text for thought in thoughts for text in _texts({**thought, "type": None})]


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for name, inner in value.items() if name != "type" for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) and value else []


async def test_thirty_turns_over_every_wire_and_back(conversation: Conversation):
    with anyio.fail_after(60):
        for name, turns in STAGES:
            for _ in range(turns):
                reply = await conversation.speak(BY_NAME[name])
                assert reply.provider == name
    assert len(conversation.said) == 30
    for name, referee in conversation.referees.items():
        assert referee.only_appended(), name
    _check_own_turns(conversation)
    _check_foreign_reasoning(conversation)
    learned, rained = conversation.request.messages[2].tool_calls[0], conversation.request.messages[4].tool_calls[0]
    assert (learned.name, rained.name) == ("learn_weather", "weather.rain")


def _check_own_turns(conversation: Conversation) -> None:
    """The first provider gets every turn that it made, from before and after the others, byte for byte."""
    last = conversation.referees["anthropic"].bodies[-1]
    own = [turn for name, turn in conversation.said[:-1] if name == "anthropic"]
    sent = [json.dumps(turn["content"]) for turn in last["messages"] if turn["role"] == "assistant"]
    assert [text for text in sent if text in map(json.dumps, own)] == [json.dumps(turn) for turn in own]
    assert len(sent) == len(conversation.said) - 1


def _check_foreign_reasoning(conversation: Conversation) -> None:
    for name, referee in conversation.referees.items():
        bodies = json.dumps(referee.bodies)
        for number, (speaker, _) in enumerate(conversation.said, start=1):
            for secret in secrets(BY_NAME[speaker], number):
                assert speaker == name or secret not in bodies, f"{name} sees {secret} of {speaker}"


@pytest.mark.parametrize("first", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("second", WIRES, ids=lambda wire: wire.name)
async def test_any_wire_hands_over_to_any_other_and_takes_the_run_back(
    conversation: Conversation, first: Wire, second: Wire
):
    with anyio.fail_after(30):
        for wire in (first, first, first, second, second, second, first):
            await conversation.speak(wire)
    assert all(referee.only_appended() for referee in conversation.referees.values())
    _check_foreign_reasoning(conversation)
