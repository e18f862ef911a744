"""Whole texts of answers that were cut, held for an hour so that the rest can be read as `result://{ticket}`.

The text lies among the blobs, in a space of its own; the ticket says which, for whom and until when, sealed with the
key ring: any replica opens it, nobody else can make one.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from content.blobs import Blobs
from engine.errors import NotFound
from engine.values import Principal, canonical_json
from server.keys import KeyRing, Unsealable

SCHEME = "result://"
SPACE = "results"
PURPOSE = "kept answer"
SECONDS = 3600.0
SWEEP_SECONDS = 600.0
"""How often what is too old is removed, by the way of keeping something new."""


class Kept:
    """Texts by ticket; the same text of one tenant is kept once, from its latest use on."""

    def __init__(
        self, blobs: Blobs, keys: KeyRing, *, seconds: float = SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        """Keep each text for `seconds`; `blobs` must be a space that nobody else writes to."""
        self._blobs = blobs
        self._keys = keys
        self._seconds = seconds
        self._clock = clock
        self._swept = 0.0

    async def keep(self, principal: Principal, text: str) -> str:
        """Hold `text` for `principal` and return its URI."""
        now = self._clock()
        if now - self._swept > SWEEP_SECONDS:
            self._swept = now
            # Longer than a ticket holds: the same text may have been kept again meanwhile.
            await self._blobs.purge(datetime.fromtimestamp(now - 2 * self._seconds, UTC))
        digest = await self._blobs.put(principal.tenant, text.encode(), renew=True)
        ticket = canonical_json([digest, *_owner(principal), now + self._seconds])
        return f"{SCHEME}{self._keys.seal(ticket.encode(), PURPOSE)}"

    async def read(self, principal: Principal, key: str) -> bytes:
        """Return the text.

        Raises:
            NotFound: it was never kept for this principal, or is no longer.
        """
        gone = NotFound(f"{SCHEME}{key[:20]}… is not kept any more; make the call again, asking for less")
        try:
            digest, tenant, subject, until = json.loads(self._keys.open(key, PURPOSE))
        except Unsealable:
            raise gone from None
        if [tenant, subject] != _owner(principal) or until <= self._clock():
            raise gone
        try:
            return await self._blobs.get(principal.tenant, digest)
        except NotFound:
            raise gone from None


def _owner(principal: Principal) -> list[str]:
    return [principal.tenant, principal.subject]
