"""What a provider is, and how one is made by name without importing the SDKs of the others."""

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any, Protocol, cast

from engine.errors import Invalid
from engine.transcript import Delta, ModelReply, ModelRequest
from providers.chat_vendors import VENDORS

LoadMedia = Callable[[str], Awaitable[bytes]]
"""Returns the bytes of a blob by its digest; called only while a request is rendered."""

OnDelta = Callable[[Delta], None]
"""Receives live pieces of a reply, in order, on the event loop; it must not block."""

DEFAULT_TIMEOUT_S = 120.0
"""Seconds of silence on an open stream after which it counts as stalled; the whole call may take longer."""


class Provider(Protocol):
    """One wire to models. It never retries and never waits: every failure is one `ProviderError`."""

    name: str

    async def generate(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelReply:
        """Return one whole reply, or raise a `ProviderError`; pieces go to `on_delta` while they arrive."""
        ...

    async def aclose(self) -> None:
        """Close the connections; the provider can't be used afterwards."""
        ...


class ProviderFactory(Protocol):
    """Makes a provider for one account; `timeout_s` is the longest silence on an open stream."""

    def __call__(
        self,
        api_key: str = "",
        base_url: str | None = None,
        load_media: LoadMedia | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Provider:
        """Return the provider; no connection is opened yet."""
        ...


WIRES = {
    "anthropic": "providers.anthropic:Anthropic",
    "openai": "providers.openai:OpenAI",
    "gemini": "providers.gemini:Gemini",
    "scripted": "providers.scripted:Scripted",
}
"""The wires of the house: name → `module:class`, imported when first asked for."""

CHAT = "providers.chat:Chat"
"""The wire of every vendor that speaks OpenAI Chat Completions: the names of `VENDORS`."""

PROVIDERS: dict[str, ProviderFactory] = {}
"""The factories that are loaded; `register_provider` adds others."""


def register_provider(name: str, factory: ProviderFactory) -> None:
    """Make `factory` known under `name`; a later registration replaces an earlier one."""
    PROVIDERS[name] = factory


def provider_names() -> list[str]:
    """Return every name that `make_provider` accepts, sorted."""
    return sorted({*WIRES, *VENDORS, *PROVIDERS})


def make_provider(
    name: str,
    *,
    api_key: str = "",
    base_url: str | None = None,
    load_media: LoadMedia | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Provider:
    """Return the provider `name` for one account, importing its module only now; `Invalid` lists the known names."""
    if name not in PROVIDERS:
        if name not in WIRES and name not in VENDORS:
            known = ", ".join(provider_names())
            raise Invalid(f"There is no provider {name!r}; use one of: {known}.", provider=name, known=provider_names())
        module, _, attribute = WIRES.get(name, CHAT).partition(":")
        factory = cast(ProviderFactory, getattr(import_module(module), attribute))
        PROVIDERS[name] = factory if name in WIRES else partial(cast(Any, factory), vendor=VENDORS[name])
    return PROVIDERS[name](api_key=api_key, base_url=base_url, load_media=load_media, timeout_s=timeout_s)
