"""One suite of failures, named by what fails, run on every wire over real HTTP and on the scripted provider.

A new wire is one row in `wires.WIRES`. What a provider says at the end of a turn is in `test_endings`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from engine.transcript import Delta, Message, ModelReply, ModelRequest, Route, ToolCall, ToolResult, ToolSpec, user
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
from providers.scripted import Line, Scripted, ScriptedReply, calls
from tests.providers.conftest import Connect, LLMock
from tests.providers.wires import WIRES, Wire

pytestmark = pytest.mark.anyio

SPOKEN = [wire for wire in WIRES if wire.llmock is not None]
PROVIDERS = [*(wire.name for wire in SPOKEN), "scripted"]
STALL_S = 30.0
SILENCE_S = 0.4

WEATHER = ToolSpec(
    name="get_weather",
    description="The weather of a city.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@dataclass
class Failure:
    """What a provider does, how llmock is told so, and what must come out."""

    name: str
    llmock: dict[str, Any]
    raised: type[ProviderError]
    retryable: bool
    details: dict[str, Any] = field(default_factory=dict[str, Any])


def fail(status: int, **more: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status, **more}


def stream(kind: str, after: int = 3, **more: Any) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": after, **more}


FAILURES = [
    Failure("rate limited", fail(429, retry_after=7), RateLimited, True, {"retry_after_s": 7.0}),
    Failure("overloaded", fail(529, retry_after=3), Overloaded, True, {"retry_after_s": 3.0}),
    Failure("unavailable", fail(503, retry_after=0.5), Overloaded, True, {"retry_after_s": 0.5}),
    Failure("key refused", fail(401), Unauthorized, False, {"retry_after_s": None}),
    Failure("no right to the model", fail(403), Unauthorized, False),
    Failure("wrong request", fail(400, message="no such field"), InvalidRequest, False),
    Failure("unknown model", fail(404, message="no such model"), InvalidRequest, False),
    Failure("money used up", fail(402), SpendLimit, False),
    Failure("context overflow", fail(400, code="context_length_exceeded"), ContextFull, False),
    Failure("request too large", fail(413), ContextFull, False),
    Failure("server broken", fail(500), ProviderUnavailable, True),
    Failure("bad gateway", fail(502), ProviderUnavailable, True),
    Failure("connection cut in the stream", stream("disconnect"), ProviderUnavailable, True),
    Failure("stream ends early and cleanly", stream("truncate"), ProviderUnavailable, True),
    Failure("event that is not JSON", stream("malformed"), MalformedReply, True),
    Failure("stall", stream("stall", stall_seconds=STALL_S), ProviderUnavailable, True),
]


def request(text: str = "Say something about the sea.", **fields: Any) -> ModelRequest:
    return ModelRequest(route=Route(provider="any", model="any-model"), messages=(user(text),), **fields)


Arranged = Callable[[Failure | None], Provider]


@pytest.fixture(params=PROVIDERS)
def arrange(request: pytest.FixtureRequest, connect: Connect, mock: LLMock) -> Arranged:
    """Returns the provider of this row, with the failure ahead of it; None means the plain answers that follow."""
    provider: str = request.param

    def llmock(failure: Failure | None) -> Provider:
        if failure is not None:
            mock.script(failure.llmock)
        stalls = failure is not None and failure.llmock.get("kind") == "stall"
        return connect(provider, mock.base_url(provider), timeout_s=SILENCE_S if stalls else 5.0)

    def scripted(failure: Failure | None) -> Provider:
        if failure is None:
            return Scripted(lambda _: "the sea is wide and blue")
        after = 2 if failure.llmock["type"] == "stream_fault" else 0
        said = failure.llmock.get("message", "scripted failure.")
        error = failure.raised(said, provider="scripted", **failure.details)
        sea = "the sea is wide and blue"
        return Scripted([ScriptedReply(text=sea, fail=error, fail_after=after)])

    return scripted if provider == "scripted" else llmock


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
async def test_a_failure_is_one_named_error_and_a_broken_stream_can_be_repeated(arrange: Arranged, failure: Failure):
    provider = arrange(failure)
    with anyio.fail_after(10), pytest.raises(failure.raised) as raised:
        await provider.generate(request())
    error = raised.value
    assert type(error) is failure.raised
    assert error.retryable is failure.retryable
    assert error.provider == provider.name
    for name, value in failure.details.items():
        assert getattr(error, name) == value
    details = error.as_json()["details"]
    assert (details["retryable"], details["model"]) == (failure.retryable, error.model)
    assert failure.llmock.get("message", "") in error.message
    if failure.llmock["type"] == "stream_fault":
        with anyio.fail_after(10):
            assert (await arrange(None).generate(request())).finish.unified == "done"


@pytest.mark.parametrize("wire", SPOKEN, ids=lambda wire: wire.name)
async def test_a_failed_call_is_sent_once(connect: Connect, mock: LLMock, wire: Wire):
    mock.script(fail(429, retry_after=0.01, times=3))
    with anyio.fail_after(10), pytest.raises(RateLimited):
        await connect(wire.name, mock.base_url(wire.name)).generate(request())
    assert mock.served() == 1


@pytest.mark.parametrize("wire", SPOKEN, ids=lambda wire: wire.name)
async def test_a_stream_cut_after_any_event_never_counts_as_an_answer(connect: Connect, mock: LLMock, wire: Wire):
    provider = connect(wire.name, mock.base_url(wire.name))
    called = {"name": "get_weather", "arguments": {"city": "Rome"}}
    behavior = {"type": "reply", "text": "one two three four five", "tool_calls": [called]}
    whole: list[ModelReply] = []
    cut = 0
    with anyio.fail_after(30):
        while True:
            asked = request(f"Cut after {cut}.", tools=(WEATHER,))
            mock.script(behavior, stream("truncate", after=cut))
            try:
                await provider.generate(asked)
                break
            except ProviderUnavailable:
                mock.script(behavior)
                whole.append(await provider.generate(asked))
                cut += 1
    assert cut > 3
    for reply in whole:
        assert reply.message.text == "one two three four five"
        assert reply.message.tool_calls[0].arguments == {"city": "Rome"}


@pytest.mark.parametrize("wire", SPOKEN, ids=lambda wire: wire.name)
async def test_nothing_listens(connect: Connect, unused_port: int, wire: Wire):
    with anyio.fail_after(10), pytest.raises(ProviderUnavailable) as raised:
        await connect(wire.name, f"http://127.0.0.1:{unused_port}").generate(request())
    assert raised.value.details["stalled"] is False


async def test_abort_stops_at_once(arrange: Arranged):
    provider = arrange(Failure("", stream("stall", after=6, stall_seconds=STALL_S), ProviderUnavailable, True))
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        try:
            await provider.generate(request(), lambda _: scope.cancel())
        except ProviderError:
            pytest.fail("a cancelled call must not look like a failure of the provider")
    assert scope.cancelled_caught


async def test_pieces_join_to_the_reply(arrange: Arranged):
    pieces: list[Delta] = []
    reply = await arrange(None).generate(request(), pieces.append)
    assert len(pieces) > 1
    assert "".join(piece.text for piece in pieces if piece.kind == "text") == reply.message.text
    assert reply.finish.unified == "done"
    assert reply.usage.input_total > 0
    assert reply.usage.output_total > 0
    assert reply.message.native is not None


def replies(name: str, connect: Connect, mock: LLMock, behaviors: list[dict[str, Any]], line: Line) -> Provider:
    if name == "scripted":
        return Scripted([line])
    mock.script(*behaviors)
    return connect(name, mock.base_url(name))


# Gemini's arguments are no text but an object, and `{}` is what llmock makes of broken ones there.
@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "gemini"])
async def test_malformed_tool_arguments_are_kept_as_text(connect: Connect, mock: LLMock, name: str):
    broken = ToolCall(id="", name="get_weather", malformed='{"city": "Ro')
    fault = {"type": "tool_fault", "kind": "malformed_arguments"}
    provider = replies(name, connect, mock, [fault], ScriptedReply(tool_calls=(broken,)))
    reply = await provider.generate(request(tools=(WEATHER,)))
    (call,) = reply.message.tool_calls
    assert call.name == "get_weather"
    assert call.arguments == {}
    assert call.malformed is not None
    assert call.malformed.startswith("{")
    assert reply.finish.unified == "tool_calls"


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_tool_nobody_offered_is_passed_on(connect: Connect, mock: LLMock, name: str):
    fault = {"type": "tool_fault", "kind": "unknown_tool"}
    provider = replies(name, connect, mock, [fault], calls(("no_such_tool", {})))
    (call,) = (await provider.generate(request(tools=(WEATHER,)))).message.tool_calls
    assert call.name != "get_weather"
    assert call.malformed is None


@pytest.mark.parametrize("name", PROVIDERS)
async def test_parallel_calls_come_in_order_with_their_own_ids(connect: Connect, mock: LLMock, name: str):
    wanted = [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})]
    behavior = {"type": "reply", "tool_calls": [{"name": tool, "arguments": given} for tool, given in wanted]}
    provider = replies(name, connect, mock, [behavior], calls(*wanted))  # pyright: ignore[reportArgumentType]
    pieces: list[Delta] = []
    reply = await provider.generate(request(tools=(WEATHER,)), pieces.append)
    first, second = reply.message.tool_calls
    assert [first.arguments, second.arguments] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert first.id != second.id
    assert {piece.call_id for piece in pieces if piece.kind == "tool"} == {first.id, second.id}


def history(*answers: ToolResult) -> tuple[Message, ...]:
    asked = Message(role="assistant", parts=(ToolCall(id="call_1", name="get_weather", arguments={"city": "Rome"}),))
    given = (Message(role="tool", parts=answers),) if answers else ()
    return (user("How is the weather?"), asked, *given, user("And now?"))


RESULT = ToolResult(call_id="call_1", name="get_weather", text="sunny")
ORPHANS = {
    "orphaned call": history(),
    "answer without a call": history(RESULT, RESULT.model_copy(update={"call_id": "call_2"})),
    "call answered twice": history(RESULT, RESULT),
}


@pytest.mark.parametrize("messages", ORPHANS.values(), ids=list(ORPHANS))
async def test_calls_and_answers_that_do_not_match_are_refused_before_sending(
    arrange: Arranged, messages: tuple[Message, ...], mock: LLMock
):
    with pytest.raises(InvalidRequest, match="call_"):
        await arrange(None).generate(request(tools=(WEATHER,)).model_copy(update={"messages": messages}))
    assert mock.served() == 0


async def test_an_answered_call_goes_on(arrange: Arranged):
    answered = request(tools=(WEATHER,)).model_copy(update={"messages": history(RESULT)[:3]})
    reply = await arrange(None).generate(answered)
    assert reply.finish.unified == "done"


async def test_an_unknown_renderer_is_refused(arrange: Arranged):
    with pytest.raises(InvalidRequest, match="asks for 9"):
        await arrange(None).generate(request(renderer=9))
