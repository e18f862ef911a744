"""Vectors over HTTP with the official SDKs: batches, order, cost, and answers that break the wire's rules."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import Invalid
from providers.embeddings import Bounds, EmbeddingWire, embed, make_embedder
from providers.errors import (
    ContextFull,
    MalformedReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Unauthorized,
)
from tests.providers.conftest import LLMock
from tests.providers.plain_server import Answer, Asked, PlainServer, plain_server

pytestmark = pytest.mark.anyio

MODEL = "text-embedding-3-small"


def axis(text: str) -> list[float]:
    """Return a vector of length 2 that says how long the text is."""
    return [2 * math.cos(len(text)), 2 * math.sin(len(text))]


def openai_answer(asked: Asked) -> Answer:
    texts = asked.json["input"]
    rows = [{"object": "embedding", "index": index, "embedding": axis(text)} for index, text in enumerate(texts)]
    usage = {"prompt_tokens": 10 * len(texts), "total_tokens": 10 * len(texts)}
    # The order of the rows is not promised; their numbers are.
    return 200, {"object": "list", "model": MODEL, "data": rows[::-1], "usage": usage}, {"x-request-id": "req_1"}


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with plain_server(openai_answer) as opened:
        yield opened


@pytest.fixture
async def wire(server: PlainServer) -> Any:
    made = make_embedder("openai", api_key="k1", base_url=f"{server.url}/v1", timeout_s=2.0)
    yield made
    await made.aclose()


async def test_texts_come_back_in_order_as_unit_vectors_with_their_price(
    server: PlainServer, wire: EmbeddingWire
) -> None:
    made = await embed(wire, MODEL, ["a", "four", "ab"], options={"dimensions": 2})
    for row, text in zip(made.vectors, ["a", "four", "ab"], strict=True):
        assert row.tolist() == pytest.approx([math.cos(len(text)), math.sin(len(text))], abs=1e-6)
    assert (made.dimensions, made.model, made.requests, made.vectors.dtype.name) == (2, MODEL, 1, "float32")
    # 30 tokens at 0.02 dollars a million, as the provider lists it.
    assert made.usage.input_total == 30
    assert made.price.usd == pytest.approx(30 * 0.02 / 1_000_000)
    assert made.spent.input_tokens == 30
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/embeddings", "k1")
    assert asked.json == {
        "model": MODEL,
        "input": ["a", "four", "ab"],
        "encoding_format": "float",
        "dimensions": 2,
    }


async def test_many_texts_go_in_as_many_requests_as_the_bounds_need(server: PlainServer, wire: EmbeddingWire) -> None:
    wire.bounds = Bounds(texts=3, tokens=10, text_tokens=100)
    texts = ["x" * (1 + index) for index in range(8)]
    long = "y" * 40
    made = await embed(wire, MODEL, [*texts, long])
    assert made.vectors[:, 0].tolist() == pytest.approx([math.cos(len(text)) for text in [*texts, long]], abs=1e-6)
    sizes = [[len(text) for text in asked.json["input"]] for asked in server.asked]
    assert sizes == [[1, 2, 3], [4, 5, 6], [7, 8], [40]]
    assert (made.requests, made.usage.input_total) == (4, 90)


async def test_what_can_have_no_vector_is_refused_before_it_is_sent(server: PlainServer, wire: EmbeddingWire) -> None:
    with pytest.raises(Invalid, match="nothing to embed"):
        await embed(wire, MODEL, [])
    with pytest.raises(Invalid, match="text 1 is blank"):
        await embed(wire, MODEL, ["a", " \n"])
    with pytest.raises(ContextFull, match=r"Text 0 has 80000 characters; .* reads 8192 tokens") as raised:
        await embed(wire, MODEL, ["w" * 80_000])
    assert raised.value.details["index"] == 0
    assert server.asked == []


def rows(*vectors: list[float]) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)], "usage": {}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not JSON"),
        ([1], "not a JSON object"),
        ({"data": [{"index": 0}]}, "KeyError"),
        (rows([1.0, 0.0]), "1 vectors for 2 texts"),
        (rows([1.0, 0.0], [1.0]), "vectors of 1, 2 dimensions"),
        (rows([1.0, 0.0], [0.0, 0.0]), "a vector that points nowhere"),
        (rows([], []), "vectors of 0 dimensions"),
    ],
)
async def test_an_answer_that_breaks_the_rules_is_no_answer(
    server: PlainServer, wire: EmbeddingWire, body: Any, said: str
) -> None:
    server.answers = lambda asked: (200, body)
    with pytest.raises(MalformedReply, match=said):
        await embed(wire, MODEL, ["a", "b"])


@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (429, {"retry-after": "7"}, RateLimited, 7.0),
        (401, {}, Unauthorized, None),
        (500, {}, ProviderUnavailable, None),
    ],
)
async def test_failures_are_those_of_every_wire(
    server: PlainServer,
    wire: EmbeddingWire,
    status: int,
    headers: dict[str, str],
    kind: type[ProviderError],
    wait: float | None,
) -> None:
    server.answers = lambda asked: (status, {"error": {"message": "no"}}, {"x-request-id": "req_9", **headers})
    with pytest.raises(kind) as raised:
        await embed(wire, MODEL, ["a"])
    error = raised.value
    assert (error.provider, error.model, error.request_id, error.retry_after_s) == ("openai", MODEL, "req_9", wait)
    assert len(server.asked) == 1


async def test_an_unpriced_model_of_an_own_server_costs_an_unknown_amount(server: PlainServer) -> None:
    made = make_embedder("openai", base_url=f"{server.url}/v1")
    server.answers = lambda asked: (200, rows([1.0, 0.0]))
    try:
        answer = await embed(made, "own-model", ["twelve chars"])
    finally:
        await made.aclose()
    assert (answer.price.usd, answer.price.source, answer.spent.unpriced_turns) == (None, "unpriced", 1)
    # The server told no tokens, so they are estimated and marked as such.
    assert (answer.usage.input_total, answer.usage.raw["estimated"]) == (4, True)


async def test_openai_is_not_called_without_a_key_and_others_are_not_known() -> None:
    with pytest.raises(Unauthorized):
        make_embedder("openai")
    with pytest.raises(Invalid, match="'anthropic' makes no vectors here; use one of: gemini, openai"):
        make_embedder("anthropic")


async def test_the_sdk_talks_to_llmock(mock: LLMock) -> None:
    made = make_embedder("openai", api_key="k1", base_url=mock.base_url("openai"))
    try:
        answer = await embed(made, MODEL, ["one", "two"])
    finally:
        await made.aclose()
    assert (answer.vectors.shape, mock.served()) == ((2, 1536), 1)
    assert answer.price.usd is not None


async def test_gemini_embeds_in_batches_with_its_task_and_its_own_length(server: PlainServer) -> None:
    pytest.importorskip("google.genai", reason="the extra gemini is not installed")

    def answers(asked: Asked) -> Answer:
        texts = [one["content"]["parts"][0]["text"] for one in asked.json["requests"]]
        return 200, {"embeddings": [{"values": axis(text)} for text in texts]}

    server.answers = answers
    made = make_embedder("gemini", api_key="k2", base_url=server.url)
    try:
        answer = await embed(made, "gemini-embedding-001", ["a", "four"], "query", {"dimensions": 2})
        server.answers = lambda asked: (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no"}})
        with pytest.raises(RateLimited):
            await embed(made, "gemini-embedding-001", ["a"])
    finally:
        await made.aclose()
    assert answer.vectors[:, 0].tolist() == pytest.approx([math.cos(1), math.cos(4)], abs=1e-6)
    assert (answer.dimensions, answer.requests) == (2, 1)
    assert answer.price.usd is not None
    asked = server.asked[0]
    assert (asked.path, asked.key) == ("/v1/models/gemini-embedding-001:batchEmbedContents", "k2")
    assert asked.json["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "four"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 2,
    }
