"""The content store: objects and their versions, received, published, listed, read and erased.

Every call takes who asks. What a principal may not read is not found, whatever they know of it; what they may read but
not change is denied.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from content import publishing
from content.access import Access, in_collections, load_grants, may, nested_in, replace_grants
from content.blobs import Blobs
from content.collections import DEFAULT, open_collection
from content.database import Database
from content.erasure import discard, erase, hold_blob, sweep
from content.index_vector import Matrix
from content.passages import Passage
from content.reading import Structures, cut_reading, span_of, wanted_span
from content.receiving import Receiving, new_version, replace_facets, scope_of, store_received, touch
from content.records import (
    ContentObject,
    Filters,
    ObjectKind,
    ObjectVersion,
    Page,
    Reading,
    Receipt,
    VersionState,
    matching,
    to_object,
    to_version,
)
from content.spool import Spooled
from content.structure import Anchor, Structure
from content.tables import objects, versions
from engine.errors import Conflict, NotFound, Problem
from engine.values import Principal

_LARGEST_PAGE = 200


class ContentStore:
    """Objects in one database, their bytes in one blob space that belongs to this store alone."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database = database
        self._blobs = blobs
        self._structures = Structures(blobs)

    async def receive(
        self,
        principal: Principal,
        name: str,
        data: bytes | Spooled,
        mime: str = "application/octet-stream",
        *,
        collection: str = DEFAULT,
        object_id: str | None = None,
        kind: ObjectKind | None = None,
        content_type: str = "",
        tags: Sequence[str] | None = None,
        properties: Mapping[str, JsonValue] | None = None,
        access: Access | None = None,
        source: str = "",
    ) -> ObjectVersion:
        """Keep the bytes as a version of the object of this name in the collection, or of the object `object_id`.

        The same bytes again are the version they already are, whatever its state. A list makes the object the owner's
        own: its collections no longer share it. `tags` and `properties` replace those of an object that is there.

        Raises:
            NotFound: no such collection or object.
            Denied: the caller may not add to the collection, or the object is somebody else's.
            Invalid: a name, tag, property or content type is refused.
        """
        wanted = Receiving(
            name=name,
            data=data,
            digest=await self._blobs.put(principal.tenant, data),
            mime=mime,
            collection=collection,
            object_id=object_id,
            kind=kind,
            content_type=content_type,
            tags=None if tags is None else tuple(dict.fromkeys(tags)),
            properties=None if properties is None else dict(properties),
            access=access,
            source=source,
        )
        try:
            async with self.database.write() as connection:
                received = await store_received(connection, principal, wanted)
                await hold_blob(connection, self._blobs, principal.tenant, wanted.digest, data)
        except Problem:
            await discard(self.database, self._blobs, principal.tenant, wanted.digest)
            raise
        return received

    async def reopen(self, principal: Principal, object_id: str, version: int) -> ObjectVersion:
        """Make a new version of the same bytes, to be read again by a better extractor; the old one stays citable."""
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            old = await publishing.version_row(connection, principal.tenant, object_id, version)
            number = int(row["last_version"]) + 1
            await connection.execute(sa.insert(versions), new_version(principal, row, number, old))
            await touch(connection, row, last_version=number)
            return await _version(connection, row, number)

    async def publish_version(
        self,
        principal: Principal,
        object_id: str,
        version: int,
        structure: Structure,
        passages: Sequence[Passage],
        vectors: Matrix | None = None,
        model_id: str = "",
        report: Mapping[str, JsonValue] | None = None,
        *,
        extractor: str = "",
    ) -> ObjectVersion:
        """Publish what was read from a version, and switch readers and searches to it, in one transaction.

        `vectors` has shape (passages, dimensions). The version becomes ready, or needs_review where the structure has
        reasons; it becomes current if it is newer than the current one. A repeat changes nothing; a repeat with
        another `model_id` adds that model's vectors beside the others.

        Raises:
            Invalid: passages or vectors don't fit the structure.
            Conflict: the version was rejected, or is published with another structure.
        """
        reading = await publishing.prepare(structure, passages, vectors, model_id, extractor=extractor, report=report)
        digest = await self._blobs.put(principal.tenant, reading.encoded)
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            await publishing.store_reading(connection, row, version, digest, reading)
            await hold_blob(connection, self._blobs, principal.tenant, digest, reading.encoded)
            return await _version(connection, row, version)

    async def mark(
        self, principal: Principal, object_id: str, version: int, state: VersionState, reason: str = ""
    ) -> ObjectVersion:
        """Move a version to a state, with a reason a person understands.

        Rejecting the current version makes the newest published one that is left current, or none.

        Raises:
            Conflict: the state cannot follow the one the version is in.
        """
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            await publishing.set_state(connection, row, version, state, reason)
            return await _version(connection, row, version)

    async def switch_version(self, principal: Principal, object_id: str, version: int) -> ObjectVersion:
        """Make a published version current again, or ahead of time; readers and searches follow at once."""
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            found = await publishing.version_row(connection, principal.tenant, object_id, version)
            if found["published_at"] is None or found["state"] == "rejected":
                raise Conflict(
                    f"version {version} of {row['name']!r} is {found['state']}; only a published one becomes current",
                    object_id=object_id,
                    version=version,
                )
            if row["current_version"] != version:
                await publishing.switch(connection, row, version)
            return await _version(connection, row, version)

    async def update(
        self,
        principal: Principal,
        object_id: str,
        *,
        tags: Sequence[str] | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> ContentObject:
        """Replace the tags, the properties or both of an object."""
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            await replace_facets(connection, row, tags, properties)
        return await self.get(principal, object_id)

    async def get_access(self, principal: Principal, object_id: str) -> Access | None:
        """Return the object's own list, or None while its collections share it; for whoever may write it."""
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            return None if row["inherits"] else await load_grants(connection, principal.tenant, object_id)

    async def set_access(self, principal: Principal, object_id: str, access: Access | None) -> None:
        """Give the object a list of its own, or with None let its collections share it again.

        Raises:
            Conflict: the name is taken where the object would then stand.
        """
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            scope = scope_of(str(row["home_id"]), str(row["owner"]), access)
            taken = await connection.execute(
                sa.select(objects.c.object_id).where(
                    objects.c.tenant == principal.tenant,
                    objects.c.scope == scope,
                    objects.c.name == row["name"],
                    objects.c.object_id != object_id,
                )
            )
            if taken.first() is not None:
                raise Conflict(f"another object is called {row['name']!r} there; erase or rename one", name=row["name"])
            await touch(connection, row, scope=scope, inherits=access is None)
            await replace_grants(connection, principal.tenant, object_id, access)

    async def get(self, principal: Principal, object_id: str, version: int | None = None) -> ContentObject:
        """Return the object with a version: the one asked for, else the current, else the newest."""
        async with self.database.read() as connection:
            return await _object(connection, principal, object_id, version)

    async def versions(self, principal: Principal, object_id: str) -> tuple[ObjectVersion, ...]:
        """Return all versions of the object, oldest first."""
        async with self.database.read() as connection:
            item = await _object(connection, principal, object_id, None)
            rows = await connection.execute(
                sa.select(versions)
                .where(versions.c.tenant == principal.tenant, versions.c.object_id == object_id)
                .order_by(versions.c.number)
            )
            return tuple(to_version(row, item.name, item.current_version) for row in rows.mappings())

    async def list(
        self,
        principal: Principal,
        filters: Filters | None = None,
        *,
        collection: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return objects that the caller may read, newest first, at most 200 at a time.

        `collection` takes those nested in it along; `after` is that of the page before.
        """
        limit = max(1, min(limit, _LARGEST_PAGE))
        filters = filters or Filters()
        async with self.database.read() as connection:
            conditions = [may(principal, "read"), *matching(principal.tenant, filters)]
            if collection is not None:
                inside = await open_collection(connection, principal, collection)
                chosen = nested_in(principal.tenant, inside["collection_id"])
                conditions.append(in_collections(principal.tenant, chosen))
            if after is not None:
                conditions.append(objects.c.object_id < after)
            found = await connection.execute(
                sa.select(objects).where(*conditions).order_by(objects.c.object_id.desc()).limit(limit + 1)
            )
            rows = list(found.mappings())
            items = await _with_versions(connection, principal.tenant, rows[:limit])
        return Page(objects=items, after=items[-1].object_id if len(rows) > limit else None)

    async def source(self, principal: Principal, object_id: str, version: int | None = None) -> bytes:
        """Return the bytes that came in, checked against their digest."""
        item = await self.get(principal, object_id, version)
        return await self._blobs.get(principal.tenant, item.version.digest)

    async def source_pieces(
        self, principal: Principal, object_id: str, version: int | None = None
    ) -> tuple[ContentObject, int, AsyncGenerator[bytes]]:
        """Return the object, the size of what came in and its bytes piece by piece; damage shows at the last one."""
        item = await self.get(principal, object_id, version)
        size, pieces = await self._blobs.pieces(principal.tenant, item.version.digest)
        return item, size, pieces

    async def structure(self, principal: Principal, object_id: str, version: int | None = None) -> Structure:
        """Return what was read from a published version; raises `NotFound` before it is published."""
        return await self._structure(principal, await self.get(principal, object_id, version))

    async def read_text(
        self,
        principal: Principal,
        target: Anchor | str,
        *,
        section: str | None = None,
        page: int | None = None,
        table: int | None = None,
        start: int | None = None,
        end: int | None = None,
        tokens: int = 2000,
    ) -> Reading:
        """Return part of a version's text within a budget of estimated tokens, and where to read on.

        `target` is an anchor, or an object's id for its current version. The part is named in one way: a section by
        heading or path, a page from 1, a table from 1, or characters from `start` to `end`.

        Raises:
            NotFound: no such object, version, section, page or table, or nothing is published yet.
        """
        item, anchor = await self._at(principal, target)
        structure = await self._structure(principal, item)
        span = wanted_span(structure, anchor, section=section, page=page, table=table, start=start, end=end)
        return cut_reading(item, structure, span, tokens)

    async def resolve(self, principal: Principal, anchor: Anchor | str) -> str:
        """Return the exact text at an anchor, of whatever version it names; raises `NotFound` if there is none."""
        item, place = await self._at(principal, anchor)
        structure = await self._structure(principal, item)
        start, end = span_of(structure, place)
        return structure.text[start:end]

    async def delete(self, principal: Principal, object_id: str) -> Receipt:
        """Erase an object: its versions, passages, vectors, lists and, where nothing else needs them, its bytes."""
        async with self.database.write() as connection:
            row = await publishing.writable_object(connection, principal, object_id)
            receipt = await erase(connection, principal.tenant, object_id, row["current_version"])
        self._structures.forget(principal.tenant)
        await sweep(self.database, self._blobs, principal.tenant)
        return receipt

    async def _at(self, principal: Principal, target: Anchor | str) -> tuple[ContentObject, Anchor]:
        if isinstance(target, str) and "@" not in target:
            item = await self.get(principal, target)
            return item, Anchor(object_id=item.object_id, version=item.version.number)
        anchor = Anchor.parse(target) if isinstance(target, str) else target
        return await self.get(principal, anchor.object_id, anchor.version), anchor

    async def _structure(self, principal: Principal, item: ContentObject) -> Structure:
        digest = item.version.structure_digest
        if digest is None:
            raise NotFound(
                f"version {item.version.number} of {item.name!r} has no text: it is {item.state}"
                + (f" ({item.version.reason})" if item.version.reason else ""),
                object_id=item.object_id,
                version=item.version.number,
                state=item.state,
            )
        return await self._structures.load(principal.tenant, digest)


async def _version(connection: AsyncConnection, row: RowMapping, number: int) -> ObjectVersion:
    tenant, object_id = str(row["tenant"]), str(row["object_id"])
    found = await publishing.version_row(connection, tenant, object_id, number)
    current = await connection.execute(
        sa.select(objects.c.current_version).where(objects.c.tenant == tenant, objects.c.object_id == object_id)
    )
    return to_version(found, str(row["name"]), current.scalar_one())


async def _object(
    connection: AsyncConnection, principal: Principal, object_id: str, version: int | None
) -> ContentObject:
    found = await connection.execute(sa.select(objects).where(objects.c.object_id == object_id, may(principal, "read")))
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound(f"no object {object_id!r}", object_id=object_id)
    number = version or row["current_version"] or row["last_version"]
    chosen = await publishing.version_row(connection, principal.tenant, object_id, number)
    return to_object(row, to_version(chosen, str(row["name"]), row["current_version"]))


async def _with_versions(
    connection: AsyncConnection, tenant: str, rows: Sequence[RowMapping]
) -> tuple[ContentObject, ...]:
    shown = {str(row["object_id"]): int(row["current_version"] or row["last_version"]) for row in rows}
    found = await connection.execute(
        sa.select(versions).where(
            versions.c.tenant == tenant,
            sa.tuple_(versions.c.object_id, versions.c.number).in_(list(shown.items())),
        )
    )
    by_id = {str(row["object_id"]): row for row in found.mappings()}
    return tuple(
        to_object(row, to_version(by_id[str(row["object_id"])], str(row["name"]), row["current_version"]))
        for row in rows
    )
