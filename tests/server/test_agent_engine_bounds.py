"""What bounds an agent: budgets, the contract of its answer, loops, failures of its provider, the size of history."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.testing import ActivityEnvironment

from engine.ports import AgentPlan, TurnMade, TurnOrder
from engine.runs import Run, StartedWorkflow
from engine.transcript import ModelRequest
from engine.values import Budget, Principal
from providers.errors import Overloaded, RateLimited, Unauthorized
from providers.scripted import Line, ScriptedReply, answer
from tests.server.agent_house import (
    LEARN,
    PATIENCE_S,
    AgentHouse,
    Held,
    call,
    calling,
    check_log,
    results,
    start_of,
)

pytestmark = pytest.mark.anyio

SUM = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}},
    "required": ["sum"],
    "additionalProperties": False,
}


def until_closed(line: Callable[[ModelRequest], Line], last: Line) -> Callable[[ModelRequest], Line]:
    """Return a script that goes on until it is given no tools any more."""
    return lambda request: last if request.tool_choice == "none" else line(request)


def page(request: ModelRequest) -> Line:
    """Call for a page that was not there yet."""
    return calling(call("desk.page", {"number": len(request.messages)}))


async def test_the_last_turn_of_a_budget_of_turns_is_made_without_tools(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(LEARN, until_closed(page, "all I know"))
    run = await house.finished(await house.start(alice, talk, budget=Budget(turns=4)))
    assert (run.status, run.result, run.spent.turns) == ("completed", "all I know", 4)
    assert [request.tool_choice for request in talk.requests] == ["auto", "auto", "auto", "none"]
    assert "last turn" in talk.requests[-1].messages[-1].text
    assert talk.requests[-1].tools == talk.requests[0].tools


async def test_a_budget_of_tokens_is_kept_by_closing_in_time(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(LEARN, until_closed(page, "all I know"))
    run = await house.finished(await house.start(alice, talk, budget=Budget(tokens=40_000)))
    assert (run.status, run.result) == ("completed", "all I know")
    assert len(talk.requests) > 3
    assert [request.tool_choice for request in talk.requests][-2:] == ["auto", "none"]
    assert run.spent.input_tokens + run.spent.output_tokens <= 40_000


async def test_a_budget_that_is_used_up_by_an_invalid_answer_fails_the_run(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(LEARN, "three, I think")
    run = await house.finished(await house.start(alice, talk, budget=Budget(turns=2), output_schema=SUM))
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith(
        "the budget of turns is used up and the answer is not valid: your answer must be one JSON"
    )


@pytest.mark.parametrize(("text", "status"), [("here it is", "completed"), ("", "failed")])
async def test_calls_of_the_closing_turn_are_answered_and_not_made(
    house: AgentHouse, alice: Principal, tmp_path: Path, text: str, status: str
) -> None:
    ledger = tmp_path / "ledger"
    note = call("desk.note", {"ledger": str(ledger), "text": "no"})
    talk = house.talk(LEARN, ScriptedReply(text=text, tool_calls=(note,)))
    run = await house.finished(await house.start(alice, talk, budget=Budget(turns=2), approval="full"))
    assert run.status == status, run.error
    assert not ledger.exists()
    refused = (await house.messages(run, "tool"))[-1].parts[0]
    assert refused.type == "tool_result"
    assert refused.text == "not run: the budget of turns is used up"


async def test_the_age_of_a_run_is_bounded_and_so_is_its_wait_for_a_person(
    house: AgentHouse, alice: Principal, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    note = calling(call("desk.note", {"ledger": str(ledger), "text": "no"}))
    talk = house.talk(LEARN, until_closed(lambda request: note, "nobody came"))
    started = await house.start(alice, talk, budget=Budget(seconds=2))
    (task,) = await house.asked(started)
    assert task.deadline is not None
    run = await house.finished(started)
    assert (run.status, run.result) == ("completed", "nobody came")
    assert (await house.platform.runs.task(alice, task.task_id)).status == "expired"
    assert results(talk.requests[-1])[-1].text == "nobody approved desk.note in time; it was not run"
    assert not ledger.exists()


async def test_a_call_of_the_model_is_cut_when_the_time_of_the_run_is_over_and_it_says_a_last_word(
    house: AgentHouse, alice: Principal
) -> None:
    endless = Held("too late")

    def talks(request: ModelRequest) -> Line | Awaitable[Line]:
        return "time is up" if request.tool_choice == "none" else endless(request)

    run = await house.finished(await house.start(alice, house.talk(talks), budget=Budget(seconds=3)))
    assert (run.status, run.result) == ("completed", "time is up"), run.error
    assert endless.aborted.is_set() or not endless.entered.is_set()


async def test_a_last_word_that_does_not_end_is_cut_as_well(
    house: AgentHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.agent.turns.CLOSING", timedelta(seconds=1))
    endless = Held("too late")
    run = await house.finished(await house.start(alice, house.talk(endless), budget=Budget(seconds=1)))
    assert (run.status, run.error) == ("failed", "the budget of seconds is used up")
    assert not endless.released.is_set()


async def test_an_invalid_answer_is_sent_back_with_its_errors_until_it_is_valid(
    house: AgentHouse, alice: Principal
) -> None:
    talk = house.talk(answer({"sum": "three"}), "{'sum': 3}", answer({"sum": 3}))
    run = await house.finished(await house.start(alice, talk, output_schema=SUM))
    assert (run.status, run.result, run.spent.turns) == ("completed", {"sum": 3}, 3)
    first, second = (request.messages[-1] for request in talk.requests[1:])
    assert first.role == second.role == "user"
    assert "$.sum: 'three' is not of type 'integer'" in first.text
    assert "one JSON value and nothing else" in second.text


async def test_an_answer_that_stays_invalid_fails_the_run_with_the_reason(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(answer({"sum": "three"}))
    run = await house.finished(await house.start(alice, talk, output_schema=SUM))
    assert (run.status, run.spent.turns) == ("failed", 4)
    assert run.error is not None
    assert run.error.startswith("the answer broke its contract 4 times: your answer does not fit its schema: $.sum")


async def test_empty_cut_and_unreadable_answers_are_asked_for_again(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(
        "",
        ScriptedReply(text="the beginning of", finish="length"),
        ScriptedReply(text="", finish="malformed"),
        ScriptedReply(text="let me think", finish="paused"),
        "whole",
    )
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.result, run.spent.turns) == ("completed", "whole", 5)
    told = [request.messages[-1].text for request in talk.requests[1:]]
    assert told[0] == "your answer is empty; give it as text"
    assert told[1].startswith("your answer was cut off")
    assert told[2].startswith("your last turn could not be read")
    # A turn that the provider paused goes on from where it stands.
    assert talk.requests[4].messages[-1].role == "assistant"


async def test_a_refusal_of_the_model_fails_the_run(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(ScriptedReply(text="I would rather not", finish="refusal"))
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.error) == ("failed", "the model refused: refusal")


async def test_a_polling_tool_whose_result_changes_is_not_stuck(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(LEARN, *[calling(call("desk.tick", {"clock": "poll"}))] * 8, "done")
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.result, run.spent.turns) == ("completed", "done", 10)


def failing_once(failure: Line, then: Line) -> Callable[[ModelRequest], Line]:
    """Return a script that fails at its first call."""
    lines = iter([failure])
    return lambda request: next(lines, then)


async def test_a_failure_that_passes_is_retried_and_the_turn_stands_once_in_the_log(
    house: AgentHouse, alice: Principal
) -> None:
    broken = ScriptedReply(text="half of an ans", piece=4, fail=Overloaded("busy", provider="scripted"), fail_after=2)
    held = Held(failing_once(broken, ScriptedReply(text="the whole answer", piece=4)))
    run = await house.start(alice, house.talk(held))
    await held.reached()
    async with house.platform.hub.watch(run.ref) as queue:
        held.released.set()
        ended = await house.finished(run)
        deltas = queue.ready()
    assert (ended.status, ended.result, ended.spent.turns) == ("completed", "the whole answer", 1)
    assert len(await house.messages(run, "assistant")) == 1
    events = await house.events(run)
    check_log(events)
    assert [event.type for event in events if event.type.startswith("turn.")] == [
        "turn.restarted",
        "turn.finished",
    ]
    first, second = ([one for one in deltas if one.attempt == attempt] for attempt in (1, 2))
    assert deltas == [*first, *second]
    # The first word is that the turn, which has streamed nothing yet, is told from its start.
    assert {(one.turn, one.type) for one in deltas[1:]} == {(1, "text.delta")}
    assert "".join(one.text for one in first) == "half of "
    assert [one.offset for one in second] == [0, 4]
    assert "".join(str(one.data["text"]) for one in second) == "the whole answer"


async def test_a_failure_that_stays_fails_the_run_with_its_reason_at_once(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(Unauthorized("The key is wrong.", provider="scripted"))
    run = await house.finished(await house.start(alice, talk))
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith("unauthorized: The key is wrong.")
    assert len(talk.requests) == 1


async def test_a_rate_limit_is_obeyed(house: AgentHouse, alice: Principal) -> None:
    limited = RateLimited("slow down", provider="scripted", retry_after_s=2.5)
    talk = house.talk(failing_once(limited, "done"))
    run = await house.finished(await house.start(alice, talk))
    assert run.status == "completed"
    assert len(talk.requests) == 2
    (history,) = await house.histories(run)
    (ordered,) = [event for event in history.events if _activity(event) == "model_turn"]
    (begun,) = [
        event
        for event in history.events
        if event.activity_task_started_event_attributes.scheduled_event_id == ordered.event_id
    ]
    assert begun.activity_task_started_event_attributes.attempt == 2
    waited = begun.event_time.ToDatetime() - ordered.event_time.ToDatetime()
    # The default wait before a second attempt is one second.
    assert waited.total_seconds() >= 2.5


def _activity(event: HistoryEvent) -> str:
    if event.event_type != EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        return ""
    return event.activity_task_scheduled_event_attributes.activity_type.name


async def test_a_turn_adds_the_same_bytes_to_the_history_however_long_the_transcript_is(
    house: AgentHouse, alice: Principal
) -> None:
    pages = [calling(call("desk.page", {"number": number})) for number in range(10, 42)]
    talk = house.talk(LEARN, *pages, "done")
    run = await house.finished(await house.start(alice, talk))
    assert (run.status, run.spent.turns) == ("completed", 34)
    assert sum(len(part.text) for part in results(talk.requests[-1])) > 160_000
    (history,) = await house.histories(run)
    turns: list[int] = []
    for event in history.events:
        if _activity(event) == "model_turn":
            turns.append(0)
        if turns:
            turns[-1] += event.ByteSize()
    assert len(turns) == 34
    assert turns[29] < turns[2] * 1.05
    assert max(turns[1:33]) < 8_000


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"model": "nowhere/model"}, "there is no model provider 'nowhere'"),
        ({"model": "nonsense"}, "'nonsense' is not a route"),
        ({"output_schema": {"type": "nothing"}}, "is not a JSON Schema"),
        ({"skills": ("none",)}, "none"),
    ],
)
async def test_a_task_that_can_not_be_carried_out_fails_before_its_first_turn(
    house: AgentHouse, alice: Principal, task: dict[str, Any], reason: str
) -> None:
    run = await house.finished(await house.start(alice, house.talk("never"), **task))
    assert (run.status, run.spent.turns) == ("failed", 0)
    assert run.error is not None
    assert reason in run.error


async def test_a_turn_that_was_made_before_a_crash_is_not_paid_again(house: AgentHouse, alice: Principal) -> None:
    talk = house.talk(LEARN, "never asked for")
    run, _ = await house.platform.runs.create(alice, start_of(talk.route, None, None))
    activities = {activity.__name__: activity for activity in house.platform.activities()}
    environment = ActivityEnvironment()
    plan: AgentPlan = await environment.run(activities["plan_agent"], StartedWorkflow(run=run.ref, principal=alice))
    order = TurnOrder(run=run.ref, principal=alice, turn=1, route=plan.route)
    made: TurnMade = await environment.run(activities["model_turn"], order)
    again: TurnMade = await environment.run(activities["model_turn"], order)
    assert again == made
    assert made.calls[0].tool == "learn_desk"
    assert len(talk.requests) == 1
    assert (await house.platform.runs.load(run.ref)).spent.turns == 1


async def test_a_watcher_sees_the_pieces_of_every_turn_in_order(house: AgentHouse, alice: Principal) -> None:
    held = Held(LEARN)
    talk = house.talk(held, ScriptedReply(reasoning="hm, hm, hm", text="a longer answer in pieces"))
    run: Run = await house.start(alice, talk)
    await held.reached()
    with anyio.fail_after(PATIENCE_S):
        async with house.platform.hub.watch(run.ref) as queue:
            held.released.set()
            await house.finished(run)
            deltas = queue.ready()
    places = [(one.turn, one.attempt, one.offset) for one in deltas if one.type.endswith(".delta")]
    assert places == sorted(set(places))
    assert {one.turn for one in deltas} == {1, 2}
    spoken = {
        kind: "".join(str(one.data["text"]) for one in deltas if one.type == kind)
        for kind in ("tool.delta", "reasoning.delta", "text.delta")
    }
    assert spoken["tool.delta"] == "{}"
    assert spoken["reasoning.delta"] == "hm, hm, hm"
    assert spoken["text.delta"] == "a longer answer in pieces"
