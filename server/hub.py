"""What is live: who waits for a run to change, and the pieces of turns that never become durable.

One hub belongs to one process and one event loop. Links (`server.hub_links`) join the hubs of several processes: a
worker's pieces reach the servers that have readers for them, and everyone hears which runs have changed.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from pydantic import JsonValue

from engine.runs import RunRef
from engine.transcript import Delta
from server.hub_joining import Joining
from server.hub_reader import Deltas
from server.hub_turns import LiveTurns
from server.hub_values import END, Changed, Frame, Hello, LiveDelta, Place, Stopping

ALONE_S = 0.25
"""How often to look for what other processes changed while no link tells of it."""

LINKED_S = 5.0
"""How often to look while a link tells of it: the safety net below the wake-ups."""

MOST_STOPPING = 1_000
"""How many runs are remembered as stopping; the end of each is in its record soon after."""


class Link(Protocol):
    """A way to another process's hub. `takes_deltas`: pieces are wanted there, not only changes."""

    takes_deltas: bool

    def send(self, frame: Frame) -> None:
        """Take something to be told there."""
        ...

    def again(self) -> None:
        """Tell the turns under way there again, from their beginning."""
        ...


class Hub:
    """Wakes those who wait for a run or for a tenant and hands live pieces to those who watch a run.

    A tenant is named by its name, as everywhere: it changes with each of its runs.
    """

    def __init__(self) -> None:
        """Start with nobody waiting and no link."""
        self.turns = LiveTurns()
        self.hears = False
        self._waiting: defaultdict[RunRef | str, set[asyncio.Event]] = defaultdict(set)
        self._watching: defaultdict[RunRef, set[Deltas]] = defaultdict(set)
        self._links: set[Link] = set()
        self._joining = Joining(self._told)
        self._stopping: OrderedDict[RunRef, None] = OrderedDict()

    @property
    def look_s(self) -> float:
        """How long to wait at most before looking for changes that nobody told of; `hears` is set by links."""
        return LINKED_S if self.hears else ALONE_S

    def flush(self, run: RunRef) -> None:
        """Hand on what waits for others: a change is about to be written that is to be read behind it."""
        self._joining.flush(run)

    def changed(self, run: RunRef, settled: Place | None = None) -> None:
        """Wake everyone who waits for `run`, or for its tenant, here and over the links.

        `settled`: what was streamed before this place is void from now on.
        """
        # What was said before the change is heard before it.
        self._joining.flush(run)
        self._pass_on(Changed(run=run, settled=settled), None)

    def stopping(self, run: RunRef) -> None:
        """Wake who waits for `run`, here and over the links: its workflow has taken the order to end it."""
        self._stop(Stopping(run=run), None)

    def is_stopping(self, run: RunRef) -> bool:
        """Tell whether a run is known to end, and its record may not say so yet."""
        return run in self._stopping

    def publish(self, delta: LiveDelta) -> None:
        """Hand a piece to everyone who watches its run, joined with others of its kind that come within 10 ms."""
        self._joining.add(delta)

    def hear(self, frame: Frame, link: Link) -> None:
        """Take what another process says."""
        if isinstance(frame, Hello):
            link.again()
        elif isinstance(frame, Changed):
            self._pass_on(frame, link)
        elif isinstance(frame, Stopping):
            self._stop(frame, link)
        else:
            self._told(frame, link)

    def _stop(self, stopping: Stopping, source: Link | None) -> None:
        self._stopping[stopping.run] = None
        while len(self._stopping) > MOST_STOPPING:
            self._stopping.popitem(last=False)
        self._wake(stopping.run)
        for link in self._links:
            if link is not source:
                link.send(stopping)

    def _wake(self, place: RunRef | str) -> None:
        for event in self._waiting.get(place, ()):
            event.set()

    def _pass_on(self, change: Changed, source: Link | None) -> None:
        if change.settled == END:
            self._stopping.pop(change.run, None)
        if change.settled is not None:
            self.turns.settle(change.run, change.settled)
            for reader in self._watching.get(change.run, ()):
                reader.put(change.settled)
        self._wake(change.run)
        self._wake(change.run.tenant)
        for link in self._links:
            if link is not source:
                link.send(change)

    def _told(self, delta: LiveDelta, source: Link | None = None) -> None:
        for fresh in self.turns.add(delta) if delta.is_of_turn else (delta,):
            for reader in self._watching.get(delta.run, ()):
                reader.put(fresh)
            for link in self._links:
                if link.takes_deltas and link is not source:
                    link.send(fresh)

    async def wait(self, place: RunRef | str, timeout_s: float) -> None:
        """Return when a run, or any run of a tenant, changed here or where links lead, or after `timeout_s`."""
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

    @asynccontextmanager
    async def watch(self, run: RunRef) -> AsyncGenerator[Deltas]:
        """Give what `run` streams: the turn under way as far as it is known, then what comes."""
        reader = Deltas(lambda: self.turns.retold(run))
        self._watching[run].add(reader)
        try:
            yield reader
        finally:
            self._watching[run].discard(reader)
            if not self._watching[run]:
                del self._watching[run]

    def join(self, link: Link) -> None:
        """Tell `link` from now on what is said here."""
        self._links.add(link)

    def leave(self, link: Link) -> None:
        """Tell `link` nothing any more."""
        self._links.discard(link)


class TurnStream:
    """Publishes what a model streams in one attempt at a turn; `offset` is where the next piece will stand."""

    def __init__(self, hub: Hub, run: RunRef, turn: int, attempt: int) -> None:
        """Begin at offset 0."""
        self.offset = 0
        self._hub = hub
        self._run, self._turn, self._attempt = run, turn, attempt

    def __call__(self, delta: Delta) -> None:
        """Publish a piece."""
        if not delta.text:
            return
        data: dict[str, JsonValue] = {"text": delta.text, **({"call_id": delta.call_id} if delta.call_id else {})}
        kind = f"{delta.kind}.delta"
        self._hub.publish(
            LiveDelta(run=self._run, type=kind, turn=self._turn, attempt=self._attempt, offset=self.offset, data=data)
        )
        self.offset += len(delta.text)
