"""`wait`: for a duration, until a time, or for an event."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from engine.process.durations import Duration
from engine.process.findings import Finding, error, warning
from engine.process.nodes.base import Expression, NodeBase, Part, mapping
from engine.values import Value


class EventMatch(Value):
    """An event by name whose fields equal the values of these expressions."""

    name: str = Field(min_length=1, max_length=128)
    match: dict[str, JsonValue] = {}


class WaitNode(NodeBase, frozen=True):
    """Exactly one of `for`, `until` (a text with a time and its zone) and `event`; its payload goes to `writes`."""

    type: Literal["wait"]
    for_: Duration | None = Field(default=None, alias="for")
    until: Expression = None
    event: EventMatch | None = None
    deadline: Duration | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> "WaitNode":
        given = [self.for_ is not None, self.until is not None, self.event is not None]
        if sum(given) != 1:
            raise ValueError("a wait has exactly one of for, until and event")
        return self

    def expressions(self) -> Iterator[Part]:
        """Yield the time and what an event must match."""
        if self.until is not None:
            yield Part("/until", self.until)
        if self.event is not None:
            yield from mapping("/event/match", self.event.match)

    def waits(self) -> bool:
        """Time passes or an event comes."""
        return True

    def check(self, at: str) -> Iterator[Finding]:
        """Check that an event that never comes is provided for."""
        if self.event is None:
            return
        if self.deadline is None:
            yield warning("event_without_deadline", at, "the event may never come; add deadline and on_timeout")
        elif self.on_timeout is None:
            yield error("no_on_timeout", at, "nothing says what happens at the deadline; add on_timeout")
