"""Waits for events in SQL: which runs an event is for, found by its name and by the values of its fields."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import Database, upsert
from engine.errors import Conflict
from engine.process.messages import EventSent, ProcessEvent, SendEvent
from engine.runs import Change, RunRef
from engine.values import Principal, digest, utc_now
from server.store import tables


def correlation(name: str, values: Mapping[str, JsonValue]) -> str:
    """Return the digest that an event and a wait for it have in common."""
    return digest([name, dict(values)])


async def change(connection: AsyncConnection, made: Change) -> None:
    """Write the waits that begin with a change, and remove those that are over with it."""
    table = tables.event_waits
    for wait in made.awaited:
        await connection.execute(
            upsert(table, connection)
            .values(
                tenant=made.run.tenant,
                run_id=made.run.run_id,
                step=wait.step,
                node=wait.node,
                name=wait.name,
                fields=json.dumps(sorted(wait.match)),
                correlation=correlation(wait.name, wait.match),
                until=wait.until,
            )
            .on_conflict_do_nothing()
        )
    if made.arrived:
        mine = (table.c.tenant == made.run.tenant, table.c.run_id == made.run.run_id)
        await connection.execute(table.delete().where(*mine, table.c.step.in_(made.arrived)))


async def forget(connection: AsyncConnection, run: RunRef) -> None:
    """Remove what a run waits for when it ends."""
    table = tables.event_waits
    await connection.execute(table.delete().where(table.c.tenant == run.tenant, table.c.run_id == run.run_id))


@dataclass(frozen=True)
class Lacking:
    """A wait in the body of a node, and the fields by which it is told from others and that an event has not."""

    run_id: str
    step: str
    fields: tuple[str, ...]


class Waits:
    """The waits of all runs, and the record of the events that were sent."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    async def waiting(self, tenant: str, name: str, fields: Mapping[str, JsonValue]) -> Sequence[str]:
        """Return the ids of the tenant's runs that wait for an event of this name and fit its fields, oldest first."""
        table = tables.event_waits
        named = (table.c.tenant == tenant, table.c.name == name)
        async with self._database.read() as connection:
            asked = (await connection.execute(sa.select(table.c.fields).distinct().where(*named))).scalars().all()
            wanted = [json.loads(one) for one in asked]
            digests = [
                correlation(name, {field: fields[field] for field in names})
                for names in wanted
                if all(field in fields for field in names)
            ]
            query = sa.select(table.c.run_id).distinct().where(*named, table.c.correlation.in_(digests))
            return (await connection.execute(query.order_by(table.c.run_id))).scalars().all()

    async def lacking(self, event: ProcessEvent, root_id: str, tenant: str) -> Sequence[Lacking]:
        """Return waits for such an event, in bodies of nodes of runs below `root_id`, that it lacks fields for."""
        table, runs = tables.event_waits, tables.runs
        query = (
            sa.select(table.c.run_id, table.c.step, table.c.fields)
            .join(runs, sa.and_(runs.c.tenant == table.c.tenant, runs.c.run_id == table.c.run_id))
            .where(table.c.tenant == tenant, table.c.name == event.name, table.c.step.contains("/"))
            .where(runs.c.root_id == root_id)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(table.c.run_id, table.c.step))).all()
        found = [
            Lacking(row.run_id, row.step, tuple(name for name in json.loads(row.fields) if name not in event.fields))
            for row in rows
        ]
        return [one for one in found if one.fields]

    async def begin(self, principal: Principal, key: str, event: SendEvent) -> EventSent | None:
        """Write that an event is sent; return what became of it where it was sent before, None where it has to be sent.

        Raises:
            Conflict: the sender used the key for another event.
        """
        table = tables.sent_events
        fingerprint = digest(event.model_dump(mode="json", exclude={"key"}))
        mine = (table.c.tenant == principal.tenant, table.c.subject == principal.subject, table.c.key == key)
        async with self._database.write() as connection:
            await connection.execute(
                upsert(table, connection)
                .values(tenant=principal.tenant, subject=principal.subject, key=key, digest=fingerprint, at=utc_now())
                .on_conflict_do_nothing()
            )
            row = (await connection.execute(sa.select(table).where(*mine))).one()
        if row.digest != fingerprint:
            raise Conflict(f"the key {key!r} was used for another event; use a new key for a new event", key=key)
        return None if row.outcome is None else EventSent.model_validate(row.outcome)

    async def finish(self, principal: Principal, sent: EventSent) -> None:
        """Write what became of an event."""
        table = tables.sent_events
        async with self._database.write() as connection:
            await connection.execute(
                table.update()
                .where(
                    table.c.tenant == principal.tenant,
                    table.c.subject == principal.subject,
                    table.c.key == sent.key,
                )
                .values(outcome=sent.model_dump(mode="json"))
            )
