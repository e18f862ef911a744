"""What a collection holds, told to whoever looks in: kinds, types, what to filter by, sizes, examples."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from content.access import in_collections, may, nested_in, reachable_collections
from content.collections import Collection, open_collection, reaches, to_collection
from content.database import Database
from content.records import TAG
from content.tables import collection_children, collections, object_facets, objects, versions
from engine.values import Principal, Value

_EXAMPLES = 5
_FACETS = 50
_FACET_VALUES = 5


class Example(Value):
    """An object of a collection, to show what is in it."""

    object_id: str
    name: str


class Facet(Value):
    """What objects can be filtered by: a tag or a property, on how many objects it is, its most frequent values.

    The values of a property are JSON; a tag has none.
    """

    name: str
    objects: int
    values: tuple[str, ...] = ()


class Description(Value):
    """What a collection and those nested in it hold, as far as the reader may see it.

    `bytes` and `passages` are those of the current versions; tags and properties are the 50 most frequent.
    """

    collection: Collection
    may_add: bool
    may_write: bool
    objects: int
    bytes: int
    passages: int
    kinds: dict[str, int]
    content_types: dict[str, int]
    tags: tuple[Facet, ...]
    properties: tuple[Facet, ...]
    nested: tuple[Collection, ...]
    examples: tuple[Example, ...]


async def describe_collection(database: Database, principal: Principal, collection: str) -> Description:
    """Return what the collection with this id or name holds for the principal.

    Raises:
        NotFound: there is none that the principal may read.
    """
    async with database.read() as connection:
        row = await open_collection(connection, principal, collection)
        chosen = str(row["collection_id"])
        seen = sa.and_(may(principal, "read"), in_collections(principal.tenant, nested_in(principal.tenant, chosen)))
        kinds = await _counted(connection, objects.c.kind, seen)
        return Description(
            collection=to_collection(row),
            may_add=await reaches(connection, principal, chosen, "add"),
            may_write=await reaches(connection, principal, chosen, "write"),
            objects=sum(kinds.values()),
            bytes=await _sum(connection, versions.c.size, seen),
            passages=await _sum(connection, versions.c.passage_count, seen),
            kinds=kinds,
            content_types=await _counted(connection, objects.c.content_type, seen),
            tags=await _tags(connection, principal.tenant, seen),
            properties=await _properties(connection, principal.tenant, seen),
            nested=await _nested(connection, principal, chosen),
            examples=await _examples(connection, seen),
        )


async def _counted(connection: AsyncConnection, column: sa.Column[Any], seen: sa.ColumnElement[bool]) -> dict[str, int]:
    rows = await connection.execute(sa.select(column, sa.func.count()).where(seen).group_by(column).order_by(column))
    return {str(key): int(count) for key, count in rows}


async def _sum(connection: AsyncConnection, column: sa.Column[int], seen: sa.ColumnElement[bool]) -> int:
    current = sa.and_(
        objects.c.tenant == versions.c.tenant,
        objects.c.object_id == versions.c.object_id,
        objects.c.current_version == versions.c.number,
    )
    summed = sa.select(sa.func.coalesce(sa.func.sum(column), 0)).join(objects, current).where(seen)
    return int((await connection.execute(summed)).scalar_one())


async def _tags(connection: AsyncConnection, tenant: str, seen: sa.ColumnElement[bool]) -> tuple[Facet, ...]:
    return tuple(
        Facet(name=value, objects=count)
        for value, count in await _frequent(connection, tenant, seen, object_facets.c.value, tags=True)
    )


async def _properties(connection: AsyncConnection, tenant: str, seen: sa.ColumnElement[bool]) -> tuple[Facet, ...]:
    facets: list[Facet] = []
    for name, count in await _frequent(connection, tenant, seen, object_facets.c.name, tags=False):
        values = await connection.execute(
            sa.select(object_facets.c.value)
            .where(
                object_facets.c.tenant == tenant,
                object_facets.c.name == name,
                object_facets.c.object_id.in_(sa.select(objects.c.object_id).where(seen)),
            )
            .group_by(object_facets.c.value)
            .order_by(sa.func.count().desc(), object_facets.c.value)
            .limit(_FACET_VALUES)
        )
        facets.append(Facet(name=name, objects=count, values=tuple(values.scalars())))
    return tuple(facets)


async def _frequent(
    connection: AsyncConnection, tenant: str, seen: sa.ColumnElement[bool], column: sa.Column[str], *, tags: bool
) -> list[tuple[str, int]]:
    counted = sa.func.count(sa.distinct(object_facets.c.object_id))
    rows = await connection.execute(
        sa.select(column, counted)
        .where(
            object_facets.c.tenant == tenant,
            object_facets.c.name == TAG if tags else object_facets.c.name != TAG,
            object_facets.c.object_id.in_(sa.select(objects.c.object_id).where(seen)),
        )
        .group_by(column)
        .order_by(counted.desc(), column)
        .limit(_FACETS)
    )
    return [(str(name), int(count)) for name, count in rows]


async def _nested(connection: AsyncConnection, principal: Principal, collection_id: str) -> tuple[Collection, ...]:
    rows = await connection.execute(
        sa.select(collections)
        .join(
            collection_children,
            sa.and_(
                collection_children.c.tenant == collections.c.tenant,
                collection_children.c.child_id == collections.c.collection_id,
            ),
        )
        .where(
            collections.c.tenant == principal.tenant,
            collection_children.c.parent_id == collection_id,
            collections.c.collection_id.in_(reachable_collections(principal)),
        )
        .order_by(collections.c.name, collections.c.collection_id)
    )
    return tuple(to_collection(row) for row in rows.mappings())


async def _examples(connection: AsyncConnection, seen: sa.ColumnElement[bool]) -> tuple[Example, ...]:
    rows = await connection.execute(
        sa.select(objects.c.object_id, objects.c.name).where(seen).order_by(objects.c.object_id.desc()).limit(_EXAMPLES)
    )
    return tuple(Example(object_id=object_id, name=name) for object_id, name in rows)
