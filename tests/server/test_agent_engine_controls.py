"""What an agent orders its own run to do: keep a plan, ask the person it works for."""

import json

import pytest

from engine.errors import Conflict
from engine.ports import TaskAnswer
from engine.values import Budget, Principal
from tests.server.agent_house import AgentHouse, call, calling, check_log, results

pytestmark = pytest.mark.anyio

PLAN = call("update_plan", {"steps": [{"title": "look", "status": "done"}, {"title": "tell"}]})
TOOLS = ("update_plan", "ask_person")


async def test_a_plan_is_kept_where_people_and_the_workflow_see_it(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(calling(PLAN), "done")
    run = await house.finished(await house.start(alice, talk, tools=TOOLS))
    assert run.status == "completed"
    (event,) = await house.events(run, "plan")
    assert [(step["title"], step["status"]) for step in event.data["steps"]] == [("look", "done"), ("tell", "open")]  # type: ignore[union-attr]
    (answer,) = results(talk.requests[1])
    assert (answer.is_error, answer.text) == (False, "The plan is kept: 1 of 2 steps are done.")
    check_log(await house.events(run))
    assert [step["title"] for step in await house.handle(run).query("plan")] == ["look", "tell"]


async def test_a_question_parks_the_run_until_the_person_answers_and_the_model_reads_the_answer(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(calling(call("ask_person", {"question": "Which supplier?\nThere are two."})), "done")
    run = await house.start(alice, talk, tools=TOOLS)
    (task,) = await house.asked(run)
    assert (task.kind, task.title, task.description) == ("question", "Which supplier?", "There are two.")
    assert (await house.platform.runs.load(run.ref)).status == "waiting"
    said = TaskAnswer(task_id=task.task_id, by=alice, values={"answer": "Müller"})
    await house.platform.control.answer(alice, task.task_id, said)
    ended = await house.finished(run)
    assert ended.status == "completed"
    (answer,) = results(talk.requests[1])
    assert json.loads(answer.text) == {"by": "alice", "answer": "Müller"}
    late = said.model_copy(update={"values": {"answer": "Meier"}})
    with pytest.raises(Conflict, match="alice"):
        await house.platform.control.answer(alice, task.task_id, late)


async def test_choices_are_the_only_answers_and_a_broken_form_is_told_to_the_model(
    house: AgentHouse, alice: Principal
) -> None:
    broken = call("ask_person", {"question": "How many?", "form": {"type": "array"}})
    asking = call("ask_person", {"question": "Pay?", "choices": ["yes", "no"]})
    talk = house.talk(calling(broken), calling(asking), "done")
    run = await house.start(alice, talk, tools=TOOLS)
    (task,) = await house.asked(run)
    assert task.decisions == ("yes", "no")
    await house.decide(alice, task, "no", "not this month")
    await house.finished(run)
    refused, chosen = results(talk.requests[1])[-1], results(talk.requests[2])[-1]
    assert refused.is_error
    assert "its type is 'array', not 'object'" in refused.text
    assert json.loads(chosen.text) == {"by": "alice", "choice": "no", "comment": "not this month"}


async def test_a_question_that_nobody_answers_ends_with_the_time_of_the_run(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(calling(call("ask_person", {"question": "Anybody there?"})), "nobody was")
    run = await house.finished(await house.start(alice, talk, tools=TOOLS, budget=Budget(seconds=1)))
    assert (run.status, run.result) == ("completed", "nobody was")
    assert [task.status for task in await house.platform.runs.tasks(alice, status=None, run_id=run.run_id)] == [
        "expired"
    ]
    assert "Nobody answered in time" in results(talk.requests[1])[-1].text


async def test_only_agents_see_the_tools_that_steer_their_run(house: AgentHouse, alice: Principal) -> None:
    surface = {spec.name for spec in house.platform.toolbox.surface(alice)}
    assert surface.isdisjoint(TOOLS)
    talk = house.talk("done")
    await house.finished(await house.start(alice, talk, tools=None))
    assert set(TOOLS) <= {tool.name for tool in talk.requests[0].tools}
