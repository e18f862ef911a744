"""What goes over the Responses wire and what comes back, judged by the referee."""

import json
from typing import Any

import pytest

from engine.transcript import (
    CacheFacts,
    Delta,
    Media,
    Message,
    ModelReply,
    ModelRequest,
    Route,
    ToolResult,
    ToolSpec,
    system,
    user,
)
from providers.base import Provider
from providers.errors import (
    InvalidRequest,
    MalformedReply,
    Overloaded,
    ProviderUnavailable,
    RateLimited,
    Refused,
    SpendLimit,
)
from providers.openai_render import can_be_strict
from tests.providers.conftest import Connect
from tests.providers.referee import Json, Referee, Turn, event

pytestmark = pytest.mark.anyio

REASONING: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Rain is wanted."}],
    "encrypted_content": "Z2VoZWlt/+==",
}
COMMENT: Json = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Looking it up.", "annotations": [], "logprobs": []}],
}
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "learn_weather",
    "arguments": '{"n":1.0}',
    "status": "completed",
}

LEARN = ToolSpec(name="learn_weather", description="Learn the weather skill.", input_schema={"type": "object"})
RAIN = ToolSpec(name="weather.rain", description="Rain of a city.", input_schema={}, deferred=True)
RESULT = ToolResult(call_id="call_1", name="learn_weather", text="You can use the weather.", reveals=(RAIN,))


def final(text: str) -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{text}", "role": "assistant", "phase": "final_answer", "content": content}


def ask(*messages: Message, **fields: Any) -> ModelRequest:
    return ModelRequest(route=Route(provider="openai", model="any-model"), messages=messages, **fields)


def after(request: ModelRequest, *messages: Message) -> ModelRequest:
    return request.model_copy(update={"messages": (*request.messages, *messages)})


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("openai", f"{referee.url}/v1")


async def first_turn(provider: Provider, referee: Referee) -> tuple[ModelRequest, ModelReply]:
    referee.will_say(Turn([REASONING, COMMENT, CALL]))
    request = ask(system("Be brief."), user("Rain?"), tools=(LEARN, RAIN), cache_key="run_1")
    return request, await provider.generate(request)


async def test_items_come_back_with_encrypted_reasoning_and_phase_byte_for_byte(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee)
    assert [part.type for part in reply.message.parts] == ["reasoning", "text", "tool_call"]
    assert reply.finish.unified == "tool_calls"
    assert reply.diagnostics["phase"] == "commentary"
    stored = Message.model_validate_json(reply.message.model_dump_json())
    referee.will_say(Turn([final("It rains.")]))
    second = await provider.generate(after(request, stored, Message(role="tool", parts=(RESULT,))))
    assert second.message.text == "It rains."
    assert second.diagnostics["phase"] == "final_answer"
    assert json.dumps(referee.bodies[1]["input"][2:5]) == json.dumps([REASONING, COMMENT, CALL])


@pytest.mark.parametrize("change", ["drop the reasoning", "drop the phase"])
async def test_the_referee_refuses_a_turn_without_its_reasoning_or_phase(
    provider: Provider, referee: Referee, change: str
):
    request, reply = await first_turn(provider, referee)
    native = reply.message.native
    assert native is not None
    without_phase = {name: value for name, value in COMMENT.items() if name != "phase"}
    blocks = (COMMENT, CALL) if change == "drop the reasoning" else (REASONING, without_phase, CALL)
    broken = reply.message.model_copy(update={"native": native.model_copy(update={"blocks": blocks})})
    with pytest.raises(InvalidRequest, match=r"missing or changed|phase"):
        await provider.generate(after(request, broken, Message(role="tool", parts=(RESULT,))))


async def test_learning_a_skill_appends_its_tools_and_changes_nothing_before(provider: Provider, referee: Referee):
    request, reply = await first_turn(provider, referee)
    rain = {**CALL, "id": "fc_2", "call_id": "call_2", "name": "weather__rain", "arguments": ""}
    referee.will_say(Turn([rain]), Turn([final("ok")]))
    learned = after(request, reply.message, Message(role="tool", parts=(RESULT,)))
    second = await provider.generate(learned)
    assert second.message.tool_calls[0].name == "weather.rain"
    again = ToolResult(call_id="call_2", name="weather.rain", text="no", reveals=(RAIN,))
    await provider.generate(after(learned, second.message, Message(role="tool", parts=(again,))))
    first, then, last = referee.bodies
    assert [tool["name"] for tool in first["tools"]] == ["learn_weather"]
    assert then["tools"] == first["tools"] == last["tools"]
    assert then["input"][: len(first["input"])] == first["input"]
    assert last["input"][: len(then["input"])] == then["input"]
    added = [item for item in last["input"] if item["type"] == "additional_tools"]
    assert [[tool["name"] for tool in item["tools"]] for item in added] == [["weather__rain"]]


