"""A run as a stream of server-sent events: the durable log, resumable by number, with live deltas beside it.

A durable event is an unnamed one with its number as `id` and `{seq, type, at, data}` as data: a client that drops
comes back with `Last-Event-ID`, or `?after=`, and gets each number exactly once. Deltas are events named `delta`
without id: they are never repeated, and the settled message in the log makes up for those that were missed. An event
named `end` closes the stream of a finished run.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import JsonValue

from engine.errors import Invalid
from engine.ports import RunStore
from engine.runs import Event, Run
from engine.values import Principal
from server.hub import Hub, LiveDelta

QUIET_S = 15.0
"""How long nothing may be sent before a comment shows that the connection lives."""

PAGE = 500

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
        delta = asyncio.ensure_future(deltas.get())
        change: asyncio.Future[Run] | None = None
        try:
            while True:
                run = await runs.get(principal, run.run_id)
                while events := await runs.events(principal, run.run_id, after=after, limit=PAGE):
                    after = events[-1].seq
                    yield b"".join(map(event_frame, events))
                # Read after the row: what was logged before the end of the run has been sent.
                if run.finished and run.events <= after:
                    yield b"event: end\ndata: " + _json({"status": run.status}) + b"\n\n"
                    return
                change = asyncio.ensure_future(runs.wait(principal, run.run_id, after=after, timeout_s=quiet_s))
                while not change.done():
                    await asyncio.wait((change, delta), return_when=asyncio.FIRST_COMPLETED)
                    if delta.done():
                        yield delta_frame(delta.result())
                        delta = asyncio.ensure_future(deltas.get())
                if change.result().events <= after and not change.result().finished:
                    yield b": quiet\n\n"
        finally:
            delta.cancel()
            if change is not None:
                change.cancel()


def event_frame(event: Event) -> bytes:
    """Return the frame of a durable event."""
    said: dict[str, JsonValue] = {"seq": event.seq, "type": event.type, "at": event.at.isoformat(), "data": event.data}
    return f"id: {event.seq}\ndata: ".encode() + _json(said) + b"\n\n"


def delta_frame(delta: LiveDelta) -> bytes:
    """Return the frame of a live delta; the missing id keeps the client's place in the log."""
    return b"event: delta\ndata: " + _json(delta.model_dump(mode="json", exclude={"run"})) + b"\n\n"


def _json(value: Any) -> bytes:
    # ASCII: neither a line end nor a separator that some readers take for one can stand in the data.
    return json.dumps(value, separators=(",", ":")).encode()
