"""Agents in a seat: they decide within the same decisions and the same form, and leave the rest to people."""

import json
from collections.abc import AsyncGenerator

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Denied
from engine.ports import Control, RunFilter
from engine.runs import AuditRecord, Run, StartRun
from engine.values import Principal
from tests.processes.seats import outcome, person
from tests.server.agent_house import AgentHouse, Held, Talk, agent_house

pytestmark = pytest.mark.anyio

DEFINITION = """
format: 1
process: PROCESS
input: {type: object, properties: {amount: {type: number}}}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {type: number, maximum: 5000}, approval: {type: object}}
  initial: {amount: 100}
start: approve
nodes:
  approve:
    type: supervisor
    seat: {agent: {instructions: "Pay up to 500.", model: MODEL} SEAT}
    ask:
      title: "Pay {{amount}}?"
      form: {type: object, properties: {amount: {type: number}}, additionalProperties: false}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: rejected}
    writes: [approval, amount]
    on_error: [{match: [unsure], to: unsure}, {to: broken}]
    next: [{to: paid, when: {"==": [{var: approval.decision}, approve]}}, {to: rejected}]
    MORE
  paid: {type: end, outcome: paid, output: {var: approval}}
  rejected: {type: end, outcome: rejected}
  unsure: {type: end, outcome: unsure}
  broken: {type: end, outcome: broken}
"""


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[AgentHouse]:
    async with agent_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened


@pytest.fixture
async def house(shared: AgentHouse) -> AsyncGenerator[AgentHouse]:
    with anyio.fail_after(60):
        yield shared


def verdict(decision: str, comment: str = "it is small", **values: JsonValue) -> str:
    """Return what a model answers."""
    said: dict[str, JsonValue] = {"decision": decision, "comment": comment}
    return json.dumps({**said, "values": values} if values else said)


async def start(house: AgentHouse, who: Principal, talk: Talk, seat: str = "", more: str = "") -> Run:
    """Publish the process with the model of the test and start it."""
    name = f"seat_{talk.name.removeprefix('talk_')}"
    text = DEFINITION.replace("PROCESS", name).replace("MODEL", talk.route)
    text = text.replace(" SEAT", f", {seat}" if seat else "").replace("    MORE", f"    {more}")
    version = await house.platform.definitions.publish_text(who, name, text)
    return await house.platform.control.start(
        who, StartRun(kind="process", definition=name, version=str(version.number))
    )


async def agents_of(house: AgentHouse, run: Run) -> list[Run]:
    """Return the agents that decided for a run."""
    return list(await house.platform.runs.list(run.principal, RunFilter(parent_id=run.run_id)))


async def audited(house: AgentHouse, run: Run, action: str) -> list[AuditRecord]:
    """Return the records of one action."""
    return [one for one in await house.platform.runs.audit(run.principal, run.run_id) if one.action == action]


