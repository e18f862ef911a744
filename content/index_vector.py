"""Exact search over the vectors of current versions: the rows are the truth, a matrix per tenant and model is a copy.

The copy carries the generation of the rows it was made from. Any process that changes what may be found raises the
generation in the same transaction, so that no other process goes on answering from an old copy.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import upsert
from content.index_lexical import Place
from content.tables import generations, objects, vectors
from engine.errors import Invalid

Matrix = NDArray[np.float32]

_OBJECTS_PER_QUERY = 500
_GATHER_BELOW = 0.25


@dataclass(frozen=True)
class _Segment:
    """The vectors of one version, shape (n, dimensions), and the numbers of their passages."""

    numbers: NDArray[np.int32]
    matrix: Matrix


@dataclass(frozen=True)
class _Copy:
    """All current vectors of a tenant and model, row by row, with the segment and the passage each belongs to."""

    generation: int
    segments: dict[tuple[str, int], _Segment]
    versions: list[tuple[str, int]]
    owners: NDArray[np.int32]
    numbers: NDArray[np.int32]
    matrix: Matrix


class Outdated(Exception):
    """The caller's snapshot is older than the copy; ask again in a new transaction."""


def unit_rows(given: Matrix, count: int) -> Matrix:
    """Return `given` as float32 of shape (count, dimensions) with rows of length 1; a row of zeros stays.

    Raises:
        Invalid: the shape is another, or a number is not finite.
    """
    matrix = np.asarray(given, dtype="<f4")
    if matrix.ndim != 2 or matrix.shape[0] != count or (count and not matrix.shape[1]):
        raise Invalid(f"{count} passages need vectors of shape ({count}, dimensions), not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise Invalid("a vector holds a number that is not finite; embed the passages again")
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)


async def current_generation(connection: AsyncConnection, tenant: str) -> int:
    """Return the number of changes so far of what the tenant's searches may find."""
    found = await connection.execute(sa.select(generations.c.generation).where(generations.c.tenant == tenant))
    return int(found.scalar_one_or_none() or 0)


async def raise_generation(connection: AsyncConnection, tenant: str) -> None:
    """Count one more change, in the transaction that makes it."""
    await connection.execute(
        upsert(generations, connection)
        .values(tenant=tenant, generation=1)
        .on_conflict_do_update(index_elements=["tenant"], set_={"generation": generations.c.generation + 1})
    )


class VectorIndex:
    """The copies of one process; the least used are dropped when together they exceed `max_bytes`."""

    def __init__(self, *, max_bytes: int = 1 << 30) -> None:
        self._max_bytes = max_bytes
        self._copies: OrderedDict[tuple[str, str], _Copy] = OrderedDict()
        self._loading: dict[tuple[str, str], asyncio.Lock] = {}

    async def search(
        self,
        connection: AsyncConnection,
        tenant: str,
        model_id: str,
        query: Matrix,
        allowed: Mapping[str, int],
        limit: int,
    ) -> list[Place]:
        """Return the passages nearest to `query` (shape (dimensions,)) by cosine, nearest first.

        `allowed` are the current versions of the objects to look in, as the connection's snapshot has them.

        Raises:
            Outdated: the copy in memory is newer than the snapshot.
            Invalid: the query has other dimensions than the stored vectors.
        """
        copy = await self._copy(connection, tenant, model_id)
        chosen = [
            index for index, (object_id, version) in enumerate(copy.versions) if allowed.get(object_id) == version
        ]
        if not chosen:
            return []
        if query.shape != (copy.matrix.shape[1],):
            raise Invalid(
                f"the query has {query.shape[-1]} dimensions, the vectors of {model_id!r} {copy.matrix.shape[1]}",
                model_id=model_id,
            )
        rows = await asyncio.to_thread(_nearest, copy, query, chosen, limit)
        return [(*copy.versions[copy.owners[row]], int(copy.numbers[row])) for row in rows]

    async def _copy(self, connection: AsyncConnection, tenant: str, model_id: str) -> _Copy:
        key = (tenant, model_id)
        async with self._loading.setdefault(key, asyncio.Lock()):
            generation = await current_generation(connection, tenant)
            held = self._copies.get(key)
            if held is not None and held.generation > generation:
                raise Outdated
            if held is None or held.generation < generation:
                known = held.segments if held is not None else {}
                segments = await _load(connection, tenant, model_id, known)
                held = await asyncio.to_thread(_assemble, generation, segments)
                self._copies[key] = held
            self._copies.move_to_end(key)
            while len(self._copies) > 1 and sum(copy.matrix.nbytes for copy in self._copies.values()) > self._max_bytes:
                dropped, _ = self._copies.popitem(last=False)
                self._loading.pop(dropped, None)
            return held


