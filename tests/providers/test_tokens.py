"""Estimates follow how tokenizers cut, learn from what was reported, and count only what was added."""

import json
import random
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runs import Event
from engine.transcript import (
    Media,
    Message,
    ModelReply,
    ModelRequest,
    Native,
    Reasoning,
    Route,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
    user,
)
from providers.media_tokens import IMAGE_TOKENS, MediaSize, image_size, image_tokens, media_tokens
from providers.tokens import SAMPLED_CHARS, Counted, TokenEstimator, count_against, text_units

ROOT = Path(__file__).parents[2]
TEXT = "word " * 400
HIDDEN = ToolSpec(name="hidden", description="a very long story " * 300, input_schema={}, deferred=True)

with warnings.catch_warnings():
    # It opens its vocabularies in a way that Python would rather see replaced.
    warnings.simplefilter("ignore", DeprecationWarning)
    get_encoding = import_module("bpe_openai").get_encoding
    TOKENS = {name: get_encoding(name).encode for name in ("o200k_base", "cl100k_base")}


def texts() -> dict[str, str]:
    """Return realistic texts by kind, each of some 20,000 characters."""
    records = [
        {"id": f"obj_{number * 7919:08x}", "at": f"2026-11-{number % 28 + 1:02d}T12:04:31Z", "eur": number * 12.75}
        for number in range(300)
    ]
    schemas = [model.model_json_schema() for model in (ModelRequest, ModelReply, Event)]
    return {
        "prose": (ROOT / "README.md").read_text() + (ROOT / "docs/clients.md").read_text(),
        "code": (ROOT / "engine/runs.py").read_text() + (ROOT / "providers/wire.py").read_text(),
        "schema": json.dumps(schemas, indent=1),
        "json": json.dumps(records),
        "table": "\n".join(f"{number},{number * 17 % 991},Item {number},{number * 3.14:.2f}" for number in range(900)),
        "german": "Die Prüfung der Rechnung über 1.250 € wurde am 3. März beendet; der Einkäufer war dafür. " * 200,
    }


TEXTS = texts()


def ask(*messages: Message, provider: str = "openai", tools: tuple[ToolSpec, ...] = (), key: str | None = "run_1"):
    route = Route(provider=provider, model="any-model")
    return ModelRequest(route=route, messages=messages, tools=tools, cache_key=key)


def reported(tokens: int, **fields: Any) -> Usage:
    return Usage(input_total=tokens, input_uncached=tokens, **fields)


# --- against real tokenizers ---


@pytest.mark.parametrize("kind", TEXTS)
def test_units_are_about_tokens_whatever_the_text(kind: str):
    for start in range(0, 12_000, 4_000):
        piece = TEXTS[kind][start : start + 4_000]
        assert text_units(piece) == pytest.approx(len(TOKENS["o200k_base"](piece)), rel=0.20)


def test_a_long_text_is_sampled_and_still_measured():
    long = "\n".join(TEXTS.values())[: SAMPLED_CHARS * 6]
    assert len(long) > SAMPLED_CHARS * 4
    assert text_units(long) == pytest.approx(len(TOKENS["o200k_base"](long)), rel=0.10)


def rendered(request: ModelRequest) -> str:
    """Return all that a model would read of it, in some wire's form."""
    lines = [json.dumps(tool.model_dump(include={"name", "description", "input_schema"})) for tool in request.tools]
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                lines.append(f"{part.name} {json.dumps(part.arguments)}")
            elif isinstance(part, Text | ToolResult):
                lines.append(f"{message.role}: {part.text}")
    return "\n".join(lines)


def grow(request: ModelRequest, chance: random.Random, number: int) -> ModelRequest:
    """Append a turn: a call and its answer, or a word of each side, of any kind and length."""
    kind = chance.choice(list(TEXTS))
    start = chance.randrange(8_000)
    piece = TEXTS[kind][start : start + chance.randrange(200, 6_000)]
    if chance.random() < 0.7:
        call = ToolCall(id=f"c{number}", name="read", arguments={"at": start, "why": piece[:80]})
        answer = ToolResult(call_id=call.id, name="read", text=piece)
        added = (Message(role="assistant", parts=(call,)), Message(role="tool", parts=(answer,)))
    else:
        added = (Message(role="assistant", parts=(Text(text=piece[:600]),)), user(piece))
    return request.model_copy(update={"messages": (*request.messages, *added)})


