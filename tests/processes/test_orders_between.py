"""Orders for a node that the run is just coming to: the store names it a moment before it is under way."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from engine.errors import Conflict, Invalid
from engine.ports import ToolInvocation, ToolOutcome
from engine.runs import Change, Recorded, Run
from engine.values import Principal
from tests.processes.seats import outcome, person, say
from tests.processes.test_operations import OLE, ORDER, audited, steer
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio

CALLED = """
format: 1
process: called
context:
  schema: {type: object, additionalProperties: false, properties: {price: {type: object}, told: {type: object}}}
start: price
nodes:
  price: {type: tool, tool: price, writes: [price], next: [{to: told}]}
  told: {type: wait, event: {name: never}, writes: [told], next: [{to: done}, {to: priced}]}
  done: {type: end, outcome: done, output: {var: told}}
  priced: {type: end, outcome: priced}
"""

ORDERED = pytest.mark.parametrize(
    ("verb", "more", "expected"),
    [
        ("advance", {"to": "priced"}, "priced"),
        ("advance", {"target": "told", "to": "priced"}, "priced"),
        ("skip", {"values": {"told": {"by": "hand"}}}, "done"),
        ("skip", {"target": "told", "values": {"told": {"by": "hand"}}}, "done"),
    ],
)


def price(invocation: ToolInvocation) -> ToolOutcome:
    return ToolOutcome(outcome="ok", value={"total": 5})


@asynccontextmanager
async def held(
    house: EngineHouse, patch: pytest.MonkeyPatch, at: Callable[[Change], bool]
) -> AsyncGenerator[anyio.Event]:
    """Have a change of a run in the store, while its workflow does not know so until an order has come to it.

    Gives the moment from which the change is there.
    """
    there, looked = anyio.Event(), anyio.Event()
    apply, update = house.store.apply, house.control._update  # pyright: ignore[reportPrivateUsage]

    async def hold(change: Change) -> Recorded:
        done = await apply(change)
        if at(change) and not there.is_set():
            there.set()
            await looked.wait()
        return done

    async def ordered(run: Run, name: str, message: Any, *more: Any, **options: Any) -> Any:
        try:
            return await update(run, name, message, *more, **options)
        finally:
            if name == "control":
                looked.set()

    patch.setattr(house.store, "apply", hold)
    patch.setattr(house.control, "_update", ordered)
    with anyio.fail_after(BOUND_S):
        try:
            yield there
        finally:
            looked.set()


@ORDERED
async def test_an_order_for_the_node_that_comes_next_is_carried_out_as_soon_as_that_is_under_way(
    house: EngineHouse,
    alice: Principal,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    more: dict[str, Any],
    expected: str,
) -> None:
    house.tools["price"] = price
    async with held(house, monkeypatch, lambda change: change.position == "told") as there:
        run = await house.start(alice, CALLED)
        await there.wait()
        assert (await house.store.get(alice, run.run_id)).position == "told"
        await steer(house, OLE, run, verb, **more)
    assert outcome((await house.finished(alice, run)).result) == expected
    (record,) = await audited(house, run, "node.skipped")
    assert (record.actor, record.node) == ("ole", "told")


async def test_an_order_for_the_first_node_waits_until_the_run_has_begun(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held(house, monkeypatch, lambda change: change.key == "started") as there:
        run = await house.start(alice, CALLED.replace("start: price", "start: told"))
        await there.wait()
        assert (await house.store.get(alice, run.run_id)).position == "told"
        await steer(house, OLE, run, "advance", to="priced")
    assert outcome((await house.finished(alice, run)).result) == "priced"


async def test_an_order_for_a_node_that_is_just_decided_is_for_the_choice_behind_it(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await house.start(alice, ORDER)
    await house.asked(alice, run)
    await steer(house, OLE, run, "skip", values={"price": {"total": 5}})
    (task,) = await house.asked(alice, run)
    async with (
        held(house, monkeypatch, lambda change: change.key == "step/2.approve") as there,
        anyio.create_task_group() as group,
    ):
        group.start_soon(say, house, person("fay"), task, "approve")
        await there.wait()
        await steer(house, person("una", "operator"), run, "advance", to="fetched")
    assert outcome((await house.finished(alice, run)).result) == "fetched"


async def test_what_is_no_order_for_the_node_that_comes_next_is_refused_for_what_is_wrong_with_it(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.tools["price"] = price
    async with held(house, monkeypatch, lambda change: change.position == "told") as there:
        run = await house.start(alice, CALLED)
        await there.wait()
        with pytest.raises(Invalid, match=r"no transition of told leads to 'price'"):
            await steer(house, OLE, run, "advance", to="price")
        with pytest.raises(Invalid, match=r"'price' is not under way; what is: 2\.told"):
            await steer(house, OLE, run, "retry", target="price")
    await steer(house, alice, run, "cancel")
    await house.finished(alice, run)
    with pytest.raises(Conflict, match="nothing is left to advance"):
        await steer(house, OLE, run, "advance", to="priced")
