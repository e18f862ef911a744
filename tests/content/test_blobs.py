"""Content-addressed bytes: idempotent, per tenant, whole or absent, checked against their digest."""

import hashlib
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from content.blobs import Blobs, Damaged
from engine.errors import Invalid, NotFound

pytestmark = pytest.mark.anyio


def _only_file(folder: Path) -> Path:
    (found,) = [path for path in folder.rglob("*") if path.is_file()]
    return found


async def test_bytes_come_back_under_their_sha256(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = await blobs.put("acme", b"hello")
    assert digest == hashlib.sha256(b"hello").hexdigest()
    assert await blobs.get("acme", digest) == b"hello"
    assert await blobs.exists("acme", digest)


async def test_empty_bytes_are_a_blob_like_any_other(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = await blobs.put("acme", b"")
    assert await blobs.get("acme", digest) == b""


async def test_the_same_bytes_twice_are_stored_once(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    assert await blobs.put("acme", b"same") == await blobs.put("acme", b"same")
    assert _only_file(tmp_path).read_bytes() == b"same"


async def test_another_tenant_does_not_find_the_blob_by_its_digest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = await blobs.put("acme", b"secret")
    assert not await blobs.exists("other", digest)
    with pytest.raises(NotFound):
        await blobs.get("other", digest)
    await blobs.delete("other", digest)
    assert await blobs.get("acme", digest) == b"secret"


async def test_another_space_of_the_same_store_is_apart(tmp_path: Path) -> None:
    digest = await Blobs(tmp_path).put("acme", b"x")
    assert not await Blobs(tmp_path, space="runs").exists("acme", digest)


async def test_a_deleted_blob_is_gone_and_deleting_it_again_is_no_error(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = await blobs.put("acme", b"x")
    await blobs.delete("acme", digest)
    await blobs.delete("acme", digest)
    with pytest.raises(NotFound):
        await blobs.get("acme", digest)


async def test_damage_is_found_on_reading_and_healed_by_putting_the_bytes_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = await blobs.put("acme", b"original")
    _only_file(tmp_path).write_bytes(b"orig")
    with pytest.raises(Damaged, match=digest):
        await blobs.get("acme", digest)
    assert await blobs.get("acme", digest, verify=False) == b"orig"
    await blobs.put("acme", b"original")
    assert await blobs.get("acme", digest) == b"original"


@pytest.mark.parametrize("tenant", ["../acme", "", "Acme", "a/b", "a\n"])
async def test_a_tenant_that_would_leave_its_prefix_is_refused(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(Invalid):
        await Blobs(tmp_path).put(tenant, b"x")


@pytest.mark.parametrize("digest", ["../../secret", "", "0" * 63, "G" * 64, "0" * 64 + "\n"])
async def test_a_digest_that_is_none_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(Invalid):
        await Blobs(tmp_path).get("acme", digest)


async def test_a_store_is_opened_by_url(tmp_path: Path) -> None:
    by_url = Blobs(f"file://{tmp_path / 'folder'}")
    digest = await by_url.put("acme", b"x")
    assert await Blobs(tmp_path / "folder").get("acme", digest) == b"x"
    in_memory = Blobs("memory:///")
    assert await in_memory.get("acme", await in_memory.put("acme", b"y")) == b"y"


def test_a_url_of_no_known_store_is_refused() -> None:
    with pytest.raises(Invalid, match="no object store"):
        Blobs("gopher://somewhere/else")


async def test_many_writers_of_the_same_bytes_all_succeed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    data = b"z" * 300_000
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(blobs.put, "acme", data)
    assert _only_file(tmp_path).stat().st_size == len(data)


_WRITE_FOR_EVER = """
import asyncio, sys
from content.blobs import Blobs
async def main():
    blobs = Blobs(sys.argv[1])
    for number in range(10_000):
        digest = await blobs.put("acme", bytes([number % 256]) * 4_000_000 + str(number).encode())
        print(digest, flush=True)
asyncio.run(main())
"""


def _write_until_killed(folder: Path) -> list[str]:
    command = [sys.executable, "-c", _WRITE_FOR_EVER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(3)]
        writer.kill()
        writer.communicate(timeout=10)
    return acknowledged


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_a_writer_killed_at_any_moment_leaves_only_whole_blobs(tmp_path: Path) -> None:
    acknowledged = await anyio.to_thread.run_sync(_write_until_killed, tmp_path)
    blobs = Blobs(tmp_path)
    for digest in acknowledged:
        assert await blobs.get("acme", digest)
    # A write that was cut off leaves a file of another name at most, never a short one under a digest.
    for name in _names(tmp_path):
        if len(name) == 64:
            assert await blobs.get("acme", name)
