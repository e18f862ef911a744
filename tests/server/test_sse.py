"""The stream of a run: every number once, live deltas beside them, an end."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from content.database import Database
from engine.errors import Invalid
from engine.runs import RunRef
from server.events import cursor_of, event_stream
from server.hub import LiveDelta
from tests.server.flat import Flat

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