async def test_reasoning_is_streamed_as_reasoning_and_calls_with_their_id(provider: Provider, referee: Referee):
    pieces: list[Delta] = []
    referee.will_say(Turn([REASONING, COMMENT, CALL]))
    await provider.generate(ask(user("Rain?"), tools=(LEARN,)), pieces.append)
    joined = {kind: "".join(piece.text for piece in pieces if piece.kind == kind) for kind in ("reasoning", "text")}
    assert joined == {"reasoning": "Rain is wanted.", "text": "Looking it up."}
    assert {piece.call_id for piece in pieces if piece.kind == "tool"} == {"call_1"}


async def test_usage_is_one_shape_with_the_raw_kept(provider: Provider, referee: Referee):
    raw = {
        "input_tokens": 240,
        "input_tokens_details": {
            "cached_tokens": 200,
            "cache_write_tokens": 30,
            "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
        },
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
    }
    referee.will_say(Turn([final("ok")], usage=raw))
    usage = (await provider.generate(ask(user("Hi")))).usage
    assert (usage.input_total, usage.input_uncached, usage.cache_read) == (240, 10, 200)
    assert (usage.cache_write_short, usage.cache_write_long) == (10, 20)
    assert (usage.output_total, usage.reasoning, usage.raw) == (7, 4, raw)


@pytest.mark.parametrize(
    ("stop", "unified"),
    [
        ("completed", "done"),
        ("max_output_tokens", "length"),
        ("content_filter", "refusal"),
        ("steered", "paused"),
        ("a_reason_of_next_year", "error"),
    ],
)
async def test_every_end_has_its_finish(provider: Provider, referee: Referee, stop: str, unified: str):
    referee.will_say(Turn([final("So")], stop=stop))
    finish = (await provider.generate(ask(user("Hi")))).finish
    assert (finish.unified, finish.raw) == (unified, stop)


async def test_a_refusal_in_the_answer_finishes_as_refusal(provider: Provider, referee: Referee):
    refusal = {**final("x"), "content": [{"type": "refusal", "refusal": "No.", "text": "No."}]}
    referee.will_say(Turn([refusal]))
    assert (await provider.generate(ask(user("Hi")))).finish.unified == "refusal"


async def test_a_call_in_a_cut_output_can_not_be_executed(provider: Provider, referee: Referee):
    referee.will_say(Turn([{**CALL, "status": "incomplete", "arguments": "{}"}], stop="max_output_tokens"))
    reply = await provider.generate(ask(user("Rain?"), tools=(LEARN,)))
    assert reply.finish.unified == "length"
    assert reply.message.tool_calls[0].malformed == "{}"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", RateLimited),
        ("server_error", ProviderUnavailable),
        ("server_is_overloaded", Overloaded),
        ("insufficient_quota", SpendLimit),
        ("misalignment_policy_violation", Refused),
        ("a_code_of_next_year", ProviderUnavailable),
    ],
)
async def test_a_response_that_fails_inside_a_good_stream(
    provider: Provider, referee: Referee, code: str, kind: type[Exception]
):
    referee.will_say(Turn([], stop="failed", extra={"error": {"code": code, "message": "so it goes"}}))
    with pytest.raises(kind, match="so it goes") as raised:
        await provider.generate(ask(user("Hi")))
    assert type(raised.value) is kind


async def test_an_error_event_is_an_error(provider: Provider, referee: Referee):
    body = event({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "sequence_number": 1})
    referee.will_say(Turn(raw=(200, {"content-type": "text/event-stream", "retry-after": "3"}, body)))
    with pytest.raises(RateLimited) as raised:
        await provider.generate(ask(user("Hi")))
    assert raised.value.retry_after_s == 3.0


async def test_a_rate_limit_without_a_wait_says_none(provider: Provider, referee: Referee):
    referee.will_say(Turn(raw=(429, {"content-type": "application/json"}, b'{"error": {"message": "slow"}}')))
    with pytest.raises(RateLimited) as raised:
        await provider.generate(ask(user("Hi")))
    assert raised.value.retry_after_s is None


