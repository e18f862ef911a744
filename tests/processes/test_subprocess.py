"""Processes inside processes: pinned, checked, bounded in depth; failures, costs and tasks go up, ends go down."""

import pytest

from engine.ports import Control, RunFilter
from engine.process.messages import SendEvent
from engine.runs import Run
from engine.values import Principal
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

CHILD = """
format: 1
process: pricing
input: {type: object, properties: {amount: {type: number}}, required: [amount], additionalProperties: false}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {type: number}, price: {type: number}, approval: {type: object}}
start: quote
nodes:
  quote:
    type: interaction
    interaction: quote
    writes: [price]
    retry: {max_attempts: 1}
    next: [{to: ask, when: {">": [{var: amount}, 100]}}, {to: done}]
  ask:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Sell for {{price}}?"}
    decisions: [yes, no]
    deadline: P2D
    on_timeout: {to: done}
    writes: [approval]
    next: [{to: done}]
  done: {type: end, outcome: priced, output: {var: price}}
"""

PARENT = """
format: 1
process: sale
input: {type: object, properties: {amount: {}}, required: [amount]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {}, price: {type: number}, how: {type: string}}
start: price
nodes:
  price:
    type: process
    process: pricing@2
    input: {amount: {var: amount}}
    returns: {price: {var: output}, how: {var: outcome}}
    writes: [price, how]
    next: [{to: done}]
    on_error: [{match: [no_price, invalid, cancelled, timeout], to: failed}]
  failed: {type: end, outcome: failed}
  done: {type: end, outcome: sold, output: {cat: [{var: how}, " at ", {var: price}]}}
"""


def family(house: EngineHouse) -> None:
    house.definitions["pricing@2"] = CHILD
    house.answers["quote"] = lambda call: {"price": 7}


async def child_of(house: EngineHouse, who: Principal, run: Run) -> Run:
    (child,) = await house.store.list(who, RunFilter(parent_id=run.run_id))
    return child


async def test_a_child_is_a_run_of_its_own_and_what_it_returns_and_costs_goes_up(
    house: EngineHouse, alice: Principal
) -> None:
    family(house)
    run = await house.finished(alice, await house.start(alice, PARENT, {"amount": 5}))
    assert run.result == {"outcome": "sold", "output": "priced at 7"}, run.error
    child = await child_of(house, alice, run)
    assert (child.definition, child.version, child.root_id, child.status) == (
        "pricing",
        "2",
        run.run_id,
        "completed",
    )
    assert (run.spent, run.spent.input_tokens) == (child.spent, 10)
    facts = [record.data for record in await house.store.audit(alice, run.run_id) if record.node == "price"]
    assert (facts[0]["process_run"], facts[0]["process"]) == (child.run_id, "pricing@2")
    assert (await house.store.verify_audit(alice, child.run_id)).anchored


