"""Collections: objects put together by hand, nested, each with its own access list."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from content.access import (
    OPEN_DEFAULT,
    Access,
    Right,
    load_grants,
    may,
    nested_in,
    reachable_collections,
    replace_grants,
)
from content.database import Database, upsert
from content.records import checked_name
from content.tables import (
    collection_children,
    collection_members,
    collections,
    grants,
    objects,
)
from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.runs import derived_id
from engine.values import Principal, Value, new_id, utc_now

DEFAULT = "default"


class Collection(Value):
    """A collection. `content_types` are the only ones it takes; none means any. The default one has no owner."""

    collection_id: str
    name: str
    description: str
    owner: str
    content_types: tuple[str, ...]
    created_at: datetime


def default_id(tenant: str) -> str:
    """Return the id of the tenant's collection `default`."""
    return derived_id("col", tenant, DEFAULT)


async def ensure_default(connection: AsyncConnection, tenant: str) -> None:
    """Make the tenant's collection `default` with its open list, if it is not there yet."""
    made = await connection.execute(
        upsert(collections, connection)
        .values(
            tenant=tenant,
            collection_id=default_id(tenant),
            name=DEFAULT,
            description="Everything that was put nowhere else.",
            owner="",
            content_types=[],
            created_at=utc_now(),
        )
        .on_conflict_do_nothing()
    )
    if made.rowcount == 1:
        await replace_grants(connection, tenant, default_id(tenant), OPEN_DEFAULT)


async def open_collection(
    connection: AsyncConnection, principal: Principal, reference: str, right: Right = "read"
) -> RowMapping:
    """Return the row of the collection with this id or name.

    Raises:
        NotFound: there is none that the principal may read.
        Denied: the principal may read it, but has not the right.
        Invalid: several that the principal may read have this name and none of them is the principal's own.
    """
    found = await connection.execute(
        sa.select(collections).where(
            collections.c.tenant == principal.tenant,
            sa.or_(collections.c.collection_id == reference, collections.c.name == reference),
            collections.c.collection_id.in_(reachable_collections(principal)),
        )
    )
    rows = list(found.mappings())
    chosen = [row for row in rows if row["collection_id"] == reference]
    chosen = chosen or [row for row in rows if row["owner"] == principal.subject] or rows
    if not chosen:
        raise NotFound(f"no collection {reference!r}", collection=reference)
    if len(chosen) > 1:
        ids = sorted(str(row["collection_id"]) for row in chosen)
        raise Invalid(f"{len(ids)} collections are called {reference!r}; name one by its id: {', '.join(ids)}", ids=ids)
    row = chosen[0]
    if right != "read" and not await reaches(connection, principal, str(row["collection_id"]), right):
        raise Denied(
            f"{principal.subject!r} may not {right} in the collection {row['name']!r}; ask its owner for the right",
            collection=row["collection_id"],
        )
    return row


async def reaches(connection: AsyncConnection, principal: Principal, collection_id: str, right: Right) -> bool:
    """Tell whether the principal has the right on the collection."""
    reachable = sa.select(sa.literal(collection_id).in_(reachable_collections(principal, right)))
    return bool((await connection.execute(reachable)).scalar_one())


def check_content_type(collection: RowMapping, content_type: str) -> None:
    """Raise `Invalid` if the collection does not take objects of this content type."""
    allowed = collection["content_types"]
    if allowed and content_type not in allowed:
        raise Invalid(
            f"the collection {collection['name']!r} takes {', '.join(allowed)}, not {content_type!r}",
            content_type=content_type,
            allowed=allowed,
        )


def to_collection(row: RowMapping) -> Collection:
    """Read a row of `collections`."""
    return Collection.model_validate({key: row[key] for key in Collection.model_fields})


