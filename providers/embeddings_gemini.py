"""Embeddings of Google's Gemini API: one `batchEmbedContents` per batch, over the channel of the Gemini wire.

Source: the API reference of `models.batchEmbedContents` and `google-genai` 3.4 (at most 100 texts in a request, 2048
tokens in a text, beyond which the API cuts without a word). Short vectors come without length 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from providers.base import DEFAULT_TIMEOUT_S
from providers.embeddings import Batch, Bounds, Purpose
from providers.errors import MalformedReply, Unauthorized
from providers.gemini_transport import Channel
from providers.plain import read_object
from providers.streams import Attempt

PROVIDER = "gemini"
TASKS: dict[Purpose, str] = {"document": "RETRIEVAL_DOCUMENT", "query": "RETRIEVAL_QUERY"}


class GeminiEmbeddings:
    """The embeddings endpoint for one account; the option `dimensions` asks for shorter vectors."""

    name = PROVIDER
    bounds = Bounds(texts=100, tokens=20_000, text_tokens=2048)

    def __init__(self, api_key: str = "", base_url: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        if not api_key:
            raise Unauthorized("No API key is configured for gemini.", provider=PROVIDER)
        self._channel = Channel(api_key, base_url, timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._channel.aclose()

    async def embed_batch(
        self, model: str, texts: Sequence[str], purpose: Purpose, options: Mapping[str, JsonValue]
    ) -> Batch:
        """Return a vector for each text, in order; further options go onto the wire as they are."""
        attempt = Attempt(PROVIDER, model)
        asked: dict[str, Any] = {"taskType": TASKS[purpose], **options}
        if "dimensions" in asked:
            asked["outputDimensionality"] = asked.pop("dimensions")
        requests = [{"model": f"models/{model}", "content": {"parts": [{"text": text}]}, **asked} for text in texts]
        async with self._channel.stream(
            f"models/{model}:batchEmbedContents", {"requests": requests}, attempt
        ) as chunks:
            content = b"".join([chunk async for chunk in chunks])
        return _batch(read_object(attempt, content), attempt, model)


def _batch(body: dict[str, Any], attempt: Attempt, model: str) -> Batch:
    try:
        vectors = [[float(number) for number in row["values"]] for row in body["embeddings"]]
        tokens = (body.get("usageMetadata") or {}).get("promptTokenCount")
        return Batch(
            vectors=vectors,
            tokens=None if tokens is None else int(tokens),
            model=model,
            request_id=attempt.request_id,
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        problem = f"{PROVIDER} sent vectors that break the wire's rules ({what})."
        raise attempt.failure(MalformedReply, problem) from error
