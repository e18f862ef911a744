"""The record of effects: what was begun, and how it ended, by idempotency key.

An intent is durable before the call it announces. After a crash the next attempt finds it and knows that the
effect may have happened: a tool that honours its key is called again, any other is reported as unknown.
"""

import sqlalchemy as sa
from pydantic import JsonValue

from content.database import Database, upsert
from engine.runs import Begun, RunRef
from engine.values import utc_now
from server.store import tables


class SqlEffects:
    """The port `Effects` over the database."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    async def begin(self, run: RunRef, key: str) -> Begun:
        """Write the intent under `key`, or tell how far an earlier attempt came."""
        table = tables.effects
        async with self._database.write() as connection:
            inserted = await connection.execute(
                upsert(table, connection)
                .values(tenant=run.tenant, key=key, run_id=run.run_id, begun_at=utc_now(), attempts=1)
                .on_conflict_do_nothing()
            )
            if inserted.rowcount:
                return Begun(state="first")
            mine = (table.c.tenant == run.tenant, table.c.key == key)
            await connection.execute(table.update().where(*mine).values(attempts=table.c.attempts + 1))
            row = (await connection.execute(sa.select(table).where(*mine))).one()
        return Begun(state="repeat" if row.finished_at is None else "done", outcome=row.outcome)

    async def finish(self, run: RunRef, key: str, outcome: dict[str, JsonValue]) -> None:
        """Write the outcome once; a second writer changes nothing."""
        table = tables.effects
        async with self._database.write() as connection:
            await connection.execute(
                table.update()
                .where(table.c.tenant == run.tenant, table.c.key == key, table.c.finished_at.is_(None))
                .values(outcome=outcome, finished_at=utc_now())
            )
