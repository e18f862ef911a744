"""What goes over Gemini's Interactions wire and what comes back, judged by the referee."""

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
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
    system,
    user,
)
from providers.base import Provider
from providers.errors import InvalidRequest, MalformedReply, ProviderUnavailable
from providers.gemini_interactions import STATUSES
from tests.providers.conftest import Connect
from tests.providers.referee import Json, Referee, Turn, event

pytestmark = pytest.mark.anyio

STREAM = {"content-type": "text/event-stream"}
THOUGHT: Json = {"type": "thought", "summary": [{"type": "text", "text": "Rain is wanted."}], "signature": "c2ln/+=="}
COMMENT: Json = {"type": "model_output", "content": [{"type": "text", "text": "Looking it up."}]}
CALL: Json = {"type": "function_call", "id": "c1", "name": "learn_weather", "arguments": {"n": 1.0}}
SEARCH: Json = {
    "type": "tool_search_call",
    "id": "s1",
    "arguments": {"function_names": ["weather__rain"]},
    "signature": "c2VhcmNo",
}
LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
RAIN = ToolSpec(
    name="weather.rain",
    description=f"Rain of a city{'.' * 200}\nIn millimetres.",
    input_schema={},
    deferred=True,
    skill="weather",
)
RAIN_FUNCTION: Json = {
    "type": "function",
    "name": "weather__rain",
    "description": RAIN.description,
    "parameters": {"type": "object"},
}


def said(text: str) -> list[Json]:
    return [{"type": "model_output", "content": [{"type": "text", "text": text}]}]


def ask(*messages: Message, options: dict[str, Any] | None = None, **fields: Any) -> ModelRequest:
    route = Route(provider="gemini", model="any-model", options={"api": "interactions", **(options or {})})
    return ModelRequest(route=route, messages=messages, **fields)


def after(request: ModelRequest, *messages: Message) -> ModelRequest:
    return request.model_copy(update={"messages": (*request.messages, *messages)})


def stored(reply: ModelReply) -> Message:
    """Return the message as it comes back from the store."""
    return Message.model_validate_json(reply.message.model_dump_json())


def learned(call_id: str) -> Message:
    result = ToolResult(call_id=call_id, name="learn_weather", text="You can use the weather.", reveals=(RAIN,))
    return Message(role="tool", parts=(result,))


def raw(*events: Json) -> Turn:
    return Turn(raw=(200, STREAM, b"".join(map(event, events))))


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("gemini", referee.url)


async def first_turn(provider: Provider, referee: Referee, *steps: Json) -> tuple[ModelRequest, ModelReply]:
    referee.will_say(Turn([*steps], stop="requires_action"))
    request = ask(system("Be brief."), user("Rain?"), tools=(LEARN, RAIN))
    return request, await provider.generate(request)


async def test_steps_come_back_with_their_signatures_byte_for_byte(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee, THOUGHT, COMMENT, CALL)
    assert [part.type for part in reply.message.parts] == ["reasoning", "text", "tool_call"]
    assert (reply.finish.unified, reply.finish.raw) == ("tool_calls", "requires_action")
    referee.will_say(Turn(said("It rains.")))
    second = await provider.generate(after(request, stored(reply), learned("c1")))
    assert (second.message.text, second.finish.unified) == ("It rains.", "done")
    assert json.dumps(referee.bodies[1]["input"][1:4]) == json.dumps([THOUGHT, COMMENT, CALL])


async def test_the_referee_refuses_a_turn_without_its_thought(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee, THOUGHT, CALL)
    assert reply.message.native is not None
    native = reply.message.native.model_copy(update={"blocks": (CALL,)})
    broken = reply.message.model_copy(update={"native": native})
    with pytest.raises(InvalidRequest, match="missing or changed"):
        await provider.generate(after(request, broken, learned("c1")))


