"""The core tools over real stores: what they start, show, hand over, and how they refuse."""

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.runs import AuditDraft, Run, StartRun
from engine.values import PLATFORM_ROLES, Principal
from skills.catalogue import Catalogue, Skill
from skills.core import CORE_TOOLS
from skills.toolbox import Toolbox
from tests.skills.house import House

pytestmark = pytest.mark.anyio

ALICE = Principal(tenant="acme", subject="alice", roles=PLATFORM_ROLES)
FINN = Principal(tenant="acme", subject="finn", roles=frozenset({"finance"}))
BOB = Principal(tenant="acme", subject="bob", roles=frozenset({"operator"}))
EVE = Principal(tenant="other", subject="eve", roles=PLATFORM_ROLES)

APPROVAL = """
format: 1
process: approval
title: Approval
input:
  type: object
  properties: {amount: {type: number}}
  required: [amount]
  additionalProperties: false
context:
  schema: {type: object, properties: {amount: {type: number}}, additionalProperties: false}
start: done
nodes:
  done: {type: end, outcome: seen, output: {var: amount}}
"""

GREETING = """---
input:
  schema:
    name: string
---
Say hello to {{name}}.
"""


async def publish_approval(house: House, text: str = APPROVAL) -> None:
    definitions = house.services.definitions
    held = [one for one in await definitions.list_names(ALICE) if one.name == "approval"]
    await definitions.put_draft(ALICE, "approval", text, revision=held[0].draft_revision if held else None)
    await definitions.publish(ALICE, "approval")


async def a_run(house: House, **fields: Any) -> Run:
    start = StartRun.model_validate({"kind": "process", "definition": "approval", "title": "Approval", **fields})
    return await house.control.start(ALICE, start)


async def test_a_process_is_started_at_the_version_its_address_means(house: House) -> None:
    await publish_approval(house)
    await publish_approval(house, APPROVAL.replace("title: Approval", "title: Second"))
    await house.services.definitions.move_label(ALICE, "approval", "production", 1)
    for address, version, title in (("approval", "1", "Approval"), ("approval@2", "2", "Second")):
        started = await house.call(ALICE, "start_process", process=address, input={"amount": 5})
        run = await house.runs.get(ALICE, started["run_id"])
        assert (run.kind, run.definition, run.version, run.title) == ("process", "approval", version, title)
        assert run.input == {"amount": 5}
        assert started["url"] == f"http://localhost/runs/{run.run_id}"


async def test_the_input_of_a_process_is_checked_before_anything_starts(house: House) -> None:
    await publish_approval(house)
    with pytest.raises(Invalid, match=r"approval@1 does not fit its schema: \$\.amount is missing"):
        await house.call(ALICE, "start_process", process="approval")
    with pytest.raises(Invalid, match=r"\$\.amout is not known.*did you mean amount"):
        await house.call(ALICE, "start_process", process="approval", input={"amount": 1, "amout": 2})
    assert (await house.call(ALICE, "list_runs"))["runs"] == []


async def test_an_unknown_process_names_the_nearest_and_a_draft_is_not_started(house: House) -> None:
    await publish_approval(house)
    with pytest.raises(NotFound, match="did you mean approval"):
        await house.call(ALICE, "start_process", process="aproval", input={"amount": 1})
    with pytest.raises(NotFound):
        await house.call(EVE, "start_process", process="approval", input={"amount": 1})
    with pytest.raises(Invalid, match="publish it"):
        await house.call(ALICE, "start_process", process="approval@draft", input={"amount": 1})


async def test_the_same_idempotency_key_gives_the_same_run_and_refuses_another_input(house: House) -> None:
    await publish_approval(house)
    start = {"process": "approval", "idempotency_key": "order-7"}
    first = await house.call(ALICE, "start_process", **start, input={"amount": 1})
    assert await house.call(ALICE, "start_process", **start, input={"amount": 1}) == first
    with pytest.raises(Conflict):
        await house.call(ALICE, "start_process", **start, input={"amount": 2})
    again = house.context(ALICE, key="call_7")
    one = await house.toolbox.call(again, "start_process", {"process": "approval", "input": {"amount": 1}})
    two = await house.toolbox.call(again, "start_process", {"process": "approval", "input": {"amount": 1}})
    assert one == two


