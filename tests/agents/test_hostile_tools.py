"""Tools that do what no tool should: each has a stated outcome, and the run goes on."""

import json
import resource
from pathlib import Path

import anyio
import pytest

from engine.runs import Run
from engine.transcript import Message, ModelRequest, ToolCall
from engine.values import Principal
from providers.scripted import Line
from skills.catalogue import Catalogue
from tests.agents.house import BOTH, FOLDERS, LEARN_HOSTILE, hostile_house, until_line
from tests.server.agent_house import LEARN, PATIENCE_S, AgentHouse, Held, Talk, call, calling, check_log, results
from tests.server.test_agent_engine_crash import lines, worker

pytestmark = pytest.mark.anyio


async def late_notes(house: AgentHouse, run: Run) -> list[str]:
    """Return what was told of calls that ended after they had been given up."""
    events = [one for one in await house.events(run, "message") if one.key.endswith("/late")]
    return [Message.model_validate(one.data).text for one in events]


async def test_a_tool_that_swallows_its_end_is_left_behind_and_its_late_answer_is_told_once(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    told = Held("done")
    talk = house.talk(LEARN_HOSTILE, calling(call("hostile.deaf", {"place": str(place)})), told, "really done")
    run = await house.start(alice, talk, skills=BOTH)
    await told.reached()
    given_up = results(talk.requests[2])[-1]
    assert given_up.is_error
    assert "did not finish within 0.2 s" in given_up.text
    assert "told to end" in (place / "ledger").read_text()
    (place / "go").touch()
    with anyio.fail_after(PATIENCE_S):
        while not await late_notes(house, run):
            await house.platform.hub.wait(run.ref, 1)
    await house.say(run, "anything new?", "k1")
    told.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "really done")
    (note,) = await late_notes(house, run)
    assert "given up before, has ended since" in note
    assert note.endswith("the answer nobody waited for")
    read = [message.text for message in talk.requests[3].messages if message.role == "user"]
    assert read.count(note) == 1
    assert given_up in results(talk.requests[3])
    check_log(await house.events(run))


async def test_a_stop_ends_a_run_whose_tool_does_not_end(house: AgentHouse, alice: Principal, place: Path) -> None:
    talk = house.talk(LEARN_HOSTILE, calling(call("hostile.deaf_long", {"place": str(place)})))
    run = await house.start(alice, talk, skills=BOTH)
    await until_line(place / "ledger", "begun")
    await house.control(run, "stop")
    await until_line(place / "ledger", "told to end")
    assert (await house.finished(run)).status == "cancelled"
    (place / "go").touch()


async def test_whatever_a_tool_raises_is_told_as_a_failure_and_ends_nothing(
    house: AgentHouse, alice: Principal
) -> None:
    names = ("exit_process", "interrupt", "pose_as_cancelled", "raise_odd", "break_promise")
    odd = calling(*(call(f"hostile.{name}") for name in names), call("desk.add", {"a": 1, "b": 1}))
    talk = house.talk(LEARN_HOSTILE, LEARN, odd, "done")
    run = await house.finished(await house.start(alice, talk, skills=BOTH))
    assert (run.status, run.result) == ("completed", "done"), run.error
    *failed, added = results(talk.requests[-1])[2:]
    assert [part.name for part in failed] == [f"hostile.{name}" for name in names]
    assert all(part.is_error and "failed unexpectedly" in part.text for part in failed)
    assert (added.text, added.is_error) == ("2", False)


async def test_a_failure_of_five_million_characters_and_half_characters_are_cut_and_mended(
    house: AgentHouse, alice: Principal
) -> None:
    odd = calling(call("hostile.rant"), call("hostile.half_characters"))
    talk = house.talk(LEARN_HOSTILE, odd, "done")
    run = await house.finished(await house.start(alice, talk, skills=BOTH))
    assert run.status == "completed", run.error
    ranted, mended = results(talk.requests[-1])[1:]
    assert ranted.is_error
    assert ranted.text.startswith("no ?xxx")
    assert ranted.text.endswith("[cut: 5,000,004 characters]")
    assert len(ranted.text) < 50_000
    assert mended.text == "a?b\ufffdc"


async def test_fifty_megabytes_are_cut_kept_whole_as_an_artifact_and_held_in_memory_a_few_times_at_most(
    house: AgentHouse, alice: Principal
) -> None:
    size = 50_000_000
    talk = house.talk(LEARN_HOSTILE, calling(call("hostile.flood", {"size": size})), "done")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = await house.finished(await house.start(alice, talk, skills=BOTH))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert run.status == "completed", run.error
    assert len(results(talk.requests[-1])[-1].text) < 50_000
    (artifact,) = await house.platform.runs.artifacts(alice, run.run_id)
    assert artifact.size == size
    assert grown_kib * 1024 < 6 * size
    assert sum(len(str(event.data)) for event in await house.events(run)) < 200_000