async def test_a_learned_skill_brings_its_functions_and_changes_nothing_before(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee, THOUGHT, CALL)
    referee.will_say(Turn([{**CALL, "id": "c2", "name": "weather__rain"}], stop="requires_action"), Turn(said("ok")))
    request = after(request, reply.message, learned("c1"))
    second = await provider.generate(request)
    assert second.message.tool_calls[0].name == "weather.rain"
    again = ToolResult(call_id="c2", name="weather.rain", text="dry", is_error=True, reveals=(RAIN,))
    await provider.generate(after(request, second.message, Message(role="tool", parts=(again,))))
    first, then, last = referee.bodies
    assert first["tools"] == then["tools"] == last["tools"]
    assert [tool.get("defer_loading", False) for tool in first["tools"]] == [False, True, False]
    assert first["tools"][1]["short_description"] == f"Rain of a city{'.' * 106}"
    assert first["tools"][2] == {"type": "tool_search", "execution": "client"}
    assert then["input"][: len(first["input"])] == first["input"]
    text = {"type": "text", "text": "You can use the weather."}
    assert then["input"][-1] == {
        "type": "function_result",
        "call_id": "c1",
        "name": "learn_weather",
        "result": [text, RAIN_FUNCTION],
    }
    assert last["input"][-1] == {
        "type": "function_result",
        "call_id": "c2",
        "name": "weather__rain",
        "result": [{"type": "text", "text": "dry"}],
        "is_error": True,
    }


async def test_a_search_of_the_model_learns_the_skill_and_is_answered_with_its_functions(
    provider: Provider, referee: Referee
):
    request, reply = await first_turn(provider, referee, THOUGHT, SEARCH)
    (call,) = reply.message.tool_calls
    assert (call.id, call.name, call.arguments) == ("s1", "learn_weather", {})
    referee.will_say(Turn(said("ok")))
    await provider.generate(after(request, stored(reply), learned("s1")))
    search, result, lesson = referee.bodies[1]["input"][2:]
    assert json.dumps(search) == json.dumps(SEARCH)
    assert result == {"type": "tool_search_result", "call_id": "s1", "result": [RAIN_FUNCTION]}
    assert lesson["content"][0]["text"] == '<answer of="learn_weather">\nYou can use the weather.\n</answer>'


@pytest.mark.parametrize(
    ("tools", "name", "arguments"),
    [
        ((LEARN.model_copy(update={"name": "learn"}), RAIN), "learn", {"skill": "weather"}),
        ((RAIN,), "tool_search", {"function_names": ["weather__rain"]}),
    ],
)
async def test_a_search_without_a_tool_of_its_skill(
    provider: Provider, referee: Referee, tools: tuple[ToolSpec, ...], name: str, arguments: Json
):
    referee.will_say(Turn([SEARCH], stop="requires_action"))
    (call,) = (await provider.generate(ask(user("Rain?"), tools=tools))).message.tool_calls
    assert (call.name, call.arguments) == (name, arguments)


async def test_a_search_that_the_server_answered_is_no_call(provider: Provider, referee: Referee):
    result = {"type": "tool_search_result", "call_id": "s1", "result": []}
    referee.will_say(Turn([SEARCH, result, *said("ok")]))
    reply = await provider.generate(ask(user("Rain?"), tools=(LEARN, RAIN)))
    assert (reply.message.tool_calls, reply.finish.unified) == ((), "done")


async def test_turns_of_generate_content_and_of_others_are_given_in_neutral_steps(provider: Provider, referee: Referee):
    made = (ToolCall(id="c:1", name="learn_weather"), ToolCall(id="c2", name="learn_weather", malformed="{"))
    foreign = Message(role="assistant", parts=made)
    results = [ToolResult(call_id=call.id, name=call.name, text="ok") for call in made]
    referee.will_say(Turn(said("ok")))
    await provider.generate(ask(user("Hi"), foreign, Message(role="tool", parts=tuple(results)), tools=(LEARN,)))
    one, two, first, _ = referee.bodies[0]["input"][1:]
    assert one["id"] == first["call_id"] != "c:1"
    assert two["arguments"] == {"INVALID_JSON": "{"}
    assert referee.bodies[0]["tools"] == [
        {
            "type": "function",
            "name": "learn_weather",
            "description": LEARN.description,
            "parameters": {"type": "object"},
        }
    ]


