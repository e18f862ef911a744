"""The order of an agent's tools inside a process: what is offered, what is let through, and when a phase is over."""

import json
from pathlib import Path

import anyio
import pytest

from engine.phases import Phase, Phases, Progress, admit, after, in_words, lacking, tools_of
from engine.ports import RunFilter
from engine.runs import Run, StartRun
from engine.values import Principal
from providers.scripted import Line
from tests.server.agent_house import AgentHouse, Talk, call, calling, results

pytestmark = pytest.mark.anyio

LOOK, THINK, PAY = (
    Phase(tools=("look", "list"), max_calls=2),
    Phase(tools=("think",), min_calls=0),
    Phase(tools=("pay",)),
)
ORDER: Phases = (LOOK, THINK, PAY)


def let_through(progress: Progress, *tools: str) -> list[int | None]:
    """Return the phase of each call, None for those that are refused."""
    return [None if one.refusal else one.phase for one in admit(ORDER, progress, tools)]


@pytest.mark.parametrize(
    ("progress", "tools", "phases"),
    [
        (Progress(), ("look",), [0]),
        (Progress(), ("pay",), [None]),
        (Progress(), ("look", "pay"), [0, None]),
        (Progress(), ("look", "list", "look"), [0, 0, None]),
        (Progress(calls=1), ("look", "list"), [0, None]),
        (Progress(calls=1), ("think", "look"), [1, None]),
        (Progress(calls=1), ("pay", "pay"), [2, 2]),
        (Progress(phase=1, calls=3), ("think", "pay"), [1, 2]),
        (Progress(phase=2, calls=1), ("look", "think", "pay"), [None, None, 2]),
        (Progress(calls=1), ("other",), [None]),
    ],
)
def test_a_call_is_let_through_in_its_phase_and_the_next_begins_when_the_one_before_has_had_its_calls(
    progress: Progress, tools: tuple[str, ...], phases: list[int | None]
) -> None:
    assert let_through(progress, *tools) == phases


@pytest.mark.parametrize(
    ("progress", "tool", "said"),
    [
        (Progress(), "pay", "pay is for later. Phase 1 of 3 comes first: look or list, of which 0 of 1 calls"),
        (Progress(calls=2), "look", "look can't be called any more; what may come now: look, list, think, pay"),
        (Progress(phase=2), "look", "look can't be called any more; what may come now: pay"),
    ],
)
def test_a_refusal_says_what_comes_first(progress: Progress, tool: str, said: str) -> None:
    (found,) = admit(ORDER, progress, [tool])
    assert found.refusal is not None
    assert said in found.refusal


def test_calls_count_where_they_were_answered_and_an_agent_is_done_when_every_phase_has_had_its_calls() -> None:
    assert after(Progress(), [0, 0]) == Progress(calls=2)
    assert after(Progress(calls=2), [1, 0]) == Progress(phase=1, calls=1)
    assert after(Progress(calls=1), []) == Progress(calls=1)
    assert lacking(ORDER, Progress()) == "look or list: 0 of 1 calls were made without an error"
    assert lacking(ORDER, Progress(calls=1)) == "pay: 0 of 1 calls were made without an error"
    assert lacking(ORDER, Progress(phase=2, calls=1)) is None
    assert lacking((), Progress()) is None


def test_the_agent_is_told_the_order() -> None:
    assert in_words(ORDER).splitlines()[1:] == [
        "1. look or list, at least 1, at most 2",
        "2. think, if you need it",
        "3. pay, at least 1",
    ]
    assert tools_of(ORDER) == ("look", "list", "think", "pay")


DEFINITION = """
format: 1
process: PROCESS
context: {schema: {type: object, additionalProperties: false, properties: {sum: {type: number}}}}
start: work
nodes:
  work:
    type: agent
    instructions: Add, then note.
    model: MODEL
    policy: [{tools: [desk.add], max_calls: 2}, {tools: [desk.note, desk.fail]}]
    writes: [sum]
    on_error: [{to: broken}]
    next: [{to: done}]
  done: {type: end, outcome: done, output: {var: sum}}
  broken: {type: end, outcome: broken}
"""
ADD = call("desk.add", {"a": 1, "b": 2})
DONE = json.dumps({"sum": 3})


def note(ledger: Path) -> Line:
    return calling(call("desk.note", {"ledger": str(ledger / "ledger"), "text": "three"}))


async def start(house: AgentHouse, who: Principal, talk: Talk) -> Run:
    name = f"order_{talk.name.removeprefix('talk_')}"
    text = DEFINITION.replace("PROCESS", name).replace("MODEL", talk.route)
    version = await house.platform.definitions.publish_text(who, name, text)
    order = StartRun(kind="process", definition=name, version=str(version.number))
    return await house.platform.control.start(who, order)


async def agent_of(house: AgentHouse, run: Run) -> Run:
    (agent,) = await house.platform.runs.list(run.principal, RunFilter(parent_id=run.run_id))
    return agent


async def test_in_a_process_a_call_out_of_its_turn_is_not_made_and_the_agent_is_told_what_comes_first(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    talk = house.talk(note(place), calling(ADD, ADD, ADD), note(place), DONE)
    with anyio.fail_after(60):
        run = await start(house, alice, talk)
        agent = await house.until(run, lambda now: now.events > 0) and run
        await _allowed(house, agent, alice)
        ended = await house.finished(run)
    assert ended.result == {"outcome": "done", "output": 3}
    assert (place / "ledger").read_text() == "three\n"
    first, *_ = results(talk.requests[1])
    assert first.is_error
    assert "desk.note is for later. Phase 1 of 2 comes first: desk.add" in first.text
    said = [(one.text, one.is_error) for one in results(talk.requests[2])[1:]]
    assert [error for _, error in said] == [False, False, True]
    assert "desk.add has had the 2 calls that phase 1 of 2 allows" in said[2][0]
    assert sorted(tool.name for tool in talk.requests[0].tools) == ["desk.add", "desk.fail", "desk.note"]
    assert "1. desk.add, at least 1, at most 2" in talk.requests[0].model_dump_json()
    audit = await house.platform.runs.audit(alice, (await agent_of(house, run)).run_id)
    (begun,) = [record for record in audit if record.action == "run.phase"]
    assert begun.data == {"phase": 2, "of": 2, "tools": ["desk.note", "desk.fail"]}


async def _allowed(house: AgentHouse, run: Run, who: Principal) -> None:
    """Allow the one call that has effects."""
    tasks = await house.platform.runs.tasks(who, run_id=run.run_id, family=True)
    while not tasks:
        await house.platform.runs.wait(who, run.run_id, after=1_000, timeout_s=0.1)
        tasks = await house.platform.runs.tasks(who, run_id=run.run_id, family=True)
    await house.decide(who, tasks[0], "allow")


async def test_an_answer_before_every_phase_has_had_its_calls_does_not_stand(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    talk = house.talk(calling(ADD), calling(call("desk.fail")), DONE)
    with anyio.fail_after(60):
        run = await start(house, alice, talk)
        ended = await house.finished(run)
        agent = await agent_of(house, run)
    assert ended.result == {"outcome": "broken", "output": None}
    assert agent.error is not None
    assert "desk.note or desk.fail: 0 of 1 calls were made without an error" in agent.error
    assert len(talk.requests) > 4
