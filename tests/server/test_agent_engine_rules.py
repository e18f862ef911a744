"""The rules of an agent run over its memory and its log, without an engine around them."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import JsonValue

from engine.agent.log import (
    MESSAGE,
    TURN,
    assemble,
    assistant_key,
    call_name,
    entry,
    finished_key,
    message_event,
    result_key,
)
from engine.agent.state import AgentState, last_turn_by
from engine.runs import Event, EventDraft
from engine.transcript import Message, Text, ToolCall, ToolResult, system, user
from engine.values import Budget, Spent
from server.activities.transcripts import Transcript

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def log_of(*drafts: EventDraft) -> list[Event]:
    """Number drafts as a run's log does."""
    return [Event(run_id="run_1", seq=seq, at=NOW, **draft.model_dump()) for seq, draft in enumerate(drafts, start=1)]


def said(turn: int, *calls: str, text: str = "") -> EventDraft:
    """Return the assistant message of a turn."""
    parts = (*((Text(text=text),) if text else ()), *(ToolCall(id=one, name="add") for one in calls))
    return message_event(assistant_key(turn), Message(role="assistant", parts=parts))


def finished(turn: int, seen: int) -> EventDraft:
    """Return the event beside it."""
    data: dict[str, JsonValue] = {"turn": turn, "seen": seen, "reply": {}}
    return EventDraft(key=finished_key(turn), type=TURN, data=data)


def answered(turn: int, call_id: str) -> EventDraft:
    """Return the answer to a call."""
    result = ToolResult(call_id=call_id, name="add", text=call_id)
    return message_event(result_key(turn, call_id), Message(role="tool", parts=(result,)))


def spoken(key: str) -> EventDraft:
    """Return a message of a person."""
    return message_event(key, user(key))


def outline(events: list[Event]) -> list[str]:
    """Return the transcript in one word for each message."""
    return [
        "+".join(part.call_id for part in message.parts if isinstance(part, ToolResult)) or message.text or message.role
        for message in assemble([entry(event) for event in events])
    ]


def test_answers_stand_behind_their_turn_in_the_order_of_the_calls_and_people_behind_them() -> None:
    opening = (message_event("system", system("rules")), spoken("task"))
    turn = (said(1, "a", "b"), finished(1, 2))
    log = log_of(*opening, *turn, answered(1, "b"), spoken("wait"), answered(1, "a"), said(2, text="done"))
    assert outline(log) == ["rules", "task", "assistant", "a+b", "wait", "done"]
    read = Transcript()
    read.extend(log)
    assert read.call(1, "b").id == "b"
    with pytest.raises(KeyError, match="no call c"):
        read.call(1, "c")


def test_what_a_turn_was_not_sent_stands_behind_it() -> None:
    opening = (message_event("system", system("rules")), spoken("task"))
    log = log_of(*opening, spoken("late"), said(1, text="answer"), finished(1, 2), spoken("later"))
    assert outline(log) == ["rules", "task", "answer", "late", "later"]
    called = log_of(*opening, spoken("late"), said(1, "a"), finished(1, 2), answered(1, "a"))
    assert outline(called) == ["rules", "task", "assistant", "a", "late"]


def test_the_transcript_of_a_growing_log_only_grows() -> None:
    drafts = [message_event("system", system("rules")), spoken("task"), spoken("early"), said(1, "a"), finished(1, 2)]
    drafts += [answered(1, "a"), spoken("mid"), said(2, text="two"), finished(2, 6), spoken("end")]
    log = log_of(*drafts)
    sent = {1: 2, 2: 6, 3: len(log)}
    requests = [assemble([entry(event) for event in log if event.seq <= seen]) for seen in sent.values()]
    for before, after in itertools.pairwise(requests):
        assert after[: len(before)] == before
    assert [event.type for event in log].count(MESSAGE) == 8


def test_an_unusual_id_of_a_call_becomes_a_plain_name() -> None:
    assert call_name("call_1-a") == "call_1-a"
    odd = call_name("a/../b " + "x" * 500)
    assert odd.isalnum()
    assert len(odd) == 32
    assert odd != call_name("a/../c " + "x" * 500)


@pytest.mark.parametrize(
    ("budget", "spent", "last", "expected"),
    [
        (Budget(), Spent(turns=99, input_tokens=10**9), Spent(input_tokens=10**6), None),
        (Budget(turns=1), Spent(), Spent(), "turns"),
        (Budget(turns=3), Spent(turns=1), Spent(), None),
        (Budget(turns=3), Spent(turns=2), Spent(), "turns"),
        (Budget(tokens=100), Spent(), Spent(), None),
        (Budget(tokens=100), Spent(input_tokens=40), Spent(input_tokens=20, output_tokens=10), None),
        (Budget(tokens=100), Spent(input_tokens=41), Spent(input_tokens=20, output_tokens=10), "tokens"),
        (Budget(usd=1.0), Spent(usd=0.5), Spent(usd=0.3), "usd"),
        (Budget(seconds=60), Spent(), Spent(), "seconds"),
        (Budget(seconds=61), Spent(), Spent(), None),
    ],
)
def test_a_turn_is_the_last_one_where_two_more_would_not_fit(
    budget: Budget, spent: Spent, last: Spent, expected: str | None
) -> None:
    state = AgentState(spent=spent, last=last, started_at=NOW)
    assert last_turn_by(budget, state, NOW + timedelta(seconds=60)) == expected
