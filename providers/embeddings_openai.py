"""Embeddings of OpenAI and of every server that has its endpoint: the official SDK carries the bytes.

Source: the types of the `openai` SDK 3.54 and the API reference (at most 2048 texts and 300,000 tokens in a request,
8192 tokens in a text). Floats are asked for as numbers: not every server knows the base64 form.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import openai
from pydantic import JsonValue

from providers.base import DEFAULT_TIMEOUT_S
from providers.embeddings import Batch, Bounds, Purpose
from providers.errors import MalformedReply
from providers.openai_plain import client
from providers.plain import read_object
from providers.streams import Attempt

PROVIDER = "openai"


class OpenAIEmbeddings:
    """The embeddings endpoint for one account; the purpose of a text makes no difference to it."""

    name = PROVIDER
    bounds = Bounds(texts=2048, tokens=250_000, text_tokens=8192)

    def __init__(self, api_key: str = "", base_url: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._client = client(api_key, base_url, timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def embed_batch(
        self, model: str, texts: Sequence[str], purpose: Purpose, options: Mapping[str, JsonValue]
    ) -> Batch:
        """Return a vector for each text, in order; options such as `dimensions` go onto the wire as they are."""
        attempt = Attempt(PROVIDER, model)
        try:
            response = await self._client.embeddings.with_raw_response.create(
                model=model, input=list(texts), encoding_format="float", extra_body=dict(options)
            )
        except openai.APIStatusError as error:
            raise attempt.refused(error.status_code, error.response.headers, error.body) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise attempt.cut(error) from error
        attempt.opened(response.headers, response.headers.get("x-request-id"))
        return _batch(read_object(attempt, response.content), attempt, model)


def _batch(body: dict[str, Any], attempt: Attempt, model: str) -> Batch:
    try:
        rows = sorted(body["data"], key=lambda row: int(row["index"]))
        vectors = [[float(number) for number in row["embedding"]] for row in rows]
        tokens = (body.get("usage") or {}).get("prompt_tokens")
        return Batch(
            vectors=vectors,
            tokens=None if tokens is None else int(tokens),
            model=str(body.get("model") or model),
            request_id=attempt.request_id,
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        problem = f"{PROVIDER} sent vectors that break the wire's rules ({what})."
        raise attempt.failure(MalformedReply, problem) from error
