"""The SDK as transport for the OpenAI endpoints without a stream, and for the servers that copy them."""

import httpx2
import openai

from providers.errors import Unauthorized

BASE_URL = "https://api.openai.com/v1"
NO_KEY = "none"
"""What a server of one's own is sent: the SDK insists on a key."""


def client(api_key: str, base_url: str | None, timeout_s: float) -> openai.AsyncOpenAI:
    """Return the SDK's client without retries; OpenAI itself is not called without a key."""
    if not api_key and base_url is None:
        raise Unauthorized("No API key is configured for openai.", provider="openai")
    return openai.AsyncOpenAI(
        api_key=api_key or NO_KEY,
        base_url=base_url or BASE_URL,
        max_retries=0,
        timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)),
    )
