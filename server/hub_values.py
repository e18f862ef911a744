"""What is said about runs while they go on: pieces of the turn under way, and that a run has changed."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from engine.agent.log import TURN
from engine.runs import RunRef
from engine.values import Value

RESTARTED = "turn.restarted"
"""The durable event that voids what was streamed of a turn: `{turn, attempt, offset}` is where it begins anew."""

STARTED = "turn.started"
RETOLD = "turn.retold"
"""The marker in front of a turn that is told again from its beginning: a reader drops what it has of it."""

GAP = "turn.gap"
"""The marker of a piece that is lost: a reader drops what it has of the turn; the settled message repairs it."""


class Place(NamedTuple):
    """A place in what a run streams: turns count from 1, attempts from 1, offsets are characters of the attempt."""

    turn: int
    attempt: int
    offset: int


END = Place(2**53, 0, 0)
"""The place behind everything."""


class LiveDelta(Value):
    """A piece of a message under way, addressed by turn, attempt and offset so that a reader can order and drop it.

    `offset` counts the characters of all kinds that the attempt has streamed before. A type that does not end in
    `.delta` is a marker: it has no text and stands where it came.
    """

    run: RunRef
    type: str
    turn: int
    attempt: int
    offset: int
    data: dict[str, JsonValue] = {}

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place(self.turn, self.attempt, self.offset)

    @property
    def text(self) -> str:
        """Its text; a marker has none."""
        text = self.data.get("text")
        return text if isinstance(text, str) else ""

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + len(self.text)

    @property
    def is_text(self) -> bool:
        """Whether it is a piece of the text of its turn."""
        return self.type.endswith(".delta")

    @property
    def is_of_turn(self) -> bool:
        """Whether it means nothing any more once its turn is settled or begun anew."""
        return self.is_text or self.type in (STARTED, RETOLD, GAP)

    def with_text(self, text: str, offset: int) -> "LiveDelta":
        """Return the same piece with another text at another offset."""
        return self.model_copy(update={"data": {**self.data, "text": text}, "offset": offset})


class Changed(Value):
    """That the record of a run has changed. `settled`: what was streamed before this place is void from now on."""

    run: RunRef
    settled: Place | None = None

    def after(self, earlier: "Changed | None") -> "Changed":
        """Return what both say together."""
        if earlier is None or earlier.settled is None:
            return self
        if self.settled is not None and self.settled >= earlier.settled:
            return self
        return earlier


class Stopping(Value):
    """That a run will end whatever else it does: its workflow has taken the order, the record of it follows."""

    run: RunRef


class Hello(Value):
    """Asks whoever hears it to tell the turns under way again: the sender has just come."""


Frame = LiveDelta | Changed | Stopping | Hello


def settled_by(type: str, data: Mapping[str, JsonValue]) -> Place | None:
    """Return the place before which a durable event makes streamed pieces void, or None where it makes none so."""
    turn, attempt, offset = (data.get(name) for name in ("turn", "attempt", "offset"))
    if not isinstance(turn, int):
        return None
    if type == TURN:
        return Place(turn + 1, 0, 0)
    if type == RESTARTED and isinstance(attempt, int):
        return Place(turn, attempt, offset if isinstance(offset, int) else 0)
    return None
