"""Watching what is in the store: told at once of this process's changes to runs, and by looking, of all others."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from engine.runs import RunRef
from server.hub import Hub
from server.mcp.provider import Changes

LOOK_S = 5.0
"""How often to look for what other processes changed: the safety net below the wake-ups."""

SETTLE_S = 0.2
"""How long to let changes of a tenant gather before the look that they ask for: its runs change often."""

PUBLISHED_S = 2.0
"""How often to look for what is published, which no run tells of."""

Seen = TypeVar("Seen", bound=Hashable)


async def watch_runs(
    hub: Hub, place: RunRef | str, look: Callable[[], Awaitable[Seen | None]], seen: Seen | None
) -> Changes:
    """Yield when `look` answers something else than before; it is asked when `place` changes, and now and then.

    `place`: a run, or a tenant with all its runs. It ends when `look` answers None: nothing more can change. With
    `seen` None, what is there at first is a change too.
    """
    while True:
        waiting = asyncio.ensure_future(hub.wait(place, LOOK_S))
        try:
            # Waiting begins before the look: a change in between ends it at once.
            await asyncio.sleep(0)
            found = await look()
            if found is not None and found == seen:
                await waiting
                if isinstance(place, str):
                    await asyncio.sleep(SETTLE_S)
                continue
        finally:
            waiting.cancel()
        yield
        if found is None:
            return
        seen = found


async def watch_published(look: Callable[[], Awaitable[Hashable]], seen: Hashable) -> Changes:
    """Yield when `look` answers something else than before; it is asked every `PUBLISHED_S`."""
    while True:
        await asyncio.sleep(PUBLISHED_S)
        if (found := await look()) != seen:
            yield
            seen = found
