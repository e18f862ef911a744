"""Events: what happens outside reaches the one step that waits for it, once, early or late, and across restarts."""

from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.ports import Control, ToolInvocation, ToolOutcome
from engine.process.messages import EventSent, SendEvent
from engine.runs import Change, Recorded, Run
from engine.values import Principal
from server.store import tables
from tests.processes.foreach_house import make_small
from tests.server.engine_house import BOUND_S, EngineHouse, engine_house

pytestmark = pytest.mark.anyio

ORDER = """
format: 1
process: order
input: {type: object, properties: {number: {type: string}}, required: [number]}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      number: {type: string}
      payment: {type: object, properties: {amount: {type: number}}, required: [amount]}
start: GATE
nodes:
  gate:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Go on?"}
    decisions: [yes]
    deadline: P2D
    on_timeout: {to: late}
    next: [{to: paid}]
  paid:
    type: wait
    event: {name: payment, match: {order: {var: number}}}
    deadline: DEADLINE
    on_timeout: {to: late}
    writes: [payment]
    next: [{to: done}]
  done: {type: end, outcome: paid, output: {var: payment.amount}}
  late: {type: end, outcome: late}
"""


def order(*, start: str = "paid", deadline: str = "P2D") -> str:
    return ORDER.replace("GATE", start).replace("DEADLINE", deadline)


async def waiting(house: EngineHouse, who: Principal, run: Run) -> None:
    """Wait until a run waits for an event."""
    seen = 0
    with anyio.fail_after(BOUND_S):
        while not await house.store.events(who, run.run_id, types=["event.awaited"]):
            found = await house.store.wait(who, run.run_id, after=seen, timeout_s=10)
            assert not found.finished, f"the run ended as {found.status}: {found.error}"
            seen = found.events


async def send(house: EngineHouse, who: Principal, payload: dict[str, JsonValue], **more: JsonValue) -> EventSent:
    event = SendEvent.model_validate({"name": "payment", "payload": payload, **more})
    return await house.control.send_event(who, event)


async def test_an_event_finds_the_run_whose_values_it_fits_and_is_taken_once(
    house: EngineHouse, alice: Principal
) -> None:
    one = await house.start(alice, order(), {"number": "A1"})
    other = await house.start(alice, order(), {"number": "A2"})
    await waiting(house, alice, one)
    await waiting(house, alice, other)
    sent = await send(house, alice, {"amount": 12.5}, match={"order": "A2"}, key="bank-7")
    assert (sent.consumed, sent.kept) == ((other.run_id,), ())
    ended = await house.finished(alice, other)
    assert ended.result == {"outcome": "paid", "output": 12.5}
    # The same event again says what became of it, and no run takes it, though another waits for the like by now.
    third = await house.start(alice, order(), {"number": "A2"})
    await waiting(house, alice, third)
    assert await send(house, alice, {"amount": 12.5}, match={"order": "A2"}, key="bank-7") == sent
    with pytest.raises(Conflict, match="bank-7"):
        await send(house, alice, {"amount": 99}, match={"order": "A2"}, key="bank-7")
    assert not (await house.store.get(alice, third.run_id)).finished
    nobody = await send(house, alice, {"amount": 1}, match={"order": "A9"})
    assert (nobody.consumed, nobody.kept) == ((), ())
    received = [record for record in await house.store.audit(alice, other.run_id) if record.action == "event.received"]
    assert [(record.actor, record.node, record.data["payload"]) for record in received] == [
        ("alice", "paid", {"amount": 12.5})
    ]
    for run in (one, third):
        await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))


async def test_an_event_for_a_run_that_does_not_wait_yet_is_kept_for_it(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, order(start="gate"), {"number": "B1"})
    await house.asked(alice, run)
    sent = await send(house, alice, {"amount": 3}, match={"order": "B1"}, run_id=run.run_id, key="early")
    assert sent.kept == (run.run_id,)
    wrong = await send(house, alice, {"amount": 4}, match={"order": "else"}, run_id=run.run_id, key="other")
    assert wrong.kept == (run.run_id,)
    await house.decide(fay, run, "yes")
    assert (await house.finished(alice, run)).result == {"outcome": "paid", "output": 3}


