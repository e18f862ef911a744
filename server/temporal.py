"""Clients of Temporal: of the embedded server of a data folder, or of any cluster by address or profile."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode, TLSConfig

from engine.errors import Conflict, Invalid, Unavailable
from server.data_folder import DataFolder
from server.settings import TemporalSettings, TlsSettings
from server.temporal_child import read_running
from server.temporal_namespace import RPC_TIMEOUT, cluster_id, missing_search_attributes

CONNECT_SECONDS = 10.0
EXTERNAL_NAMESPACE = "default"


@dataclass(frozen=True)
class Target:
    """Where a client connects, and how; `options` go to `Client.connect`."""

    address: str
    namespace: str
    cluster_id: str | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


async def connect(settings: TemporalSettings, folder: DataFolder, data_converter: DataConverter) -> Client:
    """Return a client whose server answers and whose namespace exists.

    Embedded: a server that is just being restarted is waited for up to 10 s, and one that is not the data folder's
    own is refused with `Conflict`. Raises `Unavailable` with what to do, `Invalid` when the settings do not say where
    to connect.
    """
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        target = embedded_target(folder) if settings.mode == "embedded" else external_target(settings)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await _connected(target, data_converter)
        except TimeoutError:
            raise Unavailable(
                f"Temporal at {target.address} did not answer within {CONNECT_SECONDS:.0f} s; "
                "check the address and that it is reachable from here",
                address=target.address,
            ) from None
        except Unavailable:
            if settings.mode == "external" or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


def embedded_target(folder: DataFolder) -> Target:
    """Return where the embedded server of `folder` runs; raises `Unavailable` when it does not."""
    running = read_running(folder)
    # On loopback compression only costs time, and sealed payloads do not compress.
    options: dict[str, Any] = {"grpc_compression": GrpcCompression.NONE}
    return Target(running.address, running.namespace, running.cluster_id, options)


def external_target(settings: TemporalSettings) -> Target:
    """Return where `settings` point: their own fields over the profile of temporal.toml and `TEMPORAL_*` variables."""
    try:
        options: dict[str, Any] = dict(ClientConfig.load_client_connect_config(settings.profile))
    except (RuntimeError, ValueError, OSError) as error:
        raise Invalid(
            f"The Temporal profile {settings.profile or 'default'!r} cannot be used: {error}",
            key="temporal.profile",
            expected="a profile of temporal.toml",
        ) from error
    address = settings.address or options.pop("target_host", None)
    options.pop("target_host", None)
    if not address:
        raise Invalid(
            'temporal.mode = "external" needs temporal.address (host:port), or a profile of temporal.toml with one',
            key="temporal.address",
            expected="host:port",
        )
    namespace = settings.namespace or options.pop("namespace", None) or EXTERNAL_NAMESPACE
    options.pop("namespace", None)
    if settings.api_key is not None:
        options["api_key"] = settings.api_key.get_secret_value()
        options.setdefault("tls", True)
    tls = _tls(settings.tls)
    if tls is not None:
        options["tls"] = tls
    return Target(address, namespace, None, options)


def _tls(settings: TlsSettings) -> bool | TLSConfig | None:
    if settings.enabled is False:
        return False
    if settings.ca_file or settings.cert_file or settings.server_name:
        return TLSConfig(
            server_root_ca_cert=_read(settings.ca_file, "ca_file"),
            domain=settings.server_name,
            client_cert=_read(settings.cert_file, "cert_file"),
            client_private_key=_read(settings.key_file, "key_file"),
        )
    return settings.enabled


def _read(path: Path | None, name: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(
            f"temporal.tls.{name} is {path}, which cannot be read: {error.strerror}",
            key=f"temporal.tls.{name}",
            expected="a readable PEM file",
        ) from error


async def _connected(target: Target, data_converter: DataConverter) -> Client:
    try:
        client = await Client.connect(
            target.address, namespace=target.namespace, data_converter=data_converter, **target.options
        )
        found = await cluster_id(client) if target.cluster_id is not None else None
        if found != target.cluster_id:
            raise Conflict(
                f"The Temporal server at {target.address} is not the one of this data folder (cluster id {found} "
                f"instead of {target.cluster_id}); restart the server",
                address=target.address,
            )
        described = DescribeNamespaceRequest(namespace=target.namespace)
        await client.workflow_service.describe_namespace(described, timeout=RPC_TIMEOUT)
        missing = await _missing(client)
    except (RuntimeError, ValueError) as error:
        reason = str(error).removeprefix("Failed client connect: ")
        raise Unavailable(
            f"Temporal at {target.address} cannot be reached: {reason}", address=target.address
        ) from error
    except RPCError as error:
        raise _refused(target, error) from error
    if missing:
        flags = " ".join(f"--name {name} --type Keyword" for name in missing)
        raise Unavailable(
            f"The namespace {target.namespace} at {target.address} lacks the search attributes {', '.join(missing)}; "
            f"add them with `temporal operator search-attribute create --namespace {target.namespace} {flags}`",
            address=target.address,
            missing=list(missing),
        )
    return client


async def _missing(client: Client) -> tuple[str, ...]:
    try:
        return await missing_search_attributes(client)
    except RPCError as error:
        # Some clusters keep this question to their operators; a start then says what is missing.
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            return ()
        raise


def _refused(target: Target, error: RPCError) -> Unavailable:
    if error.status is RPCStatusCode.NOT_FOUND:
        advice = (
            f"has no namespace {target.namespace!r}; create it with "
            f"`temporal operator namespace create --namespace {target.namespace}` or set temporal.namespace"
        )
    elif error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED):
        advice = f"refused us ({error.message}); check temporal.api_key or the client certificate"
    else:
        advice = f"answered {error.status.name}: {error.message}"
    return Unavailable(f"Temporal at {target.address} {advice}", address=target.address, status=error.status.name)
