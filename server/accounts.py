"""The accounts that models are called on: keys are resolved here at each call, and travel nowhere.

One client object per tenant, account and use; it is replaced as soon as its key is another one.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import anyio.to_thread

from content.blobs import Blobs
from engine.errors import Invalid, NotFound
from engine.routes import Route
from engine.values import digest
from providers.base import LoadMedia, make_provider, provider_names
from providers.chat_vendors import VENDORS
from providers.embeddings import EmbeddingWire, make_embedder
from providers.errors import ProviderError
from providers.health import Endpoint, Health
from providers.transcription import TranscriptionWire, make_transcriber
from server.long_lived import loading
from server.settings_models import AccountSettings, ModelSettings

SCRIPTED = "scripted"
HIDDEN = "[key]"

C = TypeVar("C", bound="Closing")


class Closing(Protocol):
    """A client whose connections can be closed."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class Secrets(Protocol):
    """Named secrets of tenants."""

    async def resolve(self, tenant: str, name: str) -> str:
        """Return the value; raises `NotFound` where the tenant has none."""
        ...


Make = Callable[[str, str, str | None, LoadMedia], C]
"""Makes a client from provider, key, base URL and loader of media."""


def chat(provider: str, key: str, base_url: str | None, load: LoadMedia) -> Any:
    """Return the client for conversations."""
    return make_provider(provider, api_key=key, base_url=base_url, load_media=load)


def embedding(provider: str, key: str, base_url: str | None, _load: LoadMedia) -> EmbeddingWire:
    """Return the client for vectors."""
    return make_embedder(provider, api_key=key, base_url=base_url)


def transcription(provider: str, key: str, base_url: str | None, _load: LoadMedia) -> TranscriptionWire:
    """Return the client for speech."""
    return make_transcriber(provider, api_key=key, base_url=base_url)


@dataclass
class _Held:
    """A client with the key it was made with, and how many calls it carries."""

    client: Closing
    key: str
    calls: int = 0
    retired: bool = False

    async def leave(self) -> None:
        """Close the client if it was replaced and carries nothing any more."""
        if self.retired and not self.calls:
            await self.client.aclose()


