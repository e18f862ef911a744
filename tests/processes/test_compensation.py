"""Undoing: what was done is undone in reverse order, once, with the values it saw, however the run comes to nothing."""

import anyio
import pytest
from pydantic import JsonValue

from engine.ports import Control, ToolInvocation, ToolOutcome
from engine.process.rewind import standing
from engine.runs import Run
from engine.values import Principal
from tests.server.engine_house import BOUND_S, EngineHouse

pytestmark = pytest.mark.anyio

TRIP = """
format: 1
process: trip
input: {type: object, properties: {guest: {type: string}}, required: [guest]}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      guest: {type: string}
      flight: {type: object, properties: {id: {type: string}}, required: [id]}
      hotel: {type: object}
      car: {type: object}
      approval: {type: object}
start: fly
nodes:
  fly:
    type: tool
    tool: book
    input: {what: flight, guest: {var: guest}}
    writes: [flight]
    compensate: cancel_flight
    next: [{to: stay}]
  cancel_flight: {type: tool, tool: cancel, input: {what: {var: flight.id}, guest: {var: guest}}}
  stay:
    type: tool
    tool: book
    input: {what: hotel, guest: ann}
    writes: [hotel]
    compensate: cancel_hotel
    next: [{to: rename}]
  cancel_hotel: {type: tool, tool: cancel, input: {what: {var: hotel.id}, guest: {var: guest}}}
  rename: {type: script, code: "{'guest': 'somebody else'}", writes: [guest], next: [{to: ask}]}
  ask:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Drive?"}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: done}
    writes: [approval]
    next: [{to: drive, when: {"==": [{var: approval.decision}, approve]}}, {to: done}]
  drive:
    type: tool
    tool: book
    input: {what: car, guest: ann}
    writes: [car]
    compensate: cancel_car
    next: [{to: done}]
  cancel_car: {type: tool, tool: cancel, input: {what: car, guest: ann}}
  done: {type: end, outcome: done}
"""


class Travel:
    """Books and cancels, and remembers in which order."""

    def __init__(self, house: EngineHouse) -> None:
        self.booked: list[str] = []
        self.cancelled: list[dict[str, JsonValue]] = []
        self.full: set[str] = set()
        house.tools["book"] = self.book
        house.tools["cancel"] = self.cancel

    def book(self, invocation: ToolInvocation) -> ToolOutcome:
        what = str(invocation.arguments["what"])
        if what in self.full:
            return ToolOutcome(outcome="error", text=f"no {what} is left")
        self.booked.append(what)
        return ToolOutcome(outcome="ok", value={"id": f"{what}-1"})

    def cancel(self, invocation: ToolInvocation) -> ToolOutcome:
        self.cancelled.append(invocation.arguments)
        if invocation.arguments["what"] in self.full:
            return ToolOutcome(outcome="error", text="the desk is closed")
        return ToolOutcome(outcome="ok", value={})


async def actions(house: EngineHouse, who: Principal, run: Run, prefix: str) -> list[str]:
    return [
        f"{record.action.removeprefix('node.')} {record.data.get('undone', record.node)}"
        for record in await house.store.audit(who, run.run_id)
        if record.action.startswith(prefix)
    ]


