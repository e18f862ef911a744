"""The hub of several machines: processes over one Postgres tell each other with LISTEN and NOTIFY.

Every process hears which runs have changed; those that serve readers hear the pieces of turns as well. A notice is
sealed by the key ring, for everybody who may connect to the database may listen and notify. Notices are lost while a
process is away: when it comes back it says hello, and the others tell their turns under way again.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from content.database import Database
from engine.errors import Problem, Unavailable
from server.hub import Hub
from server.hub_outlet import Outlet, decode, lines
from server.hub_values import Frame, Hello, LiveDelta
from server.keys import KeyRing

logger = logging.getLogger(__name__)

CHANGES, DELTAS = "upstairs_changes", "upstairs_deltas"

NOTICE = 5_600
"""How much a notice carries before it is sealed, in bytes: as text it must stay below 8,000."""

MOST_PENDING = 5_000
"""How many frames may wait for the database before those who listen get the newest state instead."""

BEAT_S = 15.0
"""How often a process with nothing to say sends an empty notice, to hear itself."""

DEAF_S = 3 * BEAT_S
"""How long a process may not hear itself before it connects anew."""

RETRY_S = (0.1, 5.0)
"""How long to wait before connecting again: at first, and at most."""

SEALED_FOR = "hub"

TELL = """SELECT pg_notify(channel, notice)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS said (channel, notice, place) ORDER BY place"""


class PostgresLink:
    """This process's way to all others over the same database, over one connection of its own."""

    def __init__(self, hub: Hub, database: Database, keys: KeyRing, *, serves: bool) -> None:
        """Open nothing yet. `serves`: this process has readers of its own, so it hears the pieces of turns."""
        self.outlet = Outlet(hub, takes_deltas=True)
        self._hub, self._database, self._keys = hub, database, keys
        self._serves = serves
        self._name = secrets.token_hex(8)
        self._pending: list[Frame] = []
        self._more = asyncio.Event()
        self._heard_at = 0.0

    async def keep(self) -> None:
        """Stay connected, again and again, until cancelled."""
        engine = create_async_engine(self._database.url, poolclass=NullPool)
        wait = RETRY_S[0]
        try:
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    async with engine.connect() as connection:
                        raw = await connection.get_raw_connection()
                        await self._serve(raw.driver_connection)
                except Exception as error:
                    # Whatever it is, runs go on without the hub; the driver is an extra, its errors have no name here.
                    logger.warning("the hub over Postgres will connect again: %r", error)
                finally:
                    self._lost()
                lasted = asyncio.get_running_loop().time() - began
                wait = RETRY_S[0] if lasted > DEAF_S else min(2 * wait, RETRY_S[1])
                await asyncio.sleep(wait)
        finally:
            await engine.dispose()

    async def _serve(self, driver: Any) -> None:
        """Listen and tell over an asyncpg connection until it breaks."""
        self._heard_at = asyncio.get_running_loop().time()
        # A connection that breaks is noticed when it is used: the next notice fails then.
        driver.add_termination_listener(self._broken)
        for channel in (CHANGES, DELTAS) if self._serves else (CHANGES,):
            await driver.add_listener(channel, self._heard)
        self._take((Hello(),) if self._serves else ())
        self.outlet.again()
        self.outlet.open(self._take)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._more.wait()
            frames, self._pending = self._pending, []
            self._more.clear()
            said = self._notices(frames) or [(CHANGES, b"")]
            await driver.fetch(TELL, [channel for channel, _ in said], [self._sealed(body) for _, body in said])
            if not self._pending:
                # It may have been shut for telling too much at once.
                self.outlet.open(self._take)
            if asyncio.get_running_loop().time() - self._heard_at > DEAF_S:
                raise Unavailable("notices do not come back; a pooler that shares connections can't carry them")

    def _broken(self, connection: object) -> None:
        self._more.set()

    def _take(self, frames: Sequence[Frame]) -> None:
        self._pending += frames
        self._more.set()
        if len(self._pending) > MOST_PENDING:
            self.outlet.shut()

    def _lost(self) -> None:
        self._hub.hears = False
        self.outlet.shut()
        pending, self._pending = self._pending, []
        for frame in pending:
            self.outlet.send(frame)

    def _notices(self, frames: Sequence[Frame]) -> list[tuple[str, bytes]]:
        """Return what to tell as (channel, lines), in order, as few as the bound on a notice allows."""
        said: list[tuple[str, bytes]] = []
        for frame in frames:
            channel = DELTAS if isinstance(frame, LiveDelta) else CHANGES
            for line in lines(frame, NOTICE):
                if len(line) > NOTICE:
                    logger.warning("a piece of %d bytes is too long for a notice and is left out", len(line))
                elif said and said[-1][0] == channel and len(said[-1][1]) + len(line) <= NOTICE:
                    said[-1] = (channel, said[-1][1] + line)
                else:
                    said.append((channel, line))
        return said

    def _sealed(self, body: bytes) -> str:
        return f"{self._name}.{self._keys.seal(body, SEALED_FOR)}"

    def _heard(self, connection: object, pid: int, channel: str, notice: str) -> None:
        sender, _, sealed = notice.partition(".")
        if sender == self._name:
            self._heard_at = asyncio.get_running_loop().time()
            self._hub.hears = True
            return
        try:
            for line in self._keys.open(sealed, SEALED_FOR).split(b"\n"):
                if line:
                    self._hub.hear(decode(line), self.outlet)
        except Problem as problem:
            logger.warning("a notice on %s is not heard: %s", channel, problem.message)


@asynccontextmanager
async def joined_over_postgres(hub: Hub, database: Database, keys: KeyRing, *, serves: bool) -> AsyncGenerator[None]:
    """Keep `hub` joined to those of all processes over `database` while the block runs."""
    link = PostgresLink(hub, database, keys, serves=serves)
    hub.join(link.outlet)
    keeping = asyncio.ensure_future(link.keep())
    try:
        yield
    finally:
        hub.leave(link.outlet)
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