class Accounts:
    """The accounts of an installation, as each tenant has them."""

    def __init__(self, settings: ModelSettings, blobs: Blobs, secrets: Secrets, health: Health) -> None:
        """Keep what is needed; no SDK is imported here."""
        self._settings = settings
        self._blobs = blobs
        self._secrets = secrets
        self._health = health
        self._held: dict[tuple[str, str, str, str], _Held] = {}
        self._keys: dict[Endpoint, str] = {}

    def check(self, route: Route) -> None:
        """Raise `Invalid` where a candidate names a provider or an account that isn't there."""
        for candidate in route.candidates:
            if candidate.provider not in provider_names():
                known = ", ".join(provider_names())
                raise Invalid(f"there is no model provider {candidate.provider!r}; use one of: {known}")
            self._account(candidate)

    def region(self, route: Route) -> str | None:
        """Return where the account of a candidate computes, if it says so."""
        account = self._account(route)
        return None if account is None else account.region

    def _account(self, route: Route) -> AccountSettings | None:
        if route.account is None:
            return None
        account = self._settings.accounts.get(route.account)
        if account is None:
            known = ", ".join(sorted(self._settings.accounts)) or "none"
            raise Invalid(f"there is no account {route.account!r} (of {route}); the settings have: {known}")
        if account.provider != route.provider:
            raise Invalid(f"the account {route.account!r} is one of {account.provider}; {route} can't be called on it")
        return account

    async def key(self, tenant: str, route: Route) -> str:
        """Return the key of a candidate's account as it is now; empty where it needs none.

        Raises:
            Invalid: there is no key; the message says where one is expected.
        """
        key = await self._resolve(tenant, route)
        account = Endpoint(tenant, route.provider, route.account or "")
        if self._keys.setdefault(account, key) != key:
            self._keys[account] = key
            # What was held against the account was held against its old key.
            await self._health.renewed(account)
        return key

    async def _resolve(self, tenant: str, route: Route) -> str:
        account = self._account(route)
        if account is not None:
            if account.secret is None:
                return ""
            try:
                return await self._secrets.resolve(tenant, account.secret)
            except NotFound:
                raise Invalid(
                    f"no API key for the account {route.account} is stored: set it with: upstairs secret "
                    f"{account.secret}"
                ) from None
        name = f"{route.provider}_api_key"
        try:
            return "" if route.provider == SCRIPTED else await self._secrets.resolve(tenant, name)
        except NotFound:
            configured = getattr(self._settings, name, None)
            if configured is None:
                if route.provider in VENDORS and not VENDORS[route.provider].needs_key:
                    return ""
                raise Invalid(
                    f"no API key for {route.provider} is configured: set {route.provider.upper()}_API_KEY, or store "
                    f"the secret {name} of the tenant"
                ) from None
            return configured.get_secret_value()

    async def scope(self, tenant: str, route: Route) -> str:
        """Return what tells the keys of one account name apart; the provider counts by the key, whoever's it is.

        Raises:
            Invalid: there is no key.
        """
        key = await self.key(tenant, route)
        # Each script is a provider of its own.
        return digest([route.provider, key, route.model if route.provider == SCRIPTED else ""])[:16]

    async def problem(self, tenant: str, route: Route) -> str | None:
        """Return why the candidate can't be called at all, or None."""
        try:
            await self.key(tenant, route)
        except Invalid as problem:
            return problem.message
        return None

    @asynccontextmanager
    async def opened(self, tenant: str, route: Route, make: "Make[C]") -> AsyncGenerator[C]:
        """Give the client of a candidate for one call; what fails in it leaves without the key.

        Raises:
            Invalid: there is no key, or the account is unknown.
        """
        held = await self._current(tenant, route, make)
        held.calls += 1
        try:
            yield cast(C, held.client)
        except ProviderError as error:
            raise without(error, held.key) from error.__cause__
        finally:
            held.calls -= 1
            await held.leave()

    async def client(self, tenant: str, route: Route, make: "Make[C]") -> C:
        """Return the client of a candidate as it is now."""
        return cast(C, (await self._current(tenant, route, make)).client)

    async def _current(self, tenant: str, route: Route, make: "Make[C]") -> _Held:
        key = await self.key(tenant, route)
        account = self._account(route)
        place = (tenant, route.provider, route.account or "", make.__name__)
        held = self._held.get(place)
        if held is not None and held.key == key:
            return held
        base_url = getattr(self._settings, f"{route.provider}_base_url", None) if account is None else account.base_url
        # In a thread: the first client of a provider imports its SDK, which can take longer than a heartbeat may.
        with loading():
            client = await anyio.to_thread.run_sync(make, route.provider, key, base_url, self._loader(tenant))
        held = self._held.get(place)
        if held is not None and held.key == key:
            await client.aclose()
            return held
        made = self._held[place] = _Held(client, key)
        if held is not None:
            held.retired = True
            await held.leave()
        return made

    def _loader(self, tenant: str) -> Callable[[str], Awaitable[bytes]]:
        async def load(digest: str) -> bytes:
            return await self._blobs.get(tenant, digest)

        return load

    async def close(self) -> None:
        """Close every client's connections."""
        for held in self._held.values():
            await held.client.aclose()
        self._held.clear()


def without(error: ProviderError, key: str) -> ProviderError:
    """Return the error with the key nowhere in it; a cause that holds the key, as SDKs quote answers, is dropped."""
    if not key:
        return error
    cause: BaseException | None = error.__cause__
    while cause is not None:
        if key in f"{cause!s} {cause!r}":
            error.__cause__ = None
            break
        cause = cause.__cause__ or cause.__context__
    for name, value in vars(error).items():
        setattr(error, name, _hidden(value, key))
    error.args = (error.message,)
    return error


def _hidden(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return value.replace(key, HIDDEN)
    if isinstance(value, dict):
        return {name: _hidden(inner, key) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, key) for inner in cast("list[Any]", value)]
    return value
