"""Subagents: side by side on models of their own, bounded in number, depth and budget, waited for, told of, ended."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.agent.controls import children as limits
from engine.ports import RunFilter
from engine.runs import Run
from engine.transcript import ModelRequest
from engine.values import Budget, Principal
from providers.scripted import Line, ScriptedReply, answer
from server.data_folder import open_data_folder
from server.platform import open_platform
from server.settings import Settings
from server.settings_models import AccountSettings, ModelSettings
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from skills.runs import get_run
from skills.services import ToolContext
from skills.tasks import answer_run, list_tasks
from tests.server.agent_house import (
    LEARN,
    PATIENCE_S,
    SKILLS,
    AgentHouse,
    Held,
    Talk,
    call,
    calling,
    check_log,
    results,
)

pytestmark = pytest.mark.anyio

TOOLS = (
    "launch_subagent",
    "wait_subagents",
    "message_subagent",
    "cancel_subagent",
    "launch_process",
    "get_run",
    "ask_person",
)
WAIT = calling(call("wait_subagents"))


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[AgentHouse]:
    """A house with two accounts at the provider of scripts beside its own."""
    root = tmp_path_factory.mktemp("house") / "data"
    models = ModelSettings(
        default="scripted/echo",
        accounts={"north": AccountSettings(provider="scripted"), "south": AccountSettings(provider="scripted")},
    )
    settings, folder = Settings(data=root, skills=(str(SKILLS),), models=models), open_data_folder(root)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        await stack.enter_async_context(workers(platform))
        yield AgentHouse(platform)


def launching(*talks: Talk, **given: Any) -> Line:
    """Return a turn that starts a subagent on each model; they are named agent-1 and so on."""
    wanted = [{"task": f"Part {at}.", "name": f"agent-{at}", "model": talk.route} for at, talk in enumerate(talks, 1)]
    return calling(*(call("launch_subagent", {**one, **given}) for one in wanted))


def last_said(request: ModelRequest) -> Line:
    """Say what a person said last."""
    return [message.text for message in request.messages if message.role == "user"][-1]


async def children(house: AgentHouse, run: Run) -> list[Run]:
    """Return the runs below a run, oldest first."""
    found = await house.platform.runs.list(run.principal, RunFilter(parent_id=run.run_id))
    return sorted(found, key=lambda one: (one.created_at, one.run_id))


def told(request: ModelRequest) -> list[dict[str, Any]]:
    """Return what the last result of a request says of subagents."""
    found: list[dict[str, Any]] = json.loads(results(request)[-1].text)["subagents"]
    return found


async def test_an_orchestrator_a_planner_and_an_extractor_work_on_models_of_their_own(
    house: AgentHouse, alice: Principal
) -> None:
    planner, extractor = house.talk("first this, then that"), house.talk(LEARN, answer({"sum": 3}))
    schema: Any = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    both = calling(
        call(
            "launch_subagent",
            {"task": "Plan.", "name": "planner", "model": [{"model": planner.route, "account": "north"}]},
        ),
        call(
            "launch_subagent",
            {
                "task": "Extract.",
                "name": "extractor",
                "model": [{"model": extractor.route, "account": "south"}],
                "skills": ["desk"],
                "output_schema": schema,
                "facts": {"page": 3},
            },
        ),
    )
    orchestrator = house.talk(both, WAIT, "all done")
    run = await house.finished(await house.start(alice, orchestrator, tools=TOOLS))
    assert (run.status, run.result) == ("completed", "all done"), run.error
    ids = [json.loads(one.text) for one in results(orchestrator.requests[1])]
    assert [one["name"] for one in ids] == ["planner", "extractor"]
    by_name = {one["name"]: one for one in told(orchestrator.requests[2])}
    assert by_name["planner"]["result"] == "first this, then that"
    assert by_name["extractor"]["result"] == {"sum": 3}
    # Each turn's model, account, usage and cost stand in the log of its run; the parent's total has all of them.
    made: dict[str, list[Any]] = {}
    for one in (run, *await children(house, run)):
        check_log(await house.events(one))
        made[one.run_id] = [event.data for event in await house.events(one, "turn.finished")]
    models = {
        run_id: {(turn["routing"]["model"], turn["routing"]["account"]) for turn in turns}
        for run_id, turns in made.items()
    }
    assert models[run.run_id] == {(orchestrator.route, None)}
    assert models[ids[0]["run_id"]] == {(planner.route, "north")}
    assert models[ids[1]["run_id"]] == {(extractor.route, "south")}
    turns = [turn for turns in made.values() for turn in turns]
    assert all(turn["reply"]["usage"]["input_total"] > 0 and turn["reply"]["price"]["usd"] == 0 for turn in turns)
    assert run.spent.turns == len(turns) == 6
    assert run.spent.input_tokens == sum(turn["reply"]["usage"]["input_total"] for turn in turns)
    kinds = [event.type for event in await house.events(run, "subagent.started", "subagent.finished")]
    assert sorted(kinds) == ["subagent.finished"] * 2 + ["subagent.started"] * 2
    assert [event.data["status"] for event in await house.events(run, "subagent.finished")] == ["completed"] * 2


async def test_subagents_work_side_by_side_and_one_that_is_not_waited_for_is_told_of_by_a_message(
    house: AgentHouse, alice: Principal
) -> None:
    slow, quick = Held("the slow one"), house.talk("the quick one")
    parent = house.talk(
        launching(house.talk(slow), quick),
        calling(call("wait_subagents", {"until": "any"})),
        "is that all?",
        "all heard",
    )
    run = await house.start(alice, parent, tools=TOOLS)
    await slow.reached()
    # A turn that was interrupted is asked for twice: it is the first request after the wait that tells.
    with anyio.fail_after(PATIENCE_S):
        while not (
            heard := [told(one) for one in parent.requests[2:] if any("result" in child for child in told(one))]
        ):
            await anyio.sleep(0.02)
    # They are named in the order in which they are started, which is up to who is first.
    by_status = {child["status"]: child for child in heard[0]}
    assert (set(by_status), by_status["completed"]["result"]) == ({"running", "completed"}, "the quick one")
    left = by_status["running"]["name"]
    # The answer of the third turn is not the last one: one is still at work.
    await house.until(run, lambda now: now.waits_for == f"subagents: {left}")
    slow.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "all heard"), ended.error
    note = parent.requests[3].messages[-1]
    assert note.role == "user"
    assert note.text.startswith(f"The subagent {left} has ended.")
    assert json.loads(note.parts[1].text)["result"] == "the slow one"  # type: ignore[union-attr]
    assert note.parts[1].data  # type: ignore[union-attr]


async def test_an_agent_waits_without_holding_a_slot_and_is_seen_waiting(house: AgentHouse, alice: Principal) -> None:
    held = Held("at last")
    parent = house.talk(launching(house.talk(held)), WAIT, "done")
    run = await house.start(alice, parent, tools=TOOLS)
    await held.reached()
    parked = await house.until(run, lambda now: now.waits_for == "subagents: agent-1")
    assert parked.status == "waiting"
    with anyio.fail_after(PATIENCE_S):
        # The activity that shows it waiting may be just ending; after it there is none.
        while (await house.handle(run).describe()).raw_description.pending_activities:
            await anyio.sleep(0.02)
    streams = await house.handle(run).query("workstreams")
    assert [(one["name"], one["status"]) for one in streams] == [("agent-1", "running")]
    view = await get_run(context(house, alice), run.run_id)
    assert [(one.name, one.kind, one.status) for one in view.children] == [("agent-1", "agent", "running")]
    held.released.set()
    assert (await house.finished(run)).result == "done"


def context(house: AgentHouse, principal: Principal, key: str = "test") -> ToolContext:
    return ToolContext(principal=principal, services=house.platform.services, key=key)


async def test_a_question_of_a_subagent_is_answered_by_a_person_at_the_parent(
    house: AgentHouse, alice: Principal
) -> None:
    asking = house.talk(calling(call("ask_person", {"question": "Which supplier?"})), "it is Meier")
    parent = house.talk(launching(asking), WAIT, WAIT, "done")
    run = await house.start(alice, parent, tools=TOOLS)
    with anyio.fail_after(PATIENCE_S):
        while len(parent.requests) < 3:
            await anyio.sleep(0.02)
    (one,) = told(parent.requests[2])
    assert one["waits_for_a_person"] == "question: Which supplier?"
    ctx = context(house, alice)
    (listed,) = (await list_tasks(ctx, run.run_id)).tasks
    view = await get_run(ctx, run.run_id)
    assert [task.task_id for task in view.open_tasks] == [listed.task_id]
    assert listed.run_id == view.children[0].run_id
    assert view.children[0].waits_for == "question: Which supplier?"
    await answer_run(ctx, run.run_id, values={"answer": "Meier"})
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "done"), ended.error
    assert told(parent.requests[3])[0]["result"] == "it is Meier"
    (waiting,) = await house.events(run, "subagent.waiting")
    assert waiting.data["waits_for"] == "question: Which supplier?"


async def test_the_files_of_a_subagent_are_the_parents_too_below_its_name(house: AgentHouse, alice: Principal) -> None:
    page = calling(call("desk.page", {"number": 7, "size": 60_000}))
    inner = house.talk(LEARN, page, "read")
    middle = house.talk(launching(inner, name="inner"), WAIT, "inner is done")
    parent = house.talk(launching(middle, name="middle"), WAIT, "done")
    run = await house.finished(await house.start(alice, parent, tools=TOOLS))
    assert run.status == "completed", run.error
    (told_of,) = told(parent.requests[2])
    (uri,) = told_of["artifacts"]
    path = uri.removeprefix(f"run://{run.run_id}/artifacts/")
    assert path.startswith("middle/inner/tools/")
    _, content = await house.platform.runs.read_artifact(alice, run.run_id, path)
    assert content.decode().startswith("page 7 xxx") or content.decode().startswith("page 7 x")
    assert len(content) >= 60_000


async def test_shares_of_parallel_subagents_never_exceed_what_is_left(house: AgentHouse, alice: Principal) -> None:
    greedy = house.talk(LEARN, lambda request: page_or_close(request))
    wanted: list[Any] = [{"turns": 8}, {"turns": 8}, {"turns": 3}, {"turns": 1}]
    many = calling(
        *(call("launch_subagent", {"task": "Read on.", "model": greedy.route, "budget": budget}) for budget in wanted)
    )
    parent = house.talk(many, WAIT, "done")
    run = await house.finished(await house.start(alice, parent, tools=TOOLS, budget=Budget(turns=15)))
    assert run.status == "completed", run.error
    first, second, third, fourth = results(parent.requests[1])
    # Of 15 turns one is spent and one is kept for the end: whoever comes first, 8 are there once only.
    (refused,) = [one for one in (first, second) if one.is_error]
    assert "8 turns are wanted and " in refused.text
    assert not third.is_error
    assert not fourth.is_error
    assert sorted(one.spent.turns for one in await children(house, run)) == [1, 3, 8]
    assert run.spent.turns == 15


def page_or_close(request: ModelRequest) -> Line:
    """Read pages until no tools are given any more."""
    if request.tool_choice == "none":
        return "as far as I came"
    return calling(call("desk.page", {"number": len(request.messages)}))


async def test_what_a_subagent_did_not_use_comes_back_before_the_last_turn_is_made(
    house: AgentHouse, alice: Principal
) -> None:
    quick = house.talk("quick")
    parent = house.talk(launching(quick, budget={"turns": 6}), "a", LEARN, LEARN, "done")
    run = await house.finished(await house.start(alice, parent, tools=TOOLS, budget=Budget(turns=8)))
    assert (run.status, run.spent.turns) == ("completed", len(parent.requests) + 1), run.error
    assert [request.tool_choice for request in parent.requests[:-1]] == ["auto"] * (len(parent.requests) - 1)


async def test_a_subagent_has_no_skill_tool_or_depth_beyond_its_parents(house: AgentHouse, alice: Principal) -> None:
    idle = house.talk("never")
    tries = calling(
        call("launch_subagent", {"task": "x", "model": idle.route, "skills": ["content"]}),
        call("launch_subagent", {"task": "x", "model": idle.route, "tools": ["start_process"]}),
        call("launch_subagent", {"task": "x", "model": "nowhere/model"}),
        call("launch_subagent", {"task": "x", "model": idle.route, "attachments": ["obj_nothere"]}),
    )
    parent = house.talk(tries, WAIT, "done")
    run = await house.finished(await house.start(alice, parent, tools=TOOLS))
    assert run.status == "completed", run.error
    skill, tool, model, attachment, nobody = results(parent.requests[2])
    assert "no skills that you don't have: content; you have: desk" in skill.text
    assert "no tools that you don't have: start_process" in tool.text
    assert "nowhere" in model.text
    assert "obj_nothere" in attachment.text
    assert nobody.text.startswith("no subagent of yours is at work")
    assert all(one.is_error for one in (skill, tool, model, attachment, nobody))
    assert not await children(house, run)
    assert not idle.requests


async def test_a_subagent_that_starts_itself_again_and_again_ends_at_the_depth(
    house: AgentHouse, alice: Principal
) -> None:
    deep = house.talk(calling(call("launch_subagent", {"task": "Go deeper.", "name": "next"})), "as deep as it goes")
    run = await house.finished(await house.start(alice, deep, tools=TOOLS))
    assert run.status == "completed", run.error
    depth, one = 0, run
    while found := await children(house, one):
        (one,), depth = found, depth + 1
    assert depth == 3
    refused = [results(request)[-1] for request in deep.requests if results(request) and results(request)[-1].is_error]
    assert refused
    assert "3 runs deep" in refused[0].text
    # Each level counts what stands below it.
    assert run.spent.turns == sum(1 for _ in deep.requests)


async def test_so_many_at_once_and_no_more_and_each_has_a_name_of_its_own(
    house: AgentHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN", 3)
    held = Held("done")
    many = launching(*[house.talk(held)] * 4, name=None)
    ending = calling(call("cancel_subagent", {"subagent": "agent-2"}))
    hearing = calling(call("wait_subagents", {"which": ["agent-2"]}))
    twice = calling(call("launch_subagent", {"task": "x", "name": "agent-1"}))
    parent = house.talk(many, ending, hearing, twice, WAIT, "done")
    run = await house.start(alice, parent, tools=TOOLS)
    with anyio.fail_after(PATIENCE_S):
        while len(parent.requests) < 5:
            await anyio.sleep(0.02)
    held.released.set()
    ended = await house.finished(run)
    assert ended.status == "completed", ended.error
    (refused,) = [one for one in results(parent.requests[1]) if one.is_error]
    assert refused.text == "3 subagents are at work; wait for one to end before you start another"
    assert [(one["name"], one["status"]) for one in told(parent.requests[3])] == [("agent-2", "cancelled")]
    assert results(parent.requests[4])[-1].text.startswith("you have a subagent named agent-1 already")
    assert sorted(one.status for one in await children(house, run)) == ["cancelled", "completed", "completed"]


async def test_a_message_reaches_a_subagent_before_its_next_turn(house: AgentHouse, alice: Principal) -> None:
    held = Held(LEARN)
    child = house.talk(held, last_said)
    speaking = calling(call("message_subagent", {"subagent": "agent-1", "text": "Look at page 4."}))
    parent = house.talk(launching(child), speaking, WAIT, "done")
    run = await house.start(alice, parent, tools=TOOLS)
    await held.reached()
    with anyio.fail_after(PATIENCE_S):
        while len(parent.requests) < 3:
            await anyio.sleep(0.02)
    held.released.set()
    ended = await house.finished(run)
    assert ended.status == "completed", ended.error
    assert told(parent.requests[3])[0]["result"] == "Look at page 4."


@pytest.mark.parametrize("action", ["stop", "cancel"])
async def test_when_the_parent_is_ended_its_subagents_are_cancelled_and_counted(
    house: AgentHouse, alice: Principal, action: Any
) -> None:
    held = Held("never said")
    inner = house.talk(held)
    middle = house.talk(launching(inner, name="inner"), WAIT)
    run = await house.start(alice, house.talk(launching(middle, name="middle"), WAIT), tools=TOOLS)
    await held.reached()
    await house.until(run, lambda now: now.waits_for == "subagents: middle")
    await house.control(run, action, "enough")
    ended = await house.finished(run)
    assert ended.status == "cancelled"
    with anyio.fail_after(PATIENCE_S):
        await held.aborted.wait()
    (below,) = await children(house, run)
    (lowest,) = await children(house, below)
    assert [below.status, lowest.status] == ["cancelled", "cancelled"]
    assert "the agent that started it has ended" in str(lowest.error)
    assert ended.spent.turns == 3 or ended.spent.turns == 4
    assert [event.data["status"] for event in await house.events(run, "subagent.finished")] == ["cancelled"]


async def test_the_closing_turn_of_a_parent_out_of_time_ends_its_subagents(house: AgentHouse, alice: Principal) -> None:
    held = Held("never said")
    parent = house.talk(launching(house.talk(held)), WAIT, "out of time")
    run = await house.finished(await house.start(alice, parent, tools=TOOLS, budget=Budget(seconds=3)))
    assert (run.status, run.result) == ("completed", "out of time"), run.error
    assert [one.status for one in await children(house, run)] == ["cancelled"]


async def test_subagents_outlive_the_histories_of_their_parent(house: AgentHouse, alice: Principal) -> None:
    held = Held("from afar")
    learn = calling(call("get_run", {"run_id": "run_none"}), call("learn_desk"))
    parent = house.talk(launching(house.talk(held)), learn, calling(call("desk.add", {"a": 1, "b": 1})), WAIT, "done")
    run = await house.start_with(alice, parent, turns_per_history=1, tools=TOOLS)
    await held.reached()
    with anyio.fail_after(PATIENCE_S):
        while len(parent.requests) < 4:
            await anyio.sleep(0.02)
    held.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "done"), ended.error
    assert told(parent.requests[4])[0]["result"] == "from afar"
    assert len(await house.histories(run)) >= 4
    assert ended.spent.turns == 6


async def test_a_failing_subagent_is_reported_and_does_not_fail_its_parent(house: AgentHouse, alice: Principal) -> None:
    refusing = house.talk(ScriptedReply(text="no", finish="refusal"))
    parent = house.talk(launching(refusing), WAIT, "it failed")
    run = await house.finished(await house.start(alice, parent, tools=TOOLS))
    assert (run.status, run.result) == ("completed", "it failed")
    (one,) = told(parent.requests[2])
    assert (one["status"], one["error"]) == ("failed", "the model refused: refusal")


async def test_what_is_written_of_a_subagent_is_not_in_the_history_of_its_parent(
    house: AgentHouse, alice: Principal, tmp_path: Path
) -> None:
    long = house.talk("x" * 3_000)
    sizes: list[int] = []
    for words in (10, 10_000):
        parent = house.talk(launching(long, facts={"words": "y" * words}), WAIT, "done")
        run = await house.finished(await house.start(alice, parent, tools=TOOLS))
        assert run.status == "completed", run.error
        sizes.append(sum(len(history.to_json()) for history in await house.histories(run)))
    assert sizes[1] < sizes[0] + 3_000


PROCESS = """
format: 1
process: beside
input: {type: object, properties: {amount: {type: integer}}, required: [amount]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {amount: {type: integer}, word: {type: object}}
start: ask
nodes:
  ask:
    type: supervisor
    seat: {roles: [administrator]}
    ask: {title: "Take it?", form: {type: object, properties: {}, additionalProperties: false}}
    decisions: [take, leave]
    deadline: P2D
    on_timeout: {to: done}
    writes: [word]
    next: [{to: done}]
  done: {type: end, outcome: taken, output: {var: amount}}
"""


async def test_a_process_is_started_waited_for_and_decided_at_the_agents_run(
    house: AgentHouse, alice: Principal
) -> None:
    await house.platform.definitions.publish_text(alice, "beside", PROCESS)
    wrong = calling(call("launch_process", {"process": "beside", "input": {"amount": "many"}}))
    right = calling(call("launch_process", {"process": "beside", "input": {"amount": 4}, "name": "taking"}))
    parent = house.talk(wrong, right, WAIT, WAIT, "done")
    run = await house.start(alice, parent, tools=TOOLS, approval="full")
    with anyio.fail_after(PATIENCE_S):
        while len(parent.requests) < 4:
            await anyio.sleep(0.02)
    assert "does not fit its schema" in results(parent.requests[1])[-1].text
    assert told(parent.requests[3])[0]["waits_for_a_person"] == "decision: Take it?"
    await answer_run(context(house, alice), run.run_id, decision="take")
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "done"), ended.error
    assert told(parent.requests[4])[0]["result"] == {"outcome": "taken", "output": 4}


async def test_a_process_beside_an_agent_is_started_only_when_a_person_allows_it(
    house: AgentHouse, alice: Principal
) -> None:
    await house.platform.definitions.publish_text(alice, "beside", PROCESS)
    talk = house.talk(calling(call("launch_process", {"process": "beside", "input": {"amount": 4}})), "not allowed")
    run = await house.start(alice, talk, tools=TOOLS)
    (task,) = await house.asked(run)
    await house.decide(alice, task, "deny")
    ended = await house.finished(run)
    assert ended.result == "not allowed", ended.error
    assert not await children(house, run)
    plain = house.talk("done")
    await house.finished(await house.start(alice, plain, tools=None))
    assert "launch_process" not in {spec.name for spec in plain.requests[0].tools}
    assert "launch_subagent" in {spec.name for spec in plain.requests[0].tools}