async def test_who_may_not_start_runs_does_not_see_the_tools_that_do(house: House) -> None:
    names = {spec.name for spec in house.toolbox.surface(FINN)}
    assert not names & {"start_process", "start_agent", "run_interaction"}
    assert {"get_run", "answer_run", "list_tasks", "search_content"} <= names
    with pytest.raises(NotFound):
        await house.call(FINN, "start_agent", task="x")


async def test_an_agent_is_started_with_its_task_as_input_and_under_the_run_that_called(house: House) -> None:
    parent = await a_run(house)
    context = house.context(ALICE, run=parent)
    arguments: dict[str, JsonValue] = {
        "task": "Find the oldest invoice.",
        "skills": ["content"],
        "model": "mock/model",
        "budget": {"turns": 3, "usd": None},
        "output_schema": {"type": "object"},
    }
    value: Any = (await house.toolbox.call(context, "start_agent", arguments)).value
    run = await house.runs.get(ALICE, value["run_id"])
    assert (run.kind, run.parent_id, run.title) == ("agent", parent.run_id, "Find the oldest invoice.")
    assert run.input["task"] == "Find the oldest invoice."
    assert (run.input["skills"], run.input["tools"]) == (["content"], None)
    assert (run.budget.turns, run.budget.usd) == (3, None)
    with pytest.raises(Invalid, match=r"\$\.model.*write provider/model"):
        await house.call(ALICE, "start_agent", task="x", model="nonsense")


async def test_an_interaction_is_rendered_without_a_model_and_run_at_the_pinned_version(house: House) -> None:
    await house.services.interactions.put_draft(ALICE, "greeting", GREETING)
    await house.services.interactions.publish(ALICE, "greeting")
    shown = await house.call(ALICE, "render_interaction", interaction="greeting", parameters={"name": "Ada"})
    assert (shown["interaction"], shown["version"]) == ("greeting", 1)
    assert "Say hello to Ada." in json.dumps(shown["messages"])
    with pytest.raises(Invalid, match="name"):
        await house.call(ALICE, "run_interaction", interaction="greeting")
    house.control.finish = {"status": "completed", "result": {"output": "Hello Ada"}}
    with anyio.fail_after(10):
        done = await house.call(ALICE, "run_interaction", interaction="greeting", parameters={"name": "Ada"})
    assert (done["status"], done["result"]) == ("completed", {"output": "Hello Ada"})
    run = await house.runs.get(ALICE, done["run_id"])
    assert run.input == {"interaction": "greeting@1", "parameters": {"name": "Ada"}, "model": None}
    house.control.finish = None
    going = await house.call(ALICE, "run_interaction", interaction="greeting", parameters={"name": "Bob"}, wait_s=0)
    assert (going["status"], going["result"]) == ("starting", None)


async def test_a_run_is_shown_with_its_latest_events_and_read_on_from_a_cursor(house: House) -> None:
    run = await a_run(house)
    for number in range(70):
        await house.step(run, f"step/{number}")
    latest = await house.call(ALICE, "get_run", run_id=run.run_id)
    assert [event["data"]["step"] for event in latest["events"]][-1] == "step/69"
    assert len(latest["events"]) == 20
    assert (latest["next_after"], latest["more"]) == (70, False)
    page = await house.call(ALICE, "get_run", run_id=run.run_id, after=0)
    assert ([event["seq"] for event in page["events"]], page["more"]) == (list(range(1, 51)), True)
    rest = await house.call(ALICE, "get_run", run_id=run.run_id, after=page["next_after"])
    assert ([event["seq"] for event in rest["events"]], rest["more"]) == (list(range(51, 71)), False)
    with pytest.raises(NotFound):
        await house.call(EVE, "get_run", run_id=run.run_id)