async def test_a_payload_that_breaks_what_the_step_writes_is_refused_and_the_step_waits_on(
    house: EngineHouse, alice: Principal
) -> None:
    run = await house.start(alice, order(), {"number": "C1"})
    await waiting(house, alice, run)
    with pytest.raises(Invalid, match=r"payment.*amount"):
        await send(house, alice, {"amount": "much"}, match={"order": "C1"}, run_id=run.run_id)
    spread = await send(house, alice, {}, match={"order": "C1"})
    assert [one.run_id for one in spread.refused] == [run.run_id]
    await send(house, alice, {"amount": 1}, match={"order": "C1"})
    assert (await house.finished(alice, run)).status == "completed"


async def test_of_two_events_in_one_moment_one_is_taken(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, order(), {"number": "D1"})
    await waiting(house, alice, run)
    sent: list[EventSent] = []

    async def one(number: int) -> None:
        sent.append(await send(house, alice, {"amount": number}, match={"order": "D1"}))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, number)
    assert sum(len(found.consumed) for found in sent) == 1
    assert (await house.finished(alice, run)).status == "completed"


async def test_without_an_event_the_deadline_leads_on_and_an_event_after_it_finds_nobody(
    house: EngineHouse, alice: Principal
) -> None:
    run = await house.finished(alice, await house.start(alice, order(deadline="PT1S"), {"number": "E1"}))
    assert isinstance(run.result, dict)
    assert run.result["outcome"] == "late"
    assert (await send(house, alice, {"amount": 1}, match={"order": "E1"})).consumed == ()
    with pytest.raises(Conflict, match="completed already"):
        await send(house, alice, {"amount": 1}, run_id=run.run_id)


async def test_only_who_may_steer_a_run_reaches_it(house: EngineHouse, alice: Principal) -> None:
    run = await house.start(alice, order(), {"number": "F1"})
    await waiting(house, alice, run)
    mallory = Principal(tenant="local", subject="mallory", roles=frozenset({"viewer"}))
    stranger = Principal(tenant="other", subject="alice", roles=frozenset({"operator"}))
    fields: dict[str, JsonValue] = {"order": "F1"}
    assert (await send(house, mallory, {"amount": 1}, match=fields)).consumed == ()
    assert (await send(house, stranger, {"amount": 1}, match=fields)).consumed == ()
    with pytest.raises(Denied, match="operator"):
        await send(house, mallory, {"amount": 1}, run_id=run.run_id)
    with pytest.raises(NotFound):
        await send(house, stranger, {"amount": 1}, run_id=run.run_id)
    with pytest.raises(Denied, match="agent"):
        await send(house, alice.model_copy(update={"kind": "agent"}), {"amount": 1}, run_id=run.run_id)
    oscar = Principal(tenant="local", subject="oscar", roles=frozenset({"operator"}))
    assert (await send(house, oscar, {"amount": 1}, match=fields)).consumed == (run.run_id,)


RACE = """
format: 1
process: race
context:
  schema: {type: object, additionalProperties: false, properties: {news: {type: object}, late: {type: boolean}}}
start: race
nodes:
  race:
    type: branch
    take: every
    join: any
    arms:
      - name: told
        body:
          start: hear
          nodes:
            hear: {type: wait, event: {name: news}, deadline: P1D, on_timeout: {to: no}, writes: [news]}
            no: {type: wait, for: PT0S}
      - name: tired
        body: {start: nap, nodes: {nap: {type: wait, for: NAP}}}
    next: [{to: done, when: {"exists": news}}, {to: quiet}]
  done: {type: end, outcome: told}
  quiet: {type: end, outcome: quiet}
"""


@pytest.mark.parametrize(("nap", "outcome"), [("PT1S", "quiet"), ("P1D", "told")])
async def test_in_a_race_an_event_wins_over_a_timer_or_is_withdrawn(
    house: EngineHouse, alice: Principal, nap: str, outcome: str
) -> None:
    run = await house.start(alice, RACE.replace("NAP", nap))
    if outcome == "told":
        await waiting(house, alice, run)
        assert (await house.control.send_event(alice, SendEvent(name="news", payload={"x": 1}))).consumed
    ended = await house.finished(alice, run)
    assert isinstance(ended.result, dict)
    assert ended.result["outcome"] == outcome
    assert (await house.control.send_event(alice, SendEvent(name="news"))).consumed == ()
    async with house.database.read() as connection:
        left = (await connection.execute(tables.event_waits.select().where(tables.event_waits.c.name == "news"))).all()
    assert left == []