async def test_an_agent_decides_alone_and_the_audit_names_its_run_and_its_cost(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(verdict("approve", amount=90))
    run = await house.finished(await start(house, alice, talk))
    (agent,) = await agents_of(house, run)
    assert run.result == {
        "outcome": "paid",
        "output": {"decision": "approve", "by": f"agent:{agent.run_id}", "comment": "it is small", "amount": 90},
    }
    assert (run.spent, agent.spent.turns) == (agent.spent, 1)
    (record,) = await audited(house, run, "seat.agent")
    assert (record.actor, record.data["decision"]) == (f"agent:{agent.run_id}", "approve")
    assert not await house.platform.runs.tasks(alice, status=None, run_id=run.run_id)


async def test_an_agent_that_is_unsure_leaves_it_to_the_people_of_the_seat_and_says_why(
    house: AgentHouse, alice: Principal
) -> None:
    run = await start(house, alice, house.talk(verdict("_unsure", "no order was found")), "roles: [finance]")
    (task,) = await house.asked(run)
    assert "no order was found" in task.description
    fay = person("fay")
    with pytest.raises(Denied, match="an agent can't answer it"):
        await house.decide(fay.model_copy(update={"kind": "agent"}), task, "approve")
    await house.decide(fay, task, "approve")
    ended = await house.finished(run)
    assert isinstance(ended.result, dict)
    assert isinstance(ended.result["output"], dict)
    assert ended.result["output"]["by"] == "fay"
    assert ended.spent.turns == 1, "what the agent took counts although it decided nothing"


async def test_an_unsure_agent_without_people_beside_it_is_followed_by_those_of_the_escalation(
    house: AgentHouse, alice: Principal
) -> None:
    ladder = "escalate: [{after: P1D, to: {roles: [cfo]}}]"
    run = await start(house, alice, house.talk(verdict("_unsure")), more=ladder)
    (task,) = await house.asked(run)
    assert task.seat.roles == ("cfo",)
    await house.decide(person("bo", "cfo"), task, "reject")
    assert outcome((await house.finished(run)).result) == "rejected"


async def test_an_unsure_agent_with_nobody_behind_it_fails_the_node_as_unsure(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await start(house, alice, house.talk(verdict("_unsure"))))
    assert outcome(run.result) == "unsure"


async def test_an_agent_gets_no_value_past_the_context_and_no_decision_there_is_not(
    house: AgentHouse, alice: Principal
) -> None:
    run = await start(house, alice, house.talk(verdict("approve", amount=9000)), "roles: [finance]")
    (task,) = await house.asked(run)
    assert "9000" in task.description
    (record,) = await audited(house, run, "seat.agent")
    assert record.data["decision"] is None
    # A decision that is none of the seat's breaks the agent's contract; sent back and repeated, its run fails.
    forged = await house.finished(await start(house, alice, house.talk(verdict("approve_all"))))
    assert outcome(forged.result) == "broken"
    (agent,) = await agents_of(house, forged)
    assert (agent.status, agent.spent.turns == forged.spent.turns) == ("failed", True)


async def test_an_agents_decision_is_one_of_a_quorum(house: AgentHouse, alice: Principal) -> None:
    run = await start(house, alice, house.talk(verdict("approve", amount=40)), "roles: [finance]", "quorum: 2")
    (task,) = await house.asked(run)
    assert [vote.decision for vote in task.votes] == ["approve"]
    await house.decide(person("fay"), task, "approve")
    ended = await house.finished(run)
    assert isinstance(ended.result, dict)
    assert isinstance(ended.result["output"], dict)
    assert (ended.result["output"]["by"], ended.result["output"]["amount"]) == ("fay", 40)


async def test_an_agent_that_was_stopped_leaves_the_seat_to_people(house: AgentHouse, alice: Principal) -> None:
    held = Held("never said")
    run = await start(house, alice, house.talk(held), "roles: [finance]")
    await held.reached()
    (agent,) = await agents_of(house, run)
    await house.control(agent, "stop")
    (task,) = await house.asked(run)
    await house.decide(person("fay"), task, "approve")
    assert outcome((await house.finished(run)).result) == "paid"


SUPERVISED = """
format: 1
process: PROCESS
context:
  schema: {type: object, additionalProperties: false, properties: {total: {type: integer}}}
supervision: {seat: {agent: {instructions: "The total is 3.", model: MODEL} SEAT}, may: [skip, retry]}
start: count
nodes:
  count: {type: script, code: "{'total': 1 // 0}", writes: [total], next: [{to: done}]}
  done: {type: end, outcome: done, output: {var: total}}
"""


async def start_supervised(house: AgentHouse, who: Principal, talk: Talk, seat: str = "") -> Run:
    """Publish the process whose only step fails, with an agent in the seat over it, and start it."""
    name = f"over_{talk.name.removeprefix('talk_')}"
    text = SUPERVISED.replace("PROCESS", name).replace("MODEL", talk.route)
    version = await house.platform.definitions.publish_text(
        who, name, text.replace(" SEAT", f", {seat}" if seat else "")
    )
    return await house.platform.control.start(
        who, StartRun(kind="process", definition=name, version=str(version.number))
    )


async def test_an_agent_over_a_run_orders_what_becomes_of_a_failed_node_and_the_engine_holds_it_to_the_types(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await start_supervised(house, alice, house.talk(verdict("skip", total=3))))
    assert run.result == {"outcome": "done", "output": 3}, run.error
    (agent,) = await agents_of(house, run)
    (skipped,) = await audited(house, run, "node.skipped")
    assert (skipped.actor, skipped.node) == (f"agent:{agent.run_id}", "count")
    assert run.spent == agent.spent
    wrong = await start_supervised(house, alice, house.talk(verdict("skip", total="three")), "roles: [lead]")
    (task,) = await house.asked(wrong)
    assert (task.decisions, task.seat.roles) == (("retry", "skip", "cancel"), ("lead",))
    await house.decide(person("lea", "lead"), task, "cancel")
    assert (await house.finished(wrong)).status == "cancelled"


async def test_an_agent_over_a_run_retries_a_node_three_times_and_then_leaves_it_to_people_or_the_failure(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await start_supervised(house, alice, house.talk(verdict("retry"))))
    assert run.status == "failed"
    assert len(await agents_of(house, run)) == 3
    assert len(await audited(house, run, "node.failed")) == 4


async def test_a_persons_order_for_a_failed_node_does_not_wait_for_the_agent_over_the_run(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held("never said")
    run = await start_supervised(house, alice, house.talk(held))
    await held.reached()
    ole = person("ole", "operator")
    order = Control(action="skip", by=ole, values={"total": 4})
    await house.platform.control.control(ole, run.run_id, order)
    ended = await house.finished(run)
    assert ended.result == {"outcome": "done", "output": 4}, ended.error
    (skipped,) = await audited(house, run, "node.skipped")
    assert skipped.actor == "ole"
    (agent,) = await agents_of(house, run)
    assert (await house.finished(agent)).status == "cancelled"
