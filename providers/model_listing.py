"""Asks a provider what it says of one of its models; the answer goes to `providers.profiles.profile` as it is.

One request, never repeated; whoever calls keeps the answer, for a day or so.
"""

from typing import Any, cast
from urllib.parse import quote

import httpx2

from engine.errors import Invalid
from providers.chat_reply import error_fields
from providers.chat_vendors import VENDORS
from providers.errors import MalformedReply
from providers.streams import Attempt
from providers.wire import strict_json

TIMEOUT_S = 10.0
ADDRESSES = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1",
}
ANTHROPIC_VERSION = "2026-10-21"


async def list_model(
    provider: str, model: str, api_key: str = "", base_url: str | None = None
) -> dict[str, Any] | None:
    """Return the provider's listing of `model`; None where the provider does not know it or lists nothing.

    Raises:
        Invalid: the provider has no listing, or no address.
        ProviderError: it could not be asked, or answered nonsense.
    """
    url, headers = _address(provider, model, api_key, base_url)
    attempt = Attempt(provider, model)
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.get(url, headers=headers)
    except httpx2.HTTPError as error:
        raise attempt.cut(error) from error
    if answer.status_code == 404:
        return None
    if answer.status_code >= 300:
        raise attempt.refused(answer.status_code, answer.headers, error_fields(answer.content))
    try:
        body = strict_json(answer.text)
    except ValueError as error:
        raise attempt.failure(MalformedReply, f"{provider} listed its models in what is not JSON.") from error
    return _entry(body, model)


def _address(provider: str, model: str, api_key: str, base_url: str | None) -> tuple[httpx2.URL, dict[str, str]]:
    vendor = VENDORS.get(provider)
    address = base_url or (vendor.base_url if vendor else ADDRESSES.get(provider))
    if address is None:
        raise Invalid(f"{provider} has no address at which its models are listed; set its base URL.", provider=provider)
    url = httpx2.URL(address)
    path, named = url.path.rstrip("/"), quote(model, safe="")
    if provider == "anthropic":
        head = {"x-api-key": api_key, "anthropic-version": ANTHROPIC_VERSION}
        return url.copy_with(path=f"{path}/v1/models/{named}"), head
    if provider == "gemini":
        return url.copy_with(path=f"{path}/models/{named}"), {"x-goog-api-key": api_key}
    auth = {} if not api_key else {"api-key": api_key} if vendor and vendor.auth == "api-key" else None
    head = {"Authorization": f"Bearer {api_key}"} if auth is None else auth
    return url.copy_with(path=f"{path}/models" if vendor else f"{path}/models/{named}"), head


def _entry(body: Any, model: str) -> dict[str, Any] | None:
    """Return the model's entry out of one entry or a list of them; aliases count."""
    if isinstance(body, dict) and "data" not in body:
        return cast(dict[str, Any], body)
    entries: Any = cast(dict[str, Any], body)["data"] if isinstance(body, dict) else body
    for entry in cast(list[Any], entries) if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            one = cast(dict[str, Any], entry)
            if one.get("id") == model or model in (one.get("aliases") or ()):
                return one
    return None
