"""People and a running agent: messages, stops, pauses, long runs over several histories, and agents in processes."""

import itertools
from pathlib import Path

import anyio
import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from engine.errors import Conflict
from engine.ports import RunFilter, Say, TaskAnswer
from engine.runs import Run, StartRun
from engine.transcript import Message
from engine.values import Empty, Principal
from providers.scripted import answer
from tests.server.agent_house import (
    LEARN,
    PATIENCE_S,
    AgentHouse,
    Held,
    Talk,
    call,
    calling,
    check_log,
    results,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    return path


def texts(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    """Return role and text of what stands behind system and task."""
    return [(message.role, message.text) for message in messages[2:]]


async def test_a_message_during_a_turn_is_read_by_the_next_one_behind_the_answers_and_once(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held(LEARN)
    talk = house.talk(held, "done")
    run = await house.start(alice, talk)
    await held.reached()
    await house.say(run, "count to two as well", "k1")
    await house.say(run, "count to two as well", "k1")
    held.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.spent.turns) == ("completed", 2)
    assert texts(talk.requests[1].messages) == [("assistant", ""), ("tool", ""), ("user", "count to two as well")]
    with pytest.raises(Conflict, match="is completed already"):
        await house.say(run, "too late", "k2")


async def test_a_message_while_the_final_answer_is_made_leads_to_one_more_turn(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held("first answer")
    talk = house.talk(held, "second answer")
    run = await house.start(alice, talk)
    await held.reached()
    await house.say(run, "and in French", "k1")
    held.released.set()
    ended = await house.finished(run)
    assert (ended.result, ended.spent.turns) == ("second answer", 2)
    # The message stands behind the answer that did not know it: what was sent once is not changed.
    assert texts(talk.requests[1].messages) == [("assistant", "first answer"), ("user", "and in French")]
    assert talk.requests[1].messages[:2] == talk.requests[0].messages


async def test_a_message_right_after_the_start_stands_behind_the_task(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk("done")
    run = await house.start(alice, talk)
    await house.say(run, "hurry", "k1")
    assert (await house.finished(run)).status == "completed"
    assert [message.role for message in talk.requests[0].messages][:2] == ["system", "user"]
    assert texts(talk.requests[-1].messages)[-1] == ("user", "hurry")


async def test_a_stop_ends_the_run_and_aborts_the_call_of_the_model(house: AgentHouse, alice: Principal) -> None:
    held = Held("never said")
    run = await house.start(alice, house.talk(held))
    await held.reached()
    await house.control(run, "stop", "enough")
    with anyio.fail_after(10):
        await held.aborted.wait()
    ended = await house.finished(run)
    assert (ended.status, ended.error, ended.result) == ("cancelled", "stop by alice: enough", None)
    audit = await house.platform.runs.audit(alice, run.run_id)
    assert (audit[-1].action, audit[-1].actor) == ("run.cancelled", "alice")
    with pytest.raises(Conflict, match="is cancelled already"):
        await house.control(run, "stop")


async def test_a_stop_aborts_a_tool_and_withdraws_a_question(house: AgentHouse, alice: Principal, ledger: Path) -> None:
    path = str(ledger)
    both = calling(call("desk.hang_long", {"ledger": path}), call("desk.note", {"ledger": path, "text": "never"}))
    run = await house.start(alice, house.talk(LEARN, both))
    (task,) = await house.asked(run)
    await until_written(ledger, "begun")
    await house.control(run, "cancel")
    await until_written(ledger, "cancelled")
    ended = await house.finished(run)
    assert (ended.status, ended.error) == ("cancelled", "cancel by alice")
    assert (await house.platform.runs.task(alice, task.task_id)).status == "cancelled"
    with pytest.raises(Conflict):
        await house.decide(alice, task, "allow")
    assert ledger.read_text().split() == ["begun", "cancelled"]


async def until_written(ledger: Path, line: str) -> None:
    """Wait until a line stands in the ledger."""
    with anyio.fail_after(PATIENCE_S):
        while line not in ledger.read_text().splitlines():
            await anyio.sleep(0.01)


async def test_a_paused_run_makes_no_turn_until_it_is_resumed(house: AgentHouse, alice: Principal) -> None:
    held = Held(LEARN)
    talk = house.talk(held, "done")
    run = await house.start(alice, talk)
    await held.reached()
    assert (await house.control(run, "pause", "lunch")).status == "paused"
    held.released.set()
    # The turn under way is kept; its calls and the next turn wait.
    await house.until(run, lambda now: now.spent.turns == 1 and now.status == "paused")
    await house.say(run, "welcome back", "k1")
    assert len(talk.requests) == 1
    assert (await house.control(run, "resume")).status == "running"
    ended = await house.finished(run)
    assert ended.status == "completed"
    assert texts(talk.requests[1].messages)[-1] == ("user", "welcome back")
    order = [
        event.type for event in await house.events(run) if event.type in ("run.pause", "run.resume", "tool.finished")
    ]
    assert order == ["run.pause", "run.resume", "tool.finished"]
    actions = [record.action for record in await house.platform.runs.audit(alice, run.run_id)]
    assert actions == ["run.started", "run.pause", "run.resume", "run.completed"]


async def test_a_long_run_goes_on_over_several_histories_without_losing_anything(
    house: AgentHouse, alice: Principal, ledger: Path
) -> None:
    early, late = Held(calling(call("desk.page", {"number": 3}))), Held("the answer of turn 12")
    pages = [calling(call("desk.page", {"number": number})) for number in range(12)]
    noting = calling(call("desk.note", {"ledger": str(ledger), "text": "one"}))
    talk = house.talk(LEARN, noting, early, *pages[4:12], late)
    run = await house.start_with(alice, talk, turns_per_history=5)
    (task,) = await house.asked(run)
    await house.decide(alice, task, "allow")
    await early.reached()
    await house.say(run, "be thorough", "k1")
    early.released.set()
    await late.reached()
    # In its third history the run still knows what was said and who decided in the first.
    await house.say(run, "be thorough", "k1")
    with pytest.raises(Conflict, match=r"already decided by alice \(allow\)"):
        await house.decide(alice, task, "deny")
    second = TaskAnswer(task_id=task.task_id, by=Principal(tenant="local", subject="bob"), decision="deny")
    with pytest.raises(WorkflowUpdateFailedError) as told:
        await house.handle(run).execute_update("answer", second, result_type=Empty)
    assert isinstance(told.value.cause, ApplicationError)
    assert "already decided by alice (allow)" in told.value.cause.message
    late.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.result, ended.spent.turns) == ("completed", "the answer of turn 12", 12)
    assert len(await house.histories(run)) == 3
    check_log(await house.events(run))
    check_transcript(talk)
    assert sum(text == "be thorough" for _, text in texts(talk.requests[-1].messages)) == 1
    assert len(await house.messages(run, "assistant")) == 12
    assert ledger.read_text() == "one\n"


def check_transcript(talk: Talk) -> None:
    """Check that each request begins with the one before, and each call has its one answer."""
    for before, after in itertools.pairwise(talk.requests):
        assert after.messages[: len(before.messages)] == before.messages
    last = talk.requests[-1]
    called = [one.id for message in last.messages for one in message.tool_calls]
    assert [part.call_id for part in results(last)] == called


PROCESS = """
format: 1
process: desk_work
context:
  schema: {type: object, additionalProperties: false, properties: {sum: {type: integer}}}
start: work
nodes:
  work:
    type: agent
    instructions: Add one and two.
    model: MODEL
    skills: [desk]
    writes: [sum]
    on_error: [{match: [agent_cancelled], to: given_up}]
    next: [{to: done}]
  given_up: {type: end, outcome: given_up}
  done: {type: end, outcome: done, output: {var: sum}}
"""


async def start_process(house: AgentHouse, who: Principal, talk: Talk) -> Run:
    """Publish the process with the model of the test and start it."""
    version = await house.platform.definitions.publish_text(who, "desk_work", PROCESS.replace("MODEL", talk.route))
    start = StartRun(kind="process", definition="desk_work", version=str(version.number))
    return await house.platform.control.start(who, start)


async def child_of(house: AgentHouse, run: Run) -> Run:
    """Return the agent of a process."""
    (child,) = await house.platform.runs.list(run.principal, RunFilter(parent_id=run.run_id))
    return child


async def test_an_agent_of_a_process_is_its_child_and_what_it_spent_counts_for_both(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(LEARN, calling(call("desk.add", {"a": 1, "b": 2})), answer({"sum": 3}))
    run = await house.finished(await start_process(house, alice, talk))
    assert run.result == {"outcome": "done", "output": 3}, run.error
    child = await child_of(house, run)
    assert (child.parent_id, child.root_id, child.kind, child.status) == (run.run_id, run.run_id, "agent", "completed")
    assert child.result == {"sum": 3}
    assert child.spent.turns == 3
    assert run.spent == child.spent


async def test_cancelling_a_process_cancels_its_agent_and_the_call_of_its_model(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held("never said")
    run = await start_process(house, alice, house.talk(held))
    await held.reached()
    await house.control(run, "cancel", "wrong document")
    with anyio.fail_after(10):
        await held.aborted.wait()
    assert (await house.finished(run)).status == "cancelled"
    child = await house.finished(await child_of(house, run))
    assert (child.status, child.error) == ("cancelled", "cancelled by the run that started it")


async def test_a_process_can_handle_that_its_agent_was_stopped(house: AgentHouse, alice: Principal) -> None:
    held = Held("never said")
    run = await start_process(house, alice, house.talk(held))
    await held.reached()
    await house.control(await child_of(house, run), "stop")
    ended = await house.finished(run)
    assert isinstance(ended.result, dict), ended.error
    assert ended.result["outcome"] == "given_up"


async def test_of_many_messages_at_once_each_is_kept_once(house: AgentHouse, alice: Principal) -> None:
    held = Held("first")
    talk = house.talk(held, "second")
    run = await house.start(alice, talk)
    await held.reached()

    async def say(number: int) -> None:
        said = Say(by=alice, text=f"message {number % 5}", key=f"k{number % 5}")
        await house.platform.control.say(alice, run.run_id, said)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(say, number)
    held.released.set()
    ended = await house.finished(run)
    assert (ended.result, ended.spent.turns) == ("second", 2)
    heard = [text for role, text in texts(talk.requests[-1].messages) if role == "user"]
    assert sorted(heard) == [f"message {number}" for number in range(5)]
