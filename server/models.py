"""Which model answers a call, and the provider that reaches it: keys are resolved here and travel nowhere."""

from collections.abc import Awaitable, Callable

from content.blobs import Blobs
from engine.errors import Invalid, NotFound
from engine.transcript import Route
from engine.values import Value
from providers.base import Provider, make_provider
from server.settings import ModelSettings
from server.store.secrets import SqlSecrets


class Routed(Value):
    """A route and where the choice came from."""

    route: Route
    origin: str


class Models:
    """The models of this installation. One provider object per tenant and account, made when first used."""

    def __init__(self, settings: ModelSettings, blobs: Blobs, secrets: SqlSecrets) -> None:
        """Keep what is needed; no SDK is imported here."""
        self._settings = settings
        self._blobs = blobs
        self._secrets = secrets
        self._made: dict[tuple[str, str], Provider] = {}

    def route(self, *wanted: tuple[str, Route | str | None]) -> Routed:
        """Return the first route that is named, in the order given, else the installation's default.

        Raises:
            Invalid: nothing names a model and no default is configured.
        """
        for origin, route in (*wanted, ("settings", self._settings.effective_default)):
            if route is not None:
                return Routed(route=Route.parse(route) if isinstance(route, str) else route, origin=origin)
        raise Invalid(
            "no model is configured: set UPSTAIRS_MODELS__DEFAULT to provider/model and the provider's API key "
            "(ANTHROPIC_API_KEY or OPENAI_API_KEY); `upstairs doctor` shows what is there"
        )

    async def provider(self, tenant: str, name: str) -> Provider:
        """Return the provider of a route for one tenant.

        Raises:
            Invalid: the provider is unknown, or no key for it is configured.
        """
        if (tenant, name) not in self._made:
            self._made[tenant, name] = make_provider(
                name,
                api_key=await self._key(tenant, name),
                base_url=getattr(self._settings, f"{name}_base_url", None),
                load_media=self._loader(tenant),
            )
        return self._made[tenant, name]

    async def _key(self, tenant: str, name: str) -> str:
        if name == "scripted":
            return ""
        try:
            return await self._secrets.resolve(tenant, f"{name}_api_key")
        except NotFound:
            configured = getattr(self._settings, f"{name}_api_key", None)
            if configured is None:
                raise Invalid(
                    f"no API key for {name} is configured: set {name.upper()}_API_KEY, or store the secret "
                    f"{name}_api_key of the tenant"
                ) from None
            return configured.get_secret_value()

    def _loader(self, tenant: str) -> Callable[[str], Awaitable[bytes]]:
        async def load(digest: str) -> bytes:
            return await self._blobs.get(tenant, digest)

        return load

    async def close(self) -> None:
        """Close every provider's connections."""
        for provider in self._made.values():
            await provider.aclose()
        self._made.clear()
