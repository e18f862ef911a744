"""What comes back over Chat Completions from vendors who differ, as they stream it."""

from typing import Any

import pytest

from engine.transcript import Delta, ModelReply, ModelRequest, Reasoning, Route, Text, ToolSpec, user
from providers.base import Provider
from providers.errors import (
    ContextFull,
    InvalidRequest,
    MalformedReply,
    Overloaded,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SpendLimit,
    Unauthorized,
)
from tests.providers.chat_streams import called, document, said, spent, stream
from tests.providers.conftest import Connect
from tests.providers.pieces import by_kind
from tests.providers.referee import Json, Referee, Turn

pytestmark = pytest.mark.anyio

RAIN = ToolSpec(name="rain", description="Rain of a city.", input_schema={"type": "object"})
USED = spent(prompt_tokens=10, completion_tokens=5)


def ask(*tools: ToolSpec, **fields: Any) -> ModelRequest:
    route = Route(provider="any", model="any-model")
    return ModelRequest(route=route, messages=(user("Rain?"),), tools=tools, **fields)


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("chat", f"{referee.url}/v1")


async def answer(connect: Connect, referee: Referee, vendor: str, turn: Turn, **fields: Any) -> ModelReply:
    referee.will_say(turn)
    return await connect(vendor, f"{referee.url}/v1").generate(ask(RAIN, **fields))


def block(reply: ModelReply) -> Json:
    """Return the message as it is kept."""
    assert reply.message.native is not None
    (only,) = reply.message.native.blocks
    assert isinstance(only, dict)
    return only


# --- calls ---


async def test_a_call_is_put_together_by_its_index(provider: Provider, referee: Referee):
    pieces: list[Delta] = []
    referee.will_say(
        stream(
            said(called(0, "rain", "", "call_a", type="function")),
            said(called(1, "rain", '{"city"', "call_b", type="function")),
            said(called(0, arguments='{"city": "Rome"}')),
            said(called(1, arguments=': "Oslo"}')),
            said({}, "tool_calls"),
            USED,
        )
    )
    reply = await provider.generate(ask(RAIN), pieces.append)
    assert [(call.id, call.arguments) for call in reply.message.tool_calls] == [
        ("call_a", {"city": "Rome"}),
        ("call_b", {"city": "Oslo"}),
    ]
    assert [piece.call_id for piece in pieces] == ["call_b", "call_a", "call_b"]


CALLS_AT_ONCE = {
    "one chunk with both": [
        said(
            {
                "tool_calls": [
                    {"index": 0, "id": "a1", "function": {"name": "rain", "arguments": '{"n": 1}'}},
                    {"index": 1, "id": "a2", "function": {"name": "rain", "arguments": '{"n": 2}'}},
                ]
            }
        )
    ],
    "the same index for both": [
        said(called(0, "rain", '{"n": 1}', "a1")),
        said(called(0, "rain", '{"n": 2}', "a2")),
    ],
    "no index": [
        said(called(None, "rain", '{"n": ', "a1")),
        said(called(None, arguments="1}")),
        said(called(None, "rain", '{"n": 2}', "a2")),
    ],
    "the name in every piece": [
        said(called(0, "rain", '{"n": ', "a1")),
        said(called(0, "rain", "1}", "a1")),
        said(called(1, "rain", {"n": 2}, "a2")),
    ],
}


@pytest.mark.parametrize("chunks", CALLS_AT_ONCE.values(), ids=list(CALLS_AT_ONCE))
async def test_servers_that_count_badly_are_understood(provider: Provider, referee: Referee, chunks: list[Json]):
    referee.will_say(stream(*chunks, said({}, "tool_calls"), USED))
    reply = await provider.generate(ask(RAIN))
    assert [(call.id, call.arguments) for call in reply.message.tool_calls] == [("a1", {"n": 1}), ("a2", {"n": 2})]


