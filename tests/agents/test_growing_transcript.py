"""A transcript is put together further as its log grows: what a whole reading finds, for the work of what is new."""

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from content.blobs import Blobs
from content.database import Database
from engine.agent.log import (
    CHECKPOINT,
    PLAN,
    TURN,
    Assembly,
    assemble,
    assistant_key,
    entry,
    finished_key,
    message_event,
    result_key,
)
from engine.agent.replay import sent_of
from engine.runs import Change, Event, EventDraft, Run, StartRun
from engine.transcript import Message, ModelRequest, Native, Route, Text, ToolCall, ToolResult, user
from engine.values import Principal
from providers.tokens import TokenEstimator
from providers.wire import check_request
from server.activities.transcripts import Transcript, Transcripts
from server.hub import Hub
from server.keys import KeyRing
from server.store.runs import SqlRunStore

pytestmark = pytest.mark.anyio

ALICE = Principal(tenant="acme", subject="alice")
ROUTE = Route(provider="scripted", model="any")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqlRunStore]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'runs.db'}")
    await database.migrate()
    yield SqlRunStore(database, Blobs(tmp_path / "blobs"), KeyRing.in_memory(), Hub())
    await database.close()


def asks(turn: int, *ids: str) -> Message:
    return Message(role="assistant", parts=(Text(text=f"turn {turn}"), *(ToolCall(id=one, name="look") for one in ids)))


def answers(call_id: str, text: str = "") -> Message:
    return Message(role="tool", parts=(ToolResult(call_id=call_id, name="look", text=text or f"of {call_id}"),))


def taken(turn: int, seen: int, *ids: str) -> list[EventDraft]:
    """Return the events of a turn that was made from what stood in the log up to `seen`."""
    data: dict[str, JsonValue] = {"turn": turn, "seen": seen, "reply": {}}
    message = message_event(assistant_key(turn), asks(turn, *ids))
    return [message, EventDraft(key=finished_key(turn), type=TURN, data=data)]


def answered(turn: int, call_id: str) -> EventDraft:
    return message_event(result_key(turn, call_id), answers(call_id))


def said(text: str) -> EventDraft:
    return message_event(f"said/{text}", user(text))


def anew(number: int, seen: int, *messages: Message) -> EventDraft:
    data: dict[str, JsonValue] = {"seen": seen, "messages": [one.model_dump(mode="json") for one in messages]}
    return EventDraft(key=f"checkpoint/{number}", type=CHECKPOINT, data=data)


MADE = Message(role="assistant", parts=(), native=Native(provider="maker", api="m", model="m", blocks=({},)))

LOG: list[list[EventDraft]] = [
    [message_event("message/task", user("task"))],
    taken(1, 1, "a", "b"),
    [answered(1, "b")],
    [said("while b was there")],
    [answered(1, "a")],
    [said("too late for turn 2")],
    taken(2, 6, "c"),
    [answered(2, "c")],
    taken(3, 10, "d", "e"),
    [answered(3, "e"), answered(3, "d")],
    [anew(1, 14, MADE, user("made by maker"))],
    [said("behind the first checkpoint")],
    taken(4, 16, "f"),
    [answered(4, "f")],
    [anew(2, 19, user("task"), asks(4, "g"))],
    [answered(4, "g")],
    taken(5, 21),
]
"""The changes of a log, each of which is written at once; numbers of events count from 1."""


def events_of(changes: Sequence[Sequence[EventDraft]]) -> list[Event]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    drafts = [draft for change in changes for draft in change]
    return [
        Event(run_id="run_1", seq=seq, key=one.key, type=one.type, at=at, data=one.data)
        for seq, one in enumerate(drafts, start=1)
    ]


def told(messages: Sequence[Message]) -> list[str]:
    """Return the messages in words: results by the calls that they answer, in order."""
    return [
        message.text or "+".join(part.call_id for part in message.parts if isinstance(part, ToolResult))
        for message in messages
    ]


EXPECTED = {
    3: ["task", "turn 1", "b"],
    5: ["task", "turn 1", "a+b", "while b was there"],
    7: ["task", "turn 1", "a+b", "while b was there", "turn 2", "too late for turn 2"],
    8: ["task", "turn 1", "a+b", "while b was there", "turn 2", "c", "too late for turn 2"],
}


@pytest.mark.parametrize("changes", EXPECTED)
def test_results_stand_behind_their_turn_and_words_behind_what_they_came_after(changes: int) -> None:
    reading = Assembly()
    founds = [reading.extended([entry(one) for one in events_of(LOG[:count])]) for count in range(1, changes + 1)]
    assert told(founds[-1]) == EXPECTED[changes]


@pytest.mark.parametrize("provider", [None, "maker", "other", ""])
def test_a_reading_that_goes_on_finds_what_one_from_the_beginning_does(provider: str | None) -> None:
    log = [entry(one) for one in events_of(LOG)]
    reading, found = Assembly(provider), tuple[Message, ...]()
    for end in (len(events_of(LOG[:count])) for count in range(len(LOG) + 1)):
        found = reading.extended(log[:end])
        assert found == assemble(log[:end], provider)
        again = reading.extended(log[:end])
        assert [id(one) for one in again] == [id(one) for one in found]
    assert told(found)[-3:] == ["turn 4", "g", "turn 5"]


async def start(store: SqlRunStore) -> Run:
    run, _ = await store.create(ALICE, StartRun(kind="agent", definition="a", version="1", input={}))
    return run


async def test_workers_that_take_a_run_from_each_other_have_the_same_transcript(store: SqlRunStore) -> None:
    run, other = await start(store), await start(store)
    workers = [Transcripts(store), Transcripts(store)]
    for number, change in enumerate(LOG):
        await store.apply(Change(run=run.ref, key=f"{number}", events=tuple(change)))
        here = (await workers[number % 2].read(run.ref)).assembled()
        fresh = (await Transcripts(store).read(run.ref)).assembled()
        assert here == fresh == assemble([entry(one) for one in events_of(LOG[: number + 1])])
    assert (await workers[0].read(other.ref)).assembled() == ()


def counted(work: Callable[..., None], *given: object) -> int:
    """Return how many functions of Python a piece of work calls."""
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        work(*given)
    finally:
        sys.setprofile(None)
    return calls


def a_turn(log: Transcript, estimator: TokenEstimator) -> None:
    """Do with a transcript what every turn does before its model is called."""
    request = ModelRequest(route=ROUTE, messages=log.assembled("scripted"), cache_key="run_1")
    estimator.estimate(request)
    check_request(request, "scripted", ())
    sent_of(request)


def test_a_turn_at_a_long_transcript_is_no_more_work_than_one_at_a_short_one() -> None:
    took: list[int] = []
    for turns in (10, 1_000):
        changes = [[EventDraft(key=PLAN, type=PLAN, data={"tools": []})], [message_event("message/task", user("task"))]]
        for turn in range(1, turns + 1):
            changes += [taken(turn, 3 * turn - 1, f"c{turn}"), [answered(turn, f"c{turn}")]]
        events = events_of(changes)
        log, estimator = Transcript(), TokenEstimator()
        log.extend(events[:-3])
        a_turn(log, estimator)
        log.extend(events[-3:])
        took.append(counted(a_turn, log, estimator))
    assert took[1] < 1.2 * took[0], took
