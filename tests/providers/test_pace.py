"""Many streams are read together at ticks, few as they come; what one read brings is told as one piece."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.transcript import Delta
from providers.pace import EACH_S, FEW, MOST_S, Pace
from providers.streams import Attempt, Together
from tests.providers.pieces import by_kind

pytestmark = pytest.mark.anyio


class Echo:
    """A reader whose events are pieces; `{"end": true}` is the last."""

    finished = False

    def take(self, event: dict[str, Any]) -> Delta | None:
        self.finished = "end" in event
        return None if self.finished else Delta.model_validate(event)


def told(*events: dict[str, Any]) -> bytes:
    """Return events as they come over a wire."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


async def read(*chunks: bytes, pace: Pace) -> list[Delta]:
    """Return the pieces that a stream of these chunks tells."""
    pieces: list[Delta] = []

    async def arriving() -> AsyncGenerator[bytes]:
        for chunk in chunks:
            yield chunk

    with anyio.fail_after(20):
        await Attempt("echo", "model").follow(arriving(), Echo(), Together(pieces.append), pace=pace)
    return pieces


def test_ticks_are_rarer_the_more_streams_there_are_and_never_slower_than_their_bound() -> None:
    pace, windows = Pace(), list[float]()
    with ExitStack() as stack:
        for _ in range(3 * FEW + round(MOST_S / EACH_S)):
            stack.enter_context(pace.reading())
            windows.append(pace.window_s)
    assert windows[: FEW - 1] == [0.0] * (FEW - 1)
    assert windows == sorted(windows)
    assert windows[FEW] == pytest.approx(EACH_S)
    assert windows[-1] == MOST_S
    assert pace.window_s == 0.0


async def test_few_streams_do_not_wait() -> None:
    pace = Pace()
    with pace.reading():
        waiting = pace.tick()
        with pytest.raises(StopIteration):
            waiting.send(None)


async def test_all_that_wait_go_on_in_the_same_turn_of_the_event_loop() -> None:
    pace, woken, beside = Pace(), list[int](), list[int]()

    async def wait(number: int) -> None:
        await pace.tick()
        if not woken:
            # Two turns later: behind all that are woken by the turn that woke this one.
            loop.call_soon(loop.call_soon, lambda: beside.append(len(woken)))
        woken.append(number)

    loop = asyncio.get_running_loop()
    with ExitStack() as stack, anyio.fail_after(20):
        for _ in range(FEW + 1000):
            stack.enter_context(pace.reading())
        while (MOST_S - loop.time() % MOST_S) < MOST_S / 2:
            # Not right before a tick: some would wait for it, and the rest for the next.
            await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(wait, number)
        while not beside:
            await anyio.lowlevel.checkpoint()
    assert sorted(woken) == list(range(30))
    assert beside == [30]


async def test_who_is_cancelled_at_a_tick_leaves_no_timer() -> None:
    pace = Pace()
    with ExitStack() as stack, anyio.fail_after(20):
        for _ in range(2 * FEW):
            stack.enter_context(pace.reading())
        waiting = asyncio.ensure_future(pace.tick())
        await anyio.lowlevel.checkpoint()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pace.tick()


async def test_a_stream_is_counted_until_it_ends_or_is_given_up() -> None:
    pace = Pace()
    assert by_kind(await read(told({"kind": "text", "text": "a"}, {"end": True}), pace=pace)) == [("text", "a")]
    assert vars(pace)["_streams"] == 0
    with pytest.raises(Exception, match="not JSON"):
        await read(b"data: {\n\n", pace=pace)
    assert vars(pace)["_streams"] == 0


async def test_what_one_read_brings_is_one_piece_for_each_kind_and_call() -> None:
    text = [{"kind": "text", "text": letter} for letter in "abc"]
    calls = [{"kind": "tool", "text": "1", "call_id": "x"}, {"kind": "tool", "text": "2", "call_id": "y"}]
    pieces = await read(told(*text), told(text[0], *calls, {"end": True}), pace=Pace())
    assert [(one.kind, one.text, one.call_id) for one in pieces] == [
        ("text", "abc", None),
        ("text", "a", None),
        ("tool", "1", "x"),
        ("tool", "2", "y"),
    ]


async def test_what_came_before_a_broken_event_has_been_told() -> None:
    pieces: list[Delta] = []

    async def arriving() -> AsyncGenerator[bytes]:
        yield told({"kind": "text", "text": "so "}, {"kind": "text", "text": "far"}) + b"data: no\n\n"

    with pytest.raises(Exception, match="not JSON"):
        await Attempt("echo", "model").follow(arriving(), Echo(), Together(pieces.append))
    assert by_kind(pieces) == [("text", "so far")]


@given(
    said=st.lists(st.tuples(st.sampled_from(["text", "reasoning", "tool"]), st.text(min_size=1, max_size=5))),
    cuts=st.lists(st.integers(0, 2_000), max_size=12),
)
def test_the_pieces_are_the_whole_message_wherever_the_stream_is_cut(
    said: list[tuple[str, str]], cuts: list[int]
) -> None:
    events = [{"kind": kind, "text": text} for kind, text in said]
    whole = told(*events, {"end": True})
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[begin:end] for begin, end in pairwise(places)]
    pieces = asyncio.run(read(*chunks, pace=Pace()))
    for kind in ("text", "reasoning", "tool"):
        assert "".join(one.text for one in pieces if one.kind == kind) == "".join(
            text for told_as, text in said if told_as == kind
        )
    assert by_kind(pieces) == by_kind(Delta.model_validate(event) for event in events)
