"""A foreach over many items: batches with histories of their own, and nothing of that shows in its result."""

import json
from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import JsonValue
from temporalio import workflow

from engine.errors import Conflict, Invalid
from engine.ports import Control, RunFilter, ToolInvocation, ToolOutcome
from engine.process.messages import SendEvent
from engine.runs import Run
from engine.values import Principal
from tests.processes.foreach_house import batches_of, make_small, steps, whole_audit
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio

MANY = """
format: 1
process: many
input: {type: object}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      items: {type: ITEMS}
      done: {type: DONE}
      took: {type: object}
      others: {type: array}
  initial: {items: [], others: []}
start: each
nodes:
  each:
    type: foreach
    items: {var: items}
    as: item
    key: {var: item.id}
    max_concurrency: 4
    on_error: MODE
    collect: {into: done, fields: [item, took]}
    writes: [done]
    body: {start: take, nodes: {BODY}}
    next: [{to: end}]
  end: {type: end, outcome: done, output: {var: done}}
"""
TAKE = "take: {type: tool, tool: take, input: {id: {var: item.id}}, writes: [took]}"
PLAIN = MANY.replace("fields: [item, took]", "fields: [item]").replace("MODE", "fail")
LOOK = "take: {type: wait, for: PT0S}"


def many(body: str = TAKE, *, items: str = "array", done: str = "array", mode: str = "fail", text: str = MANY) -> str:
    return text.replace("BODY", body).replace("ITEMS", items).replace("DONE", done).replace("MODE", mode)


def numbered(count: int) -> list[JsonValue]:
    return [{"id": f"n{number}"} for number in range(count)]


class Taking:
    """The tool `take`: it answers with its id, fails for those in `bad`, and counts its calls."""

    def __init__(self, house: EngineHouse, *bad: str) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.at_once = self.most = 0
        self.bad = set(bad)
        house.tools["take"] = self.take

    async def take(self, invocation: ToolInvocation) -> ToolOutcome:
        name = str(invocation.arguments["id"])
        self.calls[name] += 1
        self.keys.add(invocation.key)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await anyio.lowlevel.checkpoint()
        self.at_once -= 1
        if name in self.bad:
            raise Invalid(f"{name} is bad")
        return ToolOutcome(outcome="ok", value={"took": name})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def output(run: Run) -> Any:
    result: Any = run.result
    assert run.status == "completed", run.error
    return result["output"]


async def test_two_thousand_items_come_back_in_their_order(house: EngineHouse, alice: Principal) -> None:
    text = many(LOOK, text=PLAIN.replace("max_concurrency: 4", "max_concurrency: 200"))
    run = await house.finished(alice, await house.start(alice, text, {"items": numbered(2_000)}))
    assert output(run) == [{"item": item} for item in numbered(2_000)]
    batches = await batches_of(house, alice, run.run_id)
    assert [(one.input["first"], one.input["count"], one.status) for one in batches] == [
        (0, 500, "completed"),
        (500, 500, "completed"),
        (1_000, 500, "completed"),
        (1_500, 500, "completed"),
    ]
    assert len(await house.store.audit(alice, run.run_id)) == 4
    records = await whole_audit(house, alice, run.run_id)
    assert Counter(one.data["step"] for one in records if one.node == "take") == {
        f"1.each[n{number}]/1.take": 1 for number in range(2_000)
    }


