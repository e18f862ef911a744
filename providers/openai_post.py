"""The OpenAI SDK as transport of a stream: the body leaves as bytes, untouched by the SDK's transformations."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import httpx2
import openai

from providers.wire import encoded


@asynccontextmanager
async def posted(
    client: openai.AsyncOpenAI, path: str, body: dict[str, Any], headers: Mapping[str, Any] | None = None
) -> AsyncGenerator[httpx2.Response]:
    """Post `body` and give the answer, open and unread; `openai.APIError` for what the SDK refuses to give."""
    stream = await client.post(
        path,
        cast_to=httpx2.Response,
        content=encoded(body),
        options={"headers": dict(headers or {}), "security": {"bearer_auth": True}},
        stream=True,
        stream_cls=openai.AsyncStream[Any],
    )
    async with aclosing(cast(httpx2.Response, stream)) as response:
        yield response
