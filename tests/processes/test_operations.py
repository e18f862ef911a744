"""Operations on a run: nodes done again, skipped or left by hand, the context changed; ways on that people choose."""

from typing import Any

import anyio
import pytest

from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.ports import Control, ToolInvocation, ToolOutcome
from engine.runs import AuditRecord, Run
from engine.values import Principal
from tests.processes.seats import outcome, person, say
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

OLE = person("ole", "operator")

ORDER = """
format: 1
process: order
input: {type: object, properties: {amount: {type: integer}}}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      amount: {type: integer, minimum: 0}
      price: {type: object, properties: {total: {type: number}}, required: [total]}
      approval: {type: object}
  initial: {amount: 1}
start: price
nodes:
  price:
    type: supervisor
    seat: {roles: [nobody_has_it]}
    ask: {title: What does it cost?}
    decisions: [told]
    writes: [price]
    max_visits: 1
    deadline: P9D
    on_timeout: {to: late}
    next: [{to: approve, when: {"<=": [{var: price.total}, 100]}}, {to: dear, when: {">": [{var: price.total}, 100]}}]
  approve:
    type: supervisor
    seat: {roles: [finance]}
    four_eyes: true
    ask: {title: "Order {{amount}}?"}
    decisions: [approve, reject]
    writes: [approval]
    deadline: P9D
    on_timeout: {to: late}
    next:
      - {to: sent, trigger: user, label: by post, when: {"<": [{var: amount}, 10]}}
      - {to: fetched, trigger: user, label: somebody fetches it}
      - {to: shipped, trigger: user, when: {">=": [{var: amount}, 10]}}
  dear: {type: end, outcome: dear}
  late: {type: end, outcome: late}
  sent: {type: end, outcome: sent, output: {var: amount}}
  fetched: {type: end, outcome: fetched}
  shipped: {type: end, outcome: shipped}
"""


async def steer(house: EngineHouse, who: Principal, run: Run, action: str, **more: Any) -> Run:
    """Give a control verb."""
    control = Control.model_validate({"action": action, "by": who, **more})
    return await house.control.control(who, run.run_id, control)


async def audited(house: EngineHouse, run: Run, *actions: str) -> list[AuditRecord]:
    """Return the records of some actions."""
    return [one for one in await house.store.audit(run.principal, run.run_id) if one.action in actions]


async def test_a_skipped_node_gets_writes_of_its_own_types_and_its_guards_decide_where_it_goes_on(
    house: EngineHouse, alice: Principal
) -> None:
    run = await house.start(alice, ORDER)
    (task,) = await house.asked(alice, run)
    with pytest.raises(Invalid, match=r"price can't be skipped so: .*cheap"):
        await steer(house, OLE, run, "skip", target="price", values={"price": {"total": "cheap"}})
    with pytest.raises(Invalid, match="wrote amount, but declares only"):
        await steer(house, OLE, run, "skip", target="price", values={"amount": 3})
    with pytest.raises(Invalid, match="price"):
        await steer(house, OLE, run, "skip", target="price")
    with pytest.raises(Invalid, match=r"'pay' is not under way; what is: 1\.price"):
        await steer(house, OLE, run, "skip", target="pay", values={})
    assert (await house.store.get(alice, run.run_id)).position == "price"
    await steer(house, OLE, run, "skip", target="price", values={"price": {"total": 500}}, reason="from the list")
    assert outcome((await house.finished(alice, run)).result) == "dear"
    assert (await house.store.task(alice, task.task_id)).status == "cancelled"
    (record,) = await audited(house, run, "node.skipped")
    assert (record.actor, record.node, record.data["reason"], record.data["to"]) == (
        "ole", "price", "from the list", "dear"
    )  # fmt: skip
    assert record.data["patch"] == [{"op": "add", "path": "/price", "value": {"total": 500}}]


async def test_a_retried_node_asks_anew_though_its_visits_are_used_up(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, ORDER)
    (first,) = await house.asked(alice, run)
    await steer(house, OLE, run, "retry")
    (second,) = await house.asked(alice, run)
    assert (await house.store.task(alice, first.task_id)).status == "cancelled"
    assert first.task_id != second.task_id
    assert [one.actor for one in await audited(house, run, "node.retried")] == ["ole"]
    await steer(house, alice, run, "cancel")


