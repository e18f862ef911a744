"""What processes are given that they should not be: bombs, two decisions at once, late ones, changes under a run."""

import time
from typing import Any

import anyio
import pytest

from engine.errors import Conflict, Exhausted, Problem
from engine.ports import TaskAnswer
from engine.process.definition import parse_definition
from engine.process.simulate import Played, play
from engine.process.verify import verify
from engine.values import Principal
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

CPU_S = 1.0
"""How much computing a bomb may cost, in seconds of the processor."""

BASE: dict[str, Any] = {
    "format": 1,
    "process": "fed",
    "input": {"type": "object"},
    "context": {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"list": {"type": "array"}, "sum": {"type": "number"}, "other": {"type": "number"}},
        },
        "initial": {"list": [1]},
    },
    "start": "first",
    "nodes": {
        "first": {"type": "script", "code": "{}", "next": [{"to": "done"}]},
        "done": {"type": "end"},
    },
}


def guarded(rule: Any, **more: Any) -> dict[str, Any]:
    ways = [{"to": "done", "when": rule}, {"to": "done"}]
    first = {"type": "script", "code": "{}", "next": ways}
    return {**BASE, "nodes": {**BASE["nodes"], "first": first}, **more}


def nested(depth: int) -> Any:
    rule: Any = True
    for _ in range(depth):
        rule = {"!": [rule]}
    return rule


def played(definition: dict[str, Any], **fixtures: Any) -> Played:
    given = {"first": {"result": {}}, **fixtures}
    found = parse_definition({**definition, "scenarios": [{"name": "s", "fixtures": given}]})
    return play(found, found.scenarios[0])


def test_a_guard_ten_thousand_deep_is_refused_when_it_is_read() -> None:
    begun = time.process_time()
    with pytest.raises(Exhausted, match="64 levels"):
        parse_definition(guarded(nested(10_000)))
    text = '{"format": 1, "process": "fed", "start": "a", "nodes": {"a": {"type": "end", "output": ' + '{"!": ' * 10_000
    with pytest.raises(Problem):
        parse_definition(text + "true" + "}" * 10_003)
    assert time.process_time() - begun < CPU_S


def test_a_guard_too_wide_to_be_a_guard_is_refused_or_harmless() -> None:
    begun = time.process_time()
    with pytest.raises(Exhausted):
        parse_definition(guarded({"or": [False] * 150_000}))
    found = verify(parse_definition(guarded({"or": [{"==": [{"var": "sum"}, one]} for one in range(2_000)]})))
    assert "read_before_assigned" in {finding.code for finding in found}
    assert time.process_time() - begun < 5 * CPU_S


@pytest.mark.parametrize(
    "rule",
    [
        {"reduce": [{"var": "list"}, {"+": [{"var": "accumulator"}, {"length": [{"var": "list"}]}]}, 0]},
        {"reduce": [{"var": "list"}, {"merge": [{"var": "accumulator"}, {"var": "accumulator"}]}, [1]]},
        {"reduce": [{"var": "list"}, {"cat": [{"var": "accumulator"}, {"var": "accumulator"}]}, "xx"]},
        {"map": [{"var": "list"}, {"map": [{"val": [[2], "list"]}, {"map": [{"val": [[4], "list"]}, 1]}]}]},
    ],
)
def test_a_guard_that_computes_too_much_fails_its_node_and_nothing_else(rule: Any) -> None:
    context = {**BASE["context"], "initial": {"list": list(range(20_000))}}
    begun = time.process_time()
    run = played(guarded(rule, context=context))
    assert (run.status, run.error, run.path) == ("failed", "expression", ("first",))
    assert time.process_time() - begun < 2 * CPU_S


@pytest.mark.parametrize("kind", ["foreach", "branch"])
def test_a_body_that_writes_what_it_does_not_declare_fails_and_leaves_the_context_as_it_was(kind: str) -> None:
    body = {"start": "writes", "nodes": {"writes": {"type": "interaction", "interaction": "ask", "writes": ["sum"]}}}
    holder: dict[str, Any] = (
        {"type": "foreach", "items": {"var": "list"}, "as": "item", "body": body}
        if kind == "foreach"
        else {"type": "branch", "take": "every", "arms": [{"name": "arm", "body": body}]}
    )
    nodes = {**BASE["nodes"], "first": {**holder, "next": [{"to": "done"}]}}
    run = played({**BASE, "nodes": nodes}, writes={"result": {"sum": 1, "other": 2}})
    assert (run.status, run.error) == ("failed", "undeclared_write")
    assert run.context == {"list": [1]}
    told = [step.error for step in run.steps if step.node == "writes"]
    assert told == ["undeclared_write: writes wrote other, but declares only ['sum']"]


ASK = """
format: 1
process: asking
context:
  schema: {type: object, additionalProperties: false, properties: {approval: {type: object}}}
start: approve
nodes:
  approve:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Go on?"}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: late}
    writes: [approval]
    next: [{to: paid, when: {"==": [{var: approval.decision}, approve]}}, {to: rejected}]
  paid: {type: end, outcome: paid}
  rejected: {type: end, outcome: rejected}
  late: {type: end, outcome: late}
"""


async def test_of_two_people_who_decide_in_one_moment_one_decides_and_the_other_is_told(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, ASK)
    (task,) = await house.asked(alice, run)
    told: list[str] = []

    async def decide(name: str, decision: str) -> None:
        by = fay.model_copy(update={"subject": name})
        try:
            answer = TaskAnswer(task_id=task.task_id, by=by, decision=decision)
            await house.control.answer(by, task.task_id, answer)
        except Conflict as refused:
            told.append(refused.message)

    async with anyio.create_task_group() as group:
        group.start_soon(decide, "fay", "approve")
        group.start_soon(decide, "gus", "reject")
    ended = await house.finished(alice, run)
    assert ended.result in ({"outcome": "paid", "output": None}, {"outcome": "rejected", "output": None})
    (message,) = told
    winner = "fay (approve)" if ended.result["outcome"] == "paid" else "gus (reject)"
    assert f"already decided by {winner}" in message
    audit = await house.store.audit(alice, run.run_id)
    assert len([record for record in audit if record.action == "task.decision"]) == 1


async def test_a_definition_that_changes_under_a_run_does_not_change_the_run(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    run = await house.start(alice, ASK)
    await house.asked(alice, run)
    house.definitions["asking"] = ASK.replace("outcome: paid", "outcome: other").replace("approval", "verdict")
    await house.decide(fay, run, "approve")
    assert (await house.finished(alice, run)).result == {"outcome": "paid", "output": None}


async def test_what_a_form_says_never_stands_for_who_decided_what(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    form = "form: {type: object, properties: {decision: {type: string}, by: {type: string}}}"
    run = await house.start(alice, ASK.replace('title: "Go on?"', f'title: "Go on?", {form}'))
    (task,) = await house.asked(alice, run)
    said = TaskAnswer(
        task_id=task.task_id, by=fay, decision="reject", values={"decision": "approve", "by": "the board"}
    )
    await house.control.answer(fay, task.task_id, said)
    ended = await house.finished(alice, run)
    assert ended.result == {"outcome": "rejected", "output": None}
    (finished,) = await house.store.events(alice, run.run_id, types=["process.finished"])
    context: Any = finished.data["context"]
    assert (context["approval"]["decision"], context["approval"]["by"]) == ("reject", "fay")
