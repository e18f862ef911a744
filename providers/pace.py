"""When a stream is read again: one of few as soon as something comes, one of many at ticks that all of them share.

To wake up for every token of every stream costs a processor more than the tokens do. Where a process reads many
streams at once, each waits for the next tick after it was read: what has come by then is read together, and what all
streams of the process say at a tick can be handed on together. The more streams, the rarer the ticks, up to a bound.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

FEW = 20
"""How many streams are read as they come."""

EACH_S, MOST_S = 0.001, 0.025
"""How much later, in seconds, the next tick is for each stream more than that, and at most.

The bound is above the 20 ms between two tokens of a model that says 50 a second: a shorter one would join none of them.
"""


class Pace:
    """How the streams of one process are read; all of them belong to one event loop."""

    def __init__(self) -> None:
        """Begin without a stream."""
        self._streams = 0

    @property
    def window_s(self) -> float:
        """The seconds between two ticks as the streams are now; 0 where there is nothing to wait for."""
        return min(MOST_S, max(0, self._streams - FEW) * EACH_S)

    @contextmanager
    def reading(self) -> Generator[None]:
        """Count a stream while the block runs."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def tick(self) -> None:
        """Return at the next tick, together with all others that wait for it; at once where streams are few."""
        window = self.window_s
        if not window:
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        # The same moment for all: timers that are due together are run in one turn of the loop.
        timer = loop.call_at((loop.time() // window + 1) * window, _wake, waiting)
        try:
            await waiting
        finally:
            timer.cancel()


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


PACE = Pace()
"""That of all model streams of this process."""
