"""The turns under way, as far as they were heard: what a reader that comes in the middle of one is told first."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.runs import RunRef
from server.hub_values import GAP, RETOLD, STARTED, LiveDelta, Place

TURN_CHARS = 400_000
"""How much of one turn is kept; of a longer one those who come late see the settled message alone."""

ALL_CHARS = 16_000_000
"""How much of all turns is kept together; beyond it the ones begun first are forgotten."""

MOST_TURNS = 10_000


@dataclass
class _Segment:
    """Pieces of one kind and one call, one behind the other."""

    first: LiveDelta
    texts: list[str]

    def whole(self) -> LiveDelta:
        return self.first.with_text("".join(self.texts), self.first.offset)


@dataclass
class LiveTurn:
    """One attempt at a turn, from offset `start` on. `whole`: nothing of it is missing here."""

    turn: int
    attempt: int
    start: int = 0
    end: int = 0
    whole: bool = True
    segments: list[_Segment] = field(default_factory=lambda: [])

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place(self.turn, self.attempt, self.start)

    @property
    def chars(self) -> int:
        """How many characters are kept."""
        return self.end - self.start if self.whole else 0

    def append(self, delta: LiveDelta) -> None:
        """Take a piece that begins where this ends."""
        self.end = delta.end
        if not self.whole:
            return
        last = self.segments[-1] if self.segments else None
        if last is not None and continues(last.first, delta):
            last.texts.append(delta.text)
        else:
            self.segments.append(_Segment(delta, [delta.text]))

    def forget(self) -> None:
        """Keep the place and drop the text."""
        self.whole = False
        self.segments.clear()


def continues(before: LiveDelta, delta: LiveDelta) -> bool:
    """Tell whether two pieces are of one kind and one call of the same attempt."""
    return (
        before.type == delta.type
        and before.turn == delta.turn
        and before.attempt == delta.attempt
        and before.data.get("call_id") == delta.data.get("call_id")
    )


class LiveTurns:
    """The turn under way of each run, bounded in all directions."""

    def __init__(self, *, turn_chars: int = TURN_CHARS, all_chars: int = ALL_CHARS, most: int = MOST_TURNS) -> None:
        """Start with none."""
        self._turns: OrderedDict[RunRef, LiveTurn] = OrderedDict()
        self._turn_chars, self._all_chars, self._most = turn_chars, all_chars, most
        self._chars = 0

    def add(self, delta: LiveDelta) -> Sequence[LiveDelta]:
        """Take a piece or a marker of a turn; return what of it is new, behind a marker where some is missing.

        What is known already comes again when two processes meet anew: it is left out.
        """
        turn = self._turns.get(delta.run)
        if turn is None or (turn.turn, turn.attempt) < (delta.turn, delta.attempt):
            turn = self._begin(delta.run, LiveTurn(delta.turn, delta.attempt))
        elif (turn.turn, turn.attempt) > (delta.turn, delta.attempt):
            return ()
        if not delta.is_text:
            return (delta,) if delta.type == STARTED else ()
        if delta.end <= turn.end:
            return ()
        missing = delta.offset > turn.end
        if delta.offset < turn.end:
            delta = delta.with_text(delta.text[turn.end - delta.offset :], turn.end)
        before = turn.chars
        if missing:
            turn.forget()
        turn.append(delta)
        if turn.chars > self._turn_chars:
            turn.forget()
        self._chars += turn.chars - before
        self._bound()
        return (_marker(delta.run, GAP, delta.place), delta) if missing else (delta,)

    def settle(self, run: RunRef, place: Place) -> None:
        """Forget what lies before `place`; what comes next begins there."""
        turn = self._turns.get(run)
        if turn is not None and turn.place >= place:
            return
        self._drop(run)
        if place.attempt:
            self._begin(run, LiveTurn(place.turn, place.attempt, place.offset, place.offset))

    def retold(self, run: RunRef) -> Sequence[LiveDelta]:
        """Return the turn under way from its beginning behind a marker, or the marker of a gap, or nothing."""
        turn = self._turns.get(run)
        if turn is None:
            return ()
        kind = RETOLD if turn.whole else GAP
        return (_marker(run, kind, turn.place), *(segment.whole() for segment in turn.segments))

    def runs(self) -> Iterable[RunRef]:
        """Return the runs that have a turn under way."""
        return tuple(self._turns)

    def _begin(self, run: RunRef, turn: LiveTurn) -> LiveTurn:
        self._drop(run)
        self._turns[run] = turn
        if len(self._turns) > self._most:
            self._drop(next(iter(self._turns)))
        return turn

    def _drop(self, run: RunRef) -> None:
        turn = self._turns.pop(run, None)
        if turn is not None:
            self._chars -= turn.chars

    def _bound(self) -> None:
        if self._chars <= self._all_chars:
            return
        for turn in self._turns.values():
            self._chars -= turn.chars
            turn.forget()
            # Some more than needed, so that the next piece does not look for room again.
            if self._chars <= self._all_chars * 0.9:
                return


def _marker(run: RunRef, type: str, place: Place) -> LiveDelta:
    return LiveDelta(run=run, type=type, turn=place.turn, attempt=place.attempt, offset=place.offset)