async def test_whether_there_are_batches_shows_neither_in_the_result_nor_in_the_steps(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(house, "n3", "n6")
    text = many(mode="collect")
    inline = await house.finished(alice, await house.start(alice, text, {"items": numbered(8)}))
    made = await whole_audit(house, alice, inline.run_id)
    make_small(monkeypatch)
    batched = await house.finished(alice, await house.start(alice, text, {"items": numbered(8)}))
    assert output(batched) == output(inline)
    assert output(batched)[3] == {"item": {"id": "n3"}, "error": {"kind": "tool_error", "message": "n3 is bad"}}
    assert [one.input["count"] for one in await batches_of(house, alice, batched.run_id)] == [3, 3, 2]
    assert steps(await whole_audit(house, alice, batched.run_id)) == steps(made)
    assert set(taking.calls.values()) == {2}, "each item once in each run"
    assert len(taking.keys) == 16
    assert taking.most <= 4
    foreach = next(one for one in await house.store.audit(alice, batched.run_id) if one.node == "each")
    assert {name: foreach.data[name] for name in ("items", "batches", "failed")} == {
        "items": 8,
        "batches": 3,
        "failed": 2,
    }


async def test_items_come_from_a_file_and_what_they_collect_goes_into_one(
    house: EngineHouse, alice: Principal, small: None
) -> None:
    Taking(house)
    text = many(items="string", done="string")
    first = await house.start(alice, many(LOOK, text=PLAIN), {"items": []})
    lines = b"\n".join(json.dumps(item).encode() for item in numbered(7)) + b"\n\n"
    await house.store.write_artifact(first.ref, "in/items.jsonl", lines, mime="application/jsonl", key="items")
    named: dict[str, JsonValue] = {"items": f"run://{first.run_id}/artifacts/in/items.jsonl"}
    run = await house.finished(alice, await house.start(alice, text, named))
    uri = output(run)
    assert uri.startswith(f"run://{run.run_id}/artifacts/")
    _, content = await house.store.read_artifact(alice, run.run_id, uri.partition("/artifacts/")[2])
    expected = [{"item": {"id": f"n{number}"}, "took": {"took": f"n{number}"}} for number in range(7)]
    assert [json.loads(line) for line in content.splitlines()] == expected
    # What one foreach has collected is what the next one may read; two lines of it need no batch.
    house.objects["obj_few"] = b'{"id": "a"}\n{"id": "b"}'
    few = await house.finished(alice, await house.start(alice, text, {"items": "obj_few"}))
    assert output(few).startswith(f"run://{few.run_id}/artifacts/")
    assert await batches_of(house, alice, few.run_id) == []
    again = many(LOOK, items="string", text=PLAIN.replace("key: {var: item.id}", "key: {var: item.took.took}"))
    chained = await house.finished(alice, await house.start(alice, again, {"items": uri}))
    assert output(chained) == [{"item": one} for one in expected]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("obj_none", "not_found: there is no object obj_none"),
        ("obj_bad", "invalid: line 2 of obj_bad is no JSON"),
        ("obj_twice", "duplicate_key: items 0 and 3 of each have the same key 'a'"),
        ("obj_keyless", "expression: key: "),
        ("", "invalid: the items are str"),
        ("obj_huge", "item_too_large: item 0 of each has 300009 bytes"),
        ("obj_many", "too_many_items: each has more than 100,000 items"),
    ],
)
async def test_items_that_cannot_be_worked_on_are_named(
    house: EngineHouse, alice: Principal, small: None, items: str, said: str
) -> None:
    house.objects |= {
        "obj_bad": b'{"id": "a"}\n{"id": ',
        "obj_twice": b'{"id": "a"}\n{"id": "b"}\n{"id": "c"}\n{"id": "a"}',
        "obj_keyless": b"{}\n{}\n{}",
        "obj_huge": json.dumps({"id": "x" * 300_000}).encode(),
    }
    if items == "obj_many":
        house.objects["obj_many"] = b"\n".join(b'{"id": %d}' % number for number in range(100_001))
    run = await house.finished(alice, await house.start(alice, many(items="string"), {"items": items}))
    assert run.status == "failed"
    assert (run.error or "").startswith(said), run.error


async def test_a_file_of_another_person_is_not_found(house: EngineHouse, alice: Principal, small: None) -> None:
    bob = Principal(tenant="local", subject="bob", roles=frozenset({"author"}))
    first = await house.start(alice, many(LOOK, text=PLAIN), {"items": []})
    await house.store.write_artifact(first.ref, "secret.jsonl", b"1", mime="application/jsonl", key="secret")
    uri = f"run://{first.run_id}/artifacts/secret.jsonl"
    run = await house.finished(bob, await house.start(bob, many(LOOK, items="string", text=PLAIN), {"items": uri}))
    assert (run.status, (run.error or "").partition(":")[0]) == ("failed", "not_found")


async def test_two_items_with_one_key_are_refused_in_a_short_list_as_well(house: EngineHouse, alice: Principal) -> None:
    taking = Taking(house)
    run = await house.finished(alice, await house.start(alice, many(), {"items": [{"id": "a"}, {"id": "a"}]}))
    assert run.error == (
        "duplicate_key: items 0 and 1 of each have the same key 'a'; a key is for one item, so make it unique"
    )
    assert not taking.calls


async def test_what_is_too_much_for_a_context_says_how_it_becomes_a_file(
    house: EngineHouse, alice: Principal, small: None
) -> None:
    big = [{"id": f"n{number}", "text": "x" * 80_000} for number in range(4)]
    house.objects["obj_big"] = b"\n".join(json.dumps(one).encode() for one in big)
    text = many(LOOK, items="string", text=PLAIN)
    run = await house.finished(alice, await house.start(alice, text, {"items": "obj_big"}))
    assert (run.error or "").startswith("context_full: each collects 3")
    assert "declare 'done' as a string" in (run.error or "")


async def test_an_item_that_fails_fails_the_run_and_ends_the_other_batches(
    house: EngineHouse, alice: Principal, small: None
) -> None:
    Taking(house, "n4")
    held = "take: {type: tool, tool: take, input: {id: {var: item.id}}, writes: [took], next: [{to: on}]}, " + (
        "on: {type: wait, event: {name: never}}"
    )
    text = many(held).replace("max_concurrency: 4", "max_concurrency: 12")
    run = await house.finished(alice, await house.start(alice, text, {"items": numbered(9)}))
    assert (run.status, run.error) == ("failed", "tool_error: n4 is bad")
    batches = await batches_of(house, alice, run.run_id)
    assert [(one.status, one.error) for one in batches][1] == ("failed", "tool_error: n4 is bad")
    assert {one.status for one in batches} <= {"failed", "cancelled"}


