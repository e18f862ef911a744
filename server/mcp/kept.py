"""Whole texts of answers that were cut, held for a while so that the rest can be read as `result://{id}`."""

import time
from collections import OrderedDict
from collections.abc import Callable

from engine.errors import NotFound
from engine.values import Principal, new_id

SCHEME = "result://"
MAX_BYTES = 64 * 1024 * 1024
SECONDS = 3600.0


class Kept:
    """Texts in memory, by id and owner: the oldest go when there are too many, all go with the process."""

    def __init__(
        self, *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Hold at most `max_bytes` of text, each for `seconds`."""
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        self._bytes = 0
        self._texts: OrderedDict[str, tuple[float, tuple[str, str], bytes]] = OrderedDict()

    def keep(self, principal: Principal, text: str) -> str:
        """Hold `text` for `principal` and return its URI."""
        content, key = text.encode(), new_id("result")
        self._texts[key] = (self._clock() + self._seconds, _owner(principal), content)
        self._bytes += len(content)
        while self._texts and (self._bytes > self._max_bytes or self._oldest_until() <= self._clock()):
            _, (_, _, dropped) = self._texts.popitem(last=False)
            self._bytes -= len(dropped)
        return f"{SCHEME}{key}"

    def read(self, principal: Principal, key: str) -> bytes:
        """Return the text.

        Raises:
            NotFound: it was never kept for this principal, or is no longer.
        """
        until, owner, content = self._texts.get(key, (0.0, ("", ""), b""))
        if owner != _owner(principal) or until <= self._clock():
            raise NotFound(f"{SCHEME}{key[:80]} is not kept any more; make the call again, asking for less")
        return content

    def _oldest_until(self) -> float:
        return next(iter(self._texts.values()))[0]


def _owner(principal: Principal) -> tuple[str, str]:
    return (principal.tenant, principal.subject)
