"""The stream of a run: every number once, the turn under way beside them, an end; cut anywhere, taken up again."""

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from content.database import Database
from engine.agent.log import TURN, assistant_key, finished_key, message_event
from engine.errors import Invalid
from engine.runs import Change, EventDraft, Run, RunRef
from engine.transcript import Delta, Message, Text
from server.events import cursor_of, event_stream
from server.http import make_app
from server.hub import TurnStream
from server.hub_values import RESTARTED, LiveDelta
from tests.server.flat import Flat
from tests.server.served import serve

pytestmark = pytest.mark.anyio


@pytest.fixture
def flat(database: Database, tmp_path: Path) -> Flat:
    return Flat(database, tmp_path)


def parsed(frame: bytes) -> list[dict[str, Any]]:
    """The fields of each event in some frames; comments are left out."""
    events: list[dict[str, Any]] = []
    for block in frame.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append({**fields, "data": json.loads(fields["data"])})
    return events


async def collect(frames: AsyncIterator[bytes], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for frame in frames:
        found += parsed(frame)
        if len(found) >= count:
            break
    return found


async def test_a_finished_run_gives_its_whole_log_by_number_and_then_ends(flat: Flat) -> None:
    run = await flat.run()
    for number in range(3):
        await flat.step(run, f"step/{number}")
    await flat.step(run, "last", status="completed")
    with anyio.fail_after(10):
        frames = [frame async for frame in event_stream(flat.runs, flat.hub, flat.me, run, 0)]
    events = parsed(b"".join(frames))
    assert [event["id"] for event in events[:-1]] == ["1", "2", "3", "4", "5"]
    assert [event["data"]["seq"] for event in events[:-1]] == [1, 2, 3, 4, 5]
    assert events[0]["data"]["data"] == {"step": "step/0"}
    assert events[-1] == {"event": "end", "data": {"status": "completed"}}


async def test_a_stream_taken_up_again_goes_on_behind_the_number_it_is_given(flat: Flat) -> None:
    run = await flat.run()
    for number in range(4):
        await flat.step(run, f"step/{number}")
    with anyio.fail_after(10):
        first = await collect(event_stream(flat.runs, flat.hub, flat.me, run, 0), 4)
        await flat.step(run, "last", status="completed")
        rest = [frame async for frame in event_stream(flat.runs, flat.hub, flat.me, run, int(first[1]["id"]))]
    assert [event.get("id") for event in parsed(b"".join(rest))] == ["3", "4", "5", "6", None]


async def test_what_happens_while_the_stream_is_open_arrives_and_deltas_carry_no_number(flat: Flat) -> None:
    run = await flat.run()
    stream = event_stream(flat.runs, flat.hub, flat.me, run, 0)
    found: list[dict[str, Any]] = []

    async def read() -> None:
        async for frame in stream:
            found.extend(parsed(frame))

    def delta(ref: RunRef, text: str) -> LiveDelta:
        return LiveDelta(run=ref, type="text.delta", turn=1, attempt=1, offset=0, data={"text": text})

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            while not flat.hub._watching:  # pyright: ignore[reportPrivateUsage]
                await anyio.lowlevel.checkpoint()
            flat.hub.publish(delta(run.ref, "für dich\u2028"))
            flat.hub.publish(delta(RunRef(tenant="other", run_id=run.run_id), "for somebody else"))
            while not found:
                await anyio.lowlevel.checkpoint()
            await flat.step(run, "one", status="running")
            await flat.step(run, "two", status="failed", error="broken")
    assert found[0] == {
        "event": "delta",
        "data": {"type": "text.delta", "turn": 1, "attempt": 1, "offset": 0, "data": {"text": "für dich\u2028"}},
    }
    assert [event.get("id") for event in found[1:]] == ["1", "2", "3", "4", None]
    assert found[-1]["data"] == {"status": "failed"}
    assert not flat.hub._watching  # pyright: ignore[reportPrivateUsage]


async def test_a_quiet_run_shows_that_the_connection_lives(flat: Flat) -> None:
    run = await flat.run()
    stream = event_stream(flat.runs, flat.hub, flat.me, run, 0, quiet_s=0.01)
    with anyio.fail_after(10):
        frames = [await anext(stream), await anext(stream)]
    await stream.aclose()
    assert frames == [b": stream of the run\n\n", b": quiet\n\n"]


def test_the_cursor_is_the_header_else_the_query_and_must_be_a_number() -> None:
    assert cursor_of(None, None) == 0
    assert cursor_of(None, "7") == 7
    assert cursor_of("9", "7") == 9
    for wrong in ("-1", "x", "1.5", "٣", "9" * 13):
        with pytest.raises(Invalid, match="number of an event"):
            cursor_of(wrong, None)


WORDS = ("Once ", "upon ", "a ", "time ", "there ", "was ", "für dich\u2028 ", "a\n\nstream. ")


@dataclass
class Story:
    """An agent's run told by hand: turns with reasoning and text, one of them begun anew, then an end."""

    flat: Flat
    run: Run
    texts: dict[tuple[int, int], str] = field(default_factory=dict[tuple[int, int], str])

    async def tell(self, turns: int, rng: random.Random) -> None:
        await self.flat.step(self.run, "begin", status="running")
        for turn in range(1, turns + 1):
            if turn == 2:
                await self.stream(turn, 1, rng)
                data: dict[str, Any] = {"turn": turn, "attempt": 2}
                await self.apply("again", EventDraft(key="again", type=RESTARTED, data=data))
            await self.stream(turn, 2 if turn == 2 else 1, rng)
            await self.settle(turn, 2 if turn == 2 else 1)
        await self.flat.step(self.run, "end", status="completed")

    async def stream(self, turn: int, attempt: int, rng: random.Random) -> None:
        stream = TurnStream(self.flat.hub, self.run.ref, turn, attempt)
        for number, word in enumerate((f"{turn}/{attempt} ", *WORDS)):
            self.texts[turn, attempt] = self.texts.get((turn, attempt), "") + word
            stream(Delta(kind="reasoning" if number == 3 else "text", text=word))
            await anyio.sleep(rng.choice((0, 0, 0.001)))

    async def settle(self, turn: int, attempt: int) -> None:
        said = Message(role="assistant", parts=(Text(text=self.texts[turn, attempt]),))
        finished = EventDraft(key=finished_key(turn), type=TURN, data={"turn": turn})
        await self.apply(f"turn/{turn}", message_event(assistant_key(turn), said), finished)

    async def apply(self, key: str, *events: EventDraft) -> None:
        await self.flat.runs.apply(Change(run=self.run.ref, key=key, events=events))


@dataclass
class Reader:
    """A client that does as docs/events.md says; `whole` has the turns as they stood shown when they were settled."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    shown: str = ""
    place: tuple[int, int] = (0, 0)
    settled: tuple[int, int, int] = (0, 0, 0)
    end: int = 0
    whole: dict[int, str] = field(default_factory=dict[int, str])
    ended: bool = False
    retold: int = 0
    _rest: bytes = b""

    @property
    def last(self) -> int:
        return self.events[-1]["seq"] if self.events else 0

    def connect(self) -> None:
        self._rest = b""

    def take(self, data: bytes, story: Story | None = None) -> None:
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for event in parsed(b"\n\n".join(blocks)):
            if event.get("event") == "delta":
                self._delta(event["data"], story)
            elif event.get("event") == "end":
                self.ended = True
            else:
                self._settled(event["data"])

    def _settled(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        data = event["data"]
        if event["type"] == TURN:
            self.whole[data["turn"]] = self.shown
            self.settled = (data["turn"] + 1, 0, 0)
        if event["type"] == RESTARTED:
            self.settled = (data["turn"], data["attempt"], data.get("offset", 0))
        if event["type"] in (TURN, RESTARTED):
            self.shown, self.end = "", 0

    def _delta(self, delta: dict[str, Any], story: Story | None) -> None:
        place = (delta["turn"], delta["attempt"])
        if (*place, delta["offset"]) < self.settled:
            return
        assert place >= self.place
        if delta["type"] == "turn.retold" or place != self.place:
            self.shown, self.end, self.place = "", delta["offset"], place
            self.retold += delta["type"] == "turn.retold"
        if delta["type"].endswith(".delta"):
            assert delta["offset"] == self.end
            self.shown += delta["data"]["text"]
            self.end = len(self.shown)
            if story is not None:
                assert story.texts[place].startswith(self.shown)


async def read(
    http: httpx2.AsyncClient, run: Run, reader: Reader, most: int | None, story: Story | None = None
) -> None:
    """Read a stream over HTTP from where the reader stands, and cut it after `most` bytes."""
    reader.connect()
    headers = {"Last-Event-ID": str(reader.last)} if reader.last else {}
    async with http.stream("GET", f"/runs/{run.run_id}/events", headers=headers) as answer:
        async for data in answer.aiter_raw():
            reader.take(data if most is None else data[:most], story)
            if most is not None and (most := most - len(data)) <= 0:
                return


async def test_cut_at_any_byte_and_taken_up_again_a_stream_gives_each_number_once_and_no_turn_in_pieces(
    flat: Flat,
) -> None:
    with anyio.fail_after(60):
        async with serve(make_app(flat)) as served, served.http() as http:
            for seed in range(12):
                rng = random.Random(seed)
                story, reader = Story(flat, await flat.run()), Reader()
                async with anyio.create_task_group() as group:
                    group.start_soon(story.tell, 3, rng)
                    while not reader.ended:
                        most = rng.choice((1, 30, 200, rng.randrange(1, 3_000)))
                        await read(http, story.run, reader, most if rng.random() < 0.8 else None, story)
                logged = await flat.runs.events(flat.me, story.run.run_id)
                assert [event["seq"] for event in reader.events] == [event.seq for event in logged]
                assert [event["data"] for event in reader.events] == [event.data for event in logged]
                for turn, shown in reader.whole.items():
                    assert story.texts[turn, 2 if turn == 2 else 1].startswith(shown)


async def test_an_uncut_stream_has_the_whole_of_each_turn_before_the_event_that_settles_it(flat: Flat) -> None:
    with anyio.fail_after(30):
        async with serve(make_app(flat)) as served, served.http() as http:
            story, reader = Story(flat, await flat.run()), Reader()
            async with anyio.create_task_group() as group:
                group.start_soon(read, http, story.run, reader, None, story)
                while not flat.hub._watching:  # pyright: ignore[reportPrivateUsage]
                    await anyio.lowlevel.checkpoint()
                group.start_soon(story.tell, 3, random.Random(7))
    assert reader.whole == {1: story.texts[1, 1], 2: story.texts[2, 2], 3: story.texts[3, 1]}


async def test_who_comes_back_during_a_turn_is_told_it_from_its_start_without_waiting_for_its_end(flat: Flat) -> None:
    run, reader = await flat.run(), Reader()
    await flat.step(run, "begin", status="running")
    stream = TurnStream(flat.hub, run.ref, 1, 1)

    async def until(text: str) -> None:
        reader.connect()
        async with served.http() as http:
            url, headers = f"/runs/{run.run_id}/events", {"Last-Event-ID": str(reader.last)}
            async with http.stream("GET", url, headers=headers) as answer:
                async for data in answer.aiter_raw():
                    reader.take(data)
                    if reader.shown == text:
                        return

    with anyio.fail_after(30):
        async with serve(make_app(flat)) as served:
            stream(Delta(kind="text", text="Once upon "))
            await until("Once upon ")
            stream(Delta(kind="text", text="a time"))
            await until("Once upon a time")
            assert reader.retold == 2
            assert [event["type"] for event in reader.events] == ["node.finished", "run.status"]


async def test_what_a_slow_turn_said_before_it_was_settled_stands_in_front_of_it_and_the_next_turn_behind(
    flat: Flat,
) -> None:
    run = await flat.run()
    story = Story(flat, run)
    stream = event_stream(flat.runs, flat.hub, flat.me, run, 0)
    with anyio.fail_after(10):
        assert await anext(stream) == b": stream of the run\n\n"
        await flat.step(run, "begin", status="running")
        first = parsed(await anext(stream))
        assert [event["id"] for event in first] == ["1", "2"]
        # Nobody reads now: the turn ends and the next begins before the stream is asked again.
        await story.stream(1, 1, random.Random(1))
        await story.settle(1, 1)
        TurnStream(flat.hub, run.ref, 2, 1)(Delta(kind="text", text="next"))
        flat.hub.changed(run.ref)
        found: list[dict[str, Any]] = []
        while len(found) < 2 or found[-1].get("event") != "delta" or found[-1]["data"]["turn"] != 2:
            found += parsed(await anext(stream))
    await stream.aclose()
    order = [event["data"]["turn"] if "event" in event else event["data"]["type"] for event in found]
    texts = [event["data"]["data"]["text"] for event in found if event.get("event") and event["data"]["turn"] == 1]
    assert "".join(texts) == story.texts[1, 1]
    assert order == [*[1] * len(texts), "message", TURN, 2]


async def test_all_doors_show_the_same_events_behind_the_same_numbers(flat: Flat) -> None:
    run = await flat.run()
    await Story(flat, run).tell(2, random.Random(3))
    logged = [event.model_dump(mode="json", exclude={"run_id", "key"}) for event in await flat.runs.log(run.ref)]
    assert len(logged) > 6
    with anyio.fail_after(30):
        async with serve(make_app(flat)) as served, served.mcp("2026-07-28") as client:
            for after in (0, 3):
                reader = Reader()
                async with served.http() as http:
                    reader.take((await http.get(f"/runs/{run.run_id}/events?after={after}")).content)
                arguments = {"run_id": run.run_id, "after": after}
                shown = (await client.call_tool("get_run", arguments)).structured_content
                contents = await client.read_resource(f"run://{run.run_id}/events?after={after}")
                resource = json.loads(getattr(contents[0], "text", ""))
                assert shown is not None
                for events in (reader.events, shown["events"], resource["events"]):
                    assert [{**event, "at": ""} for event in events] == [{**one, "at": ""} for one in logged[after:]]
