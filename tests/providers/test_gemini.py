"""What goes over the generateContent wire and what comes back, judged by the referee."""

import json
from typing import Any

import pytest

from engine.routes import Route
from engine.transcript import (
    Delta,
    Media,
    Message,
    ModelReply,
    ModelRequest,
    Native,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
    system,
    user,
)
from providers.base import Provider
from providers.errors import InvalidRequest, MalformedReply
from providers.gemini import Gemini
from providers.gemini_render import MAX_DECLARATIONS
from providers.gemini_transport import endpoint
from providers.prices import price
from providers.tokens import Counter
from tests.providers import referee_gemini
from tests.providers.conftest import KEY, Connect
from tests.providers.pieces import by_kind
from tests.providers.referee import Json, Referee, Turn, event
from tests.providers.referee_gemini import SKIP, call, say, signature, think

pytestmark = pytest.mark.anyio

LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
RAIN = ToolSpec(name="weather.rain", description="Rain of a city.", input_schema={}, deferred=True)
SNOW = ToolSpec(name="weather.snow", description="Snow of a city.", input_schema={}, deferred=True)
STREAM = {"content-type": "text/event-stream"}


def ask(*messages: Message, options: dict[str, Any] | None = None, **fields: Any) -> ModelRequest:
    route = Route(provider="gemini", model="any-model", options=options or {})
    return ModelRequest(route=route, messages=messages, **fields)


def after(request: ModelRequest, *messages: Message) -> ModelRequest:
    return request.model_copy(update={"messages": (*request.messages, *messages)})


def answers(*results: ToolResult) -> Message:
    return Message(role="tool", parts=results)


def stored(reply: ModelReply) -> Message:
    """Return the message as it comes back from the store."""
    return Message.model_validate_json(reply.message.model_dump_json())


def events(*parts: list[Json], reason: str | None = "STOP", **told: Any) -> Turn:
    """Return a stream with one chunk for each list of parts, and a reason of the end behind the last one."""
    chunks: list[Json] = [{"candidates": [{"index": 0, "content": {"parts": chunk}}]} for chunk in parts]
    if reason is not None:
        chunks.append({"candidates": [{"finishReason": reason}], **told})
    return Turn(raw=(200, STREAM, b"".join(map(event, chunks))))


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("gemini", referee.url)


FIRST, SECOND = call("c1", "learn_weather", {"n": 1.0})[0], {"functionCall": {"id": "c2", "name": "learn_weather"}}
OWN = [*think(1), {"text": "Looking it up."}, FIRST, SECOND]


async def first_turn(provider: Provider, referee: Referee) -> tuple[ModelRequest, ModelReply]:
    referee.will_say(Turn(OWN))
    request = ask(system("Be brief."), user("Rain?"), tools=(LEARN, RAIN, SNOW))
    return request, await provider.generate(request)


async def test_parts_come_back_with_their_signatures_byte_for_byte(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee)
    assert [part.type for part in reply.message.parts] == ["reasoning", "text", "tool_call", "tool_call"]
    assert reply.finish.unified == "tool_calls"
    second = ToolResult(call_id="c2", name="learn_weather", text="two", is_error=True)
    first = ToolResult(call_id="c1", name="learn_weather", text="one")
    referee.will_say(Turn(say("It rains.")))
    last = await provider.generate(after(request, stored(reply), answers(second), answers(first)))
    assert last.message.text == "It rains."
    asked, given = referee.bodies[1]["contents"][1:]
    assert json.dumps(asked) == json.dumps({"role": "model", "parts": OWN})
    assert [part["functionResponse"] for part in given["parts"]] == [
        {"id": "c1", "name": "learn_weather", "response": {"output": "one"}},
        {"id": "c2", "name": "learn_weather", "response": {"error": "two"}},
    ]


@pytest.mark.parametrize("lost", ["the empty signed part", "the call's signature"])
async def test_the_referee_refuses_a_turn_without_a_signature(provider: Provider, referee: Referee, lost: str):
    request, reply = await first_turn(provider, referee)
    assert reply.message.native is not None
    bare = {"functionCall": FIRST["functionCall"]}
    blocks = (OWN[0], *OWN[2:]) if lost == "the empty signed part" else (*OWN[:3], bare, SECOND)
    broken = reply.message.model_copy(update={"native": reply.message.native.model_copy(update={"blocks": blocks})})
    result = [ToolResult(call_id=name, name="learn_weather", text="") for name in ("c1", "c2")]
    with pytest.raises(InvalidRequest, match="thought signature"):
        await provider.generate(after(request, broken, answers(*result)))


