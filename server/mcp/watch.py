"""Watching what is in the store: told at once of this process's changes to a run, and by looking, of all others."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from engine.runs import RunRef
from server.hub import Hub
from server.mcp.provider import Changes

LOOK_S = 2.0
"""How often to look for changes of another process, and for those that no run tells of."""

Seen = TypeVar("Seen", bound=Hashable)


async def watch_run(hub: Hub, run: RunRef, look: Callable[[], Awaitable[Seen | None]], seen: Seen) -> Changes:
    """Yield when `look` answers something else than before; it is asked when `run` changes, and now and then.

    It ends when `look` answers None: nothing more can change.
    """
    while True:
        waiting = asyncio.ensure_future(hub.wait(run, LOOK_S))
        try:
            # Waiting begins before the look: a change in between ends it at once.
            await asyncio.sleep(0)
            found = await look()
            if found == seen:
                await waiting
                continue
        finally:
            waiting.cancel()
        yield
        if found is None:
            return
        seen = found


async def watch_store(look: Callable[[], Awaitable[Hashable]], seen: Hashable) -> Changes:
    """Yield when `look` answers something else than before; it is asked every `LOOK_S`."""
    while True:
        await asyncio.sleep(LOOK_S)
        if (found := await look()) != seen:
            yield
            seen = found
