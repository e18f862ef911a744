"""What follows from a value, worked out once for each object that holds it."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.values import Value

Of = TypeVar("Of", bound=Value)
Found = TypeVar("Found")


class Remembered(Generic[Of, Found]):
    """A function of a frozen value that keeps what it returned for as long as the value is there.

    An agent sends its whole transcript at every turn, and the messages in it are the same objects each time: what is
    kept with them makes a turn cost what is new in it. An equal value that is another object is worked out again.
    """

    def __init__(self, work: Callable[[Of], Found]) -> None:
        """Keep the function; it must depend on its value alone."""
        self._work = work
        self._known: dict[int, tuple[weakref.ref[Of], Found]] = {}

    def __call__(self, value: Of) -> Found:
        """Return what the function gives for `value`."""
        place = id(value)
        known = self._known.get(place)
        # Another thread may have thrown a value away whose place this one has taken since.
        if known is not None and known[0]() is value:
            return known[1]
        found = self._work(value)
        self._known[place] = weakref.ref(value, lambda gone: self._forget(place, gone)), found
        return found

    def _forget(self, place: int, gone: "weakref.ref[Of]") -> None:
        known = self._known.get(place)
        if known is not None and known[0] is gone:
            del self._known[place]
