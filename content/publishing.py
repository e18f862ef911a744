"""Publishing: one transaction that stores what was read from a version and makes it what readers and searches get."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from content.access import may
from content.index_lexical import drop_version, index_version
from content.index_vector import Matrix, raise_generation, unit_rows
from content.passages import Passage
from content.records import VersionState
from content.structure import Structure
from content.tables import objects, passages, vectors, versions
from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.values import Principal, utc_now

_MOVES: dict[VersionState, tuple[VersionState, ...]] = {
    "received": ("processing", "rejected"),
    "processing": ("received", "needs_review", "rejected"),
    "needs_review": ("processing", "ready", "rejected"),
    "ready": ("needs_review", "rejected"),
    "rejected": ("received", "processing", "needs_review", "ready"),
}


@dataclass(frozen=True)
class Extracted:
    """What an extractor read from a version's bytes, ready to publish; `encoded` is the structure as JSON."""

    structure: Structure
    encoded: bytes
    passages: Sequence[Passage]
    vectors: Matrix | None
    model_id: str
    extractor: str
    report: Mapping[str, JsonValue]


async def prepare(
    structure: Structure,
    cut: Sequence[Passage],
    given: Matrix | None,
    model_id: str,
    *,
    extractor: str = "",
    report: Mapping[str, JsonValue] | None = None,
) -> Extracted:
    """Check that every passage is what the structure says at its place and that every passage has its vector.

    Raises:
        Invalid: a passage is no exact slice of the text or out of order, or the vectors don't fit.
    """
    return await asyncio.to_thread(_prepare, structure, cut, given, model_id, extractor, dict(report or {}))


def _prepare(
    structure: Structure,
    cut: Sequence[Passage],
    given: Matrix | None,
    model_id: str,
    extractor: str,
    report: dict[str, JsonValue],
) -> Extracted:
    text = structure.text
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid("the text holds the character 0 or half a character, which no database keeps; take them out")
    before = 0
    for number, passage in enumerate(cut):
        if passage.order != number or passage.start < before or text[passage.start : passage.end] != passage.text:
            raise Invalid(
                f"passage {number} is not the text at {passage.start} to {passage.end}; cut the structure again",
                passage=number,
            )
        before = passage.end
    if (given is None) != (not model_id):
        raise Invalid("vectors and the model that made them go together: give both or neither", model_id=model_id)
    checked = None if given is None else unit_rows(given, len(cut))
    return Extracted(structure, structure.model_dump_json().encode(), cut, checked, model_id, extractor, report)


async def writable_object(connection: AsyncConnection, principal: Principal, object_id: str) -> RowMapping:
    """Return the row of an object, locked, that the principal may write.

    Raises:
        NotFound: there is none that the principal may read.
        Denied: the principal may read it only.
    """
    found = await connection.execute(
        sa.select(objects, may(principal, "write").label("writes"))
        .where(objects.c.object_id == object_id, may(principal, "read"))
        .with_for_update(of=objects)
    )
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound(f"no object {object_id!r}", object_id=object_id)
    if not row["writes"]:
        raise Denied(
            f"{principal.subject!r} may read {row['name']!r} but not change it; ask its owner for the right to write",
            object_id=object_id,
        )
    return row


async def version_row(connection: AsyncConnection, tenant: str, object_id: str, number: int) -> RowMapping:
    """Return the row of a version; raises `NotFound` if the object has none of that number."""
    found = await connection.execute(sa.select(versions).where(*_is_version(tenant, object_id, number)))
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound(f"{object_id!r} has no version {number}", object_id=object_id, version=number)
    return row


async def store_reading(
    connection: AsyncConnection, row: RowMapping, number: int, structure_digest: str, reading: Extracted
) -> None:
    """Store the reading of a version and, if it is newer than the current one, switch to it. Repeating adds nothing.

    Raises:
        Conflict: the version was rejected, or is published with another structure.
    """
    tenant, object_id = str(row["tenant"]), str(row["object_id"])
    version = await version_row(connection, tenant, object_id, number)
    if version["published_at"] is not None:
        if version["structure_digest"] != structure_digest:
            raise Conflict(
                f"version {number} of {row['name']!r} is published with another structure and never changes; "
                "reopen it as a new version and publish that",
                object_id=object_id,
                version=number,
            )
        await _store_vectors(connection, tenant, object_id, number, reading)
        return
    if version["state"] == "rejected":
        raise Conflict(
            f"version {number} of {row['name']!r} was rejected ({version['reason']}); mark it processing first",
            object_id=object_id,
            version=number,
        )
    structure = reading.structure
    await connection.execute(
        sa.update(versions)
        .where(*_is_version(tenant, object_id, number))
        .values(
            structure_digest=structure_digest,
            state="needs_review" if structure.needs_review else "ready",
            reason=" ".join(structure.reasons),
            extractor=reading.extractor,
            report=dict(reading.report),
            title=structure.title or "",
            language=structure.language or "",
            page_count=len(structure.pages),
            passage_count=len(reading.passages),
            published_at=utc_now(),
        )
    )
    if reading.passages:
        await connection.execute(sa.insert(passages), _passage_rows(tenant, object_id, number, reading))
    await _store_vectors(connection, tenant, object_id, number, reading)
    if number > (row["current_version"] or 0):
        await switch(connection, row, number)