@pytest.mark.parametrize("ids", [(None, None), ("same", "same"), ("", "")])
async def test_calls_without_an_id_of_their_own_are_given_one(
    provider: Provider, referee: Referee, ids: tuple[str | None, str | None]
):
    chunks = [said(called(place, "rain", "{}", call_id)) for place, call_id in enumerate(ids)]
    referee.will_say(stream(*chunks, said({}, "tool_calls"), USED))
    reply = await provider.generate(ask(RAIN))
    first, second = (call.id for call in reply.message.tool_calls)
    assert first
    assert second
    assert first != second
    assert [call["id"] for call in block(reply)["tool_calls"]] == [first, second]  # pyright: ignore


@pytest.mark.parametrize(
    "chunks",
    [
        [said(called(0, arguments="{}", call_id="a1"))],
        [said(called(0, "rain", "{", "a1")), said(called(0, "snow", "}"))],
        [said({"tool_calls": ["rain"]})],
        [said({"content": 5})],
    ],
    ids=["a call without a name", "a call that changes its name", "a call that is no object", "a number for a text"],
)
async def test_a_stream_that_breaks_the_wire_is_malformed(provider: Provider, referee: Referee, chunks: list[Json]):
    referee.will_say(stream(*chunks, said({}, "tool_calls"), USED))
    with pytest.raises(MalformedReply) as raised:
        await provider.generate(ask(RAIN))
    assert raised.value.retryable


async def test_the_old_word_for_a_call_without_a_call_is_malformed(provider: Provider, referee: Referee):
    referee.will_say(stream(said({"content": ""}, "function_call"), USED))
    finish = (await provider.generate(ask(RAIN))).finish
    assert (finish.unified, finish.raw) == ("malformed", "function_call")


# --- ends ---


@pytest.mark.parametrize(
    ("vendor", "word", "unified"),
    [
        ("mistral", "model_length", "context_full"),
        ("together", "eos", "done"),
        ("vllm", "abort", "cut_off"),
        ("vllm", "eos", "error"),
        ("groq", "content_filter", "refusal"),
    ],
)
async def test_vendors_have_words_of_their_own(
    connect: Connect, referee: Referee, vendor: str, word: str, unified: str
):
    reply = await answer(connect, referee, vendor, stream(said({"content": "So"}, word), USED))
    assert (reply.finish.unified, reply.finish.raw) == (unified, word)


async def test_a_refusal_is_text_and_a_refusal(provider: Provider, referee: Referee):
    referee.will_say(stream(said({"refusal": "I "}), said({"refusal": "won't."}), said({}, "stop"), USED))
    reply = await provider.generate(ask())
    assert (reply.message.text, reply.finish.unified) == ("I won't.", "refusal")
    assert block(reply)["refusal"] == "I won't."


@pytest.mark.parametrize(
    "turn",
    [
        stream(said({"content": "So"}, "stop"), USED, done=False),
        stream(said({"content": "So"})),
        stream(said({"content": "So"}), done=False),
    ],
    ids=["no [DONE]", "no finish reason", "neither"],
)
async def test_a_stream_without_its_end_is_a_failed_attempt(provider: Provider, referee: Referee, turn: Turn):
    referee.will_say(turn)
    with pytest.raises(ProviderUnavailable) as raised:
        await provider.generate(ask())
    assert raised.value.details["cut"] is True


async def test_an_answer_given_up_for_lack_of_capacity_is_overload(connect: Connect, referee: Referee):
    with pytest.raises(Overloaded):
        await answer(connect, referee, "deepseek", stream(said({"content": "So"}, "insufficient_system_resource")))