async def test_a_kept_event_goes_along_when_a_run_moves_on_to_another_version(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    house.definitions |= {"order@1": order(start="gate"), "order@2": order(start="gate")}
    run = await house.start(alice, order(start="gate"), {"number": "G1"})
    (task,) = await house.asked(alice, run)
    await send(house, alice, {"amount": 8}, match={"order": "G1"}, run_id=run.run_id, key="ahead")
    await house.control.control(alice, run.run_id, Control(action="migrate", by=alice, target="2"))
    asked = task
    while asked.task_id == task.task_id:
        (asked,) = await house.asked(alice, run)
    repeated = SendEvent(name="payment", payload={"amount": 8}, match={"order": "G1"}, run_id=run.run_id, key="ahead")
    assert (await house.control.send_event(alice, repeated)).kept == (run.run_id,)
    await house.decide(fay, run, "yes")
    assert (await house.finished(alice, run)).result == {"outcome": "paid", "output": 8}


async def test_waits_and_kept_events_are_there_after_everything_was_started_anew(
    tmp_path: Path, alice: Principal, fay: Principal
) -> None:
    async with engine_house(tmp_path / "data") as first:
        parked = await first.start(alice, order(), {"number": "H1"})
        await waiting(first, alice, parked)
        early = await first.start(alice, order(start="gate"), {"number": "H2"})
        await first.asked(alice, early)
        await send(first, alice, {"amount": 2}, match={"order": "H2"}, run_id=early.run_id)
    async with engine_house(tmp_path / "data") as second:
        assert (await send(second, alice, {"amount": 1}, match={"order": "H1"})).consumed == (parked.run_id,)
        assert (await second.finished(alice, parked)).result == {"outcome": "paid", "output": 1}
        await second.decide(fay, early, "yes")
        assert (await second.finished(alice, early)).result == {"outcome": "paid", "output": 2}


async def test_the_run_alone_says_which_step_is_meant_in_its_outermost_graph(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, order(), {"number": "I1"})
    await waiting(house, alice, run)
    wrong = await send(house, alice, {"amount": 1}, match={"order": "I2"}, run_id=run.run_id)
    assert (wrong.consumed, wrong.kept) == ((), (run.run_id,)), "what is said has to hold"
    sent = await send(house, alice, {"amount": 7}, run_id=run.run_id)
    assert (sent.consumed, sent.kept) == ((run.run_id,), ())
    assert (await house.finished(alice, run)).result == {"outcome": "paid", "output": 7}
    early = await house.start(alice, order(start="gate"), {"number": "I3"})
    await house.asked(alice, early)
    assert (await send(house, alice, {"amount": 8}, run_id=early.run_id)).kept == (early.run_id,)
    await house.decide(fay, early, "yes")
    assert (await house.finished(alice, early)).result == {"outcome": "paid", "output": 8}


EACH = """
format: 1
process: each_paid
context:
  schema: {type: object, additionalProperties: false, properties: {items: {type: array}, paid: {type: object}}}
  initial: {items: [1, 2, 3]}
start: each
nodes:
  each:
    type: foreach
    items: {var: items}
    as: item
    key: {var: item}
    body:
      start: paid
      nodes: {paid: {type: wait, event: {name: payment, match: {order: {var: item}}}, writes: [paid]}}
    next: [{to: done}]
  done: {type: end, outcome: done}
"""


@pytest.mark.parametrize("batched", [False, True])
async def test_inside_a_foreach_an_event_for_the_run_has_to_say_which_item_it_is_for(
    house: EngineHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch, batched: bool
) -> None:
    if batched:
        make_small(monkeypatch)
    run = await house.start(alice, EACH)
    for order_number in (1, 2, 3):
        with anyio.fail_after(BOUND_S):
            while not await house.store.waits.waiting("local", "payment", {"order": order_number}):
                await house.store.wait(alice, run.run_id, after=1_000, timeout_s=0.1)
    with pytest.raises(
        Invalid, match=r"at 1\.each\[1\]/1\.paid.* say which step is meant by match, with order"
    ) as said:
        await send(house, alice, {"amount": 1}, run_id=run.run_id)
    assert said.value.details["missing"] == ["order"]
    for order_number in (3, 1, 2):
        sent = await send(house, alice, {"amount": 1}, match={"order": order_number}, run_id=run.run_id)
        assert (len(sent.consumed), sent.kept) == (1, ())
    assert (await house.finished(alice, run)).status == "completed"


GIVEN_UP = """
format: 1
process: race
input: {type: object}
context: {schema: {type: object, additionalProperties: false, properties: {payment: {type: object}}}}
start: race
nodes:
  race:
    type: branch
    take: every
    join: any
    arms:
      - {name: quick, body: {start: quick, nodes: {quick: {type: tool, tool: quick, input: {}}}}}
      - name: slow
        body:
          start: paid
          nodes:
            paid:
              type: wait
              event: {name: payment, match: {order: R1}}
              deadline: P2D
              on_timeout: {to: late}
              writes: [payment]
            late: {type: end, outcome: late}
    next: [{to: after}]
  after:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Go on?"}
    decisions: [yes]
    deadline: P2D
    on_timeout: {to: done}
    next: [{to: done}]
  done: {type: end, outcome: done}
"""


async def test_a_wait_that_is_given_up_while_it_begins_is_withdrawn_after_it_has_begun(
    house: EngineHouse, alice: Principal, fay: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given up and begun at once must not stay open: an event would be sent to where nobody waits."""
    begins, go = anyio.Event(), anyio.Event()
    apply = house.store.apply

    async def held(change: Change) -> Recorded:
        if change.awaited:
            begins.set()
            await go.wait()
        return await apply(change)

    async def quick(_: ToolInvocation) -> ToolOutcome:
        await begins.wait()
        return ToolOutcome(outcome="ok", text="quick")

    monkeypatch.setattr(house.store, "apply", held)
    house.tools["quick"] = quick
    with anyio.fail_after(BOUND_S):
        run = await house.start(alice, GIVEN_UP)
        await begins.wait()
        while not await went_on(house, run):
            await anyio.sleep(0.02)
        go.set()
        await house.asked(alice, run)
    told = await house.store.events(alice, run.run_id, types=["event.awaited", "event.withdrawn"])
    assert [event.type for event in told] == ["event.awaited", "event.withdrawn"]
    async with house.database.read() as connection:
        left = tables.event_waits.select().where(tables.event_waits.c.run_id == run.run_id)
        assert (await connection.execute(left)).all() == []
    await house.decide(fay, run, "yes")
    assert (await house.finished(alice, run)).status == "completed"


BEFORE_IT = GIVEN_UP.replace("start: race", "start: gate").replace(
    "nodes:\n  race:",
    """nodes:
  gate:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Begin?"}
    decisions: [yes]
    deadline: P2D
    on_timeout: {to: done}
    next: [{to: race}]
  race:""",
    1,
)


async def test_a_kept_event_that_is_handed_to_a_wait_which_is_given_up_is_received_all_the_same(
    house: EngineHouse, alice: Principal, fay: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept no longer then: what is not made durable to its end would be neither kept nor received."""
    begins, go = anyio.Event(), anyio.Event()
    apply = house.store.apply

    async def held(change: Change) -> Recorded:
        if change.arrived:
            begins.set()
            await go.wait()
        return await apply(change)

    async def quick(_: ToolInvocation) -> ToolOutcome:
        await begins.wait()
        return ToolOutcome(outcome="ok", text="quick")

    house.tools["quick"] = quick
    with anyio.fail_after(BOUND_S):
        run = await house.start(alice, BEFORE_IT)
        await house.asked(alice, run)
        sent = await send(house, alice, {"amount": 1}, match={"order": "R1"}, run_id=run.run_id)
        assert sent.kept == (run.run_id,)
        monkeypatch.setattr(house.store, "apply", held)
        await house.decide(fay, run, "yes")
        while not await went_on(house, run):
            await anyio.sleep(0.02)
        go.set()
        await house.asked(alice, run)
    told = await house.store.events(alice, run.run_id, types=["event.kept", "event.received"])
    assert [event.type for event in told] == ["event.kept", "event.received"]
    assert not await given_up_activities(house, run)
    await house.decide(fay, run, "yes")
    assert (await house.finished(alice, run)).status == "completed"


async def given_up_activities(house: EngineHouse, run: Run) -> list[int]:
    """Return which events of a run's history ask an activity to stop."""
    history = house.client.get_workflow_handle(run.ref.workflow_id).fetch_history_events()
    asked = "activity_task_cancel_requested_event_attributes"
    return [event.event_id async for event in history if event.HasField(asked)]


async def went_on(house: EngineHouse, run: Run) -> bool:
    """Tell whether the workflow has had a task since the end of its quick arm was written down."""
    names: dict[int, str] = {}
    done: list[str] = []
    async for event in house.client.get_workflow_handle(run.ref.workflow_id).fetch_history_events():
        if event.HasField("activity_task_scheduled_event_attributes"):
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.HasField("activity_task_completed_event_attributes"):
            done.append(names[event.activity_task_completed_event_attributes.scheduled_event_id])
        elif event.HasField("workflow_task_completed_event_attributes") and done[-2:] == ["call_tool", "apply_change"]:
            return True
    return False
