"""People and a foreach in batches: seats inside items, pausing, orders, undoing and going back."""

from collections import Counter
from datetime import timedelta

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Conflict, Invalid
from engine.ports import Control, TaskAnswer, ToolInvocation, ToolOutcome
from engine.process.messages import SendEvent
from engine.runs import Run
from engine.values import Principal
from tests.processes.foreach_house import batches_of, make_small, whole_audit
from tests.processes.test_foreach_batches import many, numbered, output
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


class Booking:
    """The tools `book` and `cancel`: what was booked and cancelled, in order; `full` are those that can't be booked."""

    def __init__(self, house: EngineHouse, *full: str) -> None:
        self.booked: list[str] = []
        self.cancelled: list[str] = []
        self.full = set(full)
        house.tools |= {"book": self.book, "cancel": self.cancel}

    def book(self, invocation: ToolInvocation) -> ToolOutcome:
        name = str(invocation.arguments["id"])
        if name in self.full:
            raise Invalid(f"no {name} is left")
        self.booked.append(name)
        return ToolOutcome(outcome="ok", value={"took": name})

    def cancel(self, invocation: ToolInvocation) -> ToolOutcome:
        self.cancelled.append(str(invocation.arguments["id"]))
        return ToolOutcome(outcome="ok", value={})


ASK = (
    "take: {type: supervisor, seat: {roles: [finance]}, ask: {title: 'Take {{item.id}}?'}, "
    "decisions: [approve, reject], writes: [took]}"
)
BOOK = (
    "take: {type: tool, tool: book, input: {id: {var: item.id}}, writes: [took], compensate: undo}, "
    "undo: {type: tool, tool: cancel, input: {id: {var: took.took}}}"
)
AFTER = "next: [{to: last}]\n  last: {type: tool, tool: book, input: {id: last}, next: [{to: end}]}"


async def until_waiting(house: EngineHouse, who: Principal, run: Run, name: str, fields: dict[str, JsonValue]) -> None:
    with anyio.fail_after(BOUND_S):
        while not await house.store.waits.waiting("local", name, fields):
            await house.store.wait(who, run.run_id, after=1_000, timeout_s=0.1)


