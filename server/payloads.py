"""Where payloads too large for a workflow's history are kept: temporalio's external storage, wrapped here only.

The interface is experimental in temporalio; nothing else in the house touches it. What arrives is sealed already. A
payload is kept under `<tenant>/<rest of the workflow id>/<sha256 of its bytes>`, so that what belongs to a workflow is
found again when the workflow is gone, and its bytes are checked when it is read.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from obstore.store import ObjectStore, from_url
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ExternalStorage,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from engine.errors import Invalid, Unavailable
from server.data_folder import make_private, sync_folder, write_private

THRESHOLD_BYTES = 256 * 1024

# Names of files have at most 255 bytes on common systems.
MAX_NAME_BYTES = 240


class PayloadStore(Protocol):
    """Bytes by key; a key is `<tenant>/<workflow>/<digest>`, each part safe as the name of a file."""

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data`; safely stored when this returns. The same key always has the same data."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return the data, or None when there is none."""
        ...

    async def keys(self) -> list[tuple[str, datetime]]:
        """Return every key with the time it was stored."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the data; nothing happens when there is none."""
        ...


class FolderPayloads:
    """Payloads as files, synced to the disk before the history may refer to them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, data: bytes) -> None:
        """Write the file in one step; see `PayloadStore`."""
        await asyncio.to_thread(self._put, key, data)

    async def get(self, key: str) -> bytes | None:
        """Read the file; see `PayloadStore`."""
        with contextlib.suppress(FileNotFoundError):
            return await asyncio.to_thread((self._root / key).read_bytes)
        return None

    async def keys(self) -> list[tuple[str, datetime]]:
        """List the files; see `PayloadStore`."""
        return await asyncio.to_thread(self._keys)

    async def delete(self, key: str) -> None:
        """Remove the file and the folders it leaves empty; see `PayloadStore`."""
        await asyncio.to_thread(self._delete, key)

    def _put(self, key: str, data: bytes) -> None:
        path = self._root / key
        if path.exists():
            return
        for folder in (path.parent.parent.parent, path.parent.parent, path.parent):
            make_private(folder)
        write_private(path, data)
        sync_folder(path.parent.parent)

    def _keys(self) -> list[tuple[str, datetime]]:
        found: list[tuple[str, datetime]] = []
        for path in self._root.glob("*/*/*"):
            with contextlib.suppress(FileNotFoundError):
                stored = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append((path.relative_to(self._root).as_posix(), stored))
        return found

    def _delete(self, key: str) -> None:
        path = self._root / key
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


class ObjectPayloads:
    """Payloads in an object store, by obstore."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def put(self, key: str, data: bytes) -> None:
        """Write the object; see `PayloadStore`."""
        await self._store.put_async(self._prefix + key, data)

    async def get(self, key: str) -> bytes | None:
        """Read the object; see `PayloadStore`."""
        with contextlib.suppress(FileNotFoundError):
            return bytes(await (await self._store.get_async(self._prefix + key)).bytes_async())
        return None

    async def keys(self) -> list[tuple[str, datetime]]:
        """List the objects; see `PayloadStore`."""
        found: list[tuple[str, datetime]] = []
        async for chunk in self._store.list(self._prefix):
            found += [(item["path"].removeprefix(self._prefix), item["last_modified"]) for item in chunk]
        return found

    async def delete(self, key: str) -> None:
        """Remove the object; see `PayloadStore`."""
        with contextlib.suppress(FileNotFoundError):
            await self._store.delete_async(self._prefix + key)


def open_payload_store(blobs_url: str) -> PayloadStore:
    """Return the store of payloads below the blob store at `blobs_url`: `payloads/` in its folder or bucket."""
    parts = urlsplit(blobs_url)
    if parts.scheme == "file":
        return FolderPayloads(Path(url2pathname(parts.path)) / "payloads")
    try:
        return ObjectPayloads(from_url(blobs_url), "payloads/")
    except Exception as error:
        raise Invalid(
            f"blobs_url names no store that can be opened ({type(error).__name__}); "
            "write file:///…, s3://bucket/path, gs://… or az://…",
            key="blobs_url",
            expected="a URL of a folder or a bucket",
        ) from error


def external_storage(store: PayloadStore, threshold_bytes: int = THRESHOLD_BYTES) -> ExternalStorage:
    """Return temporalio's configuration for `store`; payloads of `threshold_bytes` and more go there."""
    return ExternalStorage(drivers=[_Driver(store)], payload_size_threshold=threshold_bytes)


class _Driver(StorageDriver):
    def __init__(self, store: PayloadStore) -> None:
        self._store = store

    def name(self) -> str:
        return "upstairs"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        folder = _folder(_owner(context))
        claims: list[StorageDriverClaim] = []
        for payload in payloads:
            data = payload.SerializeToString(deterministic=True)
            key = f"{folder}/{hashlib.sha256(data).hexdigest()}"
            await self._store.put(key, data)
            claims.append(StorageDriverClaim({"key": key}))
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [await self._read(claim.claim_data.get("key", "")) for claim in claims]

    async def _read(self, key: str) -> Payload:
        parts = key.split("/")
        if len(parts) != 3 or any(part.startswith(".") or not part or "\\" in part for part in parts):
            raise Invalid(f"A history refers to the payload {key[:100]!r}, which is no key of this store")
        data = await self._store.get(key)
        if data is None:
            raise Unavailable(f"The payload {key} is not in the blob store; restore it from a backup", key=key)
        if hashlib.sha256(data).hexdigest() != parts[2]:
            raise Invalid(f"The payload {key} in the blob store is damaged; restore it from a backup", key=key)
        return Payload.FromString(data)


def _owner(context: StorageDriverStoreContext) -> str:
    target = context.target
    owner = target.id if isinstance(target, StorageDriverWorkflowInfo | StorageDriverActivityInfo) else None
    if not owner:
        raise Invalid("A large payload has no workflow to belong to; give the handle a context (`with_context`)")
    return owner


def _folder(workflow_id: str) -> str:
    tenant, _, rest = workflow_id.partition("/")
    parts = [quote(part, safe="").replace(".", "%2E") for part in (tenant, rest)]
    if not all(parts) or max(len(part) for part in parts) > MAX_NAME_BYTES:
        raise Invalid(
            f"The workflow id {workflow_id[:80]!r} cannot own large payloads; ids have the form <tenant>/<run id>, "
            f"each part at most {MAX_NAME_BYTES} bytes",
            workflow_id=workflow_id[:200],
        )
    return "/".join(parts)


async def collect_payloads(
    store: PayloadStore, lives: Callable[[str], Awaitable[bool]], *, older_than: timedelta
) -> int:
    """Remove payloads that no history refers to any more and return how many.

    `lives(workflow_id)` says whether a history may still refer to what that workflow owns: the workflow, or one that
    started it (its result is in the starter's history), is open or within its retention; for a schedule, the
    schedule exists or one of its runs does. `older_than` spares payloads that are stored just before a history
    mentions them; a day is plenty.
    """
    answers: dict[str, bool] = {}
    removed = 0
    now = datetime.now(UTC)
    for key, stored in await store.keys():
        tenant, _, rest = key.partition("/")
        workflow_id = f"{unquote(tenant)}/{unquote(rest.rpartition('/')[0])}"
        if now - stored < older_than:
            continue
        if workflow_id not in answers:
            answers[workflow_id] = await lives(workflow_id)
        if not answers[workflow_id]:
            await store.delete(key)
            removed += 1
    return removed