async def test_a_hundred_calls_of_a_turn_run_a_few_at_a_time_and_are_answered_in_their_order(
    house: AgentHouse, alice: Principal, place: Path
) -> None:
    reads = [call("hostile.count_me", {"number": one, "place": str(place)}) for one in range(90)]
    effects = [call("hostile.count_effect", {"number": one, "place": str(place)}) for one in range(90, 100)]
    talk = house.talk(LEARN_HOSTILE, calling(*reads, *effects), "done")
    run = await house.finished(await house.start(alice, talk, skills=BOTH, approval="full"))
    assert run.status == "completed", run.error
    assert [part.text for part in results(talk.requests[-1])[1:]] == [f"number {one}" for one in range(100)]
    most = max(int(line) for line in (place / "ledger").read_text().split())
    assert 2 <= most <= 16
    check_log(await house.events(run))


async def test_calls_with_the_same_id_in_one_turn_are_told_apart_and_each_is_made_and_answered(
    house: AgentHouse, alice: Principal
) -> None:
    twice = calling(*(call("desk.add", {"a": one, "b": 10}, call_id="call_a") for one in (1, 2, 3)))
    talk = house.talk(LEARN, twice, "done")
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.result) == ("completed", "done"), run.error
    added = results(talk.requests[-1])[1:]
    assert [part.text for part in added] == ["11", "12", "13"]
    assert added[0].call_id == "call_a"
    assert len({part.call_id for part in added}) == 3


async def test_calls_that_can_not_be_made_are_answered_and_the_run_goes_on(house: AgentHouse, alice: Principal) -> None:
    wrong = calling(
        call("desk.multiply", {"a": 1}),
        ToolCall(id="", name="desk.add", malformed='{"a": 1,'),
        call("hostile.break_promise"),
        call("desk.add", {"a": "one"}),
    )
    talk = house.talk(LEARN, wrong, "done")
    run = await house.finished(await house.start(alice, talk, skills=BOTH))
    assert run.status == "completed"
    unknown, malformed, unlearned, unfit = results(talk.requests[-1])[1:]
    assert all(part.is_error for part in (unknown, malformed, unlearned, unfit))
    assert "there is no tool 'desk.multiply'" in unknown.text
    assert "not valid JSON" in malformed.text
    assert "learn_hostile first" in unlearned.text
    assert "do not fit" in unfit.text


async def test_a_tool_that_disappears_between_turns_is_told_as_missing_and_comes_back(
    house: AgentHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolbox, whole = house.platform.toolbox, house.platform.toolbox.catalogue
    without = Catalogue([skill for skill in whole.skills if skill.key != "desk"])
    add = calling(call("desk.add", {"a": 1, "b": 1}))

    def gone(request: ModelRequest) -> Line:
        monkeypatch.setattr(toolbox, "catalogue", without)
        return add

    def back(request: ModelRequest) -> Line:
        monkeypatch.setattr(toolbox, "catalogue", whole)
        return add

    talk = house.talk(LEARN, gone, back, "done")
    run = await house.finished(await house.start(alice, talk))
    assert run.status == "completed", run.error
    missing, there = results(talk.requests[-1])[1:]
    assert missing.is_error
    assert "there is no tool 'desk.add'" in missing.text
    assert (there.text, there.is_error) == ("2", False)


async def test_a_tool_that_kills_its_worker_has_its_effect_once_and_its_outcome_is_told_as_unknown(
    alice: Principal, place: Path
) -> None:
    data = place / "data"
    async with hostile_house(data, working=False) as house:
        (data / "upstairs.toml").write_text(
            f"skills = {json.dumps(FOLDERS)}\n"
            '[models]\ndefault = "scripted/killer"\nscripts = ["tests.agents.kill_script"]\n'
        )
        run = await house.start(alice, Talk((), "killer"), skills=BOTH, approval="full")
        with worker(data, place) as first:
            with anyio.fail_after(PATIENCE_S):
                while first.poll() is None:
                    await anyio.sleep(0.02)
        with worker(data, place):
            ended = await house.finished(run)
    assert ended.status == "completed", ended.error
    assert "outcome unknown: an earlier attempt was interrupted" in str(ended.result)
    (paid,) = lines(place / "ledger")
    assert paid.startswith("paid ")
