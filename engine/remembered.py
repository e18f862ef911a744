"""What follows from a value, worked out once for each object that holds it, and from a list that only grows."""

import operator
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from engine.values import Value

KEPT_ITEMS = 20_000

Of = TypeVar("Of", bound=Value)
About = TypeVar("About", bound=Hashable)
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


class Folded(Generic[Of, About, Found]):
    """What follows from a list that grows at its end, gone on with from where the last reading of it left it.

    A list is known again by its items, one by one the same objects in the same order; any other one is gone through
    from its beginning. What is kept holds its items alive, `KEPT_ITEMS` of them over all lists; the list that was
    looked at longest ago is forgotten first.
    """

    def __init__(
        self,
        start: Callable[[About], Found],
        add: Callable[[Found, Sequence[Of], About], Found],
        kept: int = KEPT_ITEMS,
    ) -> None:
        """Keep both functions: what an empty list gives, and what more items make of that, as a new value."""
        self._start, self._add, self._most = start, add, kept
        self._known: OrderedDict[tuple[int, About], tuple[tuple[Of, ...], Found]] = OrderedDict()
        self._items = 0
        self._lock = threading.Lock()

    def __call__(self, items: tuple[Of, ...], about: About) -> Found:
        """Return what follows from `items`, each time with the same functions of `about`."""
        if not items:
            return self._start(about)
        place = id(items[0]), about
        with self._lock:
            known = self._known.get(place)
        if known is not None and len(known[0]) <= len(items) and all(map(operator.is_, known[0], items)):
            before, found = len(known[0]), known[1]
        else:
            before, found = 0, self._start(about)
        if before < len(items):
            found = self._add(found, items[before:], about)
        # A list of one item is no work to begin anew, and there are many that never grow.
        if len(items) > 1:
            self._keep(place, items, found)
        return found

    def _keep(self, place: tuple[int, About], items: tuple[Of, ...], found: Found) -> None:
        with self._lock:
            gone = self._known.pop(place, None)
            self._known[place] = items, found
            self._items += len(items) - (len(gone[0]) if gone is not None else 0)
            while self._items > self._most and len(self._known) > 1:
                _, (oldest, _) = self._known.popitem(last=False)
                self._items -= len(oldest)