def _passage_rows(tenant: str, object_id: str, number: int, reading: Extracted) -> list[dict[str, Any]]:
    text = reading.structure.text
    rows: list[dict[str, Any]] = []
    before = 0
    for passage in reading.passages:
        context = [" > ".join(passage.heading_path), passage.table_header]
        rows.append(
            {
                "tenant": tenant,
                "object_id": object_id,
                "version": number,
                "number": passage.order,
                "start": passage.start,
                "end": passage.end,
                "gap": text[before : passage.start],
                "heading_path": list(passage.heading_path),
                "boxes": [box.model_dump() for box in passage.boxes],
                "heading": "\n".join(part for part in context if part),
                "text": passage.text,
            }
        )
        before = passage.end
    return rows


async def _store_vectors(
    connection: AsyncConnection, tenant: str, object_id: str, number: int, reading: Extracted
) -> None:
    if reading.vectors is None or not len(reading.vectors):
        return
    key = {"tenant": tenant, "model_id": reading.model_id, "object_id": object_id, "version": number}
    known = sa.select(vectors.c.number).where(*(vectors.c[name] == value for name, value in key.items())).limit(1)
    if (await connection.execute(known)).first() is not None:
        return
    await connection.execute(
        sa.insert(vectors),
        [{**key, "number": index, "vector": vector.tobytes()} for index, vector in enumerate(reading.vectors)],
    )
    await raise_generation(connection, tenant)


async def switch(connection: AsyncConnection, row: RowMapping, number: int | None) -> None:
    """Make a published version of a locked object the current one, or none; indexes and generation follow with it."""
    tenant, object_id = str(row["tenant"]), str(row["object_id"])
    if row["current_version"] is not None:
        await drop_version(connection, tenant, object_id, row["current_version"])
    await connection.execute(
        sa.update(objects)
        .where(objects.c.tenant == tenant, objects.c.object_id == object_id)
        .values(current_version=number, updated_at=utc_now())
    )
    if number is not None:
        await index_version(connection, tenant, object_id, number)
    await raise_generation(connection, tenant)


async def set_state(
    connection: AsyncConnection, row: RowMapping, number: int, state: VersionState, reason: str
) -> None:
    """Move a version to another state; rejecting the current one falls back to the newest published one before it.

    Raises:
        Conflict: the state cannot follow the one the version is in.
    """
    tenant, object_id = str(row["tenant"]), str(row["object_id"])
    version = await version_row(connection, tenant, object_id, number)
    before: VersionState = version["state"]
    published = version["published_at"] is not None
    blocked = (state == "ready" and not published) or (state in ("received", "processing") and published)
    if state != before and (blocked or state not in _MOVES[before]):
        raise Conflict(
            f"version {number} of {row['name']!r} is {before} and {'published' if published else 'not published'}; "
            f"it cannot become {state}",
            object_id=object_id,
            version=number,
        )
    await connection.execute(
        sa.update(versions).where(*_is_version(tenant, object_id, number)).values(state=state, reason=reason)
    )
    if state == "rejected" and row["current_version"] == number:
        await switch(connection, row, await _newest_published(connection, tenant, object_id))
    elif before == "rejected" and published and state != "rejected" and number > (row["current_version"] or 0):
        await switch(connection, row, number)


async def _newest_published(connection: AsyncConnection, tenant: str, object_id: str) -> int | None:
    found = await connection.execute(
        sa.select(sa.func.max(versions.c.number)).where(
            versions.c.tenant == tenant,
            versions.c.object_id == object_id,
            versions.c.published_at.is_not(None),
            versions.c.state != "rejected",
        )
    )
    number = found.scalar_one_or_none()
    return None if number is None else int(number)


def _is_version(tenant: str, object_id: str, number: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (versions.c.tenant == tenant, versions.c.object_id == object_id, versions.c.number == number)
