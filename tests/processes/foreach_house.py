"""What the tests of large foreaches share: small batches, and how to look at them."""

from collections.abc import Sequence
from typing import Any

import pytest

from engine.ports import RunFilter
from engine.runs import AuditRecord, Run
from engine.values import Principal
from tests.server.engine_house import EngineHouse

INLINE, BATCH = 2, 3


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Let three items be too many for one history, and three a whole batch."""
    patch.setattr("engine.process.run.foreach.MAX_INLINE", INLINE)
    patch.setattr("server.activities.foreach.MAX_INLINE", INLINE)
    patch.setattr("server.activities.foreach.BATCH_ITEMS", BATCH)


async def batches_of(house: EngineHouse, who: Principal, run_id: str) -> list[Run]:
    """Return the batches of a run in the order of their items, those that undo others behind them."""
    found = await house.store.list(who, RunFilter(parent_id=run_id, limit=500))
    batches = [one for one in found if one.kind == "batch"]
    return sorted(batches, key=lambda one: ("undoes" in one.input, int(str(one.input["number"]))))


async def whole_audit(house: EngineHouse, who: Principal, run_id: str) -> list[AuditRecord]:
    """Return the records of a run and of all batches below it; each chain is looked at."""
    records = list(await house.store.audit(who, run_id))
    verdict = await house.store.verify_audit(who, run_id)
    assert verdict.valid, verdict.reason
    for batch in await batches_of(house, who, run_id):
        records += await whole_audit(house, who, batch.run_id)
    return records


def steps(records: Sequence[AuditRecord]) -> list[tuple[str, str, Any]]:
    """Return each finished step: its name, its node and what it wrote, by name."""
    found = [one for one in records if one.action in ("node.finished", "node.failed")]
    return sorted((str(one.data["step"]), one.node, one.data["patch"]) for one in found)
