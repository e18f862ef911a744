"""A run as a stream of server-sent events: the durable log, resumable by number, with live pieces beside it.

A durable event is an unnamed one with its number as `id` and `{seq, type, at, data}` as data: a client that drops
comes back with `Last-Event-ID`, or `?after=`, and gets each number exactly once. Pieces of the turn under way are
events named `delta` without id. They are never repeated; instead, whoever comes, comes back or falls behind is told
the turn from its beginning, behind a `turn.retold`, or learns by a `turn.gap` that only the settled message in the
log will make it whole. An event named `end` closes the stream of a finished run. `docs/events.md` has all types.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from pydantic import JsonValue

from engine.agent.log import MESSAGE, TURN
from engine.errors import Invalid
from engine.ports import RunStore
from engine.runs import Event, Run
from engine.values import Principal
from server.hub import Hub
from server.hub_reader import Deltas
from server.hub_values import LiveDelta, Place, settled_by

QUIET_S = 15.0
"""How long nothing may be sent before a comment shows that the connection lives."""

PAGE = 500

# Made once, for there is a frame for each piece. ASCII: neither a line end nor a separator that some readers take for
# one can stand in the data.
_ENCODER = json.JSONEncoder(separators=(",", ":"))

STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}


def cursor_of(last_event_id: str | None, after: str | None) -> int:
    """Return the number to go on after; the header, which a reconnecting browser sends, wins over the query.

    Raises:
        Invalid: neither is a number of an event.
    """
    text = last_event_id or after or "0"
    if not text.isdecimal() or not text.isascii() or len(text) > 12:
        raise Invalid(f"{text[:40]!r} is not the number of an event; send the last `id` you received, or 0")
    return int(text)


async def event_stream(
    runs: RunStore, hub: Hub, principal: Principal, run: Run, after: int, *, quiet_s: float = QUIET_S
) -> AsyncGenerator[bytes]:
    """Yield the frames of `run` behind event number `after`, until the run is finished and all of it was sent."""
    yield b": stream of the run\n\n"
    async with hub.watch(run.ref) as deltas:
        live = _Live(deltas)
        change: asyncio.Future[Run] | None = None
        try:
            while True:
                run = await runs.get(principal, run.run_id)
                while events := await runs.events(principal, run.run_id, after=after, limit=PAGE):
                    after = events[-1].seq
                    yield live.around(events)
                # Read after the row: what was logged before the end of the run has been sent.
                if run.finished and run.events <= after:
                    yield b"event: end\ndata: " + _json({"status": run.status}) + b"\n\n"
                    return
                live.log_was_read()
                change = asyncio.ensure_future(runs.wait(principal, run.run_id, after=after, timeout_s=quiet_s))
                change.add_done_callback(lambda _: deltas.poke())
                while not change.done() and not live.log_is_due:
                    if frames := live.frames():
                        yield frames
                    elif not live.log_is_due:
                        await deltas.arrived()
                if live.log_is_due:
                    change.cancel()
                elif change.result().events <= after and not change.result().finished:
                    yield b": quiet\n\n"
        finally:
            if change is not None:
                change.cancel()


class _Live:
    """The pieces of turns on their way to one client, each on its side of the event that settles its turn."""

    def __init__(self, deltas: Deltas) -> None:
        self._deltas = deltas
        self._settled = Place(0, 0, 0)
        self._due: Place | None = None

    @property
    def log_is_due(self) -> bool:
        """Whether the next piece may be sent only behind events that are in the log by now."""
        return self._due is not None

    def log_was_read(self) -> None:
        """Go on: what is in the log has been sent."""
        self._settled = max(self._settled, self._due or self._settled)
        self._due = None

    def frames(self) -> bytes:
        """Return what is there, up to where the log is due."""
        return _frames(delta for delta in self._take() if not _is_before(delta, self._settled))

    def around(self, events: Sequence[Event]) -> bytes:
        """Return the frames of durable events, each behind what was streamed before it; the rest comes last."""
        places = [settled_by(event.type, event.data) for event in events]
        for number, event in enumerate(events[:-1]):
            if event.type == MESSAGE and events[number + 1].type == TURN:
                # The message that settles a turn stands right before the event that says so.
                places[number] = places[number + 1]
        before, self._settled = self._settled, max((self._settled, *(place for place in places if place is not None)))
        waiting = deque(delta for delta in self._take() if not _is_before(delta, before))
        frames: list[bytes] = []
        for event, place in zip(events, places, strict=True):
            while place is not None and waiting and _rank(waiting[0]) < place:
                frames.append(delta_frame(waiting.popleft()))
            frames.append(event_frame(event))
        return b"".join(frames) + _frames(waiting)

    def _take(self) -> Sequence[LiveDelta]:
        if self._due is not None and self._due > self._settled:
            return ()
        found, self._due = self._deltas.ready_until(self._settled)
        return found


def _is_before(delta: LiveDelta, settled: Place) -> bool:
    return delta.is_of_turn and delta.place < settled


def _rank(delta: LiveDelta) -> Place:
    """Return where a piece stands among the events: a tool is called behind the end of its turn."""
    return delta.place if delta.is_of_turn else Place(delta.turn + 1, 0, 0)


def event_frame(event: Event) -> bytes:
    """Return the frame of a durable event."""
    said: dict[str, JsonValue] = {"seq": event.seq, "type": event.type, "at": event.at.isoformat(), "data": event.data}
    return f"id: {event.seq}\ndata: ".encode() + _json(said) + b"\n\n"


def delta_frame(delta: LiveDelta) -> bytes:
    """Return the frame of a live delta; the missing id keeps the client's place in the log."""
    said: dict[str, JsonValue] = {
        "type": delta.type,
        "turn": delta.turn,
        "attempt": delta.attempt,
        "offset": delta.offset,
        "data": delta.data,
    }
    return b"event: delta\ndata: " + _json(said) + b"\n\n"


def _frames(deltas: Iterable[LiveDelta]) -> bytes:
    return b"".join(map(delta_frame, deltas))


def _json(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()
