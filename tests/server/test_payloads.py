"""Where large payloads are kept: in folders and object stores, collected when nothing refers to them."""

from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import Invalid
from server.payloads import FolderPayloads, collect_payloads, open_payload_store

pytestmark = pytest.mark.anyio


async def test_payloads_of_runs_that_are_gone_are_collected_and_young_ones_spared(tmp_path: Path):
    store = FolderPayloads(tmp_path / "payloads")
    await store.put("acme/run_1/aa", b"1")
    await store.put("acme/run%2F2/bb", b"2")
    asked: list[str] = []

    async def lives(workflow_id: str) -> bool:
        asked.append(workflow_id)
        return workflow_id == "acme/run_1"

    assert await collect_payloads(store, lives, older_than=timedelta(hours=1)) == 0
    assert asked == []
    assert await collect_payloads(store, lives, older_than=timedelta(0)) == 1
    assert sorted(asked) == ["acme/run/2", "acme/run_1"]
    assert await store.get("acme/run_1/aa") == b"1"
    assert await store.get("acme/run%2F2/bb") is None


async def test_an_object_store_keeps_payloads_as_a_folder_does():
    store = open_payload_store("memory:///")
    await store.put("acme/run_1/aa", b"1")
    assert await store.get("acme/run_1/aa") == b"1"
    assert await store.get("acme/run_1/bb") is None
    assert [key for key, _ in await store.keys()] == ["acme/run_1/aa"]
    await store.delete("acme/run_1/aa")
    await store.delete("acme/run_1/aa")
    assert await store.keys() == []
    with pytest.raises(Invalid, match="blobs_url"):
        open_payload_store("nonsense://x")