async def test_pieces_are_streamed_as_what_they_are(provider: Provider, referee: Referee):
    pieces: list[Delta] = []
    referee.will_say(Turn([THOUGHT, COMMENT, CALL], stop="requires_action"))
    await provider.generate(ask(user("Rain?"), tools=(LEARN,)), pieces.append)
    joined = {kind: "".join(piece.text for piece in pieces if piece.kind == kind) for kind in ("reasoning", "text")}
    assert joined == {"reasoning": "Rain is wanted.", "text": "Looking it up."}
    assert "".join(piece.text for piece in pieces if piece.call_id == "c1") == '{"n": 1.0}'


@pytest.mark.parametrize(
    ("status", "unified"),
    [
        ("completed", "done"),
        ("requires_continuation", "paused"),
        ("incomplete", "length"),
        ("budget_exceeded", "cut_off"),
        ("cancelled", "cut_off"),
        ("failed", "error"),
        ("requires_action", "malformed"),
        ("a_status_of_next_year", "error"),
    ],
)
async def test_every_status_has_its_finish(provider: Provider, referee: Referee, status: str, unified: str):
    referee.will_say(Turn(said("So"), stop=status))
    finish = (await provider.generate(ask(user("Hi")))).finish
    assert (finish.unified, finish.raw) == (unified, status)
    assert STATUSES.keys() >= {status} or unified == "error"


async def test_usage_is_one_shape_with_the_raw_kept(provider: Provider, referee: Referee):
    told: Json = {
        "total_input_tokens": 100,
        "total_cached_tokens": 80,
        "total_tool_use_tokens": 7,
        "total_output_tokens": 5,
        "total_thought_tokens": 30,
        "total_tokens": 142,
        "grounding_tool_count": [{"type": "google_search", "count": 2}],
    }
    referee.will_say(Turn(said("ok"), usage=told))
    assert (await provider.generate(ask(user("Hi")))).usage == Usage(
        input_total=107,
        input_uncached=27,
        cache_read=80,
        output_total=35,
        reasoning=30,
        tool_prompt=7,
        server_tools={"google_search": 2},
        raw=told,
    )


async def test_a_decode_that_paused_goes_on_with_the_same_input_and_its_token(provider: Provider, referee: Referee):
    referee.will_say(Turn(said("One "), stop="requires_continuation", extra={"continuation_token": "dG9r"}))
    referee.will_say(Turn(said("two")), Turn(said("ok")))
    request = ask(user("Count."))
    for wanted in ("paused", "done"):
        reply = await provider.generate(request)
        assert reply.finish.unified == wanted
        request = after(request, stored(reply))
    await provider.generate(after(request, user("Again.")))
    assert [body.get("continuation_token") for body in referee.bodies] == [None, "dG9r", None]
    assert referee.bodies[1]["input"] == referee.bodies[0]["input"]
    assert referee.bodies[2]["input"][1:3] == [*said("One "), *said("two")]


async def test_malformed_arguments_are_kept_as_text(provider: Provider, referee: Referee):
    start = {"event_type": "step.start", "index": 0, "step": {**CALL, "arguments": {}}}
    piece = {"type": "arguments_delta", "arguments": '{"city": "Ro'}
    end = {"event_type": "interaction.completed", "interaction": {"id": "i", "status": "requires_action"}}
    delta = {"event_type": "step.delta", "index": 0, "delta": piece}
    referee.will_say(raw(start, delta, {"event_type": "step.stop", "index": 0}, end))
    reply = await provider.generate(ask(user("Rain?"), tools=(LEARN,)))
    (call,) = reply.message.tool_calls
    assert (call.arguments, call.malformed, reply.finish.unified) == ({}, '{"city": "Ro', "tool_calls")
    assert reply.message.native is not None
    assert reply.message.native.blocks == ({**CALL, "arguments": {"INVALID_JSON": '{"city": "Ro'}},)


COMPLETED: Json = {"event_type": "interaction.completed", "interaction": {"id": "i", "status": "completed"}}
OPEN: Json = {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}}
WRONG: list[tuple[list[Json], type[Exception]]] = [
    ([OPEN], ProviderUnavailable),
    ([OPEN, COMPLETED], MalformedReply),
    ([{"event_type": "step.stop", "index": 3}], MalformedReply),
    ([{"event_type": "interaction.completed", "interaction": {"id": "i"}}], MalformedReply),
    ([{"index": 0}], MalformedReply),
]


