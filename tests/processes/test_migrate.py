"""Moving to another version: a run goes on where it stands if that fits there, and is told why if it does not."""

import pytest

from engine.errors import Conflict
from engine.ports import Control, ToolOutcome
from engine.process.definition import parse_definition
from engine.process.messages import Undo
from engine.process.migrate import misfits
from engine.runs import Run
from engine.values import Principal
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

FIRST = """
format: 1
process: paper
input: {type: object, properties: {text: {type: string}}, required: [text]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {text: {type: string}, approval: {type: object}, sent: {type: object}}
start: check
nodes:
  check: {type: tool, tool: check, next: [{to: approve}], compensate: uncheck}
  uncheck: {type: tool, tool: check}
  approve:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Send {{text}}?"}
    decisions: [yes, no]
    deadline: P2D
    on_timeout: {to: done}
    writes: [approval]
    next: [{to: done}]
  done: {type: end, outcome: old}
"""

SECOND = FIRST.replace("next: [{to: done}]\n  done", "next: [{to: send}]\n  done").replace(
    "  done: {type: end, outcome: old}",
    "  send: {type: tool, tool: check, input: {text: {var: text}}, writes: [sent], next: [{to: done}]}\n"
    "  done: {type: end, outcome: new}",
)


def versions(house: EngineHouse, second: str) -> None:
    house.definitions |= {"paper@1": FIRST, "paper@2": second}
    house.tools["check"] = lambda invocation: ToolOutcome(outcome="ok", value={"ok": True})


async def migrate(house: EngineHouse, who: Principal, run: Run, target: str) -> Run:
    control = Control(action="migrate", by=who, target=target, reason="a better way")
    return await house.control.control(who, run.run_id, control)


async def test_a_parked_run_goes_on_in_the_new_version_with_what_it_knows(
    house: EngineHouse, alice: Principal, fay: Principal
) -> None:
    versions(house, SECOND)
    run = await house.start(alice, FIRST, {"text": "a letter"})
    house.definitions["paper"] = FIRST
    (task,) = await house.asked(alice, run)
    await migrate(house, alice, run, "2")
    asked = task
    while asked.task_id == task.task_id:
        (asked,) = await house.asked(alice, run)
    assert asked.title == "Send a letter?"
    await house.decide(fay, run, "yes")
    run = await house.finished(alice, run)
    assert (run.version, run.result) == ("2", {"outcome": "new", "output": None})
    (record,) = [one for one in await house.store.audit(alice, run.run_id) if one.action == "process.migrated"]
    assert (record.actor, record.data["from"], record.data["version"], record.data["node"]) == (
        "alice",
        "1",
        "2",
        "approve",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("  approve:", "  agree:"), "stands at 'approve', which the version has not"),
        (("text: {type: string}, approval", "text: {type: number}, approval"), "context does not fit"),
        (("uncheck", "recheck"), "is undone by 'uncheck'"),
        (("  properties: {text: {type: string}, ", "  properties: {title: {type: string}, "), "does not fit"),
    ],
)
async def test_a_version_that_does_not_fit_is_refused_with_the_reason_and_nothing_changes(
    house: EngineHouse, alice: Principal, change: tuple[str, str], said: str
) -> None:
    second = SECOND.replace(*change)
    if change[0] == "  approve:":
        second = second.replace("to: approve", "to: agree")
    versions(house, second)
    run = await house.start(alice, FIRST, {"text": "a letter"})
    (task,) = await house.asked(alice, run)
    with pytest.raises(Conflict, match=said):
        await migrate(house, alice, run, "2")
    with pytest.raises(Conflict, match="on version 1 already"):
        await migrate(house, alice, run, "1")
    assert (await house.asked(alice, run))[0].task_id == task.task_id
    await house.control.control(alice, run.run_id, Control(action="stop", by=alice))


def test_what_later_nodes_read_must_be_there_when_the_run_comes_to_them() -> None:
    old = parse_definition(FIRST)
    second = SECOND.replace("sent: {type: object}", "sent: {type: object}, address: {type: string}").replace(
        "input: {text: {var: text}}", "input: {to: {var: address}}"
    )
    found = misfits(old, parse_definition(second), node="approve", context={"text": "x"}, visits={"check": 1})
    assert [(finding.code, finding.path) for finding in found] == [("read_before_assigned", "/nodes/send/input/to")]
    fits = {"text": "x", "address": "home"}
    assert misfits(old, parse_definition(second), node="approve", context=fits, visits={}) == ()


def test_a_changed_type_and_used_up_visits_are_said_but_keep_nothing_back() -> None:
    new = parse_definition(
        SECOND.replace("  check: {type: tool, tool: check,", "  check: {type: wait, for: PT1S, max_visits: 1,")
    )
    undo = Undo(run_id="run_1", step="1.check", node="uncheck", at="", seen={})
    found = misfits(
        parse_definition(FIRST), new, node="check", context={"text": "x"}, visits={"check": 1}, undo=(undo,)
    )
    assert [(finding.code, finding.severity) for finding in found] == [
        ("node_changed", "warning"),
        ("visits_used_up", "warning"),
    ]