async def test_one_advances_only_along_declared_ways_that_are_open(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, ORDER)
    await house.asked(alice, run)
    with pytest.raises(Invalid, match="no transition of price leads to 'sent'; open now: late"):
        await steer(house, OLE, run, "advance", to="sent")
    with pytest.raises(Invalid, match="the guard of price to approve does not hold"):
        await steer(house, OLE, run, "advance", to="approve")
    await steer(house, OLE, run, "set_context", values={"price": {"total": 5}})
    await steer(house, OLE, run, "advance", to="approve")
    (task,) = await house.asked(alice, run)
    assert task.node == "approve"
    assert task.seat.excluded == ("alice", "ole"), "whoever set what is decided does not decide on it"
    await steer(house, alice, run, "cancel")


async def test_four_eyes_are_not_skipped_by_whoever_they_bar(house: EngineHouse) -> None:
    starter = person("sam", "finance", "operator")
    run = await house.start(starter, ORDER)
    await house.asked(starter, run)
    await steer(house, OLE, run, "skip", values={"price": {"total": 5}})
    await house.asked(starter, run)
    for verb, more in (("skip", {"values": {"approval": {}}}), ("advance", {"to": "fetched"})):
        with pytest.raises(Denied, match=r"sam is excluded \(four eyes\)"):
            await steer(house, starter, run, verb, **more)
        with pytest.raises(Denied, match=r"ole is excluded \(four eyes\)"):
            await steer(house, OLE, run, verb, **more)
    assert (await house.store.get(starter, run.run_id)).position == "approve"
    await steer(house, starter, run, "cancel")


async def test_a_person_chooses_among_the_ways_whose_guards_hold_then(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, ORDER)
    await house.asked(alice, run)
    await steer(house, OLE, run, "skip", values={"price": {"total": 5}})
    (task,) = await house.asked(alice, run)
    await say(house, person("fay"), task, "approve")
    (choice,) = await house.asked(alice, run)
    assert (choice.decisions, choice.description) == (
        ("sent", "fetched"),
        "sent: by post\nfetched: somebody fetches it",
    )
    assert (await house.store.get(alice, run.run_id)).position == "approve"
    with pytest.raises(Denied, match="does not hold the seat"):
        await say(house, person("fay"), choice, "sent")
    with pytest.raises(Invalid, match="shipped"):
        await say(house, alice, choice, "shipped")
    await steer(house, OLE, run, "set_context", values={"amount": 12})
    with pytest.raises(Invalid, match="the guard of approve to 'sent' does not hold"):
        await say(house, alice, choice, "sent")
    await steer(house, OLE, run, "set_context", patch=[{"op": "replace", "path": "/amount", "value": 2}])
    await say(house, alice, choice, "sent")
    assert (await house.finished(alice, run)).result == {"outcome": "sent", "output": 2}
    (record,) = await audited(house, run, "node.advanced")
    assert (record.actor, record.data["to"]) == ("alice", "sent")
    guards = record.data["guards"]
    assert isinstance(guards, list)
    assert isinstance(guards[0], dict)
    assert guards[0]["holds"] is True


async def test_an_operator_advances_a_run_that_waits_for_a_choice(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, ORDER)
    await house.asked(alice, run)
    await steer(house, OLE, run, "skip", values={"price": {"total": 5}})
    (task,) = await house.asked(alice, run)
    await say(house, person("fay"), task, "approve")
    await house.asked(alice, run)
    with pytest.raises(Conflict, match="approve is done"):
        await steer(house, OLE, run, "retry")
    with pytest.raises(Invalid, match=r"guard of approve to 'shipped' does not hold"):
        await steer(house, OLE, run, "advance", to="shipped")
    await steer(house, OLE, run, "advance", to="fetched")
    assert outcome((await house.finished(alice, run)).result) == "fetched"


async def test_the_context_is_changed_within_its_schema_with_actor_and_difference_in_the_audit(
    house: EngineHouse, alice: Principal
) -> None:
    run = await house.start(alice, ORDER)
    await house.asked(alice, run)
    for values in ({"amount": -1}, {"amount": "two"}, {"colour": "red"}):
        with pytest.raises(Invalid, match="the context's schema refuses it"):
            await steer(house, OLE, run, "set_context", values=values)
    with pytest.raises(Invalid, match="nothing in the context would change"):
        await steer(house, OLE, run, "set_context", values={"amount": 1})
    with pytest.raises(Invalid, match="there is nothing at /price/total"):
        await steer(house, OLE, run, "set_context", patch=[{"op": "replace", "path": "/price/total", "value": 1}])
    assert not await audited(house, run, "context.set")
    await steer(house, OLE, run, "set_context", values={"amount": 7}, reason="typing error")
    (record,) = await audited(house, run, "context.set")
    assert (record.actor, record.data["reason"]) == ("ole", "typing error")
    assert record.data["patch"] == [{"op": "replace", "path": "/amount", "value": 7}]
    await steer(house, alice, run, "cancel")


