"""Definitions with a seat, people to sit in it, and what they say."""

from pydantic import JsonValue

from engine.ports import TaskAnswer, TaskMove
from engine.runs import Seat, Task
from engine.values import Principal
from tests.server.engine_house import EngineHouse

SEAT = """
format: 1
process: seat
input: {type: object, properties: {amount: {type: number}}}
context:
  schema:
    type: object
    additionalProperties: false
    properties:
      amount: {type: number, maximum: 5000}
      approval: {type: object}
      second: {type: object}
  initial: {amount: 100}
start: approve
nodes:
  approve:
    type: supervisor
    ask:
      title: "Pay {{amount}}?"
      form: {type: object, properties: {amount: {type: number}, note: {type: string}}, additionalProperties: false}
    decisions: [approve, reject]
    writes: [approval, amount]
    on_error: [{match: [no_quorum], to: undecided}]
    on_timeout: {to: late}
    next: [{to: paid, when: {"==": [{var: approval.decision}, approve]}}, {to: rejected}]
    MORE
  paid: {type: end, outcome: paid, output: {var: amount}}
  rejected: {type: end, outcome: rejected}
  undecided: {type: end, outcome: undecided}
  late: {type: end, outcome: late}
"""


def seat(*more: str) -> str:
    """Return the definition with further fields of its seat, each `name: value`."""
    return SEAT.replace("    MORE", "\n".join(f"    {one}" for one in more))


def person(subject: str, *roles: str) -> Principal:
    """Return somebody who sees runs, with roles, `finance` where none is named."""
    return Principal(tenant="local", subject=subject, roles=frozenset(("viewer", *(roles or ("finance",)))))


async def say(house: EngineHouse, who: Principal, task: Task, decision: str, **values: JsonValue) -> Task:
    """Answer a task."""
    answer = TaskAnswer(task_id=task.task_id, by=who, decision=decision, values=values)
    return await house.control.answer(who, task.task_id, answer)


async def move(
    house: EngineHouse,
    who: Principal,
    task: Task,
    action: str,
    *,
    users: tuple[str, ...] = (),
    roles: tuple[str, ...] = (),
) -> Task:
    """Say who is to see to a task."""
    to = Seat(users=users, roles=roles)
    order = TaskMove.model_validate({"task_id": task.task_id, "action": action, "by": who, "to": to})
    return await house.control.move_task(who, order)


def outcome(result: JsonValue) -> JsonValue:
    """Return the outcome in the result of a run."""
    assert isinstance(result, dict)
    return result["outcome"]