async def _load(
    connection: AsyncConnection, tenant: str, model_id: str, known: Mapping[tuple[str, int], _Segment]
) -> dict[tuple[str, int], _Segment]:
    """Return the segments of every current version with vectors, reading only those that are not known."""
    is_current = sa.and_(
        objects.c.tenant == vectors.c.tenant,
        objects.c.object_id == vectors.c.object_id,
        objects.c.current_version == vectors.c.version,
    )
    of_model = sa.and_(vectors.c.tenant == tenant, vectors.c.model_id == model_id)
    found = await connection.execute(
        sa.select(vectors.c.object_id, vectors.c.version).join(objects, is_current).where(of_model).distinct()
    )
    wanted = sorted((str(object_id), int(version)) for object_id, version in found)
    missing = [object_id for object_id, version in wanted if (object_id, version) not in known]
    segments = {version: known[version] for version in wanted if version in known}
    for first in range(0, len(missing), _OBJECTS_PER_QUERY):
        rows = await connection.execute(
            sa.select(vectors.c.object_id, vectors.c.version, vectors.c.number, vectors.c.vector)
            .join(objects, is_current)
            .where(of_model, vectors.c.object_id.in_(missing[first : first + _OBJECTS_PER_QUERY]))
            .order_by(vectors.c.object_id, vectors.c.version, vectors.c.number)
        )
        read: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
        for object_id, version, number, vector in rows:
            read.setdefault((object_id, version), []).append((number, vector))
        for version, entries in read.items():
            matrix = np.frombuffer(b"".join(vector for _, vector in entries), dtype="<f4").reshape(len(entries), -1)
            segments[version] = _Segment(np.array([number for number, _ in entries], np.int32), matrix)
    return segments


def _assemble(generation: int, segments: dict[tuple[str, int], _Segment]) -> _Copy:
    order = sorted(segments)
    parts = [segments[version] for version in order]
    matrix = np.concatenate([part.matrix for part in parts]) if parts else np.zeros((0, 0), np.float32)
    numbers = np.concatenate([part.numbers for part in parts]) if parts else np.zeros(0, np.int32)
    owners = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.numbers) for part in parts])
    # The segments become views of the one matrix, so that the vectors are in memory once.
    views: dict[tuple[str, int], _Segment] = {}
    start = 0
    for version, part in zip(order, parts, strict=True):
        end = start + len(part.numbers)
        views[version] = _Segment(part.numbers, matrix[start:end])
        start = end
    return _Copy(generation, views, order, owners, numbers, matrix)


def _nearest(copy: _Copy, query: Matrix, chosen: Sequence[int], limit: int) -> list[int]:
    """Return row numbers by falling cosine, equal ones in the order of the rows."""
    if len(chosen) == len(copy.versions):
        rows = np.arange(len(copy.owners))
        scores = copy.matrix @ query
    else:
        mask = np.zeros(len(copy.versions), np.bool_)
        mask[list(chosen)] = True
        rows = np.flatnonzero(mask[copy.owners])
        few = len(rows) < _GATHER_BELOW * len(copy.owners)
        scores = copy.matrix[rows] @ query if few else (copy.matrix @ query)[rows]
    if len(rows) > limit:
        # Everything at least as near as the last one that fits is sorted, so that ties are cut the same way each time.
        bound = -np.partition(-scores, limit - 1)[limit - 1]
        near = np.flatnonzero(scores >= bound)
        rows, scores = rows[near], scores[near]
    return [int(row) for row in rows[np.argsort(-scores, kind="stable")][:limit]]
