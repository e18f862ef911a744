"""A run changes its provider between turns: each accepts, own turns return unchanged, foreign reasoning stays home."""

import json
from collections.abc import Iterator

import anyio
import pytest

from engine.transcript import Message, ModelReply, ModelRequest, Route, ToolResult, ToolSpec, system, user
from providers.scripted import Scripted, ScriptedReply, calls
from tests.providers.conftest import Connect
from tests.providers.referee import Referee, Turn
from tests.providers.test_anthropic import CALL as TOOL_USE
from tests.providers.test_anthropic import REDACTED, THINKING
from tests.providers.test_openai import CALL as FUNCTION_CALL
from tests.providers.test_openai import COMMENT, REASONING, final
from tests.providers.wires import BY_NAME

pytestmark = pytest.mark.anyio

LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
RAIN = ToolSpec(name="weather.rain", description="Rain of a city.", input_schema={}, deferred=True)


@pytest.fixture
def other() -> Iterator[Referee]:
    with Referee() as server:
        yield server


def result(reply: ModelReply) -> Message:
    answers = [
        ToolResult(call_id=call.id, name=call.name, text="learned", reveals=(RAIN,))
        for call in reply.message.tool_calls
    ]
    return Message(role="tool", parts=tuple(answers))


def on(provider: str, request: ModelRequest, *messages: Message) -> ModelRequest:
    route = Route(provider=provider, model="any-model")
    return request.model_copy(update={"route": route, "messages": (*request.messages, *messages)})


async def test_anthropic_to_openai_and_back(connect: Connect, referee: Referee, other: Referee):
    first = connect("anthropic", referee.url)
    second = connect("openai", f"{other.url}/v1")
    request = ModelRequest(
        route=Route(provider="anthropic", model="any-model"),
        messages=(system("Be brief."), user("Rain?")),
        tools=(LEARN, RAIN),
    )
    with anyio.fail_after(20):
        referee.will_say(Turn([THINKING, REDACTED, TOOL_USE], stop="tool_use"))
        one = await first.generate(request)

        request = on("openai", request, one.message, result(one))
        other.will_say(Turn([REASONING, COMMENT, FUNCTION_CALL]))
        two = await second.generate(request)

        request = on("anthropic", request, two.message, result(two))
        referee.will_say(Turn([{"type": "text", "text": "Done."}]))
        three = await first.generate(request)

        request = on("openai", request, three.message, user("And tomorrow?"))
        other.will_say(Turn([final("Dry.")]))
        four = await second.generate(request)

    assert four.message.text == "Dry."
    theirs, mine = json.dumps(other.bodies), json.dumps(referee.bodies[1])
    assert THINKING["signature"] not in theirs
    assert THINKING["thinking"] not in theirs
    assert REDACTED["data"] not in theirs
    assert REASONING["encrypted_content"] not in mine
    assert REASONING["summary"][0]["text"] not in mine
    assert COMMENT["content"][0]["text"] in mine
    own = [turn["content"] for turn in referee.bodies[1]["messages"] if turn["role"] == "assistant"]
    assert json.dumps(own[0]) == json.dumps([THINKING, REDACTED, TOOL_USE])
    assert json.dumps([item for item in other.bodies[1]["input"] if item in [REASONING, COMMENT, FUNCTION_CALL]]) == (
        json.dumps([REASONING, COMMENT, FUNCTION_CALL])
    )


@pytest.mark.parametrize("name", ["anthropic", "openai"])
async def test_foreign_call_ids_are_rewritten_where_the_wire_would_refuse_them(
    connect: Connect, referee: Referee, name: str
):
    script = Scripted([calls(("learn_weather", {}))])
    request = ModelRequest(route=Route(provider="scripted", model="s"), messages=(user("Rain?"),), tools=(LEARN,))
    reply = await script.generate(request)
    odd = reply.message.tool_calls[0].model_copy(update={"id": "call:1/ä"})
    asked = Message(role="assistant", parts=(odd,))
    answer = Message(role="tool", parts=(ToolResult(call_id=odd.id, name=odd.name, text="ok"),))
    said = {"anthropic": {"type": "text", "text": "ok"}, "openai": final("ok")}[name]
    referee.will_say(Turn([said]))
    await connect(name, referee.url + BY_NAME[name].referee).generate(on(name, request, asked, answer))
    assert "call:1" not in json.dumps(referee.bodies[0])


async def test_the_scripted_provider_takes_over_and_keeps_its_own_turns(connect: Connect, referee: Referee):
    wire = connect("anthropic", referee.url)
    script = Scripted([ScriptedReply(reasoning="hm", text="Scripted."), "Still here."])
    request = ModelRequest(route=Route(provider="scripted", model="s"), messages=(user("Hi"),))
    one = await script.generate(request)
    referee.will_say(Turn([{"type": "text", "text": "From the wire."}]))
    request = on("anthropic", request, one.message, user("Go on."))
    two = await wire.generate(request)
    assert referee.bodies[0]["messages"][1]["content"] == [{"type": "text", "text": "Scripted."}]
    three = await script.generate(on("scripted", request, two.message, user("And?")))
    assert three.message.text == "Still here."