async def test_an_event_without_its_fields_is_malformed(provider: Provider, referee: Referee):
    body = event({"type": "response.output_item.done", "item": {}})
    referee.will_say(Turn(raw=(200, {"content-type": "text/event-stream"}, body)))
    with pytest.raises(MalformedReply, match="output_item"):
        await provider.generate(ask(user("Hi")))


async def test_nothing_is_stored_and_the_conversation_has_a_cache_key(provider: Provider, referee: Referee):
    await first_turn(provider, referee)
    body = referee.bodies[0]
    assert (body["store"], body["prompt_cache_key"], body["parallel_tool_calls"]) == (False, "run_1", True)
    assert body["input"][0] == {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Be brief."}],
    }


async def test_options_reach_the_wire_and_the_response_before_is_compared(provider: Provider, referee: Referee):
    options: dict[str, Any] = {"effort": "low", "text": {"verbosity": "low"}, "prompt_cache_options": {"ttl": "12h"}}
    route = Route(provider="openai", model="any-model", options=options)
    request = ask(user("Hi"), cache_key="run_1").model_copy(update={"route": route})
    miss = {"prompt_cache_diagnostics": {"type": "cache_miss", "reason": "tools_changed", "cache_missed_tokens": 9}}
    referee.will_say(Turn([final("ok")]), Turn([final("yes")], extra=miss))
    reply = await provider.generate(request)
    second = await provider.generate(after(request, reply.message, user("And?")))
    assert referee.bodies[0]["reasoning"] == {"effort": "low"}
    assert referee.bodies[0]["text"] == {"verbosity": "low"}
    assert referee.bodies[0]["prompt_cache_options"] == {"ttl": "12h"}
    assert referee.bodies[1]["prompt_cache_options"]["comparison_response_id"] == referee.past[0].reply_id
    assert second.cache == CacheFacts(hit=False, read=0, missed_tokens=9, reason="tools_changed")


async def test_stable_prefixes_end_in_a_breakpoint_where_the_model_takes_them(provider: Provider, referee: Referee):
    pinned = user("Pinned.").model_copy(update={"breakpoint": True})
    plain = ask(system("Be brief."), pinned, user("Hi"))
    route = Route(provider="openai", model="any-model", options={"prompt_cache_options": {}})
    referee.will_say(Turn([final("ok")]), Turn([final("yes")]))
    await provider.generate(plain)
    referee.past.clear()
    await provider.generate(plain.model_copy(update={"route": route}))
    marks = [[item["content"][-1].get("prompt_cache_breakpoint") for item in body["input"]] for body in referee.bodies]
    assert marks == [[None, None, None], [{"mode": "explicit"}, {"mode": "explicit"}, None]]


async def test_a_schema_is_asked_for_and_its_answer_parsed(provider: Provider, referee: Referee):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    referee.will_say(Turn([final('{"n": 3}')]))
    reply = await provider.generate(ask(user("Count."), output_schema=schema))
    assert reply.output == {"n": 3}
    wanted = {"type": "json_schema", "name": "output", "schema": schema, "strict": False}
    assert referee.bodies[0]["text"]["format"] == wanted


def test_strict_is_claimed_only_for_closed_schemas():
    fields = {"n": {"type": "integer"}}
    inner: Any = {"type": "object", "properties": fields, "required": ["n"], "additionalProperties": False}
    outer: Any = {**inner, "properties": {"n": {"type": "array", "items": inner}}}
    assert can_be_strict(outer)
    assert not can_be_strict({**outer, "required": []})
    assert not can_be_strict({**outer, "oneOf": []})
    open_inner = {**inner, "additionalProperties": True}
    assert not can_be_strict({**outer, "properties": {"n": {"type": "array", "items": open_inner}}})


async def test_attachments_are_loaded_by_digest(connect: Connect, referee: Referee):
    async def load(ref: str) -> bytes:
        return b"bytes"

    parts = (Media(ref="d1", mime="image/png"), Media(ref="d2", mime="application/pdf"), Media(ref="d3", mime="a/zip"))
    referee.will_say(Turn([final("ok")]))
    provider = connect("openai", f"{referee.url}/v1", load)
    await provider.generate(ask(Message(role="user", parts=parts)))
    image, document, archive = referee.bodies[0]["input"][0]["content"]
    assert image["image_url"] == "data:image/png;base64,Ynl0ZXM="
    assert document["file_data"] == "data:application/pdf;base64,Ynl0ZXM="
    assert "d3" in archive["text"]