async def test_only_pieces_without_a_signature_are_joined(provider: Provider, referee: Referee):
    signed = {"text": "c", "thoughtSignature": signature("x")}
    pieces: list[Delta] = []
    thought = {"text": "hm", "thought": True}
    referee.will_say(
        events([thought], [thought], [{"text": "a"}, {"text": "b"}], [signed], [{"text": "d"}], [{"text": ""}])
    )
    reply = await provider.generate(ask(user("Hi")), pieces.append)
    assert reply.message.native is not None
    assert list(reply.message.native.blocks) == [
        {"text": "hmhm", "thought": True},
        {"text": "ab"},
        signed,
        {"text": "d"},
    ]
    assert by_kind(pieces) == [("reasoning", "hmhm"), ("text", "abcd")]


async def test_calls_without_an_id_get_one_here_and_are_answered_without(provider: Provider, referee: Referee):
    parts: list[Json] = [{"functionCall": {"name": "learn_weather", "args": {"n": n}}} for n in (1, 2)]
    parts[0]["thoughtSignature"] = signature("x")
    referee.will_say(events(parts), Turn(say("ok")))
    request = ask(user("Hi"), tools=(LEARN,))
    reply = await provider.generate(request)
    one, two = reply.message.tool_calls
    assert one.id != two.id
    results = [ToolResult(call_id=made.id, name=made.name, text=f"n={made.arguments['n']}") for made in (two, one)]
    await provider.generate(after(request, stored(reply), answers(*results)))
    assert referee.bodies[1]["contents"][1]["parts"] == parts
    assert [part["functionResponse"] for part in referee.bodies[1]["contents"][2]["parts"]] == [
        {"name": "learn_weather", "response": {"output": "n=1"}},
        {"name": "learn_weather", "response": {"output": "n=2"}},
    ]


async def test_a_turn_of_another_provider_is_given_a_dummy_signature_and_no_reasoning(
    provider: Provider, referee: Referee
):
    made = (
        Reasoning(text="secret"),
        Text(text="Wait."),
        ToolCall(id="toolu:1", name="learn_weather", arguments={"n": 1}),
        ToolCall(id="c2", name="weather.rain", malformed='{"n'),
    )
    foreign = Message(
        role="assistant",
        parts=made,
        native=Native(provider="anthropic", api="messages", model="m", blocks=({"type": "thinking"},)),
    )
    results = [ToolResult(call_id=one.id, name=one.name, text="ok") for one in foreign.tool_calls]
    referee.will_say(Turn(say("ok")))
    await provider.generate(ask(user("Hi"), foreign, answers(*results), user("So?"), tools=(LEARN, RAIN)))
    text, first, second = referee.bodies[0]["contents"][1]["parts"]
    assert text == {"text": "Wait."}
    assert first["thoughtSignature"] == SKIP == "skip_thought_signature_validator"
    assert second == {"functionCall": {"id": "c2", "name": "weather__rain", "args": {"INVALID_JSON": '{"n'}}}
    answer, _, question = referee.bodies[0]["contents"][2]["parts"]
    assert answer["functionResponse"]["id"] == first["functionCall"]["id"] != "toolu:1"
    assert question == {"text": "So?"}


async def test_learning_a_skill_changes_the_allowed_names_and_no_declaration(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee)
    results = [
        ToolResult(call_id="c1", name="learn_weather", text="learned", reveals=(RAIN, SNOW)),
        ToolResult(call_id="c2", name="learn_weather", text="already"),
    ]
    referee.will_say(Turn(call("c3", "weather__rain", {})))
    learned = await provider.generate(after(request, reply.message, answers(*results)))
    assert learned.message.tool_calls[0].name == "weather.rain"
    before, now = referee.bodies
    assert json.dumps(before["tools"]) == json.dumps(now["tools"])
    assert [tool["name"] for tool in now["tools"][0]["functionDeclarations"]] == [
        "learn_weather",
        "weather__rain",
        "weather__snow",
    ]
    calling = [body["toolConfig"]["functionCallingConfig"] for body in (before, now)]
    assert calling[0] == {"mode": "VALIDATED", "allowedFunctionNames": ["learn_weather"]}
    assert calling[1]["allowedFunctionNames"] == ["learn_weather", "weather__rain", "weather__snow"]
    assert calling[1]["mode"] == "VALIDATED"
    assert now["contents"][: len(before["contents"])] == before["contents"]