class Collections:
    """The collections of one database. Every call takes who asks; what they may not read is not found."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        principal: Principal,
        name: str,
        *,
        description: str = "",
        access: Access | None = None,
        content_types: tuple[str, ...] = (),
        parent: str | None = None,
    ) -> Collection:
        """Make a collection owned by the caller; without a list only the owner reaches it.

        Raises:
            Denied: the caller is neither author, publisher nor operator.
            Conflict: the caller already has one of this name.
        """
        if not principal.has_role("author", "publisher", "operator"):
            raise Denied(f"{principal.subject!r} needs the role author, publisher or operator to make a collection")
        checked_name(name, "a collection", 200)
        if name == DEFAULT:
            raise Conflict(f"the name {DEFAULT!r} belongs to the collection every tenant has")
        made = Collection(
            collection_id=new_id("col"),
            name=name,
            description=description,
            owner=principal.subject,
            content_types=content_types,
            created_at=utc_now(),
        )
        async with self._database.write() as connection:
            done = await connection.execute(
                upsert(collections, connection)
                .values(tenant=principal.tenant, **{**made.model_dump(), "content_types": list(content_types)})
                .on_conflict_do_nothing()
            )
            if done.rowcount != 1:
                raise Conflict(f"{principal.subject!r} already has a collection {name!r}", name=name)
            await replace_grants(connection, principal.tenant, made.collection_id, access)
            if parent is not None:
                await self._nest(connection, principal, parent, made.collection_id)
        return made

    async def list_collections(self, principal: Principal) -> tuple[Collection, ...]:
        """Return the collections that the caller may read, by name."""
        async with self._database.read() as connection:
            found = await connection.execute(
                sa.select(collections)
                .where(
                    collections.c.tenant == principal.tenant,
                    collections.c.collection_id.in_(reachable_collections(principal)),
                )
                .order_by(collections.c.name, collections.c.collection_id)
            )
            return tuple(to_collection(row) for row in found.mappings())

    async def get_access(self, principal: Principal, collection: str) -> Access:
        """Return the collection's list, to whoever may write there."""
        async with self._database.read() as connection:
            row = await open_collection(connection, principal, collection, "write")
            return await load_grants(connection, principal.tenant, row["collection_id"])

    async def set_access(self, principal: Principal, collection: str, access: Access) -> None:
        """Replace the collection's list; needs the right to write there."""
        async with self._database.write() as connection:
            await ensure_default(connection, principal.tenant)
            row = await open_collection(connection, principal, collection, "write")
            await replace_grants(connection, principal.tenant, row["collection_id"], access)

    async def add(self, principal: Principal, collection: str, object_id: str) -> None:
        """Put an object into a further collection, which shares it with that collection's readers.

        Raises:
            NotFound, Denied: the caller may not see, or may not add to, the collection; or may not see, or write, the
                object.
        """
        async with self._database.write() as connection:
            row = await open_collection(connection, principal, collection, "add")
            content_type = await _writable(connection, principal, object_id)
            check_content_type(row, content_type)
            await connection.execute(
                upsert(collection_members, connection)
                .values(tenant=principal.tenant, collection_id=row["collection_id"], object_id=object_id)
                .on_conflict_do_nothing()
            )

    async def remove(self, principal: Principal, collection: str, object_id: str) -> None:
        """Take an object out of a collection it was added to; its home stays."""
        async with self._database.write() as connection:
            row = await open_collection(connection, principal, collection, "write")
            await connection.execute(
                sa.delete(collection_members).where(
                    collection_members.c.tenant == principal.tenant,
                    collection_members.c.collection_id == row["collection_id"],
                    collection_members.c.object_id == object_id,
                )
            )

    async def nest(self, principal: Principal, parent: str, child: str) -> None:
        """Put a collection into another, which shares it with the other's readers; needs the right to write in both."""
        async with self._database.write() as connection:
            await self._nest(connection, principal, parent, child)

    async def _nest(self, connection: AsyncConnection, principal: Principal, parent: str, child: str) -> None:
        outer = await open_collection(connection, principal, parent, "write")
        inner = await open_collection(connection, principal, child, "write")
        below = await connection.execute(nested_in(principal.tenant, inner["collection_id"]))
        if outer["collection_id"] in set(below.scalars()):
            raise Invalid(f"{inner['name']!r} already holds {outer['name']!r}; collections cannot hold each other")
        await connection.execute(
            upsert(collection_children, connection)
            .values(tenant=principal.tenant, parent_id=outer["collection_id"], child_id=inner["collection_id"])
            .on_conflict_do_nothing()
        )

    async def unnest(self, principal: Principal, parent: str, child: str) -> None:
        """Take a collection out of another; needs the right to write in the outer one."""
        async with self._database.write() as connection:
            outer = await open_collection(connection, principal, parent, "write")
            inner = await open_collection(connection, principal, child)
            await connection.execute(
                sa.delete(collection_children).where(
                    collection_children.c.tenant == principal.tenant,
                    collection_children.c.parent_id == outer["collection_id"],
                    collection_children.c.child_id == inner["collection_id"],
                )
            )

    async def delete(self, principal: Principal, collection: str) -> None:
        """Remove a collection that is no object's home.

        Raises:
            Conflict: objects have their home here, or it is the default collection.
        """
        async with self._database.write() as connection:
            row = await open_collection(connection, principal, collection, "write")
            chosen = row["collection_id"]
            homes = await connection.execute(
                sa.select(sa.func.count()).where(objects.c.tenant == principal.tenant, objects.c.home_id == chosen)
            )
            count = homes.scalar_one()
            if count or chosen == default_id(principal.tenant):
                raise Conflict(
                    f"the collection {row['name']!r} is the home of {count} objects; delete those first",
                    collection=chosen,
                )
            for table, condition in (
                (collection_members, collection_members.c.collection_id == chosen),
                (
                    collection_children,
                    sa.or_(collection_children.c.parent_id == chosen, collection_children.c.child_id == chosen),
                ),
                (grants, grants.c.resource_id == chosen),
                (collections, collections.c.collection_id == chosen),
            ):
                await connection.execute(sa.delete(table).where(table.c.tenant == principal.tenant, condition))


async def _writable(connection: AsyncConnection, principal: Principal, object_id: str) -> str:
    found = await connection.execute(
        sa.select(objects.c.content_type, may(principal, "write").label("writes")).where(
            objects.c.object_id == object_id, may(principal, "read")
        )
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"no object {object_id!r}", object_id=object_id)
    if not row.writes:
        raise Denied(
            f"{principal.subject!r} may read {object_id!r} but not share it; ask its owner", object_id=object_id
        )
    return str(row.content_type)
