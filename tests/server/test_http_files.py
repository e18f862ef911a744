"""Files in and out over HTTP: whole or not at all, and never in memory as a whole."""

import hashlib
import os
import re
import socket
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import anyio
import httpx2
import pytest

from content.access import Access
from content.database import Database
from content.records import Filters
from server.activities.intake import receive_file
from tests.server.flat import TOKEN, Flat
from tests.server.served import Served

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LARGE = 64 * MIB
LIMIT = 80 * MIB


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    house = Flat(sqlite, tmp_path, limits={"max_upload_bytes": LIMIT})
    house.services = replace(house.services, ingest=partial(receive_file, house.content, house.services.control))
    return house


def blobs(flat: Flat) -> list[Path]:
    return [path for path in (flat.settings.data / "blobs").rglob("*") if path.is_file()]


async def pieces(size: int) -> AsyncGenerator[bytes]:
    """Bytes without a repetition that a store could use, made as they are sent."""
    for number in range(size // MIB):
        yield hashlib.shake_128(number.to_bytes(4)).digest(MIB)


async def put(http: httpx2.AsyncClient, content: bytes | AsyncGenerator[bytes], name: str = "a.bin") -> httpx2.Response:
    return await http.put(f"/api/content?name={quote(name)}", content=content, headers={"Content-Type": "text/html"})


async def raw(served: Served, declared: int, body: bytes) -> bytes:
    """Declare a length, send only `body`, and return all that the server says until it closes."""
    place = served.url.removeprefix("http://")
    head = f"PUT /api/content?name=a HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer {TOKEN}\r\n"
    async with await anyio.connect_tcp("127.0.0.1", int(place.rpartition(":")[2])) as sending:
        await sending.send(f"{head}Content-Length: {declared}\r\n\r\n".encode() + body)
        sending.extra(anyio.abc.SocketAttribute.raw_socket).shutdown(socket.SHUT_WR)
        return b"".join([said async for said in sending])


def memory_peak() -> int:
    """Return the most memory that this process had since `forget_peak`, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def forget_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return memory_peak()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells no peak of memory here")
async def test_a_large_file_goes_in_and_out_whole_in_little_memory(served: Served, flat: Flat) -> None:
    wanted, got = hashlib.sha256(), hashlib.sha256()
    async for piece in pieces(LARGE):
        wanted.update(piece)
    with anyio.fail_after(60):
        async with served.http() as http:
            await put(http, b"warm")
            before = forget_peak()
            answer = await put(http, pieces(LARGE), "large.bin")
            assert answer.status_code == 202
            async with http.stream("GET", f"/api/content/{answer.json()['object_id']}") as download:
                assert download.headers["content-length"] == str(LARGE)
                async for piece in download.aiter_bytes():
                    got.update(piece)
            grown = memory_peak() - before
    assert got.hexdigest() == wanted.hexdigest()
    assert grown < LARGE / 2
    assert sorted(path.stat().st_size for path in blobs(flat)) == [4, LARGE]


async def test_the_same_bytes_again_are_the_same_run_and_one_blob(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        async with served.http() as http:
            first, second = await put(http, b"one"), await put(http, b"one")
            empty = await put(http, b"", "empty.txt")
            back = await http.get(f"/api/content/{empty.json()['object_id']}")
    assert first.json() == second.json()
    assert (back.status_code, back.content) == (200, b"")
    assert len(blobs(flat)) == 2


async def test_each_version_comes_back_by_its_number_and_under_no_type_of_its_own(served: Served) -> None:
    with anyio.fail_after(20):
        async with served.http() as http:
            object_id = (await put(http, b"<script>1</script>", "päge.html")).json()["object_id"]
            await put(http, b"two", "päge.html")
            old = await http.get(f"/api/content/{object_id}?version=1")
            new = await http.get(f"/api/content/{object_id}")
            assert (old.content, new.content) == (b"<script>1</script>", b"two")
            assert old.headers["content-type"] == "application/octet-stream"
            assert old.headers["x-content-type-options"] == "nosniff"
            assert old.headers["content-disposition"] == "attachment; filename*=UTF-8''p%C3%A4ge.html"
            for version, status in (("3", 404), ("0", 422), ("x", 422), ("٣", 422)):
                assert (await http.get(f"/api/content/{object_id}?version={version}")).status_code == status


async def test_what_one_may_not_read_is_not_there_to_download(served: Served, flat: Flat) -> None:
    mine = await flat.content.receive(flat.me, "mine.txt", b"secret", access=Access())
    path = f"/api/content/{mine.object_id}"
    with anyio.fail_after(20):
        async with served.http() as http:
            assert (await http.get(path)).content == b"secret"
        async with served.http(**{"Upstairs-User": "finn"}) as finn:
            assert (await finn.get(path)).status_code == 404
            assert (await finn.get("/api/content/obj_nothing")).status_code == 404
        async with served.http(token=None) as stranger:
            assert (await stranger.get(path)).status_code == 401
            assert (await put(stranger, b"x")).status_code == 401


async def test_a_file_beyond_the_limit_is_refused_while_it_comes_and_nothing_of_it_is_kept(
    served: Served, flat: Flat
) -> None:
    with anyio.fail_after(30):
        async with served.http() as http:
            answer = await put(http, pieces(LIMIT + MIB))
            assert answer.status_code == 413
            assert str(LIMIT) in answer.json()["error"]
        assert (await raw(served, LIMIT + 1, b"")).startswith(b"HTTP/1.1 413 ")
    assert not blobs(flat)
    assert not (await flat.content.list(flat.me, Filters())).objects


async def test_a_file_that_breaks_off_leaves_nothing(served: Served, flat: Flat) -> None:
    before = set(os.listdir(flat.settings.data))
    with anyio.fail_after(20):
        await raw(served, 8 * MIB, bytes(3 * MIB))
        async with served.http() as http:
            assert (await put(http, b"whole")).status_code == 202
    assert [path.read_bytes() for path in blobs(flat)] == [b"whole"]
    assert set(os.listdir(flat.settings.data)) - before <= {"blobs"}


async def test_a_file_that_is_refused_leaves_no_bytes_and_takes_none_from_others(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        async with served.http() as http:
            assert (await put(http, b"refused", "")).status_code == 422
            assert not blobs(flat)
            kept = (await put(http, b"kept")).json()["object_id"]
            assert (await put(http, b"kept", "")).status_code == 422
            assert (await http.get(f"/api/content/{kept}")).content == b"kept"


async def test_damaged_bytes_are_never_a_whole_download(served: Served, flat: Flat) -> None:
    with anyio.fail_after(20):
        async with served.http() as http:
            object_id = (await put(http, b"original")).json()["object_id"]
            (blob,) = blobs(flat)
            blob.write_bytes(b"0riginal")
            with pytest.raises(httpx2.RemoteProtocolError):
                await http.get(f"/api/content/{object_id}")
            assert (await put(http, b"original")).status_code == 202
            assert (await http.get(f"/api/content/{object_id}")).content == b"original"