@pytest.mark.parametrize(
    ("choice", "plain", "hidden"), [("auto", "AUTO", "VALIDATED"), ("required", "ANY", "ANY"), ("none", "NONE", "NONE")]
)
async def test_the_choice_of_tools_is_a_mode(
    provider: Provider, referee: Referee, choice: str, plain: str, hidden: str
):
    referee.will_say(*(Turn(say(str(n))) for n in range(3)))
    await provider.generate(ask(user("Hi"), tools=(LEARN,), tool_choice=choice))
    referee.past.clear()
    await provider.generate(ask(user("Hi"), tools=(LEARN, RAIN), tool_choice=choice))
    referee.past.clear()
    await provider.generate(ask(user("Hi"), tools=(RAIN,), tool_choice=choice))
    modes = [body["toolConfig"]["functionCallingConfig"]["mode"] for body in referee.bodies]
    assert modes == [plain, hidden, "NONE"]


async def test_a_tool_learned_without_a_declaration_is_declared_behind_the_others(provider: Provider, referee: Referee):
    made = Message(role="assistant", parts=(ToolCall(id="c1", name="learn_weather"),))
    result = ToolResult(call_id="c1", name="learn_weather", text="", reveals=(RAIN,))
    referee.will_say(Turn(say("ok")))
    await provider.generate(ask(user("Hi"), made, answers(result), tools=(LEARN,)))
    declared = referee.bodies[0]["tools"][0]["functionDeclarations"]
    assert [tool["name"] for tool in declared] == ["learn_weather", "weather__rain"]
    assert declared[1]["parametersJsonSchema"] == {"type": "object"}


async def test_more_tools_than_the_wire_takes_are_declared_once_learned(provider: Provider, referee: Referee):
    many = [RAIN.model_copy(update={"name": f"t{number}"}) for number in range(MAX_DECLARATIONS)]
    made = Message(role="assistant", parts=(ToolCall(id="c1", name="learn_weather"),))
    result = ToolResult(call_id="c1", name="learn_weather", text="", reveals=(many[7],))
    referee.will_say(Turn(say("ok")))
    await provider.generate(ask(user("Hi"), made, answers(result), tools=(LEARN, *many)))
    declared = referee.bodies[0]["tools"][0]["functionDeclarations"]
    assert [tool["name"] for tool in declared] == ["learn_weather", "t7"]


async def test_usage_is_one_shape_with_the_raw_kept(provider: Provider, referee: Referee):
    raw: Json = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 80,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 142,
    }
    referee.will_say(Turn(say("ok"), usage=raw))
    reply = await provider.generate(ask(user("Hi")))
    assert reply.usage == Usage(
        input_total=107,
        input_uncached=27,
        cache_read=80,
        output_total=35,
        reasoning=30,
        tool_prompt=7,
        raw=raw,
    )
    assert reply.cache is not None
    assert reply.cache.read == 80
    assert (reply.model, reply.request_id) == ("any-model", "req_1")


def test_a_known_model_is_priced_under_the_name_of_the_wire():
    assert price("gemini", "gemini-2.5-flash", Usage(input_total=1000, output_total=1000)).usd


async def test_the_system_leads_and_later_words_of_the_operator_stand_in_the_users_turn(
    provider: Provider, referee: Referee
):
    shown = Message(role="user", parts=(Text(text="a </data> b", data=True),))
    referee.will_say(Turn(say("ok")))
    await provider.generate(ask(system("Be brief."), system("Be kind."), shown, system("Stop.")))
    body = referee.bodies[0]
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    assert [part["text"] for part in body["contents"][0]["parts"]] == [
        "<data>\na <\\/data> b\n</data>",
        "<operator>\nStop.\n</operator>",
    ]


