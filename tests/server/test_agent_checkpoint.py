"""Checkpoints of agents: what needs one, what stays in the window, and that nothing said meanwhile is lost."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import JsonValue
from temporalio.api.enums.v1 import EventType

from engine.ports import Control
from engine.runs import Event, Run
from engine.transcript import ModelRequest, Usage
from engine.values import Principal, Spent
from providers.errors import ContextFull
from providers.scripted import ScriptedReply
from tests.server.agent_house import AgentHouse, Held, Said, Talk, call, calling, check_log, results

pytestmark = pytest.mark.anyio

WINDOW = 24_000
FACT = re.compile(r"The code of \w+ is \d+\.")
LEARN = calling(call("learn_desk"))


def sums_up(request: ModelRequest) -> bool:
    """Tell whether a request asks for a summary and not for a turn."""
    return request.messages[0].text.startswith("You write the checkpoint")


def words_of(request: ModelRequest) -> str:
    """Return everything that a request says to the model."""
    said = [message.text for message in request.messages]
    return "\n".join([*said, *(result.text for result in results(request))])


def facts(request: ModelRequest) -> str:
    """Sum up by naming the facts that are there."""
    return " ".join(dict.fromkeys(FACT.findall(words_of(request)))) or "nothing of note"


def reader(
    last: int, *, words: int = 400, aloud: int = 0, then: Said = facts, summary: Said = facts
) -> Callable[[ModelRequest], Any]:
    """Return a model that reads chapters up to `last`, one a turn, sums up where asked, and ends with `then`.

    It says `aloud` words beside each call, which no masking of results makes smaller.
    """

    def line(request: ModelRequest) -> Any:
        if sums_up(request):
            return summary(request) if callable(summary) else summary
        read = [
            int(number) for number in re.findall(r"Chapter (\d+)\.", "\n".join(one.text for one in results(request)))
        ]
        if not results(request):
            return LEARN
        if read and max(read) >= last:
            return then(request) if callable(then) else then
        number = max(read, default=0) + 1
        arguments: dict[str, JsonValue] = {"number": number, "words": words}
        if number % 20 == 3:
            arguments["fact"] = f"The code of door{number} is {number * 1111}."
        asked = call("desk.chapter", arguments, call_id=f"read_{number}")
        return ScriptedReply(text="so it goes on " * (aloud // 4), tool_calls=(asked,))

    return line


def small(talk: Talk, **options: Any) -> dict[str, Any]:
    """Return the model of a task with a small window."""
    return {"model": ({"model": talk.route, "max_context": WINDOW, **options},)}


async def until_said(house: AgentHouse, run: Run, count: int) -> None:
    """Wait until a run has made that many turns."""
    await house.until(run, lambda now: now.spent.turns >= count)


def tokens_of(event: Event) -> tuple[int, int]:
    """Return the estimated tokens before and after a checkpoint."""
    before, after = event.data["before"], event.data["after"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    return before, after


async def test_a_long_run_goes_through_checkpoints_and_loses_nothing_it_needs(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(reader(60))
    started = await house.start(alice, talk, task="Read all sixty.", instructions="Cite doors.", **small(talk))
    await until_said(house, started, 2)
    await house.say(started, "Mind the doors, please.", "doors")
    run = await house.finished(started)
    assert (run.status, run.spent.turns) == ("completed", 62), run.error
    assert run.result == "The code of door3 is 3333. The code of door23 is 25553. The code of door43 is 47773."
    made = await house.events(run, "checkpoint")
    assert len(made) >= 4
    kinds = {str(event.data["kind"]) for event in made}
    assert kinds <= {"masked", "summary"}
    for event in made:
        before, after = tokens_of(event)
        assert after < before * 0.8
    turns = [request for request in talk.requests if not sums_up(request)]
    assert len(turns) == 62
    for request in turns[2:]:
        assert request.messages[0].text.endswith("Cite doors.")
        assert request.messages[1].text == "Read all sixty."
        assert {spec.name for result in results(request) for spec in result.reveals} >= {"desk.chapter"}
    assert sum("Mind the doors, please." in message.text for message in turns[-1].messages) == 1
    events = await house.events(run)
    check_log(events)
    await check_spent(house, run)


async def check_spent(house: AgentHouse, run: Run) -> None:
    """Check that what a run has spent is the sum of its turns and checkpoints."""
    total = Spent()
    for event in await house.events(run, "turn.finished"):
        reply = event.data["reply"]
        assert isinstance(reply, dict)
        usage = Usage.model_validate(reply["usage"])
        total = total.plus(Spent(turns=1, input_tokens=usage.input_total, output_tokens=usage.output_total))
    for event in await house.events(run, "checkpoint"):
        total = total.plus(Spent.model_validate(event.data["spent"]))
    assert run.spent == total


async def test_the_bytes_of_history_per_turn_stay_flat_over_checkpoints(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(reader(30))
    run = await house.finished(await house.start(alice, talk, **small(talk)))
    assert run.status == "completed", run.error
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    turns: list[int] = []
    for history in await house.histories(run):
        fresh = True
        for event in history.events:
            kind = event.activity_task_scheduled_event_attributes.activity_type.name
            if event.event_type == scheduled and kind in ("model_turn", "make_checkpoint"):
                turns.append(0)
                fresh = False
            if not fresh:
                turns[-1] += event.ByteSize()
    assert len(turns) > 32
    assert max(turns) < 16_000
    late, early = turns[-10:-1], turns[2:11]
    assert sum(late) < sum(early) * 1.5


async def test_what_a_person_says_while_the_checkpoint_is_made_is_read_by_the_next_turn(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held(facts)
    talk = house.talk(reader(16, aloud=400, summary=held))
    run = await house.start(alice, talk, **small(talk))
    await held.reached()
    await house.say(run, "Stop at the bridge.", "bridge")
    held.released.set()
    run = await house.finished(run)
    assert run.status == "completed", run.error
    at = next(place for place, request in enumerate(talk.requests) if sums_up(request))
    assert "Stop at the bridge." not in words_of(talk.requests[at])
    behind = [request for request in talk.requests[at:] if not sums_up(request)]
    assert behind[0].messages[-1].text == "Stop at the bridge."
    for request in behind:
        assert words_of(request).count("Stop at the bridge.") == 1


@pytest.mark.parametrize("by", ["control", "signal"])
async def test_a_checkpoint_that_is_asked_for_is_made_before_the_next_turn(
    house: AgentHouse, alice: Principal, by: str
) -> None:
    held = Held(calling(call("desk.chapter", {"number": 6}, call_id="read_6")))

    def line(request: ModelRequest) -> Any:
        if any(result.text.startswith("Chapter 5.") for result in results(request)) and not held.entered.is_set():
            return held(request)
        return reader(8)(request)

    talk = house.talk(line)
    run = await house.start(alice, talk)
    await held.reached()
    if by == "control":
        control = Control(action="checkpoint", by=alice, reason="tidy")
        await house.platform.control.control(alice, run.run_id, control)
    else:
        await house.handle(run).signal("TriggerCheckpoint", alice)
    held.released.set()
    run = await house.finished(run)
    assert run.status == "completed", run.error
    (made,) = await house.events(run, "checkpoint")
    assert (made.data["reason"], made.data["turn"]) == ("asked for by alice", 8)
    before, after = tokens_of(made)
    assert after < before
    audit = {record.action: record.actor for record in await house.platform.runs.audit(alice, run.run_id)}
    assert audit["run.checkpoint.made"] == "engine"
    assert audit.get("run.checkpoint") == ("alice" if by == "control" else None)


async def test_a_model_whose_window_is_full_costs_a_checkpoint_and_not_the_run(
    house: AgentHouse, alice: Principal
) -> None:
    full = [True]

    def line(request: ModelRequest) -> Any:
        if not sums_up(request) and len(results(request)) == 8 and full:
            full.pop()
            return ContextFull("Too long.", provider="scripted")
        return reader(10)(request)

    talk = house.talk(line)
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.spent.turns) == ("completed", 12), run.error
    (made,) = await house.events(run, "checkpoint")
    assert made.data["reason"] == "context_full"


async def test_an_answer_that_ends_with_the_window_is_counted_and_made_again(
    house: AgentHouse, alice: Principal
) -> None:
    full = [True]

    def line(request: ModelRequest) -> Any:
        if not sums_up(request) and len(results(request)) == 6 and full:
            full.pop()
            return ScriptedReply(text="and then the", finish="context_full")
        return reader(8)(request)

    talk = house.talk(line)
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.spent.turns) == ("completed", 11), run.error
    assert [event.data["reason"] for event in await house.events(run, "turn.restarted")] == ["context_full"]
    assert "and then the" not in words_of(talk.requests[-1])


async def test_a_window_that_is_full_right_after_its_checkpoint_fails_the_run(
    house: AgentHouse, alice: Principal
) -> None:
    def line(request: ModelRequest) -> Any:
        if not sums_up(request) and results(request)[1:]:
            return ContextFull("Too long.", provider="scripted")
        return reader(10)(request)

    run = await house.finished(await house.start(alice, house.talk(line)))
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith("context_full: Too long.")
    assert len(await house.events(run, "checkpoint")) == 1


async def test_a_transcript_that_is_full_again_after_each_checkpoint_is_stuck(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(reader(60, words=2_000))
    run = await house.finished(await house.start(alice, talk, **small(talk)))
    assert run.status == "failed"
    assert run.error is not None
    assert re.fullmatch(
        r"stuck: 3 checkpoints in \d turns: the transcript is full again right after each", run.error
    ), run.error
    assert len(await house.events(run, "checkpoint")) == 2
    (stuck,) = await house.events(run, "stuck")
    assert stuck.data["rule"] == "thrash"


async def test_a_cache_that_has_expired_makes_a_large_transcript_smaller_for_free(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(reader(6))
    run = await house.finished(await house.start(alice, talk, **small(talk, options={"cache_ttl": "0s"})))
    assert run.status == "completed", run.error
    reasons = [event.data["reason"] for event in await house.events(run, "checkpoint")]
    assert reasons
    assert set(reasons) == {"expired"}
    other = house.talk(reader(6))
    run = await house.finished(await house.start(alice, other, **small(other, options={"cache_ttl": "5m"})))
    assert await house.events(run, "checkpoint") == []


async def test_a_summary_that_fails_three_times_fails_the_run_by_its_name(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(reader(60, aloud=400, summary=ScriptedReply(text="", finish="refusal")))
    run = await house.finished(await house.start(alice, talk, **small(talk)))
    assert run.status == "failed"
    assert run.error is not None
    assert re.match(r"the checkpoint before turn \d+ failed: .*gave no summary: it ended with refusal", run.error)
    assert sum(map(sums_up, talk.requests)) == 3


async def test_the_plan_is_told_again(house: AgentHouse, alice: Principal) -> None:
    plan: dict[str, JsonValue] = {"steps": [{"title": "read on", "status": "doing"}, {"title": "name the doors"}]}

    def line(request: ModelRequest) -> Any:
        if not sums_up(request) and len(results(request)) == 1 and "read on" not in words_of(request):
            return calling(call("update_plan", plan), call("desk.chapter", {"number": 1}))
        return reader(20, aloud=400)(request)

    talk = house.talk(line)
    run = await house.finished(await house.start(alice, talk, tools=("update_plan",), **small(talk)))
    assert run.status == "completed", run.error
    assert "summary" in {str(event.data["kind"]) for event in await house.events(run, "checkpoint")}
    assert "- doing: read on\n- open: name the doors" in words_of(talk.requests[-1])


async def test_a_run_whose_task_alone_fills_the_window_fails_and_says_so(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk("never")
    run = await house.finished(await house.start(alice, talk, task="the river and the stone " * 3_000, **small(talk)))
    assert run.status == "failed"
    assert run.error is not None
    assert "task, attachments, lessons and tools alone take about" in run.error
    assert talk.requests == []