# --- errors ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"message": "slow down", "code": 429}}, RateLimited),
        ({"error": {"message": "no credit", "code": 402}}, SpendLimit),
        ({"error": {"message": "upstream fell over", "code": 502}}, ProviderUnavailable),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, Overloaded),
        ({"error": "what is this"}, ProviderUnavailable),
        (said({"content": ""}, "error") | {"error": {"message": "gone", "code": 503}}, Overloaded),
    ],
)
async def test_an_error_inside_a_stream_is_that_error(
    provider: Provider, referee: Referee, error: Json, kind: type[ProviderError]
):
    referee.will_say(stream(said({"content": "So"}), error))
    with pytest.raises(kind) as raised:
        await provider.generate(ask())
    assert type(raised.value) is kind


async def test_an_error_of_one_choice_is_an_error(provider: Provider, referee: Referee):
    failed: Json = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "slow"}}
    referee.will_say(stream({"id": "x", "choices": [failed]}))
    with pytest.raises(RateLimited, match="slow"):
        await provider.generate(ask())


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (422, {"detail": [{"loc": ["body", "top"], "msg": "no field"}]}, InvalidRequest, "no field"),
        (400, {"object": "error", "message": "wrong order", "code": "3230"}, InvalidRequest, "wrong order"),
        (400, {"code": "Client specified an invalid argument", "error": "no such key"}, InvalidRequest, "no such key"),
        (
            400,
            {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too large"}},
            ContextFull,
            "too large",
        ),
        (400, {"object": "error", "message": "This model's maximum context length is 8."}, ContextFull, "maximum"),
        (403, "forbidden", Unauthorized, "forbidden"),
    ],
)
async def test_every_form_of_an_error_is_read(
    provider: Provider, referee: Referee, status: int, body: Any, kind: type[ProviderError], text: str
):
    referee.will_say(document(status, body))
    with pytest.raises(kind, match=text) as raised:
        await provider.generate(ask())
    assert type(raised.value) is kind


async def test_an_answer_that_is_no_stream_is_an_error(provider: Provider, referee: Referee):
    referee.will_say(document(200, {"error": {"code": 429, "message": "slow down"}}), document(200, {"choices": []}))
    with pytest.raises(RateLimited, match="slow down"):
        await provider.generate(ask())
    with pytest.raises(MalformedReply, match="one document"):
        await provider.generate(ask())


# --- usage and price ---


