"""What is live inside one process: who waits for a run to change, and the deltas that never become durable."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from pydantic import JsonValue

from engine.runs import RunRef
from engine.values import Value

BACKLOG = 1_000
"""How many deltas a slow reader may be behind before it loses the oldest: the settled message repairs it."""


class LiveDelta(Value):
    """A piece of a message under way, addressed by turn, attempt and offset so that a reader can order and drop it."""

    run: RunRef
    type: str
    turn: int
    attempt: int
    offset: int
    data: dict[str, JsonValue] = {}


class Hub:
    """Wakes those who wait for a run or for a tenant and hands deltas to those who watch a run.

    It belongs to one event loop. A tenant is named by its name, as everywhere: it changes with each of its runs.
    """

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._waiting: defaultdict[RunRef | str, set[asyncio.Event]] = defaultdict(set)
        self._watching: defaultdict[RunRef, set[asyncio.Queue[LiveDelta]]] = defaultdict(set)

    def changed(self, run: RunRef) -> None:
        """Wake everyone who waits for `run`, or for its tenant."""
        for place in (run, run.tenant):
            for event in self._waiting.get(place, ()):
                event.set()

    async def wait(self, place: RunRef | str, timeout_s: float) -> None:
        """Return when a run, or any run of a tenant, changed in this process, or after `timeout_s`.

        Another process's changes are polled for.
        """
        event = asyncio.Event()
        self._waiting[place].add(event)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await event.wait()
        finally:
            self._waiting[place].discard(event)
            if not self._waiting[place]:
                del self._waiting[place]

    def publish(self, delta: LiveDelta) -> None:
        """Hand a delta to everyone who watches its run; a reader that is too slow loses its oldest."""
        for queue in self._watching.get(delta.run, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(delta)

    @asynccontextmanager
    async def watch(self, run: RunRef) -> AsyncGenerator["asyncio.Queue[LiveDelta]"]:
        """Give a queue that receives the deltas of `run` from now on."""
        queue: asyncio.Queue[LiveDelta] = asyncio.Queue(BACKLOG)
        self._watching[run].add(queue)
        try:
            yield queue
        finally:
            self._watching[run].discard(queue)
            if not self._watching[run]:
                del self._watching[run]
