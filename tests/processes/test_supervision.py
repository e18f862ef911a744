"""A run under supervision: failures that nothing saves are put to its seat, and the seat steers within what it may."""

from collections.abc import Callable

import pytest

from engine.errors import Conflict, Denied, Invalid
from engine.ports import Control, ToolInvocation, ToolOutcome
from engine.runs import Run
from engine.values import Principal
from tests.processes.seats import outcome, person, say
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

LEA, OLE = person("lea", "lead"), person("ole", "operator")

BOOK = """
format: 1
process: book
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      room: {type: object, properties: {price: {type: integer}}, required: [price]}
      seen: {type: object}
      list: {type: array}
  initial: {list: [1, 2]}
supervision: {seat: {roles: [lead]}, may: [MAY]}
start: book
nodes:
  book: {type: tool, tool: book, writes: [room], next: [{to: dear, when: {">": [{var: room.price}, 100]}}, {to: done}]}
  dear: {type: end, outcome: dear}
  done: {type: end, outcome: done, output: {var: room.price}}
"""


def book(may: str = "skip, retry, set_context, pause") -> str:
    """Return the definition with what its seat may do."""
    return BOOK.replace("MAY", may)


def down(invocation: ToolInvocation) -> ToolOutcome:
    """Fail."""
    raise Invalid("the hotel is down")


def room(price: int) -> Callable[[ToolInvocation], ToolOutcome]:
    """Return a tool that books at a price."""
    return lambda invocation: ToolOutcome(outcome="ok", value={"price": price})


async def test_an_unhandled_failure_parks_the_run_until_the_seat_lets_the_node_be_done_again(
    house: EngineHouse, alice: Principal
) -> None:
    house.tools["book"] = down
    run = await house.start(alice, book())
    (task,) = await house.asked(alice, run)
    assert (task.title, task.description) == ("book failed: tool_error", "the hotel is down")
    assert (task.decisions, task.seat.roles) == (("retry", "skip", "cancel"), ("lead",))
    found = await house.store.get(alice, run.run_id)
    assert (found.status, found.position) == ("waiting", "book")
    with pytest.raises(Denied, match="does not hold the seat"):
        await say(house, person("fay"), task, "skip", room={"price": 1})
    house.tools["book"] = room(70)
    await say(house, LEA, task, "retry")
    assert (await house.finished(alice, run)).result == {"outcome": "done", "output": 70}
    actions = [one.action for one in await house.store.audit(alice, run.run_id)]
    assert actions == [
        "process.started", "node.failed", "task.opened", "task.decision", "node.retried", "node.finished",
        "node.finished", "process.completed",
    ]  # fmt: skip
    retried = (await house.store.audit(alice, run.run_id))[4]
    assert (retried.actor, retried.node) == ("lea", "book")


async def test_what_the_seat_gives_in_the_place_of_a_node_has_its_types_and_meets_its_guards(
    house: EngineHouse, alice: Principal
) -> None:
    house.tools["book"] = down
    run = await house.start(alice, book())
    (task,) = await house.asked(alice, run)
    with pytest.raises(Invalid, match="price"):
        await say(house, LEA, task, "skip", room={"price": "cheap"})
    with pytest.raises(Invalid, match="seen"):
        await say(house, LEA, task, "skip", seen={})
    with pytest.raises(Invalid, match="book can't be skipped so"):
        await say(house, LEA, task, "skip")
    assert (await house.store.task(alice, task.task_id)).status == "open"
    await say(house, LEA, task, "skip", room={"price": 500})
    assert outcome((await house.finished(alice, run)).result) == "dear"


async def test_the_seat_may_end_a_parked_run_and_an_operator_may_order_past_its_task(
    house: EngineHouse, alice: Principal
) -> None:
    house.tools["book"] = down
    run = await house.start(alice, book())
    (task,) = await house.asked(alice, run)
    await say(house, LEA, task, "cancel")
    ended = await house.finished(alice, run)
    assert (ended.status, ended.error) == ("cancelled", "cancel by lea")
    other = await house.start(alice, book())
    (task,) = await house.asked(alice, other)
    skip = Control(action="skip", by=OLE, values={"room": {"price": 3}})
    await house.control.control(OLE, other.run_id, skip)
    assert (await house.finished(alice, other)).result == {"outcome": "done", "output": 3}
    assert (await house.store.task(alice, task.task_id)).status == "cancelled"
    with pytest.raises(Conflict):
        await say(house, LEA, task, "retry")


async def test_the_seat_does_by_control_verb_what_it_may_and_nothing_else(house: EngineHouse, alice: Principal) -> None:
    house.tools["book"] = down
    run = await house.start(alice, book("retry, set_context"))
    (task,) = await house.asked(alice, run)
    assert task.decisions == ("retry", "cancel")
    # Without any role that sees runs: the open task is enough.
    unseeing = Principal(tenant="local", subject="lea", roles=frozenset({"lead"}))

    async def steer(**control: object) -> Run:
        order = Control.model_validate({"by": unseeing, **control})
        return await house.control.control(unseeing, run.run_id, order)

    for verb in ("skip", "advance", "pause", "cancel"):
        with pytest.raises(Denied, match=f"to {verb} this run takes the role operator, or the seat"):
            await steer(action=verb)
    await steer(action="set_context", values={"seen": {"by": "lea"}})
    house.tools["book"] = room(5)
    await steer(action="retry")
    assert outcome((await house.finished(alice, run)).result) == "done"
    acted = [(one.actor, one.action) for one in await house.store.audit(alice, run.run_id) if one.actor == "lea"]
    assert acted == [("lea", "context.set"), ("lea", "node.retried")]


INSIDE = """
format: 1
process: inside
context:
  schema:
    type: object
    additionalProperties: false
    properties: {list: {type: array}, got: {type: array}, one: {type: object}}
  initial: {list: [1, 2]}
supervision: {seat: {roles: [lead]}}
start: each
nodes:
  each:
    type: foreach
    items: {var: list}
    as: item
    on_error: MODE
    collect: {into: got, fields: [item, one]}
    writes: [got]
    body:
      start: call
      nodes: {call: {type: tool, tool: call, input: {item: {var: item}}, writes: [one]}}
    next: [{to: done}]
  done: {type: end, outcome: done, output: {var: got}}
"""


async def test_a_failure_inside_a_node_is_put_to_the_seat_where_it_stands_unless_that_node_lives_with_it(
    house: EngineHouse, alice: Principal
) -> None:
    calls: list[object] = []
    broken = [True]

    def call(invocation: ToolInvocation) -> ToolOutcome:
        calls.append(invocation.arguments["item"])
        if invocation.arguments["item"] == 2 and broken[0]:
            raise Invalid("no two")
        return ToolOutcome(outcome="ok", value={"of": invocation.arguments["item"]})

    house.tools["call"] = call
    run = await house.start(alice, INSIDE.replace("MODE", "fail"))
    (task,) = await house.asked(alice, run)
    assert task.node == "call"
    broken[0] = False
    await say(house, LEA, task, "retry")
    ended = await house.finished(alice, run)
    assert ended.result == {"outcome": "done", "output": [{"item": 1, "one": {"of": 1}}, {"item": 2, "one": {"of": 2}}]}
    assert sorted(str(one) for one in calls) == ["1", "2", "2"], "what was done is not done again"
    broken[0] = True
    collected = await house.finished(alice, await house.start(alice, INSIDE.replace("MODE", "collect")))
    assert collected.status == "completed"
    assert not await house.store.tasks(alice, status=None, run_id=collected.run_id)
