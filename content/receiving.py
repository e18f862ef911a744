"""Receiving: which object some bytes belong to, and whether they are a version it already has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from content.access import Access, replace_grants
from content.collections import check_content_type, ensure_default, open_collection
from content.database import upsert
from content.publishing import version_row, writable_object
from content.records import ObjectKind, ObjectVersion, checked_name, facets_of, to_version
from content.spool import Spooled
from content.tables import object_facets, objects, versions
from engine.values import Principal, new_id, utc_now

_DATA = frozenset({"application/json", "text/csv", "application/x-ndjson", "application/xml", "text/xml"})


@dataclass(frozen=True)
class Receiving:
    """Bytes that have come in and what was said about them; None for tags and properties leaves what is there."""

    name: str
    data: bytes | Spooled
    digest: str
    mime: str
    collection: str
    object_id: str | None
    kind: ObjectKind | None
    content_type: str
    tags: tuple[str, ...] | None
    properties: dict[str, JsonValue] | None
    access: Access | None
    source: str


def kind_of(mime: str) -> ObjectKind:
    """Return the kind of object that a MIME type makes."""
    family = mime.partition("/")[0]
    if family == "image":
        return "image"
    if family == "audio":
        return "audio"
    if family == "video":
        return "video"
    return "data" if mime.partition(";")[0].strip() in _DATA else "document"


def scope_of(home_id: str, owner: str, access: Access | None) -> str:
    """Return what an object's name is unique in: its home, or its owner's own part of it if it has a list.

    So nobody learns from a name that is taken of an object they may not see.
    """
    return home_id if access is None else f"{home_id}/{owner}"


async def store_received(connection: AsyncConnection, principal: Principal, wanted: Receiving) -> ObjectVersion:
    """Find or make the object and the version of the bytes, in the caller's transaction."""
    row = await _target(connection, principal, wanted)
    tenant, object_id = principal.tenant, str(row["object_id"])
    if row["last_version"]:
        await replace_facets(connection, row, wanted.tags, wanted.properties)
    known = await connection.execute(
        sa.select(sa.func.max(versions.c.number)).where(
            versions.c.tenant == tenant, versions.c.object_id == object_id, versions.c.digest == wanted.digest
        )
    )
    number = known.scalar_one_or_none()
    if number is None:
        number = int(row["last_version"]) + 1
        await connection.execute(sa.insert(versions), new_version(principal, row, number, wanted))
        await touch(connection, row, last_version=number)
    version = await version_row(connection, tenant, object_id, int(number))
    return to_version(version, str(row["name"]), row["current_version"])


def new_version(principal: Principal, row: RowMapping, number: int, source: Receiving | RowMapping) -> dict[str, Any]:
    """Return the row of a version that has just come in, from what was received or from a version of the same bytes."""
    if isinstance(source, Receiving):
        content = {"digest": source.digest, "size": len(source.data), "mime": source.mime}
    else:
        content = {key: source[key] for key in ("digest", "size", "mime")}
    return {
        "tenant": row["tenant"],
        "object_id": row["object_id"],
        "number": number,
        **content,
        "state": "received",
        "reason": "",
        "extractor": "",
        "report": {},
        "title": "",
        "language": "",
        "page_count": 0,
        "passage_count": 0,
        "created_by": principal.subject,
        "created_at": utc_now(),
    }


async def touch(connection: AsyncConnection, row: RowMapping, **values: Any) -> None:
    """Set columns of a locked object and the time it was changed."""
    await connection.execute(
        sa.update(objects)
        .where(objects.c.tenant == row["tenant"], objects.c.object_id == row["object_id"])
        .values(updated_at=utc_now(), **values)
    )


async def replace_facets(
    connection: AsyncConnection,
    row: RowMapping,
    tags: Sequence[str] | None,
    properties: Mapping[str, JsonValue] | None,
) -> None:
    """Set the tags or the properties of a locked object, and what it is filtered by; None leaves them."""
    if tags is None and properties is None:
        return
    new_tags = list(row["tags"]) if tags is None else list(dict.fromkeys(tags))
    new_properties = dict(row["properties"]) if properties is None else dict(properties)
    await touch(connection, row, tags=new_tags, properties=new_properties)
    key = {"tenant": row["tenant"], "object_id": row["object_id"]}
    await connection.execute(
        sa.delete(object_facets).where(*(object_facets.c[name] == value for name, value in key.items()))
    )
    facets = facets_of(new_tags, new_properties)
    if facets:
        await connection.execute(sa.insert(object_facets), [{**key, **facet} for facet in facets])


async def _target(connection: AsyncConnection, principal: Principal, wanted: Receiving) -> RowMapping:
    """Return the locked object that the bytes are for; a new one has no version yet."""
    if wanted.object_id is not None:
        return await writable_object(connection, principal, wanted.object_id)
    checked_name(wanted.name, "an object")
    await ensure_default(connection, principal.tenant)
    home = await open_collection(connection, principal, wanted.collection)
    own = scope_of(home["collection_id"], principal.subject, wanted.access or Access())
    shared = scope_of(home["collection_id"], principal.subject, None)
    scopes = [own] if wanted.access is not None else [own, shared]
    for scope in scopes:
        object_id = await _named(connection, principal.tenant, scope, wanted.name)
        if object_id is not None:
            return await writable_object(connection, principal, object_id)
    home = await open_collection(connection, principal, wanted.collection, "add")
    check_content_type(home, wanted.content_type)
    return await _create(connection, principal, home, scopes[-1], wanted)


async def _named(connection: AsyncConnection, tenant: str, scope: str, name: str) -> str | None:
    found = await connection.execute(
        sa.select(objects.c.object_id).where(
            objects.c.tenant == tenant, objects.c.scope == scope, objects.c.name == name
        )
    )
    return found.scalar_one_or_none()


async def _create(
    connection: AsyncConnection, principal: Principal, home: RowMapping, scope: str, wanted: Receiving
) -> RowMapping:
    now = utc_now()
    made = await connection.execute(
        upsert(objects, connection)
        .values(
            tenant=principal.tenant,
            object_id=new_id("obj"),
            home_id=home["collection_id"],
            scope=scope,
            name=wanted.name,
            kind=wanted.kind or kind_of(wanted.mime),
            content_type=wanted.content_type,
            tags=[],
            properties={},
            owner=principal.subject,
            inherits=wanted.access is None,
            provenance={"by": principal.subject, "kind": principal.kind, "from": wanted.source, "at": now.isoformat()},
            last_version=0,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing(index_elements=["tenant", "scope", "name"])
    )
    object_id = await _named(connection, principal.tenant, scope, wanted.name)
    assert object_id is not None
    row = await writable_object(connection, principal, object_id)
    if made.rowcount == 1:
        if wanted.access is not None:
            await replace_grants(connection, principal.tenant, object_id, wanted.access)
        await replace_facets(connection, row, wanted.tags or (), wanted.properties or {})
    return row