async def test_options_reach_the_wire_where_they_belong(provider: Provider, referee: Referee):
    options: dict[str, Any] = {
        "effort": "high",
        "thinkingConfig": {"includeThoughts": True},
        "temperature": 0.5,
        "generationConfig": {"topK": 3},
        "safetySettings": [{"category": "c", "threshold": "BLOCK_NONE"}],
        "api_version": "v1beta",
    }
    referee.will_say(Turn(say("ok")))
    await provider.generate(ask(user("Hi"), options=options, max_output_tokens=77))
    body = referee.bodies[0]
    assert body["generationConfig"] == {
        "topK": 3,
        "temperature": 0.5,
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "HIGH"},
        "maxOutputTokens": 77,
    }
    assert body["safetySettings"] == options["safetySettings"]
    assert body.keys() == {"contents", "generationConfig", "safetySettings"}


@pytest.mark.parametrize("option", [{"toolConfig": {}}, {"api": "chat"}])
async def test_options_that_the_adapter_writes_or_does_not_know_are_refused(
    provider: Provider, referee: Referee, option: dict[str, Any]
):
    with pytest.raises(InvalidRequest, match=next(iter(option))):
        await provider.generate(ask(user("Hi"), options=option))
    assert referee.bodies == []


async def test_a_schema_is_asked_for_and_its_answer_parsed(provider: Provider, referee: Referee):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    referee.will_say(Turn(say('{"n": 3}')))
    reply = await provider.generate(ask(user("Count."), output_schema=schema))
    assert reply.output == {"n": 3}
    config = referee.bodies[0]["generationConfig"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", schema)


async def test_attachments_are_loaded_by_digest(connect: Connect, referee: Referee):
    async def load(ref: str) -> bytes:
        return b"bytes"

    kinds = ("image/png", "application/pdf", "audio/wav", "a/zip")
    parts = tuple(Media(ref=f"d{number}", mime=kind) for number, kind in enumerate(kinds))
    referee.will_say(Turn(say("ok")))
    await connect("gemini", referee.url, load).generate(ask(Message(role="user", parts=parts)))
    *inline, archive = referee.bodies[0]["contents"][0]["parts"]
    assert inline == [{"inlineData": {"mimeType": kind, "data": "Ynl0ZXM="}} for kind in kinds[:3]]
    assert "d3" in archive["text"]


async def test_the_key_travels_in_a_header_and_no_time_limit_is_announced(provider: Provider, referee: Referee):
    referee.will_say(Turn(say("ok")))
    await provider.generate(ask(user("Hi")))
    (headers,) = referee.headers
    assert headers["x-goog-api-key"] == KEY
    assert "x-server-timeout" not in headers


@pytest.fixture
def counter(referee: Referee, monkeypatch: pytest.MonkeyPatch) -> Referee:
    """The referee, which takes any request for a count."""

    def accept(*_: Any) -> list[Json]:
        return []

    row = (r"/v1/models/any-model:countTokens", accept, accept, referee_gemini.prefix)
    monkeypatch.setattr("tests.providers.referee.PATHS", [row])
    return referee


async def test_the_provider_counts_what_it_would_be_sent(connect: Connect, counter: Referee):
    provider = connect("gemini", counter.url)
    assert isinstance(provider, Gemini)
    count: Counter = provider.count_tokens
    counter.will_say(Turn(raw=(200, {"content-type": "application/json"}, b'{"totalTokens": 31}')))
    request = ask(system("Be brief."), user("Rain?"), tools=(LEARN,))
    assert await count(request) == 31
    asked = counter.bodies[0]["generateContentRequest"]
    assert asked["model"] == "models/any-model"
    assert asked["contents"] == [{"role": "user", "parts": [{"text": "Rain?"}]}]
    assert {"systemInstruction", "tools"} <= asked.keys()


@pytest.mark.parametrize("body", [b"{}", b"31", b"no"])
async def test_a_count_that_is_no_number_is_malformed(connect: Connect, counter: Referee, body: bytes):
    provider = connect("gemini", counter.url)
    assert isinstance(provider, Gemini)
    counter.will_say(Turn(raw=(200, {"content-type": "application/json"}, body)))
    with pytest.raises(MalformedReply):
        await provider.count_tokens(ask(user("Rain?")))


def test_the_base_url_may_name_the_version():
    assert endpoint(None) == ("https://generativelanguage.googleapis.com", "v1")
    assert endpoint("http://host/gemini/v1beta/") == ("http://host/gemini", "v1beta")
    assert endpoint("http://host/v2alpha1") == ("http://host", "v2alpha1")
    assert endpoint("http://host/vx") == ("http://host/vx", "v1")