async def test_having_started_a_run_is_not_enough_to_get_it_past_a_node(house: EngineHouse) -> None:
    starter, stranger = person("sam"), Principal(tenant="local", subject="eve")
    run = await house.start(person("sam", "author"), ORDER)
    await house.asked(starter, run)
    for verb, more in (("skip", {"values": {}}), ("retry", {}), ("set_context", {"values": {"amount": 2}})):
        with pytest.raises(Denied, match="takes the role operator"):
            await steer(house, starter, run, verb, **more)
        with pytest.raises(NotFound):
            await steer(house, stranger, run, verb, **more)
        with pytest.raises(Denied, match="an agent can't"):
            await steer(house, OLE.model_copy(update={"kind": "agent"}), run, verb, **more)
    await steer(house, starter, run, "cancel")


async def test_a_paused_run_can_be_steered_past_the_node_that_comes_next(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, ORDER)
    await house.asked(alice, run)
    await steer(house, OLE, run, "pause")
    await steer(house, OLE, run, "skip", values={"price": {"total": 5}})
    await steer(house, person("una", "operator"), run, "advance", target="approve", to="fetched")
    assert (await house.store.get(alice, run.run_id)).status == "paused"
    await steer(house, OLE, run, "resume")
    assert outcome((await house.finished(alice, run)).result) == "fetched"
    assert not await house.store.tasks(alice, run_id=run.run_id, status="answered")


CALLS = """
format: 1
process: calls
context:
  schema: {type: object, additionalProperties: false, properties: {first: {type: object}, second: {type: object}}}
start: first
nodes:
  first: {type: tool, tool: fine, writes: [first], next: [{to: second}]}
  second:
    {type: tool, tool: frail, input: {seen: {var: first.key}}, writes: [second], max_visits: 1, next: [{to: done}]}
  done: {type: end, outcome: done, output: {merge: [{var: first.key}, {var: second.seen}]}}
"""


async def test_a_failed_run_is_gone_on_with_from_its_failed_node_by_a_run_of_its_own(
    house: EngineHouse, alice: Principal
) -> None:
    broken, calls = [True], list[str]()

    def fine(invocation: ToolInvocation) -> ToolOutcome:
        calls.append("fine")
        return ToolOutcome(outcome="ok", value={"key": invocation.key})

    def frail(invocation: ToolInvocation) -> ToolOutcome:
        calls.append("frail")
        if broken[0]:
            raise Invalid("the other side is down")
        return ToolOutcome(outcome="ok", value={"seen": invocation.arguments["seen"]})

    house.tools.update(fine=fine, frail=frail)
    failed = await house.finished(alice, await house.start(alice, CALLS))
    assert (failed.status, failed.error) == ("failed", "tool_error: the other side is down")
    with pytest.raises(Denied, match="takes the role operator"):
        await steer(house, person("fay"), failed, "retry")
    with pytest.raises(Conflict, match="nothing is left to skip"):
        await steer(house, OLE, failed, "skip", values={})
    broken[0] = False
    further = await steer(house, OLE, failed, "retry")
    assert (further.continues, further.run_id != failed.run_id) == (failed.run_id, True)
    assert (await steer(house, alice, failed, "retry")).run_id == further.run_id
    ended = await house.finished(alice, further)
    key = f"{failed.run_id}/1.first"
    assert ended.result == {"outcome": "done", "output": [key, key]}
    assert calls == ["fine", "frail", "frail"], "what had been done is not done again"
    assert (await house.store.get(alice, failed.run_id)).status == "failed"
    (begun,) = await audited(house, ended, "process.started")
    assert (begun.actor, begun.data["continues"]) == ("ole", failed.run_id)
    assert [one.node for one in await audited(house, ended, "node.finished")] == ["second", "done"]


async def test_a_call_that_is_under_way_is_not_broken_off(house: EngineHouse, alice: Principal) -> None:
    entered, released = anyio.Event(), anyio.Event()

    async def slow(invocation: ToolInvocation) -> ToolOutcome:
        entered.set()
        await released.wait()
        return ToolOutcome(outcome="ok", value={"key": invocation.key, "seen": 1})

    house.tools.update(fine=slow, frail=slow)
    run = await house.start(alice, CALLS)
    await entered.wait()
    try:
        for verb, more in (("skip", {"values": {}}), ("retry", {}), ("advance", {"to": "second"})):
            with pytest.raises(Conflict, match="first is at its tool call, which is not broken off"):
                await steer(house, OLE, run, verb, **more)
    finally:
        released.set()
    assert outcome((await house.finished(alice, run)).result) == "done"
