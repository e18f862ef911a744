"""The process engine on a real Temporal: every node type, every way a node can end, and decisions."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Conflict, Denied, Invalid
from engine.ports import Control, InteractionCall, RunFilter, TaskAnswer, ToolInvocation, ToolOutcome
from engine.runs import Run, StartRun
from engine.values import Principal, utc_now
from server.store import tables
from tests.server.engine_house import EngineHouse, engine_house

pytestmark = pytest.mark.anyio

INVOICE = """
format: 1
process: invoice
input: {type: object, properties: {document: {type: string}}}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      document: {type: string}
      invoice: {type: object, properties: {total: {type: number}, supplier: {type: string}}, required: [total]}
      approval: {type: object}
      payment: {type: object}
start: read
nodes:
  read:
    type: interaction
    interaction: extract
    input: {document: {var: document}}
    writes: [invoice]
    next:
      - {to: pay, when: {"<=": [{var: invoice.total}, 1000]}}
      - {to: approve}
  approve:
    type: supervisor
    seat: {roles: [finance]}
    four_eyes: true
    ask:
      title: "Pay {{invoice.supplier}}?"
      form: {type: object, properties: {note: {type: string}}, additionalProperties: false}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: rejected}
    writes: [approval]
    next: [{to: pay, when: {"==": [{var: approval.decision}, approve]}}, {to: rejected}]
  pay: {type: tool, tool: erp.pay, input: {amount: {var: invoice.total}}, writes: [payment], next: [{to: done}]}
  done: {type: end, outcome: paid, output: {var: payment}}
  rejected: {type: end, outcome: rejected}
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[EngineHouse]:
    with anyio.fail_after(40):
        async with engine_house(tmp_path / "data") as opened:
            opened.tools["erp.pay"] = pay
            yield opened


@pytest.fixture
def fay() -> Principal:
    return Principal(tenant="local", subject="fay", roles=frozenset({"finance"}))


def pay(invocation: ToolInvocation) -> ToolOutcome:
    return ToolOutcome(outcome="ok", value={"paid": invocation.arguments["amount"], "key": invocation.key})


def reading(total: float) -> dict[str, JsonValue]:
    return {"invoice": {"total": total, "supplier": "Northwind"}}


async def test_a_guard_leads_past_the_supervisor_and_the_tool_gets_its_key(
    house: EngineHouse, alice: Principal
) -> None:
    house.answers["extract"] = lambda call: reading(900)
    run = await house.finished(alice, await house.start(alice, INVOICE, {"document": "obj_1"}))
    assert run.status == "completed", run.error
    assert run.result == {"outcome": "paid", "output": {"paid": 900, "key": f"{run.run_id}/2.pay"}}
    assert run.spent.turns == 1
    audit = await house.store.audit(alice, run.run_id)
    assert [record.action for record in audit] == [
        "process.started",
        "node.finished",
        "node.finished",
        "node.finished",
        "process.completed",
    ]
    assert audit[1].data["guards"][0]["holds"] is True  # type: ignore[index,call-overload]
    assert (await house.store.verify_audit(alice, run.run_id)).anchored


