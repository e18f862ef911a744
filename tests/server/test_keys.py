"""The key ring: sealing, rotation, and refusing anything that would lose or leak keys."""

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Conflict, Invalid, Unavailable
from server.data_folder import DataFolder, FolderLock, open_data_folder
from server.keys import KeyRing, Unsealable, open_key_ring

RING = KeyRing.in_memory()


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return open_data_folder(tmp_path / "data")


@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_was_sealed_opens_for_the_same_use_only(data: bytes, aad: str):
    sealed = RING.seal(data, aad)
    assert RING.open(sealed, aad) == data
    with pytest.raises(Unsealable):
        RING.open(sealed, aad + "x")
    signature = RING.sign(data, aad)
    RING.verify(data, signature, aad)
    with pytest.raises(Unsealable):
        RING.verify(data + b"x", signature, aad)
    with pytest.raises(Unsealable):
        RING.verify(data, signature, aad + "x")


def test_sealed_text_hides_its_data_and_differs_each_time():
    data = b"planted-secret"
    first, second = RING.seal(data, "ticket"), RING.seal(data, "ticket")
    assert first != second
    assert "planted" not in first
    assert first.isascii()


def test_a_change_of_any_character_of_sealed_or_signed_text_is_refused():
    sealed, signature = RING.seal(b"data", "ticket"), RING.sign(b"data", "ticket")
    for text in (sealed, signature):
        for index in range(len(text)):
            other = "A" if text[index] != "A" else "B"
            changed = text[:index] + other + text[index + 1 :]
            with pytest.raises(Unsealable):
                RING.open(changed, "ticket")
            with pytest.raises(Unsealable):
                RING.verify(b"data", changed, "ticket")


@pytest.mark.parametrize("text", ["", "s1", "s1..", "s1.é234567890123456.AAAA", "a.b.c", "s1." + "0" * 16 + ".AA=A"])
def test_text_of_another_shape_is_refused(text: str):
    with pytest.raises(Unsealable):
        RING.open(text, "ticket")


def test_purposes_do_not_open_each_others_data():
    key_id, sealed = RING.seal_bytes(b"data", b"aad", purpose="payload")
    assert RING.open_bytes(key_id, sealed, b"aad", purpose="payload") == b"data"
    with pytest.raises(Unsealable):
        RING.open_bytes(key_id, sealed, b"aad", purpose="state")
    with pytest.raises(Unsealable, match="cut off"):
        RING.open_bytes(key_id, sealed[:20], b"aad", purpose="payload")


def test_the_first_start_makes_a_private_ring_and_later_ones_read_it(folder: DataFolder):
    ring = open_key_ring(folder)
    assert folder.key_ring.stat().st_mode & 0o777 == 0o600
    sealed = ring.seal(b"data", "a")
    again = open_key_ring(folder)
    assert again.ids == ring.ids
    assert again.open(sealed, "a") == b"data"


def test_a_rotation_seals_with_a_new_key_and_still_opens_the_old(folder: DataFolder):
    ring = open_key_ring(folder)
    other_process = open_key_ring(folder)
    old = ring.seal(b"old", "a")
    first = ring.ids[0]
    second = ring.rotate()
    assert ring.ids == (second, first)
    new = ring.seal(b"new", "a")
    assert second in new
    assert ring.open(old, "a") == b"old"
    assert other_process.open(new, "a") == b"new"
    assert open_key_ring(folder).ids == (second, first)
    assert folder.key_ring.stat().st_mode & 0o777 == 0o600


def test_two_rotations_at_once_do_not_lose_a_key(folder: DataFolder):
    ring = open_key_ring(folder)
    with (
        FolderLock(folder.key_ring.with_name("ring.json.lock"), "the key ring"),
        pytest.raises(Conflict, match="already uses the key ring"),
    ):
        ring.rotate()
    stale = open_key_ring(folder)
    ring.rotate()
    stale.rotate()
    assert len(open_key_ring(folder).ids) == 3


def test_data_of_another_ring_is_refused_naming_the_key(folder: DataFolder):
    stranger = KeyRing.in_memory()
    with pytest.raises(Unsealable, match=stranger.ids[0]):
        open_key_ring(folder).open(stranger.seal(b"x", "a"), "a")


def damage(document: str) -> list[bytes]:
    parsed = json.loads(document)
    secret = parsed["keys"][0]["key"]
    swapped = ("A" if secret[5] != "A" else "B").join([secret[:5], secret[6:]])
    return [
        b"",
        document.encode()[:-20],
        b"\xff\xfe",
        b"[]",
        json.dumps({"format": 1, "keys": []}).encode(),
        json.dumps({"format": 9, "keys": parsed["keys"]}).encode(),
        document.replace(secret, swapped).encode(),
        document.replace(secret, secret[:-4]).encode(),
        json.dumps({"format": 1, "keys": parsed["keys"] * 2}).encode(),
    ]


@pytest.mark.parametrize("case", range(9))
def test_a_damaged_ring_is_refused_and_left_as_it_is(folder: DataFolder, case: int):
    ring = open_key_ring(folder)
    secret = json.loads(folder.key_ring.read_text())["keys"][0]["key"]
    damaged = damage(folder.key_ring.read_text())[case]
    folder.key_ring.write_bytes(damaged)
    with pytest.raises(Invalid, match="is damaged") as refused:
        open_key_ring(folder)
    assert secret not in refused.value.message
    assert folder.key_ring.read_bytes() == damaged
    with pytest.raises(Invalid, match="is damaged"):
        ring.rotate()
    assert folder.key_ring.read_bytes() == damaged


def test_a_ring_that_is_gone_is_not_replaced(folder: DataFolder):
    ring = open_key_ring(folder)
    folder.key_ring.unlink()
    with pytest.raises(Unavailable, match=f"restore it from a backup .*{ring.ids[0]}"):
        open_key_ring(folder)
    assert not folder.key_ring.exists()


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_ring_that_others_can_use_is_refused(folder: DataFolder, mode: int):
    open_key_ring(folder)
    folder.key_ring.chmod(mode)
    with pytest.raises(Invalid, match="chmod 600"):
        open_key_ring(folder)


def test_a_named_ring_must_exist_and_is_used(folder: DataFolder, tmp_path: Path):
    named = tmp_path / "mounted.json"
    with pytest.raises(Unavailable, match="keys_file"):
        open_key_ring(folder, named)
    open_key_ring(folder)
    named.write_bytes(folder.key_ring.read_bytes())
    named.chmod(0o440)
    assert open_key_ring(folder, named).ids == open_key_ring(folder).ids


def test_keys_do_not_show_in_representations(folder: DataFolder):
    ring = open_key_ring(folder)
    secret = json.loads(folder.key_ring.read_text())["keys"][0]["key"]
    assert secret not in repr(ring) + repr(vars(ring))


def _ids(root: Path) -> tuple[str, ...]:
    return open_key_ring(DataFolder(root)).ids


def test_first_starts_at_the_same_time_agree_on_one_ring(folder: DataFolder):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        rings = pool.map_async(_ids, [folder.root] * 6).get(timeout=30)
    assert len(set(rings)) == 1