async def test_a_seat_inside_an_item_is_answered_as_any_other(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(
        alice, many(ASK).replace("max_concurrency: 4", "max_concurrency: 5"), {"items": numbered(5)}
    )
    titles: set[str] = set()
    while len(titles) < 5:
        for task in await house.asked(alice, run):
            answer = TaskAnswer(task_id=task.task_id, by=fay, decision="reject" if "n3" in task.title else "approve")
            await house.control.answer(fay, task.task_id, answer)
            titles.add(task.title)
    assert titles == {f"Take n{number}?" for number in range(5)}
    assert [one["took"]["decision"] for one in output(await house.finished(alice, run))] == [
        "approve",
        "approve",
        "approve",
        "reject",
        "approve",
    ]


async def test_slots_that_a_batch_no_longer_needs_are_used_by_the_next_one(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.process.batch.GIVING_BACK", timedelta(milliseconds=50))
    body = (
        "take: {type: branch, arms: [{name: waits, when: {'in': [{var: item.id}, [n2, n5]]}, body: "
        "{start: w, nodes: {w: {type: wait, event: {name: go, match: {id: {var: item.id}}}}}}}, "
        "{name: goes, body: {start: g, nodes: {g: {type: wait, for: PT0S}}}}]}"
    )
    run = await house.start(alice, many(body).replace("[item, took]", "[item]"), {"items": numbered(9)})
    with anyio.fail_after(BOUND_S):
        while [one.status for one in await batches_of(house, alice, run.run_id)] != ["running", "running", "completed"]:
            await house.store.wait(alice, run.run_id, after=1_000, timeout_s=0.1)
    for name in ("n2", "n5"):
        await until_waiting(house, alice, run, "go", {"id": name})
        await house.control.send_event(alice, SendEvent(name="go", payload={"id": name}))
    assert output(await house.finished(alice, run)) == [{"item": item} for item in numbered(9)]


async def test_a_pause_holds_every_item_and_a_resume_lets_them_go_on(house: EngineHouse, alice: Principal) -> None:
    body = (
        "take: {type: wait, event: {name: go, match: {id: {var: item.id}}}, next: [{to: book}]}, "
        "book: {type: tool, tool: book, input: {id: {var: item.id}}, writes: [took]}"
    )
    booking = Booking(house)
    run = await house.start(alice, many(body), {"items": numbered(8)})
    for name in ("n0", "n1", "n3"):
        await until_waiting(house, alice, run, "go", {"id": name})
    await house.control.control(alice, run.run_id, Control(action="pause", by=alice))
    for name in ("n0", "n1", "n3"):
        await house.control.send_event(alice, SendEvent(name="go", payload={"id": name}))
    batches = await batches_of(house, alice, run.run_id)
    assert len(batches) == 2, "a paused run starts no further batch"
    assert booking.booked == []
    await house.control.control(alice, run.run_id, Control(action="resume", by=alice))
    for number in (2, 4, 5, 6, 7):
        await until_waiting(house, alice, run, "go", {"id": f"n{number}"})
        await house.control.send_event(alice, SendEvent(name="go", payload={"id": f"n{number}"}))
    assert [one["item"]["id"] for one in output(await house.finished(alice, run))] == [f"n{n}" for n in range(8)]
    assert sorted(booking.booked) == [f"n{number}" for number in range(8)]


LEAD = Principal(tenant="local", subject="lea", roles=frozenset({"lead"}))


@pytest.mark.parametrize("decision", ["retry", "cancel"])
async def test_a_failure_inside_an_item_is_put_to_the_seat_over_the_run(
    house: EngineHouse, alice: Principal, decision: str
) -> None:
    booking = Booking(house, "n4")
    text = many(BOOK).replace("start: each", "supervision: {seat: {roles: [lead]}}\nstart: each", 1)
    run = await house.start(alice, text, {"items": numbered(5)})
    (task,) = await house.asked(alice, run)
    assert (task.node, task.run_id) == ("take", (await batches_of(house, alice, run.run_id))[1].run_id)
    booking.full.clear()
    answer = TaskAnswer(task_id=task.task_id, by=LEAD, decision=decision)
    await house.control.answer(LEAD, task.task_id, answer)
    run = await house.finished(alice, run)
    if decision == "retry":
        assert len(output(run)) == 5
    else:
        assert run.status == "cancelled"
        assert sorted(booking.cancelled) == sorted(booking.booked), "the end of the run undoes what the items did"


async def test_what_items_did_is_undone_batch_by_batch_latest_first(house: EngineHouse, alice: Principal) -> None:
    booking = Booking(house, "last")
    text = many(BOOK).replace("next: [{to: end}]", AFTER, 1).replace("max_concurrency: 4", "max_concurrency: 1")
    run = await house.finished(alice, await house.start(alice, text, {"items": numbered(7)}))
    assert (run.status, run.error) == ("failed", "tool_error: no last is left")
    assert booking.cancelled == [f"n{number}" for number in reversed(range(7))]
    undone = [one for one in await house.store.audit(alice, run.run_id) if one.action == "node.compensated"]
    batches = await batches_of(house, alice, run.run_id)
    assert [one.data["undone"] for one in undone] == [one.run_id for one in reversed(batches[:3])]
    assert [(one.status, one.input["undoes"]) for one in batches[3:]] == [
        ("completed", one.run_id) for one in batches[:3]
    ]
    await whole_audit(house, alice, run.run_id)


async def test_a_cancelled_foreach_undoes_what_its_items_did_by_then_and_nothing_twice(
    house: EngineHouse, alice: Principal
) -> None:
    body = (
        BOOK.replace("compensate: undo", "compensate: undo, next: [{to: on}]")
        + ", on: {type: wait, event: {name: never}}"
    )
    booking = Booking(house)
    run = await house.start(alice, many(body), {"items": numbered(8)})
    with anyio.fail_after(BOUND_S):
        while len(booking.booked) < 4:
            await house.store.wait(alice, run.run_id, after=1_000, timeout_s=0.1)
    await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))
    assert (await house.finished(alice, run)).status == "cancelled"
    assert sorted(booking.cancelled) == sorted(booking.booked)