@pytest.mark.parametrize("after", [None, 1])
async def test_waiting_holds_the_call_until_something_changes(house: House, after: int | None) -> None:
    run = await a_run(house)
    await house.step(run, "one")
    shown: list[Any] = []

    async def watch() -> None:
        shown.append(await house.call(ALICE, "get_run", run_id=run.run_id, wait_s=25, after=after))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            assert shown == []
            await house.step(run, "two", status="completed", result={"ok": True})
    assert (shown[0]["status"], shown[0]["result"]) == ("completed", {"ok": True})
    assert "two" in [event["data"].get("step") for event in shown[0]["events"]]
    with anyio.fail_after(5):
        over = await house.call(ALICE, "get_run", run_id=run.run_id, wait_s=25)
    assert over["status"] == "completed"


async def test_an_open_task_says_what_is_asked_of_whom_and_whether_it_is_yours(house: House) -> None:
    run = await a_run(house)
    form = {"type": "object", "properties": {"cost_centre": {"type": "string"}}}
    await house.ask(run, "task_1", form=form, context={"amount": 7})
    (task,) = (await house.call(ALICE, "get_run", run_id=run.run_id))["open_tasks"]
    assert (task["task_id"], task["decisions"], task["form"]) == ("task_1", ["approve", "reject"], form)
    assert (task["seat"], task["yours"], task["context"]) == ({"roles": ["finance"]}, False, {"amount": 7})
    assert (await house.call(ALICE, "list_tasks"))["tasks"] == []
    assert len((await house.call(ALICE, "list_tasks", mine=False))["tasks"]) == 1
    assert [one["yours"] for one in (await house.call(FINN, "list_tasks"))["tasks"]] == [True]
    assert (await house.call(EVE, "list_tasks", mine=False))["tasks"] == []


async def test_the_only_open_task_is_implied_and_a_seat_is_enough_to_answer_it(house: House) -> None:
    run = await a_run(house)
    await house.ask(run, "task_1")
    with pytest.raises(Denied):
        await house.call(ALICE, "answer_run", run_id=run.run_id, decision="approve")
    with pytest.raises(Invalid, match="not one of approve, reject"):
        await house.call(FINN, "answer_run", run_id=run.run_id, decision="maybe")
    with pytest.raises(NotFound):
        await house.call(FINN, "get_run", run_id=run.run_id)
    done = await house.call(FINN, "answer_run", run_id=run.run_id, decision="approve", values={"a": 1}, comment="ok")
    assert (done["task_id"], done["accepted"], done["status"]) == ("task_1", "Approve task_1?: approve", "answered")
    task = await house.runs.task(FINN, "task_1")
    assert task.answer is not None
    assert (task.answer.decision, task.answer.values, task.answer.comment) == ("approve", {"a": 1}, "ok")
    with pytest.raises(Conflict, match="already decided by finn"):
        await house.call(FINN, "answer_run", run_id=run.run_id, task_id="task_1", decision="reject")
    with pytest.raises(Conflict, match="no open task"):
        await house.call(ALICE, "answer_run", run_id=run.run_id, decision="reject")


async def test_of_several_open_tasks_one_must_be_named_and_belong_to_the_run(house: House) -> None:
    run, other = await a_run(house), await a_run(house)
    await house.ask(run, "task_1")
    await house.ask(run, "task_2")
    await house.ask(other, "task_3")
    with pytest.raises(Invalid, match="2 open tasks") as caught:
        await house.call(FINN, "answer_run", run_id=run.run_id, decision="approve")
    assert [task["task_id"] for task in caught.value.details["tasks"]] == ["task_1", "task_2"]
    with pytest.raises(NotFound, match="has no task task_3"):
        await house.call(FINN, "answer_run", run_id=run.run_id, task_id="task_3", decision="approve")
    done = await house.call(FINN, "answer_run", run_id=run.run_id, task_id="task_2", decision="reject")
    assert done["task_id"] == "task_2"
    with pytest.raises(NotFound):
        await house.call(EVE, "answer_run", run_id=run.run_id, task_id="task_1", decision="approve")


