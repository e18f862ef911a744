"""Erasing objects, and deleting the blobs they leave behind without ever taking one that is still needed.

A row says which blobs are doomed before any is deleted, so that a crash in between leaves work to repeat and no version
without its bytes. Storing a version and sweeping exclude each other: whoever needs a blob looks for it, and puts it
again, inside the transaction that refers to it.
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from content.blobs import Blobs
from content.database import Database, upsert
from content.index_lexical import drop_version
from content.index_vector import raise_generation
from content.records import Receipt
from content.spool import Spooled
from content.tables import (
    collection_members,
    doomed_blobs,
    grants,
    object_facets,
    objects,
    passages,
    vectors,
    versions,
)


async def hold_blob(connection: AsyncConnection, blobs: Blobs, tenant: str, digest: str, data: bytes | Spooled) -> None:
    """Make sure, inside the transaction that refers to it, that a blob put before was not swept in between."""
    await _exclude_others(connection, tenant)
    if not await blobs.exists(tenant, digest):
        await blobs.put(tenant, data)


async def discard(database: Database, blobs: Blobs, tenant: str, digest: str) -> None:
    """Delete a blob that was put for a version that was then refused, unless another version needs it."""
    async with database.write() as connection:
        await _doom(connection, tenant, digest)
    await sweep(database, blobs, tenant)


async def erase(connection: AsyncConnection, tenant: str, object_id: str, current_version: int | None) -> Receipt:
    """Remove every row of an object and doom its blobs; the caller has checked the right to do so."""
    if current_version is not None:
        await drop_version(connection, tenant, object_id, current_version)
    rows = await connection.execute(
        sa.select(versions.c.digest, versions.c.structure_digest).where(
            versions.c.tenant == tenant, versions.c.object_id == object_id
        )
    )
    pairs = [tuple(row) for row in rows]
    digests = {digest for pair in pairs for digest in pair if digest is not None}
    removed: dict[str, int] = {}
    for table in (vectors, passages, versions, object_facets, collection_members, objects):
        done = await connection.execute(
            sa.delete(table).where(table.c.tenant == tenant, table.c.object_id == object_id)
        )
        removed[table.name] = done.rowcount
    await connection.execute(sa.delete(grants).where(grants.c.tenant == tenant, grants.c.resource_id == object_id))
    for digest in sorted(digests):
        await _doom(connection, tenant, digest)
    await raise_generation(connection, tenant)
    return Receipt(object_id=object_id, versions=len(pairs), passages=removed["passages"], blobs=len(digests))


async def sweep(database: Database, blobs: Blobs, tenant: str) -> int:
    """Delete the tenant's doomed blobs that no version refers to; return how many. Safe to repeat at any time."""
    deleted = 0
    async with database.write() as connection:
        await _exclude_others(connection, tenant)
        rows = await connection.execute(sa.select(doomed_blobs.c.digest).where(doomed_blobs.c.tenant == tenant))
        for digest in sorted(rows.scalars()):
            needed = await connection.execute(
                sa.select(sa.literal(1))
                .where(
                    versions.c.tenant == tenant,
                    sa.or_(versions.c.digest == digest, versions.c.structure_digest == digest),
                )
                .limit(1)
            )
            if needed.first() is None:
                await blobs.delete(tenant, digest)
                deleted += 1
        await connection.execute(sa.delete(doomed_blobs).where(doomed_blobs.c.tenant == tenant))
    return deleted


async def sweep_all(database: Database, blobs: Blobs) -> int:
    """Finish, for every tenant, what a crash between an erasure and its sweep has left; return how many blobs went."""
    async with database.read() as connection:
        tenants = (await connection.execute(sa.select(doomed_blobs.c.tenant).distinct())).scalars().all()
    return sum([await sweep(database, blobs, tenant) for tenant in tenants])


async def _doom(connection: AsyncConnection, tenant: str, digest: str) -> None:
    await connection.execute(
        upsert(doomed_blobs, connection).values(tenant=tenant, digest=digest).on_conflict_do_nothing()
    )


async def _exclude_others(connection: AsyncConnection, tenant: str) -> None:
    # A writer on SQLite is alone already.
    if connection.dialect.name != "sqlite":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"blobs/{tenant}"))))