async def test_an_end_inside_an_item_ends_the_whole_run(house: EngineHouse, alice: Principal, small: None) -> None:
    body = (
        "take: {type: wait, for: PT0S, next: [{to: out, when: {'==': [{var: item.id}, n4]}}, {to: on}]}, "
        "out: {type: end, outcome: found, output: {var: item.id}}, on: {type: wait, event: {name: never}}"
    )
    text = many(body, text=PLAIN).replace("max_concurrency: 4", "max_concurrency: 12")
    run = await house.finished(alice, await house.start(alice, text, {"items": numbered(9)}))
    assert run.result == {"outcome": "found", "output": "n4"}
    assert sorted(one.status for one in await batches_of(house, alice, run.run_id)) == [
        "cancelled",
        "cancelled",
        "completed",
    ]


async def test_an_event_for_the_run_reaches_the_item_that_waits_for_it(
    house: EngineHouse, alice: Principal, small: None
) -> None:
    body = "take: {type: wait, event: {name: paid, match: {id: {var: item.id}}}, writes: [took]}"
    run = await house.start(alice, many(body), {"items": numbered(4)})
    for number in (3, 0, 2, 1):
        event = SendEvent(name="paid", payload={"id": f"n{number}", "amount": number}, run_id=run.run_id)
        with anyio.fail_after(BOUND_S):
            while not await house.store.waits.waiting("local", "paid", {"id": f"n{number}"}):
                await house.store.wait(alice, run.run_id, after=1_000, timeout_s=0.1)
        sent = await house.control.send_event(alice, event)
        assert sent.consumed
        assert sent.kept == ()
    assert [one["took"]["amount"] for one in output(await house.finished(alice, run))] == [0, 1, 2, 3]


async def test_a_batch_goes_on_in_a_new_history_between_two_items(
    house: EngineHouse, alice: Principal, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.activities.foreach.BATCH_ITEMS", 8)
    monkeypatch.setattr("engine.process.batch.stage.new_history_is_due", lambda: workflow_length() > 40)
    taking = Taking(house, "n2")
    text = many(mode="collect").replace("max_concurrency: 4", "max_concurrency: 2")
    run = await house.finished(alice, await house.start(alice, text, {"items": numbered(16)}))
    assert [one["item"]["id"] for one in output(run)] == [f"n{number}" for number in range(16)]
    assert set(taking.calls.values()) == {1}
    first, _ = await batches_of(house, alice, run.run_id)
    info = (await house.client.get_workflow_handle(first.ref.workflow_id).describe()).raw_description
    assert info.workflow_execution_info.first_run_id != info.workflow_execution_info.execution.run_id
    foreach = next(one for one in await house.store.audit(alice, run.run_id) if one.node == "each")
    assert (foreach.data["items"], foreach.data["failed"]) == (16, 1)


def workflow_length() -> int:
    return workflow.info().get_current_history_length()


async def test_an_item_is_found_by_its_key_whatever_batch_it_was_in(
    house: EngineHouse, alice: Principal, small: None
) -> None:
    long = "x" * 100
    items: list[JsonValue] = [*numbered(4), {"id": "a_b%[c]"}, {"id": long}]
    run = await house.finished(alice, await house.start(alice, many(LOOK, text=PLAIN), {"items": items}))
    for key, number in (("n1", 1), ("a_b%[c]", 2), (long, 2)):
        (record,) = await house.store.audit(alice, run.run_id, item=key)
        batches = await batches_of(house, alice, run.run_id)
        assert record.run_id == batches[number - 1].run_id
        assert record.data["scope"] == f"1.each[{key}]/"
    assert await house.store.audit(alice, run.run_id, item="n") == []


async def test_a_batch_is_steered_through_the_run_it_belongs_to(
    house: EngineHouse, alice: Principal, small: None
) -> None:
    body = "take: {type: wait, event: {name: go}, writes: [took]}"
    run = await house.start(alice, many(body), {"items": numbered(3)})
    with anyio.fail_after(BOUND_S):
        while not await house.store.waits.waiting("local", "go", {}):
            await house.store.wait(alice, run.run_id, after=1_000, timeout_s=0.1)
    (batch,) = await batches_of(house, alice, run.run_id)
    with pytest.raises(Conflict, match=f"a batch is steered through the run it belongs to; cancel {run.run_id}"):
        await house.control.control(alice, batch.run_id, Control(action="cancel", by=alice))
    assert run.run_id in [one.run_id for one in await house.store.list(alice, RunFilter())]
    assert batch.run_id not in [one.run_id for one in await house.store.list(alice, RunFilter())]
    await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))
    assert (await house.finished(alice, run)).status == "cancelled"
    assert [one.status for one in await batches_of(house, alice, run.run_id)] == ["cancelled"]
    assert not await house.store.waits.waiting("local", "go", {})
