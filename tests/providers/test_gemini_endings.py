"""How an answer of generateContent ends: every reason, none at all, a prompt that is blocked, a decode that goes on."""

from typing import Any

import pytest
from google.genai.types import FinishReason

from engine.transcript import user
from providers.base import Provider
from providers.errors import MalformedReply, ProviderUnavailable
from providers.gemini import FINISHES
from tests.providers.conftest import Connect
from tests.providers.referee import Json, Referee, Turn, event
from tests.providers.test_gemini import STREAM, after, ask, events, stored

pytestmark = pytest.mark.anyio


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("gemini", referee.url)


def test_every_reason_that_the_sdk_knows_has_its_finish():
    assert {reason.value for reason in FinishReason} - FINISHES.keys() == {"FINISH_REASON_UNSPECIFIED"}


@pytest.mark.parametrize(
    ("reason", "unified"),
    [
        ("MALFORMED_FUNCTION_CALL", "malformed"),
        ("UNEXPECTED_TOOL_CALL", "malformed"),
        ("TOO_MANY_TOOL_CALLS", "cut_off"),
        ("PROHIBITED_CONTENT", "refusal"),
        ("RECITATION", "refusal"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
    ],
)
async def test_an_answer_can_end_without_a_word(provider: Provider, referee: Referee, reason: str, unified: str):
    chunk: Json = {"candidates": [{"finishReason": reason, "finishMessage": "so it goes"}]}
    referee.will_say(Turn(raw=(200, STREAM, event(chunk))))
    reply = await provider.generate(ask(user("Hi")))
    assert (reply.finish.unified, reply.finish.raw) == (unified, reason)
    assert (reply.message.parts, reply.diagnostics["finish_message"]) == ((), "so it goes")


async def test_a_blocked_prompt_is_a_refusal(provider: Provider, referee: Referee):
    chunk: Json = {"promptFeedback": {"blockReason": "JAILBREAK"}, "usageMetadata": {"promptTokenCount": 9}}
    referee.will_say(Turn(raw=(200, STREAM, event(chunk))))
    reply = await provider.generate(ask(user("Hi")))
    assert (reply.finish.unified, reply.finish.raw, reply.usage.input_total) == ("refusal", "JAILBREAK", 9)


async def test_a_stream_without_a_reason_of_its_end_is_no_answer(provider: Provider, referee: Referee):
    referee.will_say(events([{"text": "So"}], reason=None))
    with pytest.raises(ProviderUnavailable, match="terminal") as raised:
        await provider.generate(ask(user("Hi")))
    assert raised.value.details["cut"] is True


async def test_an_answer_cut_at_the_limit_of_a_request_goes_on_where_it_stopped(provider: Provider, referee: Referee):
    for number, text in enumerate(("One ", "two ")):
        chunk: Json = {
            "candidates": [
                {
                    "content": {"parts": [{"text": text}]},
                    "finishReason": "CONTINUATION",
                    "continuationToken": f"dG9r{number}",
                }
            ]
        }
        referee.will_say(Turn(raw=(200, STREAM, event(chunk))))
    referee.will_say(events([{"text": "three"}]), events([{"text": "ok"}]))
    request = ask(user("Count."))
    for wanted in ("paused", "paused", "done"):
        reply = await provider.generate(request)
        assert reply.finish.unified == wanted
        request = after(request, stored(reply))
    await provider.generate(after(request, user("Again.")))
    assert [body.get("continuationToken") for body in referee.bodies] == [None, "dG9r0", "dG9r1", None]
    assert all(body["contents"] == referee.bodies[0]["contents"] for body in referee.bodies[:3])
    assert referee.bodies[3]["contents"][1:] == [
        {"role": "model", "parts": [{"text": "One "}, {"text": "two "}, {"text": "three"}]},
        {"role": "user", "parts": [{"text": "Again."}]},
    ]


BROKEN = {
    "a part that is no object": [3],
    "a call without a name": [{"functionCall": {"args": {}}}],
    "arguments that are no object": [{"functionCall": {"name": "x", "args": [1]}}],
    "half a character": [{"functionCall": {"name": "x", "args": {"a": "\ud800"}}}],
}


@pytest.mark.parametrize("parts", BROKEN.values(), ids=list(BROKEN))
async def test_a_chunk_that_breaks_the_wires_rules_is_malformed(provider: Provider, referee: Referee, parts: list[Any]):
    referee.will_say(events(parts))
    with pytest.raises(MalformedReply):
        await provider.generate(ask(user("Hi")))
