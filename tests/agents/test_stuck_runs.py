"""Runs that lead nowhere: told, kept from their tool, left to a person or stopped with the evidence."""

from pathlib import Path
from typing import Any

import pytest

from engine.ports import TaskAnswer
from engine.runs import Run
from engine.transcript import ToolResult
from engine.values import Principal
from providers.scripted import Line, ScriptedReply
from tests.agents.house import BOTH, LEARN_HOSTILE
from tests.server.agent_house import LEARN, AgentHouse, call, calling, results

pytestmark = pytest.mark.anyio

ADD: Line = calling(call("desk.add", {"a": 1, "b": 2}))


async def steps(house: AgentHouse, run: Run) -> list[Any]:
    """Return which measures were taken against what, in order."""
    return [(one.data["step"], one.data["rule"]) for one in await house.events(run, "stuck")]


async def test_the_same_call_is_told_then_its_tool_is_refused_then_the_run_stops_with_the_evidence(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(LEARN, ADD)
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.error) == (
        "failed",
        "stuck: the same call with the same result 4 times in a row, "
        "then nothing but calls of refused tools for 2 turns",
    )
    assert run.spent.turns == 7
    assert await steps(house, run) == [("nudge", "same_result"), ("refuse", "same_result"), ("stop", "barred")]
    nudges = [request.messages[-1].text for request in talk.requests[4:6]]
    assert all(text.startswith("You have made the same calls") for text in nudges)
    answers = [part for message in await house.messages(run, "tool") for part in message.parts]
    _, *made, first, _ = [part.text for part in answers if isinstance(part, ToolResult)]
    assert made == ["3"] * 4
    assert first.startswith("not run: calls of desk.add have led nowhere, so it is refused up to turn 10.")
    stopped = (await house.events(run, "stuck"))[-1]
    evidence: Any = stopped.data["calls"]
    assert [(one["turn"], one["tool"], one["arguments"]) for one in evidence[-2:]] == [
        (6, "desk.add", '{"a":1,"b":2}'),
        (7, "desk.add", '{"a":1,"b":2}'),
    ]
    assert [one["result"] for one in evidence[1:5]] == ["3"] * 4
    actions = [one.action for one in await house.platform.runs.audit(alice, run.run_id)]
    assert actions[-4:] == ["run.stuck.nudge", "run.stuck.refuse", "run.stuck.stop", "run.failed"]


async def test_a_refused_tool_can_be_called_again_later_and_the_run_ends_well(
    house: AgentHouse, alice: Principal
) -> None:
    pages = [calling(call("desk.page", {"number": number, "size": 20})) for number in range(5)]
    talk = house.talk(LEARN, *[ADD] * 4, *pages, ADD, "done")
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.result) == ("completed", "done"), run.error
    assert await steps(house, run) == [("nudge", "same_result"), ("refuse", "same_result")]
    assert (results(talk.requests[-1])[-1].text, results(talk.requests[-1])[-1].is_error) == ("3", False)
    # The declaration of a refused tool stays, so that what the provider has cached stays too.
    assert all(request.tools == talk.requests[0].tools for request in talk.requests)


async def test_the_same_unexpected_failure_is_a_loop_although_its_reference_is_new_each_time(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await house.start(alice, house.talk(LEARN, calling(call("desk.fail")))))
    assert run.error is not None
    assert run.error.startswith("stuck: the same call with the same result 4 times in a row")


async def test_turns_in_a_circle_are_stopped(house: AgentHouse, alice: Principal) -> None:
    other = calling(call("desk.add", {"a": 2, "b": 2}), call("desk.add", {"a": 3, "b": 3}))
    run = await house.finished(await house.start(alice, house.talk(LEARN, *([ADD, other] * 6))))
    assert run.error is not None
    assert run.error.startswith("stuck: the same 2 turns in a circle 3 times")


async def test_a_tool_that_is_not_there_is_not_refused_but_stops_the_run(house: AgentHouse, alice: Principal) -> None:
    run = await house.finished(await house.start(alice, house.talk(calling(call("bash", {"command": "ls"})))))
    assert run.error == "stuck: the same call that can't be made 3 times in a row"
    assert await steps(house, run) == [("nudge", "refused"), ("stop", "refused")]


async def test_turns_that_neither_call_nor_end_are_stopped(house: AgentHouse, alice: Principal) -> None:
    run = await house.finished(await house.start(alice, house.talk(ScriptedReply(text="hm", finish="paused"))))
    assert run.error == "stuck: 4 turns in a row that neither called a tool nor ended"


async def test_polling_goes_on_while_its_answer_may_change_and_a_batch_is_no_loop(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    (place / "states").write_text(" ".join(["waiting"] * 7 + ["running"] * 6 + ["done"]))
    poll = calling(call("hostile.job_state", {"place": str(place)}))
    batch = [calling(call("desk.add", {"a": number, "b": 0})) for number in range(6)]
    talk = house.talk(LEARN_HOSTILE, LEARN, *[poll] * 14, *batch, "done")
    run = await house.finished(await house.start(alice, talk, skills=BOTH))
    assert (run.status, run.result, run.spent.turns) == ("completed", "done", 23), run.error
    assert await steps(house, run) == []


async def test_polling_that_never_changes_is_told_and_stopped(house: AgentHouse, alice: Principal, place: Path) -> None:
    (place / "states").write_text("waiting")
    poll = calling(call("hostile.job_state", {"place": str(place)}))
    run = await house.finished(await house.start(alice, house.talk(LEARN_HOSTILE, poll), skills=BOTH))
    assert run.error is not None
    assert run.error.startswith("stuck: the same call with the same result 20 times in a row")
    assert [one.data["turn"] for one in await house.events(run, "stuck")] == [11, 21, 23]


async def test_where_the_task_says_so_a_person_decides_whether_a_stuck_run_goes_on(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(LEARN, *[ADD] * 6, "done")
    started = await house.start(alice, talk, on_stuck="ask")
    (task,) = await house.asked(started)
    assert (task.kind, task.decisions) == ("question", ("go_on", "stop"))
    assert "the same call with the same result 4 times in a row" in task.description
    assert 'turn 5: desk.add {"a":1,"b":2} → 3' in task.description
    said = TaskAnswer(task_id=task.task_id, by=alice, decision="go_on", values={"message": "three is enough"})
    await house.platform.control.answer(alice, task.task_id, said)
    run = await house.finished(started)
    assert (run.status, run.result) == ("completed", "done"), run.error
    last = talk.requests[-1].messages[-1]
    assert (last.role, last.text) == ("user", "three is enough")


async def test_a_person_stops_a_stuck_run_with_a_reason(house: AgentHouse, alice: Principal) -> None:
    started = await house.start(alice, house.talk(LEARN, ADD), on_stuck="ask")
    (task,) = await house.asked(started)
    await house.decide(alice, task, "stop", "it is hopeless")
    run = await house.finished(started)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.endswith("; alice stopped it: it is hopeless")
    assert (await house.platform.runs.audit(alice, run.run_id))[-1].actor == "alice"


async def test_a_run_that_asks_nobody_is_stopped_even_where_the_task_would_ask(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await house.start(alice, house.talk(LEARN, ADD), on_stuck="ask", approval="full"))
    assert run.status == "failed"
    assert await house.platform.runs.tasks(alice, status=None, run_id=run.run_id) == []
