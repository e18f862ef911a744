"""What one reader of a run's live pieces has not read yet."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from server.hub_values import END, LiveDelta, Place

BACKLOG = 1_000
"""How many pieces a reader may be behind; then they are dropped and the turn is told to it again from its start."""


class Deltas:
    """The pieces of one run for one reader, bounded; it belongs to one event loop and one task."""

    def __init__(self, retold: Callable[[], Sequence[LiveDelta]], *, backlog: int = BACKLOG) -> None:
        """Begin with the turn under way; `retold` gives it, and is asked again after a reader fell behind."""
        self._retold = retold
        self._backlog = backlog
        self._waiting: deque[LiveDelta | Place] = deque()
        self._behind = False
        self._poked = False
        self._reader: asyncio.Future[None] | None = None
        self._tell_again()

    def put(self, said: LiveDelta | Place) -> None:
        """Take a piece for the reader, or the place before which everything has just been settled in the log."""
        if self._behind:
            return
        if len(self._waiting) >= self._backlog:
            self._waiting.clear()
            self._behind = True
        else:
            self._waiting.append(said)
        self._wake()

    def poke(self) -> None:
        """Let `arrived` return although there may be nothing: the reader has something else to look at."""
        self._poked = True
        self._wake()

    def ready(self) -> Sequence[LiveDelta]:
        """Return every piece that is there, and forget it."""
        return self.ready_until(END)[0]

    def ready_until(self, settled: Place) -> tuple[Sequence[LiveDelta], Place | None]:
        """Return the pieces up to where the log was settled beyond `settled`, and that place, if there is one.

        A reader of the log as well looks into it then: what comes behind the place, comes behind its events.
        """
        self._catch_up()
        found: list[LiveDelta] = []
        while self._waiting:
            said = self._waiting.popleft()
            if isinstance(said, LiveDelta):
                found.append(said)
            elif said > settled:
                return found, said
        return found, None

    async def arrived(self) -> None:
        """Return when there is something, or when poked."""
        while not (self._waiting or self._behind or self._poked):
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._poked = False

    async def get(self) -> LiveDelta:
        """Return the next piece."""
        while True:
            self._catch_up()
            while self._waiting:
                said = self._waiting.popleft()
                if isinstance(said, LiveDelta):
                    return said
            await self.arrived()

    def _catch_up(self) -> None:
        if self._behind:
            self._behind = False
            self._tell_again()

    def _tell_again(self) -> None:
        retold = self._retold()
        # The events before the turn under way may not have been read from the log yet.
        self._waiting.extend(one.place for one in retold[:1])
        self._waiting.extend(retold)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