TRUTHS: dict[str, Callable[[str], int]] = {
    "o200k": lambda text: len(TOKENS["o200k_base"](text)),
    "cl100k": lambda text: len(TOKENS["cl100k_base"](text)),
    "half as many again": lambda text: round(1.5 * len(TOKENS["o200k_base"](text))),
    "with a preamble of its own": lambda text: 700 + len(TOKENS["o200k_base"](text)),
}


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("provider", ["anthropic", "openai", "chat"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_after_ten_turns_an_estimate_is_within_five_percent(truth: str, provider: str, seed: int):
    chance = random.Random(seed)
    read = ToolSpec(name="read", description="Read a file.", input_schema=Event.model_json_schema())
    estimator = TokenEstimator()
    request = ask(user(TEXTS["prose"][:3_000]), provider=provider, tools=(read,))
    for number in range(16):
        tokens = TRUTHS[truth](rendered(request))
        if number >= 10:
            assert estimator.estimate(request) == pytest.approx(tokens, rel=0.05)
        estimator.learn(request, reported(tokens))
        request = grow(request, chance, number)


# --- what is learned ---


def test_the_start_errs_towards_too_many_tokens():
    for piece in TEXTS.values():
        request = ask(user(piece[:4_000]))
        assert TokenEstimator().estimate(request) > 0.95 * len(TOKENS["o200k_base"](piece[:4_000]))
    estimator = TokenEstimator()
    assert estimator.estimate(ask(user(TEXT), provider="anthropic")) > 1.3 * estimator.estimate(ask(user(TEXT)))


def test_a_known_conversation_is_its_last_report_and_the_addition():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT)), reported(1234))
    assert estimator.estimate(ask(user(TEXT))) == 1234
    more = estimator.estimate(ask(user(TEXT), user(TEXT)))
    assert 1234 + 300 < more < 1234 * 2.5


def test_other_conversations_of_the_model_learn_and_other_models_do_not():
    estimator = TokenEstimator()
    before = estimator.estimate(ask(user(TEXT), key="other"))
    estimator.learn(ask(user(TEXT)), reported(1000))
    assert estimator.estimate(ask(user(TEXT), key="other")) == pytest.approx(1000 * 1.03, rel=0.01)
    for number in range(30):
        estimator.learn(ask(user(TEXT), key=f"run_{number}"), reported(2000))
    assert estimator.estimate(ask(user(TEXT), key="other")) == pytest.approx(2000 * 1.03, rel=0.01)
    assert estimator.estimate(ask(user(TEXT), provider="third", key="other")) == before


def test_one_odd_report_does_not_overturn_what_was_learned():
    estimator = TokenEstimator()
    for number in range(5):
        estimator.learn(ask(user(TEXT), key=f"run_{number}"), reported(1000))
    estimator.learn(ask(user(TEXT), key="odd"), reported(3000))
    assert estimator.estimate(ask(user(TEXT), key="other")) < 1800


def test_what_was_learned_can_be_stored_and_handed_in_again():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT)), reported(1000))
    again = TokenEstimator(estimator.factors)
    assert again.factor(ask().route) == estimator.factor(ask().route) != TokenEstimator().factor(ask().route)


def test_an_estimate_in_place_of_a_report_teaches_nothing():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT)), reported(99_999, raw={"estimated": True}))
    assert estimator.factors == {}
    assert estimator.estimate(ask(user(TEXT))) < 1000


def test_a_conversation_that_shrank_is_estimated_anew():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT), user(TEXT)), reported(9000))
    assert estimator.estimate(ask(user("short"))) < 200


def test_a_hidden_tool_counts_once_it_is_revealed():
    estimator = TokenEstimator()
    hidden = estimator.estimate(ask(user("Hi"), tools=(HIDDEN,)))
    answer = Message(role="tool", parts=(ToolResult(call_id="c", name="learn", text="", reveals=(HIDDEN,)),))
    assert estimator.estimate(ask(user("Hi"), answer, tools=(HIDDEN,))) > hidden + 1000
    told = estimator.estimate(ask(user("Hi"), answer, provider="chat", tools=(HIDDEN,)))
    assert told < hidden + 100


def thoughtful(provider: str) -> Message:
    native = Native(provider=provider, api="any", model="m", blocks=())
    return Message(role="assistant", parts=(Reasoning(text="hm " * 500), Text(text="Yes.")), native=native)


def test_reasoning_counts_only_where_it_goes_back():
    def size(made_by: str, sent_to: str) -> int:
        return TokenEstimator().estimate(ask(user("Hi"), thoughtful(made_by), provider=sent_to))

    assert size("anthropic", "anthropic") > 500
    assert size("deepseek", "deepseek") > 500
    assert size("anthropic", "openai") < 100
    assert size("groq", "groq") < 100