async def test_usage_is_one_shape_with_the_raw_kept(provider: Provider, referee: Referee):
    raw: Json = {
        "prompt_tokens": 240,
        "completion_tokens": 7,
        "total_tokens": 247,
        "prompt_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    referee.will_say(stream(said({"content": "So"}, "stop"), spent(**raw)))
    usage = (await provider.generate(ask())).usage
    assert (usage.input_total, usage.input_uncached, usage.cache_read, usage.cache_write_short) == (240, 10, 200, 30)
    assert (usage.output_total, usage.reasoning, usage.raw) == (7, 4, raw)


async def test_reasoning_that_is_counted_beside_the_completion_counts_as_output(connect: Connect, referee: Referee):
    used = spent(
        prompt_tokens=32,
        completion_tokens=9,
        total_tokens=140,
        completion_tokens_details={"reasoning_tokens": 99},
    )
    reply = await answer(connect, referee, "xai", stream(said({"content": "So"}, "stop"), used))
    assert (reply.usage.output_total, reply.usage.reasoning) == (108, 99)


@pytest.mark.parametrize(
    ("vendor", "chunk"),
    [
        ("deepseek", spent(prompt_tokens=50, completion_tokens=1, prompt_cache_hit_tokens=40)),
        ("groq", said({}) | {"x_groq": {"usage": {"prompt_tokens": 50, "completion_tokens": 1, "cached_tokens": 40}}}),
        ("mistral", said({}, "stop", usage={"prompt_tokens": 50, "completion_tokens": 1, "cached_tokens": 40})),
    ],
)
async def test_usage_is_found_where_the_vendor_puts_it(connect: Connect, referee: Referee, vendor: str, chunk: Json):
    reply = await answer(connect, referee, vendor, stream(said({"content": "So"}, "stop"), chunk))
    assert (reply.usage.input_total, reply.usage.cache_read, reply.usage.output_total) == (50, 40, 1)


async def test_a_usage_that_nobody_reports_is_estimated_and_says_so(provider: Provider, referee: Referee):
    referee.will_say(stream(said({"content": "It will rain in the evening. " * 20}, "stop")))
    reply = await provider.generate(ask())
    assert 0 < reply.usage.input_total < 30
    assert 100 < reply.usage.output_total < 200
    assert reply.usage.raw == {"estimated": True}
    assert reply.diagnostics["usage"] == "estimated"
    assert reply.price.usd is None


async def test_a_cost_that_the_vendor_tells_is_the_price(connect: Connect, referee: Referee):
    used = spent(prompt_tokens=10, completion_tokens=5, cost=0.00125)
    reply = await answer(connect, referee, "openrouter", stream(said({"content": "So"}, "stop"), used))
    assert (reply.price.usd, reply.price.source) == (0.00125, "reported by openrouter")
    other = await answer(connect, referee, "together", stream(said({"content": "So"}, "stop"), used))
    assert other.price.usd is None


# --- reasoning ---


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_shown_and_kept_under_its_own_name(provider: Provider, referee: Referee, field: str):
    pieces: list[Delta] = []
    referee.will_say(stream(said({field: "Hm"}), said({field: "m."}), said({"content": "Yes."}, "stop"), USED))
    reply = await provider.generate(ask(), pieces.append)
    assert reply.message.parts == (Reasoning(text="Hmm."), Text(text="Yes."))
    assert by_kind(pieces) == [("reasoning", "Hmm."), ("text", "Yes.")]
    assert block(reply)[field] == "Hmm."


async def test_reasoning_that_is_sent_under_both_names_is_shown_once(provider: Provider, referee: Referee):
    pieces: list[Delta] = []
    referee.will_say(stream(said({"reasoning": "Hm.", "reasoning_content": "Hm."}), said({}, "stop"), USED))
    reply = await provider.generate(ask(), pieces.append)
    assert [piece.text for piece in pieces] == ["Hm."]
    assert reply.message.parts == (Reasoning(text="Hm."),)


async def test_structured_reasoning_is_joined_block_by_block(connect: Connect, referee: Referee):
    def detail(**fields: Any) -> Json:
        return said({"reasoning_details": [{"format": "f", **fields}]})

    chunks = [
        detail(type="reasoning.text", index=0, text="It "),
        detail(type="reasoning.text", index=0, text="rains."),
        detail(type="reasoning.text", index=0, signature="c2ln"),
        detail(type="reasoning.encrypted", index=1, data="Z2Vo"),
    ]
    reply = await answer(
        connect, referee, "openrouter", stream(*chunks, said({"content": "Yes."}, "stop"), spent(prompt_tokens=1))
    )
    assert reply.message.parts == (Reasoning(text="It rains."), Text(text="Yes."))
    assert block(reply)["reasoning_details"] == [
        {"format": "f", "type": "reasoning.text", "index": 0, "text": "It rains.", "signature": "c2ln"},
        {"format": "f", "type": "reasoning.encrypted", "index": 1, "data": "Z2Vo"},
    ]


def thought(text: str) -> Json:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


async def test_content_in_pieces_is_taken_apart(connect: Connect, referee: Referee):
    chunks = [
        said({"content": [thought("It ")]}),
        said({"content": [{**thought("rains."), "closed": True}]}),
        said({"content": [{"type": "text", "text": "Ye"}]}),
        said({"content": "s."}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1}),
    ]
    reply = await answer(connect, referee, "mistral", stream(*chunks))
    assert reply.message.parts == (Reasoning(text="It rains."), Text(text="Yes."))
    assert block(reply)["content"] == [{**thought("It rains."), "closed": True}, {"type": "text", "text": "Yes."}]
