"""Every setting of the server, where it may come from, and where each value did come from.

Sources, the first wins: flags, the environment (`UPSTAIRS_PORT`, nested `UPSTAIRS_TEMPORAL__ADDRESS`), the file
`upstairs.toml` (`--config`, else the current folder, else the data folder), defaults. Anything unknown or of the
wrong type is refused with the place it was written at.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from server.places import default_data_folder
from server.settings_base import Names, Section
from server.settings_models import ModelSettings

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[int, Field(ge=1)]


class TlsSettings(Section):
    """How the connection to an external Temporal is secured; paths of PEM files."""

    enabled: bool | None = Field(default=None, description="unset: on when a certificate or an API key is given")
    server_name: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _certificate_and_key_belong_together(self) -> "TlsSettings":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file must be given together")
        return self


class TemporalSettings(Section):
    """The durable floor: our own child process, or a cluster by address or profile."""

    mode: Literal["embedded", "external"] = "embedded"
    address: str | None = Field(default=None, description="host:port of an external Temporal")
    namespace: str | None = Field(default=None, description="unset: `upstairs` embedded, the profile's one external")
    profile: str | None = Field(default=None, description="a profile of temporal.toml, for external mode")
    tls: TlsSettings = TlsSettings()
    api_key: SecretStr | None = None
    durability: Literal["full", "normal"] = Field(
        default="full",
        description="embedded: `full` loses nothing on power loss; `normal` is faster and may lose the last commits",
    )
    port: Port = Field(default=0, description="embedded: 0 takes a free port")
    binary: Path | None = Field(default=None, description="embedded: another `temporal` executable")
    retention_days: int = Field(default=30, ge=1, le=3650)
    task_queue_prefix: str = Field(default="upstairs", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    deployment: str = Field(default="upstairs", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    build: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="external: the name of this build of the code; set, a run stays on the build it began on",
    )

    @model_validator(mode="after")
    def _address_means_external(self) -> "TemporalSettings":
        if self.mode == "embedded" and (self.address or self.profile):
            raise ValueError('address and profile need mode = "external"')
        if self.mode == "embedded" and self.build:
            raise ValueError('build needs mode = "external": here nobody would carry the runs of an older build')
        return self


class LimitSettings(Section):
    """Bounds at the door; sizes in bytes, durations in seconds."""

    max_request_bytes: Bytes = 4 * 1024 * 1024
    max_upload_bytes: Bytes = 512 * 1024 * 1024
    max_result_bytes: Bytes = 1024 * 1024
    request_timeout_seconds: float = Field(default=60.0, gt=0)
    max_concurrent_requests: int = Field(default=256, ge=1)


class LocalSettings(Section):
    """The people of the local tenant: whoever owns the data folder, and further names for `--as`."""

    roles: Names = Field(default=(), description="roles of the owner besides the platform's own, such as finance")
    users: dict[str, Names] = Field(default={}, description="further local users by name, with their roles")
    groups: dict[str, Names] = Field(default={}, description="groups by name, with the users in them; the owner may be")


class Settings(BaseSettings):
    """All settings, validated and frozen; make one with `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="UPSTAIRS_", env_nested_delimiter="__", validate_default=True
    )

    data: Path = Field(default_factory=default_data_folder, description="the data folder")
    host: str = "127.0.0.1"
    port: Port = Field(default=7777, description="0 takes a free port")
    public_url: str | None = Field(default=None, description="the address people and clients use, when not host:port")
    allowed_origins: Names = Field(default=(), description="browser origins that may call besides our own pages")
    database_url: str | None = Field(default=None, description="unset: SQLite in the data folder")
    blobs_url: str | None = Field(default=None, description="unset: a folder in the data folder")
    keys_file: Path | None = Field(default=None, description="unset: made in the data folder at first start")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    temporal: TemporalSettings = TemporalSettings()
    models: ModelSettings = ModelSettings()
    limits: LimitSettings = LimitSettings()
    local: LocalSettings = LocalSettings()
    skills: Names = Field(default=(), description="folders of further skills, whose code is trusted")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: `load_settings` merges the sources so that it knows where each value came from."""
        return (init_settings,)

    @field_validator("data", mode="after")
    @classmethod
    def _data_is_absolute(cls, data: Path) -> Path:
        return Path(os.path.abspath(data.expanduser()))

    @field_validator("public_url", mode="after")
    @classmethod
    def _public_url_is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return None if url is None else url.rstrip("/")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the one database."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data / 'upstairs.db'}"

    @property
    def blobs(self) -> str:
        """The URL of the blob store."""
        return self.blobs_url or (self.data / "blobs").as_uri()


def setting_paths(model: type[BaseModel] = Settings, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every setting, such as `("temporal", "tls", "ca_file")`, in the order of declaration."""
    paths: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            paths += setting_paths(section, (*above, name))
        else:
            paths.append((*above, name))
    return paths


def lookup(settings: BaseModel, path: tuple[str, ...]) -> Any:
    """Return the value of the setting at `path`."""
    value: Any = settings
    for name in path:
        value = getattr(value, name)
    return value


def nest(flat: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return `{("a", "b"): 1}` as `{"a": {"b": 1}}`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return nested