async def test_the_question_of_a_child_is_seen_from_its_root_and_its_answer_lets_both_go_on(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    family(house)
    run = await house.start(alice, PARENT, {"amount": 500})
    await house.decide(fay, run, "yes")
    assert (await house.finished(alice, run)).status == "completed"


@pytest.mark.parametrize("amount", ["many", None])
async def test_an_input_that_does_not_fit_the_child_fails_the_node_by_its_kind(
    house: EngineHouse, alice: Principal, amount: str | None
) -> None:
    family(house)
    run = await house.finished(alice, await house.start(alice, PARENT, {"amount": amount}))
    assert isinstance(run.result, dict)
    assert run.result["outcome"] == "failed"
    (failed,) = [one for one in await house.store.audit(alice, run.run_id) if one.action == "node.failed"]
    assert "the input of pricing@2 does not fit its schema: $.amount" in str(failed.data["error"])
    assert await house.store.list(alice, RunFilter(parent_id=run.run_id)) == []


async def test_a_child_that_fails_fails_the_node_with_its_own_kind(house: EngineHouse, alice: Principal) -> None:
    family(house)
    house.answers["quote"] = lambda call: {"price": "none"}
    text = PARENT.replace("no_price, ", "invalid_output, ")
    run = await house.finished(alice, await house.start(alice, text, {"amount": 5}))
    assert isinstance(run.result, dict)
    assert run.result["outcome"] == "failed"
    assert (await child_of(house, alice, run)).status == "failed"
    assert run.spent.input_tokens == 10, "what a failed child used up counts all the same"


async def test_a_cancelled_parent_cancels_its_child_and_a_cancelled_child_fails_its_node(
    house: EngineHouse, alice: Principal
) -> None:
    family(house)
    run = await house.start(alice, PARENT, {"amount": 500})
    (task,) = await house.asked(alice, run)
    await house.control.control(alice, run.run_id, Control(action="cancel", by=alice))
    assert (await house.finished(alice, run)).status == "cancelled"
    child = await child_of(house, alice, run)
    assert (child.status, (await house.store.task(alice, task.task_id)).status) == ("cancelled", "cancelled")
    again = await house.start(alice, PARENT, {"amount": 500})
    await house.asked(alice, again)
    await house.control.control(
        alice, (await child_of(house, alice, again)).run_id, Control(action="cancel", by=alice, reason="no need")
    )
    ended = await house.finished(alice, again)
    assert isinstance(ended.result, dict)
    assert ended.result["outcome"] == "failed"


async def test_a_child_that_takes_too_long_is_cancelled_and_the_node_times_out(
    house: EngineHouse, alice: Principal
) -> None:
    family(house)
    text = PARENT.replace("process: pricing@2", "process: pricing@2\n    timeout: PT1S")
    run = await house.finished(alice, await house.start(alice, text, {"amount": 500}))
    assert isinstance(run.result, dict)
    assert run.result["outcome"] == "failed"
    assert (await child_of(house, alice, run)).status == "cancelled"


ENDLESS = """
format: 1
process: endless
context: {schema: {type: object, additionalProperties: false, properties: {x: {}}}}
start: again
nodes:
  again: {type: process, process: endless@1, next: [{to: done}]}
  done: {type: end, outcome: done}
"""


async def test_a_process_that_calls_itself_is_stopped_at_a_depth(house: EngineHouse, alice: Principal) -> None:
    run = await house.finished(alice, await house.start(alice, ENDLESS))
    assert (run.status, run.error) == (
        "failed",
        "exhausted: processes start each other 8 deep here; a process may not be called by itself without end",
    )
    assert len(await house.store.list(alice, RunFilter(definition="endless"))) == 8


async def test_a_retry_of_the_node_starts_another_child(house: EngineHouse, alice: Principal) -> None:
    family(house)
    prices = iter(["none", 9])
    house.answers["quote"] = lambda call: {"price": next(prices)}
    text = PARENT.replace(
        "process: pricing@2", "process: pricing@2\n    retry: {max_attempts: 2, initial_interval: PT0.1S}"
    )
    run = await house.finished(alice, await house.start(alice, text, {"amount": 5}))
    assert run.result == {"outcome": "sold", "output": "priced at 9"}
    children = await house.store.list(alice, RunFilter(parent_id=run.run_id))
    assert sorted(child.status for child in children) == ["completed", "failed"]


RACE = """
format: 1
process: race
context:
  schema:
    type: object
    additionalProperties: false
    properties: {price: {type: number}, x: {type: number}, y: {type: number}}
start: race
nodes:
  race:
    type: branch
    take: every
    join: {at_least: 2}
    arms:
      - name: ask
        body: {start: ask, nodes: {ask: {type: process, process: pricing@2, input: {amount: 500}, writes: [price]}}}
      - name: x
        body: {start: x, nodes: {x: {type: script, code: "{'x': 1}", writes: [x]}}}
      - name: y
        body:
          start: wait
          nodes:
            wait: {type: wait, event: {name: go}, deadline: P1D, on_timeout: {to: y}, next: [{to: y}]}
            y: {type: script, code: "{'y': 2}", writes: [y]}
    next: [{to: done}]
  done: {type: end, outcome: done, output: {"+": [{var: x}, {var: y}]}}
"""


async def test_a_child_in_an_arm_that_lost_is_cancelled_before_the_run_goes_on(
    house: EngineHouse, alice: Principal
) -> None:
    family(house)
    run = await house.start(alice, RACE)
    await house.asked(alice, run)
    await house.control.send_event(alice, SendEvent(name="go", run_id=run.run_id))
    run = await house.finished(alice, run)
    assert run.result == {"outcome": "done", "output": 3}, run.error
    child = await child_of(house, alice, run)
    assert child.status == "cancelled"
    (task,) = await house.store.tasks(alice, run_id=child.run_id, status="cancelled")
    assert task.title == "Sell for 7?"
