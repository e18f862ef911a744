"""What another process's hub is to be told: every step while it listens, the newest state once it listens again."""

import asyncio
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from engine.errors import Invalid
from engine.runs import RunRef
from server.hub import Hub
from server.hub_values import Changed, Frame, Hello, LiveDelta, Stopping

GATHER_S = 0.002
"""How long pieces gather before they go together; all else goes at once, with what gathered before it."""

MOST_MISSED = 10_000
"""How many runs are remembered for a peer that is away; looking makes up for those that are not."""

KINDS: dict[bytes, type[Frame]] = {b"d": LiveDelta, b"c": Changed, b"s": Stopping, b"h": Hello}
LETTERS: dict[type[Frame], bytes] = {kind: letter for letter, kind in KINDS.items()}


def encode(frame: Frame) -> bytes:
    """Return a frame as one line: a letter for its kind, then JSON."""
    return LETTERS[type(frame)] + frame.model_dump_json().encode() + b"\n"


def decode(line: bytes) -> Frame:
    """Return the frame of a line.

    Raises:
        Invalid: it is none.
    """
    kind = KINDS.get(line[:1])
    if kind is None:
        raise Invalid(f"a line of the hub begins with {line[:1]!r} instead of d, c, s or h; upgrade the older process")
    try:
        return kind.model_validate_json(line[1:])
    except ValidationError as error:
        raise Invalid(f"a line of the hub is no {kind.__name__}; upgrade the older process") from error


def lines(frame: Frame, most: int) -> Sequence[bytes]:
    """Return a frame as lines of at most `most` bytes, a long piece as several; a single character is left whole."""
    line = encode(frame)
    if len(line) <= most or not isinstance(frame, LiveDelta) or len(frame.text) < 2:
        return (line,)
    half = len(frame.text) // 2
    first = frame.with_text(frame.text[:half], frame.offset)
    return (*lines(first, most), *lines(frame.with_text(frame.text[half:], frame.offset + half), most))


class Outlet:
    """A link of the hub, which may be shut for a while; nothing piles up behind it.

    While it is shut only the runs that changed and those whose turn went on are remembered. Opened, it first tells
    these changes and these turns from their beginning: who hears them leaves out what it knows.
    """

    def __init__(self, hub: Hub, *, takes_deltas: bool) -> None:
        """Begin shut."""
        self.takes_deltas = takes_deltas
        self._hub = hub
        self._write: Callable[[Sequence[Frame]], None] | None = None
        self._pending: list[Frame] = []
        self._timer: asyncio.TimerHandle | None = None
        self._missed: dict[RunRef, Changed] = {}
        self._stale: dict[RunRef, None] = {}

    def send(self, frame: Frame) -> None:
        """Take a frame."""
        if self._write is None:
            self._note(frame)
            return
        self._pending.append(frame)
        if not isinstance(frame, LiveDelta):
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    def again(self) -> None:
        """Tell all turns under way from their beginning."""
        if self.takes_deltas:
            self._stale |= dict.fromkeys(self._hub.turns.runs())
        if self._write is not None:
            self._catch_up()

    def open(self, write: Callable[[Sequence[Frame]], None]) -> None:
        """Hand frames to `write` from now on, first what was missed."""
        self._write = write
        self._catch_up()

    def shut(self) -> None:
        """Hand nothing on until it is opened again."""
        self._write = None
        self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._write is None:
            for frame in pending:
                self._note(frame)
        elif pending:
            self._write(pending)

    def _note(self, frame: Frame) -> None:
        if isinstance(frame, Changed):
            self._missed[frame.run] = frame.after(self._missed.pop(frame.run, None))
            while len(self._missed) > MOST_MISSED:
                del self._missed[next(iter(self._missed))]
        elif isinstance(frame, LiveDelta) and frame.is_of_turn:
            self._stale[frame.run] = None

    def _catch_up(self) -> None:
        self._flush()
        if self._write is None:
            # A peer that does not keep up shuts this while it is written to.
            return
        missed, self._missed = self._missed, {}
        stale, self._stale = self._stale, {}
        frames: list[Frame] = list(missed.values())
        frames += (piece for run in stale for piece in self._hub.turns.retold(run) if piece.is_text)
        if frames:
            self._write(frames)
