"""How far a foreach in batches is, as the run that it belongs to shows it while it goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.ports import Control, ForeachProgress, ToolInvocation, ToolOutcome
from engine.process.definition import parse_definition
from engine.runs import Run
from engine.values import Principal
from server.pages.viewer_parts import RunSight, live_parts
from skills.drawing import as_mermaid, state_of
from tests.processes.foreach_house import batches_of
from tests.processes.test_foreach_batches import Taking, many, numbered
from tests.processes.test_operations import OLE
from tests.server.engine_house import BOUND_S, EngineHouse
from tests.skills.house import House

pytestmark = pytest.mark.anyio

ITEMS, BATCH, FROM = 220, 20, 110
"""Of the items, those from the last number on are held."""

TEXT = many(mode="collect").replace("max_concurrency: 4", "max_concurrency: 8")


class Holding(Taking):
    """The tool `take`, which holds the items from `FROM` on until it is told to go on."""

    def __init__(self, house: EngineHouse, *bad: str) -> None:
        super().__init__(house, *bad)
        self.go_on = anyio.Event()

    async def take(self, invocation: ToolInvocation) -> ToolOutcome:
        if int(str(invocation.arguments["id"])[1:]) >= FROM:
            await self.go_on.wait()
        return await super().take(invocation)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.activities.foreach.BATCH_ITEMS", BATCH)


async def shows(house: EngineHouse, who: Principal, run: Run, expected: ForeachProgress) -> None:
    """Wait until a run has just one foreach, so far as expected."""
    found: Any = None
    with anyio.fail_after(BOUND_S):
        while found != {run.run_id: [expected]}:
            found = await house.store.foreaches(who, [run.run_id])
            await house.store.wait(who, run.run_id, after=1_000, timeout_s=0.1)


async def test_a_run_shows_how_many_items_of_its_batches_are_over_have_failed_and_are_under_way(
    house: EngineHouse, alice: Principal, tmp_path: Path, small: None
) -> None:
    tool = Holding(house, "n3", "n77")
    tools = House(house.database, tmp_path)
    tools.services = replace(tools.services, control=house.control, runs=house.store)
    run = await house.start(alice, TEXT, {"items": numbered(ITEMS)})
    try:
        await shows(
            house,
            alice,
            run,
            ForeachProgress(step="1.each", node="each", items=ITEMS, over=FROM, failed=2, running=8),
        )
        view = await tools.call(alice, "get_run", run_id=run.run_id)
        assert view["foreaches"] == [
            {"step": "1.each", "node": "each", "items": ITEMS, "done": FROM - 2, "failed": 2, "running": 8}
        ]
        (row,) = [one for one in (await tools.call(alice, "list_runs"))["runs"] if one["run_id"] == run.run_id]
        assert row["progress"] == "each: 110 of 220, 2 failed, 8 running"
        definition = parse_definition(TEXT)
        now = await house.store.get(alice, run.run_id)
        records = await house.store.audit(alice, run.run_id)
        foreaches = (await house.store.foreaches(alice, [run.run_id]))[run.run_id]
        state = state_of(now, definition, records, (), foreaches)
        assert (state.states["nodes/each"], state.counts["nodes/each"]) == (
            "running",
            "110 of 220, 2 failed, 8 running",
        )
        assert "110 of 220, 2 failed, 8 running" in as_mermaid(definition, state)
        sight = RunSight(alice, now, (), records, (), (), foreaches, definition, state)
        page = str(live_parts(sight))
        assert "<dt>Items</dt><dd>1.each: 110 of 220, 2 failed, 8 running</dd>" in page
        # Of the five batches that are over the run has one event each, and nothing of their items.
        told = await house.store.events(alice, run.run_id, types=["foreach.batch"])
        assert sorted((one.data["first"], one.data["count"], one.data["status"]) for one in told) == [
            (number * BATCH, BATCH, "completed") for number in range(FROM // BATCH)
        ]
        assert len(records) == 1
    finally:
        tool.go_on.set()
    ended = await house.finished(alice, run)
    assert ended.status == "completed"
    expected = ForeachProgress(step="1.each", node="each", items=ITEMS, over=ITEMS, failed=2)
    assert await house.store.foreaches(alice, [run.run_id]) == {run.run_id: [expected]}
    records = await house.store.audit(alice, run.run_id)
    assert state_of(ended, definition, records, (), [expected]).counts["nodes/each"] == "220 of 220, 2 failed"
    history = await house.client.get_workflow_handle(run.ref.workflow_id).fetch_history()
    assert len(history.events) < ITEMS, "the history of the run grows with its batches, not with its items"
    stranger = Principal(tenant="other", subject="alice", roles=frozenset({"operator"}))
    assert await house.store.foreaches(stranger, [run.run_id]) == {}
    mallory = Principal(tenant="local", subject="mallory")
    assert await house.store.foreaches(mallory, [run.run_id]) == {}


CHOICE = """take: {type: branch, take: every, arms: [
  {name: near, body: {start: look, nodes: {look: {type: wait, for: PT0S, next: [{to: seen}]},
                                           seen: {type: wait, for: PT0S}}}}],
  next: [{to: over, trigger: user}, {to: on, trigger: user}]},
over: {type: wait, for: PT0S},
on: {type: wait, event: {name: never}}
"""


async def test_an_item_counts_as_over_only_when_nothing_in_it_and_no_person_can_lead_on(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.process.run.foreach.MAX_INLINE", 2)
    monkeypatch.setattr("server.activities.foreach.MAX_INLINE", 2)
    text = many(CHOICE).replace("fields: [item, took]", "fields: [item]")
    run = await house.start(alice, text, {"items": numbered(3)})
    await house.asked(alice, run, 2)
    expected = ForeachProgress(step="1.each", node="each", items=3, over=0, running=2)
    await shows(house, alice, run, expected)
    (batch,) = await batches_of(house, alice, run.run_id)
    for number, to in ((0, "over"), (1, "on")):
        step = f"1.each[n{number}]/1.take"
        control = Control(action="advance", by=OLE, target=step, to=to)
        await house.control.control(OLE, batch.run_id, control)
    await house.asked(alice, run, 1)
    await shows(house, alice, run, expected.model_copy(update={"over": 1}))
    await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))
    await house.finished(alice, run)
    await shows(house, alice, run, expected.model_copy(update={"over": 1, "running": 0}))
