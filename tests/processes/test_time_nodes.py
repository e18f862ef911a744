"""Nodes and time, in the workflows' time: attempts, limits, children, items, races, and events that come early."""

from collections.abc import Callable
from datetime import timedelta

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Unavailable
from engine.ports import InteractionCall
from engine.runs import Run
from engine.values import Principal
from tests.processes.seats import outcome
from tests.processes.test_events import order, send
from tests.processes.test_people_time import DAY, HOUR
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


def process(name: str, nodes: str, start: str = "node") -> str:
    """Return a definition with one node that can fail or be late."""
    return f"""
format: 1
process: {name}
context: {{schema: {{type: object, properties: {{said: {{type: object}}, all: {{type: array}}}}}}}}
start: {start}
nodes:
  {nodes}
  done: {{type: end, outcome: done}}
  late: {{type: end, outcome: late}}
  down: {{type: end, outcome: down}}
"""


async def at(house: EngineHouse) -> timedelta:
    """Return the time of the workflows."""
    assert house.clock is not None
    now = await house.clock.get_current_time()
    return timedelta(seconds=now.timestamp())


async def waits(house: EngineHouse, who: Principal, run: Run, holds: Callable[[Run], bool]) -> None:
    """Wait until the row of a run is as wanted."""
    while not holds(found := await house.store.load(run.ref)):
        assert not found.finished, found.error
        await house.store.wait(who, run.run_id, after=found.events, timeout_s=1)


async def test_failed_attempts_are_made_again_after_ever_longer_waits_and_no_sooner(
    skipping: EngineHouse, alice: Principal
) -> None:
    attempts: list[anyio.Event] = [anyio.Event() for _ in range(3)]
    made = 0

    def down(_: InteractionCall) -> JsonValue:
        nonlocal made
        made += 1
        attempts[made - 1].set()
        raise Unavailable("the model is down")

    skipping.answers["say"] = down
    node = (
        "node: {type: interaction, interaction: say, writes: [said], next: [{to: done}], "
        "retry: {initial_interval: PT1H, backoff: 3, max_attempts: 3}, on_error: [{to: down, match: [unavailable]}]}"
    )
    run = await skipping.start(alice, process("retried", node))
    await attempts[0].wait()
    await skipping.pass_time(HOUR - MINUTE)
    assert made == 1
    await skipping.pass_time(2 * MINUTE)
    await attempts[1].wait()
    await skipping.pass_time(3 * HOUR - 2 * MINUTE)
    assert made == 2
    await skipping.pass_time(4 * MINUTE)
    await attempts[2].wait()
    assert outcome((await skipping.finished(alice, run)).result) == "down"


async def test_a_child_that_takes_longer_than_its_node_may_is_cancelled(
    skipping: EngineHouse, alice: Principal
) -> None:
    skipping.definitions["slow"] = process("slow", "node: {type: wait, for: P2D, next: [{to: done}]}")
    node = (
        "node: {type: process, process: slow, timeout: PT6H, "
        "next: [{to: done}], on_error: [{to: late, match: [timeout]}]}"
    )
    run = await skipping.start(alice, process("parent", node))
    await skipping.pass_time(5 * HOUR)
    assert not (await skipping.store.load(run.ref)).finished
    await skipping.pass_time(2 * HOUR)
    assert outcome((await skipping.finished(alice, run)).result) == "late"


async def test_items_that_wait_take_turns_by_how_many_may_at_once(skipping: EngineHouse, alice: Principal) -> None:
    node = (
        "node: {type: foreach, items: [1, 2, 3, 4], as: item, max_concurrency: 2, next: [{to: done}], "
        "body: {start: rest, nodes: {rest: {type: wait, for: PT1H}}}}"
    )
    run = await skipping.start(alice, process("items", node))
    await skipping.pass_time(HOUR + HOUR / 2)
    assert not (await skipping.store.load(run.ref)).finished
    await skipping.pass_time(HOUR)
    assert outcome((await skipping.finished(alice, run)).result) == "done"


async def test_of_timers_that_race_the_first_wins_and_the_others_hold_nothing_up(
    skipping: EngineHouse, alice: Principal
) -> None:
    node = (
        "node: {type: branch, take: every, join: any, next: [{to: done}], arms: ["
        "{name: soon, body: {start: s, nodes: {s: {type: wait, for: P1D}}}}, "
        "{name: never, body: {start: n, nodes: {n: {type: wait, for: P300D}}}}]}"
    )
    began = await at(skipping)
    run = await skipping.start(alice, process("race", node))
    await skipping.pass_time(DAY + HOUR)
    assert outcome((await skipping.finished(alice, run)).result) == "done"
    assert await at(skipping) - began < 2 * DAY


@pytest.mark.parametrize(("hours", "found"), [(23, "paid"), (25, "late")])
async def test_an_event_that_comes_early_is_kept_for_a_day(
    skipping: EngineHouse, alice: Principal, fay: Principal, hours: int, found: str
) -> None:
    run = await skipping.start(alice, order(start="gate"), {"number": "A1"})
    (task,) = await skipping.asked(alice, run)
    sent = await send(skipping, alice, {"amount": 5}, match={"order": "A1"}, run_id=run.run_id)
    assert sent.kept == (run.run_id,)
    await skipping.pass_time(hours * HOUR)
    await skipping.decide(fay, run, "yes")
    assert task.node == "gate"
    if found == "late":
        await waits(skipping, alice, run, lambda now: now.status == "running")
        await skipping.pass_time(2 * DAY + HOUR)
    assert outcome((await skipping.finished(alice, run)).result) == found