async def test_a_message_goes_to_a_running_agent_and_to_nothing_else(house: House) -> None:
    process, agent = await a_run(house), await a_run(house, kind="agent", definition="agent")
    said = await house.call(ALICE, "answer_run", run_id=agent.run_id, message="look in March")
    assert said["accepted"] == "message delivered"
    assert [say.text for say in house.control.said] == ["look in March"]
    with pytest.raises(Invalid, match="only agents take messages"):
        await house.call(ALICE, "answer_run", run_id=process.run_id, message="hello")
    with pytest.raises(Invalid, match="send it alone"):
        await house.call(ALICE, "answer_run", run_id=agent.run_id, message="hello", decision="approve")
    await house.step(agent, "end", status="completed")
    with pytest.raises(Conflict, match="start another"):
        await house.call(ALICE, "answer_run", run_id=agent.run_id, message="hello")


async def test_a_control_verb_reaches_the_run_with_its_reason(house: House) -> None:
    run = await a_run(house)
    await house.call(BOB, "control_run", run_id=run.run_id, action="skip", target="read", reason="broken")
    (control,) = house.control.said
    assert (control.action, control.target, control.reason, control.by) == ("skip", "read", "broken", BOB)
    with pytest.raises(Invalid, match="did you mean pause"):
        await house.call(BOB, "control_run", run_id=run.run_id, action="pauze")


async def test_runs_are_listed_newest_first_by_page_and_filter(house: House) -> None:
    made = [await a_run(house, title=str(number)) for number in range(3)]
    agent = await a_run(house, kind="agent", definition="agent")
    page = await house.call(ALICE, "list_runs", limit=2)
    assert [row["run_id"] for row in page["runs"]] == [agent.run_id, made[2].run_id]
    rest = await house.call(ALICE, "list_runs", limit=2, after=page["next_after"])
    assert [row["run_id"] for row in rest["runs"]] == [made[1].run_id, made[0].run_id]
    agents = await house.call(ALICE, "list_runs", kind="agent")
    assert [row["run_id"] for row in agents["runs"]] == [agent.run_id]
    assert agents["next_after"] is None
    assert (await house.call(EVE, "list_runs"))["runs"] == []


def test_the_short_list_stays_short_however_many_skills_there_are() -> None:
    real = Catalogue.load()
    many: list[Skill] = []
    for number in range(60):
        source = real.skills[0].source
        source = replace(source, name=f"area-{number}", description="word " * 200)
        many.append(Skill(source=source, tools=real.skills[0].tools))
    surface = Toolbox(Catalogue([*real.skills, *many]), CORE_TOOLS).surface(ALICE)
    assert len(surface) <= 30
    listed = [
        {"name": spec.name, "description": spec.description, "in": spec.input_schema, "out": spec.output_schema}
        for spec in surface
    ]
    assert len(json.dumps(listed)) / 4 <= 4_000
    for spec in surface:
        assert spec.input_schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf", "$ref"} & set(spec.input_schema)
        assert spec.output_schema is None or spec.output_schema["type"] == "object"


async def test_the_audit_of_a_run_is_verified_and_paged(house: House) -> None:
    run = await a_run(house)
    for number in range(5):
        record = AuditDraft(key=f"a/{number}", actor="alice", action="node.finished", data={"number": number})
        await house.step(run, f"a/{number}", audit=(record,))
    first = await house.call(ALICE, "processes.export_audit", run_id=run.run_id, limit=2)
    assert (first["valid"], first["total"], first["next_after"]) == (True, 5, 2)
    rest = await house.call(ALICE, "processes.export_audit", run_id=run.run_id, after=2)
    assert [json.loads(line)["data"]["number"] for line in rest["jsonl"].splitlines()] == [2, 3, 4]
    assert rest["next_after"] is None
    with pytest.raises(NotFound):
        await house.call(EVE, "processes.export_audit", run_id=run.run_id)
