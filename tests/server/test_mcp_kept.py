"""The whole of an answer that was cut: for its caller, for an hour, from any replica."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from content.blobs import Blobs
from engine.errors import NotFound
from engine.values import Principal
from server.keys import KeyRing
from server.mcp.kept import SCHEME, SPACE, Kept

pytestmark = pytest.mark.anyio

TEXT = "all of it, " * 10_000
DAY = 86_400


class Clock:
    """A clock that stands where it was set; at first where the files of its test get their times from."""

    def __init__(self) -> None:
        self.start = self.now = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys() -> KeyRing:
    return KeyRing.in_memory()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replica(folder: Path, keys: KeyRing, clock: Clock) -> Kept:
    return Kept(Blobs(folder, space=SPACE), keys, clock=clock)


async def test_any_replica_reads_what_another_kept(
    tmp_path: Path, keys: KeyRing, clock: Clock, alice: Principal
) -> None:
    uri = await replica(tmp_path, keys, clock).keep(alice, TEXT)
    assert (await replica(tmp_path, keys, clock).read(alice, uri.removeprefix(SCHEME))).decode() == TEXT


async def test_a_ticket_is_its_owners_alone_and_can_not_be_made(
    tmp_path: Path, keys: KeyRing, clock: Clock, alice: Principal, mallory: Principal
) -> None:
    kept = replica(tmp_path, keys, clock)
    key = (await kept.keep(alice, TEXT)).removeprefix(SCHEME)
    await kept.keep(mallory, TEXT)
    bob = alice.model_copy(update={"subject": "bob"})
    foreign = (await replica(tmp_path, KeyRing.in_memory(), clock).keep(alice, TEXT)).removeprefix(SCHEME)
    for who, said in ((mallory, key), (bob, key), (alice, key[:-2]), (alice, ""), (alice, foreign)):
        with pytest.raises(NotFound, match="not kept any more"):
            await kept.read(who, said)


async def test_a_text_goes_when_its_time_is_over_and_stays_while_it_is_used(
    tmp_path: Path, keys: KeyRing, clock: Clock, alice: Principal
) -> None:
    kept, blobs = replica(tmp_path, keys, clock), Blobs(tmp_path, space=SPACE)
    key = (await kept.keep(alice, TEXT)).removeprefix(SCHEME)
    clock.now = clock.start + 3601
    with pytest.raises(NotFound):
        await kept.read(alice, key)
    assert await blobs.purge(datetime.fromtimestamp(clock.start - DAY, UTC)) == 0
    clock.now = clock.start + DAY
    await kept.keep(alice, "something else")
    files = [path for path in (tmp_path / SPACE).rglob("*") if path.is_file()]
    assert [path.read_text() for path in files] == ["something else"]