async def test_a_run_that_fails_is_undone_in_reverse_order_with_the_values_each_step_saw(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    travel = Travel(house)
    travel.full.add("car")
    run = await house.start(alice, TRIP, {"guest": "bob"})
    await house.decide(fay, run, "approve")
    run = await house.finished(alice, run)
    assert (run.status, run.error) == ("failed", "tool_error: no car is left")
    # The guest was renamed after both were booked; the desk hears the name under which they were.
    assert travel.cancelled == [{"what": "hotel-1", "guest": "bob"}, {"what": "flight-1", "guest": "bob"}]
    assert await actions(house, alice, run, "node.compensa") == ["compensated 2.stay", "compensated 1.fly"]
    assert (await house.store.verify_audit(alice, run.run_id)).anchored


@pytest.mark.parametrize(("verb", "undone"), [("cancel", 2), ("stop", 0)])
async def test_a_cancelled_run_is_undone_and_a_stopped_one_is_left_as_it_is(
    house: EngineHouse, alice: Principal, verb: str, undone: int
) -> None:
    travel = Travel(house)
    run = await house.start(alice, TRIP, {"guest": "bob"})
    await house.asked(alice, run)
    await house.control.control(alice, run.run_id, Control(action="pause", by=alice))
    await house.control.control(alice, run.run_id, Control.model_validate({"action": verb, "by": alice}))
    run = await house.finished(alice, run)
    assert (run.status, len(travel.cancelled)) == ("cancelled", undone)


async def test_a_run_that_ends_undoes_nothing(house: EngineHouse, alice: Principal, fay: Principal) -> None:
    travel = Travel(house)
    run = await house.start(alice, TRIP, {"guest": "bob"})
    await house.decide(fay, run, "reject")
    run = await house.finished(alice, run)
    assert (run.status, travel.cancelled) == ("completed", [])


async def test_a_compensation_that_fails_is_recorded_and_the_others_go_on(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    travel = Travel(house)
    travel.full |= {"car", "hotel-1"}
    run = await house.start(alice, TRIP, {"guest": "bob"})
    await house.decide(fay, run, "approve")
    run = await house.finished(alice, run)
    assert await actions(house, alice, run, "node.compensa") == ["compensation_failed 2.stay", "compensated 1.fly"]
    failed = [one for one in await house.store.audit(alice, run.run_id) if one.action == "node.compensation_failed"]
    assert failed[0].data["error"] == {"kind": "tool_error", "message": "the desk is closed"}


NESTED = """
format: 1
process: nested
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      order: {type: object}
      left: {type: object}
      right: {type: object}
      all: {type: array}
start: each
nodes:
  each:
    type: foreach
    items: [a, b]
    as: item
    max_concurrency: 1
    collect: {into: all, fields: [order]}
    writes: [all]
    body:
      start: order
      nodes:
        order: {type: tool, tool: book, input: {what: {var: item}}, writes: [order], compensate: undo}
        undo: {type: tool, tool: cancel, input: {what: {cat: [{var: item}, "/", {var: order.id}]}}}
    next: [{to: both}]
  both:
    type: branch
    take: every
    join: END_OR_ALL
    arms:
      - name: left
        body:
          start: l
          nodes:
            l: {type: tool, tool: book, input: {what: left}, writes: [left], compensate: undo, next: [{to: last}]}
            undo: {type: tool, tool: cancel, input: {what: left}}
            last: LAST
      - name: right
        body:
          start: r
          nodes:
            r: {type: wait, for: PT1H}
    next: [{to: done}]
  done: {type: end, outcome: done}
"""


async def test_steps_inside_items_and_arms_are_undone_with_what_they_saw(house: EngineHouse, alice: Principal) -> None:
    travel = Travel(house)
    travel.full.add("nothing")
    text = NESTED.replace("END_OR_ALL", "all").replace("LAST", "{type: tool, tool: book, input: {what: nothing}}")
    run = await house.finished(alice, await house.start(alice, text))
    assert (run.status, run.error) == ("failed", "tool_error: no nothing is left")
    assert [one["what"] for one in travel.cancelled] == ["left", "b/b-1", "a/a-1"]
    context = standing(await house.store.audit(alice, run.run_id)).context
    assert context == {"all": [{"order": {"id": "a-1"}}, {"order": {"id": "b-1"}}], "left": {"id": "left-1"}}


@pytest.mark.parametrize(
    ("join", "last", "outcome"),
    [("all", "{type: end, outcome: inside}", "inside"), ("any", "{type: wait, for: PT0S}", "done")],
)
async def test_an_end_inside_an_arm_or_a_won_race_ends_the_losers_and_undoes_nothing(
    house: EngineHouse, alice: Principal, join: str, last: str, outcome: str
) -> None:
    travel = Travel(house)
    run = await house.finished(
        alice, await house.start(alice, NESTED.replace("END_OR_ALL", join).replace("LAST", last))
    )
    assert isinstance(run.result, dict)
    assert (run.status, run.result["outcome"], travel.cancelled) == ("completed", outcome, [])


async def test_under_supervision_a_compensation_that_fails_is_put_to_the_seat(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    travel = Travel(house)
    travel.full.add("hotel-1")
    text = TRIP.replace("start: fly", "supervision: {seat: {roles: [finance]}}\nstart: fly")
    run = await house.start(alice, text, {"guest": "bob"})
    await house.asked(alice, run)
    await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))
    asked = None
    while asked is None or asked.node != "cancel_hotel":
        (asked,) = await house.asked(alice, run)
    assert (asked.title, asked.decisions) == ("cancel_hotel could not undo 2.stay", ("retry", "skip"))
    travel.full.clear()
    await house.decide(fay, run, "retry")
    run = await house.finished(alice, run)
    assert run.status == "cancelled"
    assert [one["what"] for one in travel.cancelled] == ["hotel-1", "hotel-1", "flight-1"]
    assert await actions(house, alice, run, "node.compensa") == [
        "compensation_retried 2.stay",
        "compensated 2.stay",
        "compensated 1.fly",
    ]


async def test_a_call_that_can_be_undone_is_not_torn_down_in_its_middle(house: EngineHouse, alice: Principal) -> None:
    travel = Travel(house)
    begun, go = anyio.Event(), anyio.Event()

    async def slow(invocation: ToolInvocation) -> ToolOutcome:
        begun.set()
        await go.wait()
        return travel.book(invocation)

    house.tools["book"] = slow
    run = await house.start(alice, TRIP, {"guest": "bob"})
    with anyio.fail_after(BOUND_S):
        await begun.wait()
    await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))
    go.set()
    assert (await house.finished(alice, run)).status == "cancelled"
    assert (travel.booked, [one["what"] for one in travel.cancelled]) == (["flight"], ["flight-1"])
