"""The models of an installation: which one is called when none is named, named routes, accounts and their keys.

Keys stand here by reference only: `secret:name` is a secret of whichever tenant the call is made for, set with
`upstairs secret name`. The one key per provider that is read from the environment serves the tenants that have none.
"""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from engine.routes import RouteList
from providers.defaults import default_route
from server.settings_base import FromJson, Names, Section

SECRET = "secret:"  # noqa: S105 - the mark of a reference
_REFERENCE = re.compile(rf"{SECRET}[A-Za-z0-9_.-]{{1,100}}")

LOCAL = "local"
"""The embedding model that comes with the house; it needs no account."""


class AccountSettings(Section):
    """One account at a provider; several may belong to the same one."""

    provider: str = Field(min_length=1)
    api_key: str | None = Field(default=None, description="`secret:name`; unset: the server needs no key")
    base_url: str | None = None
    region: str | None = Field(default=None, description="where it computes, as routes name it")

    @field_validator("api_key")
    @classmethod
    def _key_is_a_reference(cls, key: str | None) -> str | None:
        if key is not None and not _REFERENCE.fullmatch(key):
            raise ValueError("a key is named by reference: write secret:name, and store it with `upstairs secret name`")
        return key

    @field_validator("base_url")
    @classmethod
    def _url_has_no_password(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).password or urlsplit(url).username):
            raise ValueError("a base_url holds no credentials; name the key by api_key")
        return url

    @property
    def secret(self) -> str | None:
        """The name of the secret that holds the key."""
        return None if self.api_key is None else self.api_key.removeprefix(SECRET)


def _listed(value: Any) -> Any:
    return {"candidates": value} if isinstance(value, list | tuple) else value


NamedRoute = Annotated[RouteList, BeforeValidator(_listed)]
"""A list of candidates, or a table of them under `candidates` with limits for all."""

Routes = dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")], NamedRoute]


class TenantModels(Section):
    """What a tenant has in the place of the installation's, or besides it."""

    default: str | None = None
    routes: Routes = {}
    embedding: str | None = None
    transcription: str | None = None


class ModelSettings(Section):
    """Model providers: the route used when none is named, named routes, accounts, base URLs, keys."""

    default: str | None = Field(
        default=None,
        description="provider/model or the name of a route; unset: by the key that is there",
    )
    embedding: str = Field(default=LOCAL, description="what vectors are made with: local, or as for default")
    transcription: str | None = Field(default=None, description="what speech is written down with, as for default")
    routes: Annotated[Routes, FromJson] = Field(default={}, description="named routes: candidates with their limits")
    accounts: Annotated[dict[str, AccountSettings], FromJson] = Field(
        default={}, description="further accounts, which candidates name"
    )
    tenants: Annotated[dict[str, TenantModels], FromJson] = Field(
        default={}, description="routes of single tenants, by tenant"
    )
    anthropic_base_url: str | None = None
    anthropic_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    openai_api_key: SecretStr | None = None
    gemini_base_url: str | None = None
    gemini_api_key: SecretStr | None = None
    scripts: Names = Field(default=(), description="modules whose register() makes scripted models known")

    @property
    def effective_default(self) -> str | None:
        """The default route: the one that is set, else a general model of the first provider whose key is there."""
        return self.default or default_route({name for name, key in self.keys.items() if key is not None})

    @property
    def keys(self) -> dict[str, SecretStr | None]:
        """The key of each provider that the environment may give one for."""
        return {"anthropic": self.anthropic_api_key, "openai": self.openai_api_key, "gemini": self.gemini_api_key}

    def of(self, tenant: str) -> TenantModels:
        """Return what holds for a tenant: its own, else the installation's."""
        own = self.tenants.get(tenant, TenantModels())
        return TenantModels(
            default=own.default or self.effective_default,
            routes={**self.routes, **own.routes},
            embedding=own.embedding or self.embedding,
            transcription=own.transcription or self.transcription,
        )