@pytest.mark.parametrize(("events", "kind"), WRONG)
async def test_a_stream_that_ends_early_or_breaks_the_rules_is_no_answer(
    provider: Provider, referee: Referee, events: list[Json], kind: type[Exception]
):
    referee.will_say(raw(*events))
    with pytest.raises(kind) as raised:
        await provider.generate(ask(user("Hi")))
    assert type(raised.value) is kind


async def test_steps_that_were_not_streamed_are_taken_from_the_end(provider: Provider, referee: Referee):
    steps = [{"type": "user_input", "content": []}, *said("whole")]
    referee.will_say(
        raw({"event_type": "interaction.completed", "interaction": {**COMPLETED["interaction"], "steps": steps}})
    )
    assert (await provider.generate(ask(user("Hi")))).message.text == "whole"


async def test_annotations_and_media_stay_in_their_step(provider: Provider, referee: Referee):
    deltas: list[Json] = [
        {"type": "text", "text": "a"},
        {"type": "text_annotation_delta", "annotations": [{"type": "url_citation"}]},
        {"type": "text", "text": "b"},
        {"type": "image", "data": "eA==", "mime_type": "image/png"},
    ]
    events = [{"event_type": "step.delta", "index": 0, "delta": delta} for delta in deltas]
    referee.will_say(raw(OPEN, *events, {"event_type": "step.stop", "index": 0}, COMPLETED))
    reply = await provider.generate(ask(user("Hi")))
    assert reply.message.text == "ab"
    assert reply.message.native is not None
    (step,) = reply.message.native.blocks
    assert step == {
        "type": "model_output",
        "content": [
            {"type": "text", "text": "a", "annotations": [{"type": "url_citation"}]},
            {"type": "text", "text": "b"},
            deltas[3],
        ],
    }


async def test_options_system_schema_and_attachments_reach_the_wire(connect: Connect, referee: Referee):
    async def load(ref: str) -> bytes:
        return b"bytes"

    kinds = ("image/png", "application/pdf", "a/zip")
    media = tuple(Media(ref=f"d{number}", mime=kind) for number, kind in enumerate(kinds))
    options = {"effort": "HIGH", "temperature": 0.5, "service_tier": "flex", "thinking_summaries": "auto"}
    schema = {"type": "object"}
    referee.will_say(Turn(said("{}")))
    request = ask(
        system("Be brief."),
        Message(role="user", parts=media),
        system("Stop."),
        options=options,
        output_schema=schema,
        tools=(LEARN,),
        tool_choice="required",
        max_output_tokens=77,
    )
    reply = await connect("gemini", referee.url, load).generate(request)
    assert reply.output == {}
    body = referee.bodies[0]
    assert (body["system_instruction"], body["service_tier"]) == ("Be brief.", "flex")
    assert body["generation_config"] == {
        "temperature": 0.5,
        "thinking_summaries": "auto",
        "thinking_level": "high",
        "max_output_tokens": 77,
        "tool_choice": "any",
    }
    assert body["response_format"] == {"type": "text", "mime_type": "application/json", "schema": schema}
    image, document, archive = body["input"][0]["content"]
    assert image == {"type": "image", "data": "Ynl0ZXM=", "mime_type": "image/png"}
    assert document == {"type": "document", "data": "Ynl0ZXM=", "mime_type": "application/pdf"}
    assert "d2" in archive["text"]
    assert body["input"][1]["content"][0]["text"] == "<operator>\nStop.\n</operator>"


async def test_a_conversation_may_change_the_api_between_turns(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee, THOUGHT, CALL)
    referee.past.clear()
    chunk: Json = {"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}
    referee.will_say(raw(chunk))
    route = Route(provider="gemini", model="any-model")
    changed = after(request, reply.message, learned("c1")).model_copy(update={"route": route})
    assert (await provider.generate(changed)).message.text == "ok"
    assert "thoughtSignature" in referee.bodies[1]["contents"][1]["parts"][0]
    assert THOUGHT["signature"] not in json.dumps(referee.bodies[1])