async def test_a_decision_lands_once_and_the_second_is_told_who_was_first(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    house.answers["extract"] = lambda call: reading(5000)
    started = await house.start(alice, INVOICE, {"document": "obj_1"})
    (task,) = await house.asked(alice, started)
    assert task.title == "Pay Northwind?"
    with pytest.raises(Denied, match="alice is excluded"):
        await house.control.answer(alice, task.task_id, TaskAnswer(task_id=task.task_id, by=alice, decision="approve"))
    with pytest.raises(Invalid, match="maybe"):
        await house.control.answer(fay, task.task_id, TaskAnswer(task_id=task.task_id, by=fay, decision="maybe"))
    bad = TaskAnswer(task_id=task.task_id, by=fay, decision="approve", values={"note": 1})
    with pytest.raises(Invalid, match=r"values\.note"):
        await house.control.answer(fay, task.task_id, bad)
    good = TaskAnswer(task_id=task.task_id, by=fay, decision="approve", values={"note": "fine"})
    closed = await house.control.answer(fay, task.task_id, good)
    assert (closed.status, closed.answered_by) == ("answered", "fay")
    gus = fay.model_copy(update={"subject": "gus"})
    with pytest.raises(Conflict, match=r"already decided by fay \(approve\)"):
        await house.control.answer(gus, task.task_id, TaskAnswer(task_id=task.task_id, by=gus, decision="reject"))
    run = await house.finished(alice, started)
    assert run.result == {"outcome": "paid", "output": {"paid": 5000, "key": f"{run.run_id}/3.pay"}}
    with pytest.raises(Conflict, match="already decided by fay"):
        await house.control.answer(gus, task.task_id, TaskAnswer(task_id=task.task_id, by=gus, decision="reject"))


async def test_of_two_decisions_in_one_moment_one_counts(house: EngineHouse, alice: Principal, fay: Principal) -> None:
    house.answers["extract"] = lambda call: reading(5000)
    started = await house.start(alice, INVOICE, {"document": "obj_1"})
    (task,) = await house.asked(alice, started)
    people = [fay.model_copy(update={"subject": f"f{number}"}) for number in range(6)]
    accepted: list[str] = []
    refused: list[str] = []

    async def decide(who: Principal) -> None:
        decision = "approve" if int(who.subject[1:]) % 2 else "reject"
        try:
            await house.control.answer(who, task.task_id, TaskAnswer(task_id=task.task_id, by=who, decision=decision))
            accepted.append(who.subject)
        except Conflict as conflict:
            refused.append(conflict.message)

    async with anyio.create_task_group() as group:
        for who in people:
            group.start_soon(decide, who)
    assert len(accepted) == 1
    assert len(refused) == 5
    assert all(f"already decided by {accepted[0]}" in message for message in refused)
    decided = [record for record in await house.store.audit(alice, started.run_id) if record.action == "task.decision"]
    assert [record.actor for record in decided] == accepted


CHECKED = """
format: 1
process: checked
context:
  schema: {type: object, additionalProperties: false, properties: {value: {type: integer}, note: {type: string}}}
start: work
nodes:
  work:
    type: interaction
    interaction: extract
    writes: [value]
    retry: {max_attempts: 1}
    on_error: [{match: [invalid_output, undeclared_write], to: caught}]
    next: [{to: done}]
  caught: {type: end, outcome: caught}
  done: {type: end, outcome: done}
"""


@pytest.mark.parametrize(
    ("output", "outcome"),
    [({"value": 1}, "done"), ({"value": "one"}, "caught"), ({"value": 1, "note": "x"}, "caught")],
)
async def test_a_result_that_breaks_its_declaration_is_an_error_the_definition_can_handle(
    house: EngineHouse, alice: Principal, output: JsonValue, outcome: str
) -> None:
    house.answers["extract"] = lambda call: output
    run = await house.finished(alice, await house.start(alice, CHECKED))
    assert isinstance(run.result, dict)
    assert run.result["outcome"] == outcome


async def test_a_guard_that_reads_what_is_not_there_fails_the_run_and_says_so(
    house: EngineHouse, alice: Principal
) -> None:
    house.answers["extract"] = lambda call: {}
    text = CHECKED.replace(
        "next: [{to: done}]\n  caught", "next: [{to: done, when: {'<': [{var: value}, 10]}}, {to: caught}]\n  caught"
    )
    run = await house.finished(alice, await house.start(alice, text))
    assert run.status == "failed"
    assert run.error is not None
    assert "value" in run.error


PARALLEL = """
format: 1
process: parallel
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      items: {type: array, items: {type: integer}}
      doubled: {type: array}
      left: {type: object}
      right: {type: object}
      twice: {type: object}
  initial: {items: [3, 1, 2]}
start: each
nodes:
  each:
    type: foreach
    items: {var: items}
    as: item
    max_concurrency: 2
    on_error: collect
    collect: {into: doubled, fields: [item, twice]}
    writes: [doubled]
    body:
      start: double
      nodes:
        double: {type: tool, tool: double, input: {value: {var: item}}, writes: [twice]}
    next: [{to: both}]
  both:
    type: branch
    take: every
    join: all
    arms:
      - name: left
        body: {start: l, nodes: {l: {type: tool, tool: double, input: {value: 10}, writes: [left]}}}
      - name: right
        body: {start: r, nodes: {r: {type: tool, tool: double, input: {value: 20}, writes: [right]}}}
      - name: never
        when: false
        body: {start: n, nodes: {n: {type: tool, tool: missing}}}
    next: [{to: done}]
  done: {type: end, outcome: done, output: {merge: [{var: doubled}, {var: left.value}, {var: right.value}]}}
"""


async def test_items_keep_their_order_failures_are_collected_and_arms_join(
    house: EngineHouse, alice: Principal
) -> None:
    def double(invocation: ToolInvocation) -> ToolOutcome:
        value = invocation.arguments["value"]
        assert isinstance(value, int)
        if value == 1:
            raise Invalid("one is not doubled")
        return ToolOutcome(outcome="ok", value={"value": value * 2})

    house.tools["double"] = double
    run = await house.finished(alice, await house.start(alice, PARALLEL))
    assert run.status == "completed", run.error
    assert run.result == {
        "outcome": "done",
        "output": [
            {"item": 3, "twice": {"value": 6}},
            {"item": 1, "error": {"kind": "tool_error", "message": "one is not doubled"}},
            {"item": 2, "twice": {"value": 4}},
            20,
            40,
        ],
    }


async def test_an_unknown_outcome_is_routed_and_never_repeated(house: EngineHouse, alice: Principal) -> None:
    calls: list[str] = []

    def vanish(invocation: ToolInvocation) -> ToolOutcome:
        calls.append(invocation.key)
        return ToolOutcome(outcome="unknown", text="interrupted")

    house.answers["extract"] = lambda call: reading(900)
    house.tools["erp.pay"] = vanish
    text = INVOICE.replace(
        "writes: [payment], next: [{to: done}]}",
        "writes: [payment], on_error: [{match: [outcome_unknown], to: rejected}], next: [{to: done}]}",
    )
    run = await house.finished(alice, await house.start(alice, text, {"document": "obj_1"}))
    assert isinstance(run.result, dict)
    assert (run.result["outcome"], len(calls)) == ("rejected", 1)


async def test_a_paused_run_goes_no_further_and_a_stopped_one_ends_and_closes_its_task(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    house.answers["extract"] = lambda call: reading(5000)
    started = await house.start(alice, INVOICE, {"document": "obj_1"})
    (task,) = await house.asked(alice, started)
    paused = await house.control.control(alice, started.run_id, Control(action="pause", by=alice))
    assert paused.status == "paused"
    resumed = await house.control.control(alice, started.run_id, Control(action="resume", by=alice))
    assert resumed.status == "waiting"
    await house.control.control(alice, started.run_id, Control(action="cancel", by=alice, reason="not needed"))
    run = await house.finished(alice, started)
    assert (run.status, run.error) == ("cancelled", "not needed")
    assert (await house.store.task(alice, task.task_id)).status == "cancelled"


async def test_a_failed_call_of_a_model_fails_the_run_with_its_reason(house: EngineHouse, alice: Principal) -> None:
    def fail(call: InteractionCall) -> JsonValue:
        raise Invalid("the model gave nonsense")

    house.answers["extract"] = fail
    run = await house.finished(alice, await house.start(alice, INVOICE, {"document": "obj_1"}))
    assert (run.status, run.error) == ("failed", "invalid: the model gave nonsense")


async def _age(house: EngineHouse, run_id: str) -> None:
    """Make a row look as if nobody had touched it for a while."""
    async with house.database.write() as connection:
        await connection.execute(
            tables.runs.update().where(tables.runs.c.run_id == run_id).values(updated_at=utc_now() - timedelta(hours=1))
        )


async def test_a_row_whose_workflow_was_never_started_is_started_by_the_reconciler(
    house: EngineHouse, alice: Principal
) -> None:
    house.answers["extract"] = lambda call: {"value": 1}
    house.definitions["checked"] = CHECKED
    run, _ = await house.store.create(alice, StartRun(kind="process", definition="checked", version="1"))
    await house.control.reconcile()
    assert (await house.store.get(alice, run.run_id)).status == "starting", "it is left alone while it is fresh"
    await _age(house, run.run_id)
    await house.control.reconcile()
    assert (await house.finished(alice, run)).status == "completed"


async def test_a_run_whose_workflow_is_gone_is_settled_as_failed_with_the_reason(
    house: EngineHouse, alice: Principal
) -> None:
    house.answers["extract"] = lambda call: reading(5000)
    run = await house.start(alice, INVOICE, {"document": "obj_1"})
    (task,) = await house.asked(alice, run)
    await house.client.get_workflow_handle(run.ref.workflow_id).terminate("by hand")
    await _age(house, run.run_id)
    assert await house.control.reconcile() == [run.run_id]
    found = await house.store.get(alice, run.run_id)
    assert (found.status, found.error) == ("failed", "its workflow ended as terminated without a record")
    assert (await house.store.task(alice, task.task_id)).status == "cancelled"
    assert (await house.store.verify_audit(alice, run.run_id)).anchored


async def test_a_run_that_ends_while_the_reconciler_looks_at_it_is_left_as_it_ended(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.answers["extract"] = lambda call: {"value": 1}
    house.definitions["checked"] = CHECKED
    run = await house.start(alice, CHECKED)
    ended = await house.finished(alice, run)
    await house.control.result(ended)
    before = ended.model_copy(update={"status": "running", "updated_at": utc_now() - timedelta(hours=1)})

    async def as_it_was(_: object) -> list[Run]:
        return [before]

    monkeypatch.setattr(house.store, "unsettled", as_it_was)
    assert await house.control.reconcile() == []
    assert await house.store.get(alice, run.run_id) == ended
    assert not [one for one in await house.store.audit(alice, run.run_id) if one.action == "run.reconciled"]


async def test_the_same_start_sent_many_times_at_once_is_one_run(house: EngineHouse, alice: Principal) -> None:
    house.answers["extract"] = lambda call: {"value": 1}
    house.definitions["checked"] = CHECKED
    start = StartRun(kind="process", definition="checked", version="1", idempotency_key="once")
    started: list[str] = []

    async def send() -> None:
        started.append((await house.control.start(alice, start)).run_id)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(send)
    assert len(set(started)) == 1
    run = await house.finished(alice, await house.store.get(alice, started[0]))
    assert run.status == "completed"
    assert len(await house.store.list(alice, RunFilter())) == 1
