"""Joining pieces of a turn: the first goes at once, what follows within 20 ms goes together."""

import asyncio
from collections.abc import Callable

from engine.runs import RunRef
from server.hub_turns import continues
from server.hub_values import LiveDelta

JOIN_S = 0.02
"""How long a piece waits for others at most."""


class _Open:
    """The pieces of a run that wait, of one kind and one call, and the timer that ends their waiting."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.first: LiveDelta | None = None
        self.texts: list[str] = []
        self.end = 0

    def takes(self, delta: LiveDelta) -> bool:
        return self.first is not None and delta.offset == self.end and continues(self.first, delta)

    def put(self, delta: LiveDelta) -> None:
        if self.first is None:
            self.first = delta
        self.texts.append(delta.text)
        self.end = delta.end

    def take(self) -> LiveDelta | None:
        first, self.first = self.first, None
        texts, self.texts = self.texts, []
        return first if first is None or len(texts) == 1 else first.with_text("".join(texts), first.offset)


class Joining:
    """Hands pieces on in their order, those of one run at most every `seconds`; markers go at once."""

    def __init__(self, hand_on: Callable[[LiveDelta], None], *, seconds: float = JOIN_S) -> None:
        """Keep where the pieces go."""
        self._hand_on = hand_on
        self._seconds = seconds
        self._open: dict[RunRef, _Open] = {}

    def add(self, delta: LiveDelta) -> None:
        """Take a piece; another kind or call than before sends off what waits."""
        if not delta.is_text:
            self.flush(delta.run)
            self._hand_on(delta)
            return
        waiting = self._open.get(delta.run)
        if waiting is None:
            self._hand_on(delta)
            self._open[delta.run] = _Open(self._timer(delta.run))
            return
        if waiting.first is not None and not waiting.takes(delta):
            self._send(waiting)
        waiting.put(delta)

    def flush(self, run: RunRef) -> None:
        """Send off what waits for its time."""
        waiting = self._open.pop(run, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._send(waiting)

    def _send(self, waiting: _Open) -> None:
        if (joined := waiting.take()) is not None:
            self._hand_on(joined)

    def _timer(self, run: RunRef) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._seconds, self._due, run)

    def _due(self, run: RunRef) -> None:
        waiting = self._open[run]
        if waiting.first is None:
            del self._open[run]
            return
        self._send(waiting)
        waiting.timer = self._timer(run)
