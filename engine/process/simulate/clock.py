"""An event loop whose time passes only when nothing else is left to do, and then at once."""

import asyncio
import selectors
from collections.abc import Callable

LEAST_STEP = 1e-6


class Stalled(Exception):  # a result of a simulation, not a fault
    """Nothing can happen any more: everything waits for something that nobody will bring."""


class _Selector(selectors.SelectSelector):
    """Where the loop would sleep, it looks at the conditions instead, and lets time pass if none has come true."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or self.loop.look() or timeout == 0:
            return ready
        if timeout is None:
            raise Stalled("everything waits, and nothing is left that could happen")
        self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at second 0 and never sleeps."""

    def __init__(self) -> None:
        """Start with no time passed."""
        selector = _Selector()
        selector.loop = self
        self._passed = 0.0
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        super().__init__(selector)
        # The loop's own of 1e-9 is lost in the rounding after 97 days, and a timer that is due would never be taken.
        self._clock_resolution = LEAST_STEP

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        # Never so little that adding it changes nothing: the timer that waits for it would wait for ever.
        self._passed += max(seconds, LEAST_STEP)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at whenever nothing else can run."""
        if holds():
            return
        waiter: asyncio.Future[None] = self.create_future()
        entry = (holds, waiter)
        self._conditions.append(entry)
        try:
            await waiter
        finally:
            if entry in self._conditions:
                self._conditions.remove(entry)

    def look(self) -> bool:
        """Wake those whose condition has come true, and tell whether there are any."""
        met = [entry for entry in self._conditions if entry[0]()]
        for entry in met:
            self._conditions.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
        return bool(met)
