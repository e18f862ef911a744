"""Joining pieces of a turn: the first goes at once, what follows within 10 ms goes together."""

import asyncio
from collections.abc import Callable

from engine.runs import RunRef
from server.hub_turns import continues
from server.hub_values import LiveDelta

JOIN_S = 0.01
"""How long a piece waits for others at most: less than lies between two tokens of most models, which then never wait.
Where there are many streams they are joined before, by how rarely each of them is read (`providers.pace`)."""


MOST_IDLE = 1_000
"""How many runs may be remembered by the moment of their last piece before those that are long quiet are forgotten."""


class _Open:
    """A run whose last piece went at `sent_at`, and the pieces of one kind and one call that wait since."""

    def __init__(self) -> None:
        self.sent_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
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

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


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
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = self._open.get(delta.run)
        if waiting is None:
            self._forget(now)
            waiting = self._open[delta.run] = _Open()
        elif waiting.timer is not None or now < waiting.sent_at + self._seconds:
            if waiting.first is not None and not waiting.takes(delta):
                self._send(waiting)
            waiting.put(delta)
            if waiting.timer is None:
                waiting.timer = loop.call_at(waiting.sent_at + self._seconds, self._due, waiting)
            return
        # The usual way of a stream that is slower than that: no timer is needed.
        waiting.sent_at = now
        self._hand_on(delta)

    def flush(self, run: RunRef) -> None:
        """Send off what waits for its time."""
        waiting = self._open.pop(run, None)
        if waiting is not None:
            waiting.stop()
            self._send(waiting)

    def _send(self, waiting: _Open) -> None:
        if (joined := waiting.take()) is not None:
            self._hand_on(joined)

    def _due(self, waiting: _Open) -> None:
        waiting.timer = None
        waiting.sent_at = asyncio.get_running_loop().time()
        self._send(waiting)

    def _forget(self, now: float) -> None:
        if len(self._open) >= MOST_IDLE:
            old = now - self._seconds
            self._open = {run: one for run, one in self._open.items() if one.timer is not None or one.sent_at > old}
