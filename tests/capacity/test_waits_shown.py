"""A run that waits for the capacity of a model says so: for which, why, until when; nothing is written for it."""

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from content.blobs import Blobs
from content.database import Database
from engine.errors import NotFound
from engine.routes import Route
from engine.runs import Change, Run, StartRun
from engine.values import Principal
from providers.errors import NotYet, Overloaded
from server.capacity import Asking, Capacity, failure_of
from server.hub import Hub
from server.keys import KeyRing
from server.models import place_of
from server.pages.viewer_parts import RunSight, live_parts
from server.store.capacity import SqlCapacity
from server.store.runs import SqlRunStore
from skills.runs import RunView, get_run
from skills.services import ToolContext
from tests.capacity.simulation import PLACE
from tests.server.agent_house import PATIENCE_S, AgentHouse, agent_house

pytestmark = pytest.mark.anyio

BUSY = failure_of(Overloaded("busy", provider="simulated", retry_after_s=600.0))


async def running(store: SqlRunStore, principal: Principal) -> Run:
    run, _ = await store.create(principal, StartRun(kind="agent", definition="a", version="1", input={}))
    await store.apply(Change(run=run.ref, key="started", status="running"))
    return await store.get(principal, run.run_id)


async def test_a_run_tells_what_it_waits_for_as_long_as_it_has_a_place_in_the_queue(
    database: Database, tmp_path: Path, alice: Principal, mallory: Principal
) -> None:
    store = SqlRunStore(database, Blobs(tmp_path), KeyRing.in_memory(), Hub())
    gates = Capacity(SqlCapacity(database))
    run, beside, foreign = [await running(store, one) for one in (alice, alice, mallory)]
    assert BUSY is not None
    await gates.store.fail(PLACE, alice.tenant, "", BUSY, gates.clock())
    ticket = f"{run.run_id}/model_turn/1"
    with pytest.raises(NotYet) as told:
        await gates.enter(PLACE, alice.tenant, 10, 10, Asking(ticket, run.ref))
    until = datetime.fromtimestamp(told.value.until, UTC).isoformat(timespec="seconds")
    waits = await store.get(alice, run.run_id)
    assert waits == run.model_copy(update={"waits_for": f"capacity of simulated/model (overloaded), until {until}"})
    assert (await store.get(alice, beside.run_id)).waits_for == ""
    assert (await store.get(mallory, foreign.run_id)).waits_for == ""
    with pytest.raises(NotFound):
        await store.get(mallory, run.run_id)
    shown = str(live_parts(RunSight(viewer=alice, run=waits, tasks=(), records=(), children=(), artifacts=())))
    assert waits.waits_for in shown
    await gates.store.withdraw(PLACE, alice.tenant, ticket, gates.clock())
    assert await store.get(alice, run.run_id) == run


async def test_an_agent_that_waits_holds_no_slot_and_shows_its_wait(tmp_path: Path, alice: Principal) -> None:
    async with agent_house(tmp_path) as house:
        talk = house.talk("done")
        models, capacity = house.platform.models, house.platform.capacity
        place = await place_of(models.accounts, alice.tenant, Route(provider="scripted", model=talk.name))
        assert BUSY is not None
        await capacity.store.fail(place, alice.tenant, "", BUSY, capacity.clock())
        run = await house.start(alice, talk)
        view = await looked_at(house, alice, run)
        assert view.status == "running"
        assert view.waits_for.startswith(f"capacity of {talk.route} (overloaded), until 20")
        assert [event.type for event in view.events if "wait" in event.type or "capacity" in event.type] == []
        description = await house.handle(run).describe()
        assert (len(description.raw_description.pending_activities), len(talk.requests)) == (0, 0)
        await house.handle(run).cancel()
        ended = await house.until(run, lambda now: now.finished)
        assert (ended.status, ended.waits_for) == ("cancelled", "")


async def looked_at(house: AgentHouse, principal: Principal, run: Run) -> RunView:
    """Return the run as its tool shows it, once it waits and its activity is over."""
    ctx = ToolContext(principal=principal, services=house.platform.services, key="k")
    with anyio.fail_after(PATIENCE_S):
        while True:
            view = await get_run.function(ctx, run_id=run.run_id)
            pending = (await house.handle(run).describe()).raw_description.pending_activities
            if view.waits_for and not pending:
                return view
            await anyio.lowlevel.checkpoint()
