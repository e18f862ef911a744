"""Texts as vectors by a provider: batches within its limits, checked answers, tokens and cost.

A wire sends one batch; `embed` cuts what it is given into batches and puts the answers together in order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from engine.errors import Invalid
from engine.transcript import Price, Usage
from engine.values import Spent
from providers.base import DEFAULT_TIMEOUT_S
from providers.errors import ContextFull, MalformedReply
from providers.prices import price

Vectors = NDArray[np.float32]
Purpose = Literal["document", "query"]
"""Some models make another vector of a text that is looked for than of one that is found."""

CHARS_PER_TOKEN = 3.0
"""For the size of batches; low, so that a batch is rather too small than refused."""

PLAINEST_CHARS_PER_TOKEN = 8.0
"""Longer than the limit even by this measure is too long in any script."""


@dataclass(frozen=True)
class Bounds:
    """What one request may hold: texts, tokens together, tokens of a text."""

    texts: int
    tokens: int
    text_tokens: int


@dataclass(frozen=True)
class Batch:
    """The answer to one request: a vector per text in order, the tokens it took (None: not said), what it was."""

    vectors: Sequence[Sequence[float]]
    tokens: int | None
    model: str
    request_id: str | None = None


@dataclass(frozen=True)
class Embedded:
    """Vectors of length 1, shape (n, dimensions), and what they took; `model` is as the provider names it."""

    vectors: Vectors
    provider: str
    model: str
    dimensions: int
    usage: Usage
    price: Price
    requests: int

    @property
    def spent(self) -> Spent:
        """The calls as they count against a budget."""
        priced = self.price.usd is not None
        return Spent(
            turns=self.requests,
            input_tokens=self.usage.input_total,
            usd=self.price.usd or 0.0,
            unpriced_turns=0 if priced else self.requests,
        )


class EmbeddingWire(Protocol):
    """One wire to embedding models. It never retries; every failure is one `ProviderError`."""

    name: str
    bounds: Bounds

    async def embed_batch(
        self, model: str, texts: Sequence[str], purpose: Purpose, options: Mapping[str, JsonValue]
    ) -> Batch:
        """Return a vector for each text; the texts fit the bounds."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


EMBEDDERS = {
    "openai": "providers.embeddings_openai:OpenAIEmbeddings",
    "gemini": "providers.embeddings_gemini:GeminiEmbeddings",
}
"""The wires for vectors: provider → `module:class`, imported when first asked for."""


def make_embedder(
    name: str, *, api_key: str = "", base_url: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
) -> EmbeddingWire:
    """Return the wire of a provider for one account; `Invalid` lists those that make vectors."""
    if name not in EMBEDDERS:
        known = ", ".join(sorted(EMBEDDERS))
        raise Invalid(f"{name!r} makes no vectors here; use one of: {known}, or an account of openai with a base_url")
    module, _, attribute = EMBEDDERS[name].partition(":")
    made: Any = getattr(import_module(module), attribute)
    return cast(EmbeddingWire, made(api_key=api_key, base_url=base_url, timeout_s=timeout_s))


async def embed(
    wire: EmbeddingWire,
    model: str,
    texts: Sequence[str],
    purpose: Purpose = "document",
    options: Mapping[str, JsonValue] | None = None,
) -> Embedded:
    """Return the vectors of `texts` in order, as many requests as its bounds need. `options` go onto the wire.

    Raises:
        Invalid: there is no text, or one is blank.
        ContextFull: a text is longer than the model reads; `details["index"]` says which.
        ProviderError: a request failed, or its answer breaks the wire's rules.
    """
    _check(wire, model, texts)
    batches = [await wire.embed_batch(model, part, purpose, options or {}) for part in _parts(texts, wire.bounds)]
    matrix = _matrix(wire, model, batches, len(texts))
    estimated = sum(map(_tokens, texts))
    said = [batch.tokens for batch in batches]
    counted = None if None in said else sum(tokens for tokens in said if tokens is not None)
    total = estimated if counted is None else counted
    usage = Usage(
        input_total=total,
        input_uncached=total,
        raw={"prompt_tokens": counted, "estimated": counted is None},
    )
    return Embedded(
        vectors=matrix,
        provider=wire.name,
        model=batches[-1].model,
        dimensions=matrix.shape[1],
        usage=usage,
        price=price(wire.name, model, usage),
        requests=len(batches),
    )


def _check(wire: EmbeddingWire, model: str, texts: Sequence[str]) -> None:
    if not texts:
        raise Invalid("there is nothing to embed; give at least one text")
    for index, text in enumerate(texts):
        if not text.strip():
            raise Invalid(f"text {index} is blank and has no vector; leave it out", index=index)
        if len(text) / PLAINEST_CHARS_PER_TOKEN > wire.bounds.text_tokens:
            raise ContextFull(
                f"Text {index} has {len(text)} characters; {model} reads {wire.bounds.text_tokens} tokens. Cut it.",
                provider=wire.name,
                model=model,
                index=index,
            )


def _tokens(text: str) -> int:
    return -(-len(text) // int(CHARS_PER_TOKEN))


def _parts(texts: Sequence[str], bounds: Bounds) -> Iterator[Sequence[str]]:
    part: list[str] = []
    held = 0
    for text in texts:
        tokens = _tokens(text)
        if part and (len(part) == bounds.texts or held + tokens > bounds.tokens):
            yield part
            part, held = [], 0
        part.append(text)
        held += tokens
    yield part


def _matrix(wire: EmbeddingWire, model: str, batches: Sequence[Batch], count: int) -> Vectors:
    """Return the vectors as rows of length 1, or say how they break the wire's rules."""
    rows = [row for batch in batches for row in batch.vectors]
    widths = {len(row) for row in rows}
    problem = None
    if len(rows) != count:
        problem = f"{len(rows)} vectors for {count} texts"
    elif len(widths) != 1 or not max(widths):
        problem = f"vectors of {', '.join(map(str, sorted(widths)))} dimensions"
    if problem is None:
        matrix = np.asarray(rows, np.float64)
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        if np.isfinite(matrix).all() and (lengths > 0).all():
            return (matrix / lengths).astype(np.float32)
        problem = "a vector that points nowhere"
    request_id = batches[-1].request_id
    raise MalformedReply(
        f"{wire.name} answered with {problem}.", provider=wire.name, model=model, request_id=request_id
    )