async def test_going_back_before_a_foreach_undoes_its_batches_and_it_runs_again(
    house: EngineHouse, alice: Principal
) -> None:
    booking = Booking(house)
    text = many(BOOK).replace(
        "next: [{to: end}]", "next: [{to: hold}]\n  hold: {type: wait, event: {name: on}, next: [{to: end}]}", 1
    )
    run = await house.start(alice, text, {"items": numbered(5)})
    await until_waiting(house, alice, run, "on", {})
    await house.control.control(alice, run.run_id, Control(action="rewind", by=alice, target="each"))
    with anyio.fail_after(BOUND_S):
        while len(booking.booked) < 10 or not await house.store.waits.waiting("local", "on", {}):
            await house.store.wait(alice, run.run_id, after=1_000, timeout_s=0.1)
    assert Counter(booking.cancelled) == {f"n{number}": 1 for number in range(5)}
    await house.control.send_event(alice, SendEvent(name="on"))
    assert len(output(await house.finished(alice, run))) == 5
    assert len(booking.cancelled) == 5


async def test_a_version_without_what_undoes_the_items_is_refused(house: EngineHouse, alice: Principal) -> None:
    Booking(house)
    hold = "next: [{to: hold}]\n  hold: {type: wait, event: {name: on}, next: [{to: end}]}"
    text = many(BOOK).replace("next: [{to: end}]", hold, 1)
    house.definitions["many@2"] = text.replace(", undo: {", ", other: {").replace(
        "compensate: undo", "compensate: other"
    )
    run = await house.start(alice, text, {"items": numbered(5)})
    await until_waiting(house, alice, run, "on", {})
    with pytest.raises(Conflict, match="is undone by 'undo', which the version has not there"):
        await house.control.control(alice, run.run_id, Control(action="migrate", by=alice, target="2"))
    await house.control.control(alice, run.run_id, Control(action="stop", by=alice))


async def test_a_foreach_inside_an_item_has_batches_of_its_own_and_is_undone_with_it(
    house: EngineHouse, alice: Principal
) -> None:
    booking = Booking(house, "last")
    inner = (
        "take: {type: foreach, items: {var: item.parts}, as: part, key: {var: part.id}, max_concurrency: 1, "
        "collect: {into: others, fields: [took]}, writes: [others], body: {start: book, nodes: {"
        "book: {type: tool, tool: book, input: {id: {var: part.id}}, writes: [took], compensate: undo}, "
        "undo: {type: tool, tool: cancel, input: {id: {var: took.took}}}}}}"
    )
    items: list[JsonValue] = [
        {"id": f"n{number}", "parts": [{"id": f"n{number}-{part}"} for part in range(4)]} for number in range(3)
    ]
    text = many(inner).replace("[item, took]", "[others]").replace("max_concurrency: 4", "max_concurrency: 1")
    run = await house.finished(alice, await house.start(alice, text, {"items": items}))
    expected = [[{"took": {"took": f"n{number}-{part}"}} for part in range(4)] for number in range(3)]
    assert output(run) == [{"others": one} for one in expected]
    failing = await house.start(alice, text.replace("next: [{to: end}]", AFTER, 1), {"items": items})
    assert (await house.finished(alice, failing)).status == "failed"
    assert booking.cancelled == [f"n{number}-{part}" for number in (2, 1, 0) for part in (3, 2, 1, 0)]
    (outer, *_) = await batches_of(house, alice, run.run_id)
    assert [one.input["count"] for one in await batches_of(house, alice, outer.run_id)] == [3, 3, 3, 1, 1, 1]
