"""The events of a run in SQL: numbered without gaps, each key once."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.runs import Event, EventDraft, RunRef
from engine.values import utc_now
from server.store import tables


async def append(connection: AsyncConnection, run: RunRef, last_seq: int, drafts: Sequence[EventDraft]) -> int:
    """Append events behind number `last_seq`, each key once; return the new number."""
    if not drafts:
        return last_seq
    table = tables.events
    known = set(
        (
            await connection.execute(
                sa.select(table.c.key).where(
                    table.c.tenant == run.tenant,
                    table.c.run_id == run.run_id,
                    table.c.key.in_([draft.key for draft in drafts]),
                )
            )
        ).scalars()
    )
    now = utc_now()
    fresh = [draft for draft in drafts if draft.key not in known]
    rows = [
        {
            "tenant": run.tenant,
            "run_id": run.run_id,
            "seq": last_seq + position,
            "key": draft.key,
            "type": draft.type,
            "at": now,
            "data": draft.data,
        }
        for position, draft in enumerate(fresh, start=1)
    ]
    if rows:
        await connection.execute(table.insert(), rows)
    return last_seq + len(rows)


async def read(
    connection: AsyncConnection, run: RunRef, after: int, limit: int | None, types: Sequence[str]
) -> Sequence[Event]:
    """Return the events of a run behind `after`, of `types` if any are named."""
    table = tables.events
    query = sa.select(table).where(table.c.tenant == run.tenant, table.c.run_id == run.run_id, table.c.seq > after)
    if types:
        query = query.where(table.c.type.in_(types))
    rows = await connection.execute(query.order_by(table.c.seq).limit(limit))
    return [Event(run_id=row.run_id, seq=row.seq, key=row.key, type=row.type, at=row.at, data=row.data) for row in rows]