def test_reasoning_that_is_not_shown_counts_by_its_report():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT)), reported(1000, reasoning=5000))
    native = Native(provider="openai", api="responses", model="m", blocks=())
    said = Message(role="assistant", parts=(Text(text="Yes."),), native=native)
    assert 6000 < estimator.estimate(ask(user(TEXT), said, user("And?"))) < 6100
    estimator.learn(ask(user(TEXT), provider="groq"), reported(1000, reasoning=5000))
    foreign = said.model_copy(update={"native": native.model_copy(update={"provider": "groq"})})
    assert estimator.estimate(ask(user(TEXT), foreign, provider="groq")) < 1100


# --- near a threshold ---


async def exact(request: ModelRequest) -> int:
    return 4321


@pytest.mark.anyio
async def test_the_providers_counter_decides_near_a_threshold_and_only_there():
    estimator = TokenEstimator()
    request = ask(user(TEXT))
    estimator.learn(request, reported(1000))
    assert await count_against(estimator, request, 1080, exact) == Counted(4321, "provider")
    assert await count_against(estimator, request, 950, exact) == Counted(4321, "provider")
    assert await count_against(estimator, request, 1200, exact) == Counted(1000, "estimate")
    assert await count_against(estimator, request, 800, exact) == Counted(1000, "estimate")
    assert await count_against(estimator, request, 1000) == Counted(1000, "estimate")


# --- attachments ---


def test_attachments_count_by_their_size_and_by_a_round_figure_without_it():
    estimator = TokenEstimator()
    picture = Message(role="user", parts=(Media(ref="d1", mime="image/png"),))
    paper = Message(role="user", parts=(Media(ref="d2", mime="application/pdf"),))
    sizes = {"d1": MediaSize(width=320, height=320), "d2": MediaSize(pages=40)}
    plain = estimator.estimate(ask(user("Hi")))
    assert estimator.estimate(ask(user("Hi"), picture)) == pytest.approx(plain + IMAGE_TOKENS, abs=20)
    assert estimator.estimate(ask(user("Hi"), picture), sizes) == pytest.approx(plain + 100, abs=20)
    assert estimator.estimate(ask(user("Hi"), paper), sizes) == pytest.approx(plain + 40 * 2500, abs=20)
    estimator.learn(ask(user(TEXT)), reported(1234))
    assert estimator.estimate(ask(user(TEXT), picture), sizes) >= 1234 + 100


@pytest.mark.parametrize(
    ("provider", "width", "height", "tokens"),
    [
        ("anthropic", 1000, 1000, 1334),
        ("anthropic", 200, 150, 40),
        ("anthropic", 8000, 8000, 4784),
        ("openai", 1024, 1024, 1024),
        ("openai", 100, 10, 4),
        ("azure", 9000, 9000, 2500),
        ("gemini", 300, 300, 1120),
        ("vllm", 280, 280, 100),
        ("anthropic", 0, 0, IMAGE_TOKENS),
    ],
)
def test_an_image_counts_by_the_providers_rule(provider: str, width: int, height: int, tokens: int):
    assert image_tokens(provider, width, height) == tokens


def test_documents_count_by_pages_and_sounds_by_seconds():
    assert media_tokens("gemini", "application/pdf", MediaSize(pages=3)) == 1680
    assert media_tokens("anthropic", "application/pdf") == 30_000
    assert media_tokens("gemini", "audio/wav", MediaSize(seconds=10)) == 320


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc4\x00\x03x\xff\xc2\x00\x0b\x08\x01\x2c\x02\x80\x03"
WEBP = b"RIFF\x00\x00\x00\x00WEBP"


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x80\x00\x00\x01\x2c",
        b"GIF89a\x80\x02\x2c\x01",
        JPEG,
        WEBP + b"VP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x7f\x02\x00\x2b\x01\x00",
        WEBP + b"VP8L\x00\x00\x00\x00\x2f\x7f\xc2\x4a\x00",
        WEBP + b"VP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a\x80\x02\x2c\x01",
    ],
    ids=["png", "gif", "jpeg", "webp extended", "webp lossless", "webp"],
)
def test_the_size_of_an_image_is_read_from_its_head(data: bytes):
    assert image_size(data) == MediaSize(width=640, height=300)


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", WEBP, b"GIF89a"]))
def test_no_bytes_make_reading_a_size_fail(data: bytes, head: bytes):
    assert image_size(head + data).width >= 0
