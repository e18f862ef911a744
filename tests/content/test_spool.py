"""Files that come in piece by piece: whole or gone, kept as blobs like any bytes, in every kind of store."""

import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from content.blobs import PART, Blobs, Damaged
from content.spool import PIECE, spool
from engine.errors import NotFound, Unavailable

pytestmark = pytest.mark.anyio

LONG = bytes(range(256)) * (PART // 256) + b"and a little more"


async def pieces(data: bytes, size: int = 100_000) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def joined(blobs: Blobs, digest: str, tenant: str = "acme") -> bytes:
    size, found = await blobs.pieces(tenant, digest)
    data = b"".join([piece async for piece in found])
    assert size == len(data)
    return data


@pytest.mark.parametrize("data", [b"", b"x", bytes(PIECE), LONG], ids=["empty", "short", "one piece", "long"])
async def test_what_comes_in_pieces_is_one_nameless_file_of_the_same_bytes(tmp_path: Path, data: bytes) -> None:
    async with spool(pieces(data), tmp_path) as file:
        assert (file.size, len(file), file.digest) == (len(data), len(data), hashlib.sha256(data).hexdigest())
        file.file.seek(0)
        assert file.file.read() == data
        assert os.listdir(tmp_path) == []
    assert file.file.closed


async def test_a_break_on_the_way_is_the_caller_s_and_leaves_nothing(tmp_path: Path) -> None:
    async def breaking() -> AsyncGenerator[bytes]:
        yield bytes(3 * PIECE)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        async with spool(breaking(), tmp_path):
            pytest.fail("a part was taken for the whole")
    assert os.listdir(tmp_path) == []


async def test_a_folder_that_takes_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="make room"):
        async with spool(pieces(b"x"), tmp_path / "absent"):
            pass


@pytest.mark.parametrize("store", ["folder", "memory"])
@pytest.mark.parametrize("data", [b"", b"x", LONG], ids=["empty", "short", "long"])
async def test_a_spooled_file_is_the_blob_that_its_bytes_are(tmp_path: Path, store: str, data: bytes) -> None:
    blobs = Blobs("memory:///" if store == "memory" else tmp_path / "blobs")
    async with spool(pieces(data), tmp_path) as file:
        digest = await blobs.put("acme", file)
        assert await blobs.put("acme", file) == digest
    assert digest == await blobs.put("acme", data)
    assert await blobs.get("acme", digest) == await joined(blobs, digest) == data
    with pytest.raises(NotFound):
        await blobs.pieces("other", digest)


async def test_a_damaged_blob_gives_no_last_piece_and_is_healed_by_the_file(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = await blobs.put("acme", LONG)
    (kept,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    for damage in (b"!" + LONG[1:], LONG[:-1], b""):
        kept.write_bytes(damage)
        with pytest.raises(Damaged, match=digest):
            await joined(blobs, digest)
        async with spool(pieces(LONG), tmp_path) as file:
            await blobs.put("acme", file)
        assert await joined(blobs, digest) == LONG


async def test_a_file_that_is_there_whole_is_not_written_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    await blobs.put("acme", LONG)
    (kept,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    before = kept.stat()
    async with spool(pieces(LONG), tmp_path) as file:
        await blobs.put("acme", file)
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
