"""Bytes by their digest: each tenant's blobs lie under its own prefix in a folder or in any object store by URL."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator
from datetime import datetime
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from content.spool import PIECE, Spooled
from engine.errors import Invalid, NotFound, Problem, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
PART = 5 * 1024 * 1024
"""Bytes of a part of a large blob: object stores take no smaller ones."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


class Damaged(Problem):
    """Stored bytes no longer match the digest they are kept under; restore them from a backup or put them again."""

    code = "damaged"


class Blobs:
    """Content-addressed bytes: `<space>/<tenant>/<first two digits>/<sha256>`.

    A blob is written whole or not at all and never changes. Whoever deletes blobs must own the `space`: the same bytes
    put by two owners of one space are one blob.
    """

    def __init__(self, location: str | Path, *, space: str = "content") -> None:
        """Take a folder (made if it is missing) or a URL: `file://`, `s3://`, `gs://`, `az://`, `memory://`.

        Raises:
            Invalid: the URL is of no known store, or the space is not a name.
        """
        if not _NAME.fullmatch(space):
            raise Invalid(f"{space!r} is no name of a blob space; use small letters, digits and hyphens", space=space)
        self._space = space
        try:
            self._store = _open(location)
        except (BaseError, ValueError) as error:
            raise Invalid(f"{str(location)!r} is no folder and no object store: {error}") from error

    async def put(self, tenant: str, data: bytes | Spooled, *, renew: bool = False) -> str:
        """Store `data` and return its sha256 in hexadecimal; the same bytes again change nothing.

        `renew`: they are written again all the same, so that `purge` takes them for new.
        Bytes that are there but damaged are replaced. When this returns, a local folder has them on the disk itself.
        Of a spooled file no more than a few parts are in memory.
        """
        spooled = isinstance(data, Spooled)
        digest = data.digest if spooled else await asyncio.to_thread(_sha256, data)
        path = self._path(tenant, digest)
        try:
            if not await (self._put_file(path, data) if spooled else self._put_bytes(path, data, renew)):
                return digest
        except (BaseError, OSError) as error:
            raise Unavailable(f"the blob store cannot take {len(data)} bytes: {error}") from error
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            await asyncio.to_thread(_flush, Path(self._store.prefix), path)
        return digest

    async def get(self, tenant: str, digest: str, *, verify: bool = True) -> bytes:
        """Return the bytes of `digest`; `verify` compares them with it.

        Raises:
            NotFound: this tenant has no such blob.
            Damaged: the stored bytes are not the ones that were put.
            Unavailable: the store cannot be reached.
        """
        path = self._path(tenant, digest)
        try:
            data = await self._read(path)
        except BaseError as error:
            raise Unavailable(f"the blob store cannot give {digest}: {error}") from error
        if data is None:
            raise NotFound(f"no blob {digest}", digest=digest)
        if verify and await asyncio.to_thread(_sha256, data) != digest:
            raise _damaged(digest, len(data))
        return data

    async def pieces(self, tenant: str, digest: str) -> tuple[int, AsyncGenerator[bytes]]:
        """Return the size of the blob in bytes, and its bytes piece by piece.

        The last piece comes only when all of them fit the digest, so damaged bytes are never a whole blob to anybody.

        Raises:
            NotFound, Unavailable: as `get`. While the pieces are read: Damaged, Unavailable.
        """
        try:
            found = await obstore.get_async(self._store, self._path(tenant, digest))
        except FileNotFoundError:
            raise NotFound(f"no blob {digest}", digest=digest) from None
        except BaseError as error:
            raise Unavailable(f"the blob store cannot give {digest}: {error}") from error
        return found.meta["size"], _checked(found, digest)

    async def exists(self, tenant: str, digest: str) -> bool:
        """Tell whether the tenant has the blob, without reading it."""
        try:
            await obstore.head_async(self._store, self._path(tenant, digest))
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise Unavailable(f"the blob store cannot be asked for {digest}: {error}") from error
        return True

    async def delete(self, tenant: str, digest: str) -> None:
        """Remove the blob; one that is not there is already removed."""
        try:
            await obstore.delete_async(self._store, self._path(tenant, digest))
        except FileNotFoundError:
            return
        except BaseError as error:
            raise Unavailable(f"the blob store cannot delete {digest}: {error}") from error

    async def purge(self, before: datetime) -> int:
        """Remove every blob of the space, of all tenants, that was written before a moment; return how many."""
        try:
            found = [
                one["path"]
                async for page in obstore.list(self._store, self._space)
                for one in page
                if one["last_modified"] < before
            ]
            for path in found:
                await obstore.delete_async(self._store, path)
        except BaseError as error:
            raise Unavailable(f"the blob store cannot be cleared of what is old: {error}") from error
        return len(found)

    async def _put_bytes(self, path: str, data: bytes, renew: bool) -> bool:
        """Store the bytes and tell whether that was needed."""
        try:
            await obstore.put_async(self._store, path, data, mode="create")
        except AlreadyExistsError:
            if not renew and await self._read(path) == data:
                return False
            await obstore.put_async(self._store, path, data, mode="overwrite")
        return True

    async def _put_file(self, path: str, spooled: Spooled) -> bool:
        if await self._holds(path, spooled):
            return False
        spooled.file.seek(0)
        # `create` would read the whole file into memory; whoever overwrites does so with the same bytes.
        part = PIECE if isinstance(self._store, LocalStore) else PART
        await obstore.put_async(self._store, path, spooled.file, chunk_size=part, max_concurrency=1)
        return True

    async def _holds(self, path: str, spooled: Spooled) -> bool:
        try:
            found = await obstore.get_async(self._store, path)
        except FileNotFoundError:
            return False
        if found.meta["size"] != spooled.size:
            return False
        hashed = hashlib.sha256()
        async for piece in found.stream(min_chunk_size=PIECE):
            await asyncio.to_thread(hashed.update, piece)
        return hashed.hexdigest() == spooled.digest

    async def _read(self, path: str) -> bytes | None:
        try:
            result = await obstore.get_async(self._store, path)
            return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None

    def _path(self, tenant: str, digest: str) -> str:
        if not _NAME.fullmatch(tenant):
            raise Invalid(f"{tenant!r} is no tenant", tenant=tenant)
        if not _DIGEST.fullmatch(digest):
            raise Invalid(f"{digest!r} is no sha256 in hexadecimal", digest=digest)
        return f"{self._space}/{tenant}/{digest[:2]}/{digest}"


def _open(location: str | Path) -> ObjectStore:
    if isinstance(location, str) and "://" in location:
        return from_url(location, mkdir=True) if location.startswith("file://") else from_url(location)
    return LocalStore(Path(location).resolve(), mkdir=True)


async def _checked(found: "obstore.GetResult", digest: str) -> AsyncGenerator[bytes]:
    hashed, last = hashlib.sha256(), b""
    try:
        async for piece in found.stream(min_chunk_size=PIECE):
            if last:
                yield last
            last = bytes(piece)
            await asyncio.to_thread(hashed.update, last)
    except BaseError as error:
        raise Unavailable(f"the blob store cannot give {digest}: {error}") from error
    if hashed.hexdigest() != digest:
        raise _damaged(digest, found.meta["size"])
    yield last


def _damaged(digest: str, size: int) -> Damaged:
    return Damaged(
        f"the blob {digest} is damaged: {size} bytes of another digest lie in its place. "
        "Put the original bytes again or restore them from a backup.",
        digest=digest,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _flush(root: Path, path: str) -> None:
    """Bring a file and the folders that lead to it to the disk; the store itself leaves that to the system."""
    target = root / path
    for place in (target, *target.parents):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if place == root:
            break
