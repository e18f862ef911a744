"""Search: what the principal may read, found by words and by meaning, fused, joined, quoted exactly and cited.

Access is part of each statement, never a filter behind it. Lexical and semantic candidates are fused by reciprocal
rank; found passages that follow each other in one section are answered as one; every answer's text is exactly what its
anchor resolves to.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from content.access import in_collections, may, nested_in
from content.collections import open_collection
from content.database import Database
from content.index_lexical import Place, query_words, search_lexical
from content.index_vector import Matrix, Outdated, VectorIndex
from content.passages import estimate_tokens
from content.records import Citation, Filters, Hit, Ranks, fit, matching
from content.structure import Anchor, Box, enclose
from content.tables import objects, passages, versions
from engine.errors import Invalid, Unavailable
from engine.values import Principal

if TYPE_CHECKING:
    # The protocol lives beside the packaged model, whose libraries are too heavy to load for a name.
    from content.embeddings import Embedder

Mode = Literal["hybrid", "semantic", "lexical"]

FUSION = 60
"""The constant of reciprocal rank fusion: a rank r gives 1 / (60 + r)."""

_FEWEST_CANDIDATES = 50
_CANDIDATES_PER_HIT = 4
_LARGEST_LIMIT = 50
_LONGEST_QUERY = 8_000
_SNAPSHOTS = 5


@dataclass(frozen=True)
class _Candidate:
    """A fused passage: where it is, its score, its rank in each list."""

    place: Place
    score: float
    why: Ranks


class ContentSearch:
    """Search over one database; keeps this process's copies of the vectors."""

    def __init__(self, database: Database, *, vectors: VectorIndex | None = None) -> None:
        self._database = database
        self._vectors = vectors or VectorIndex()

    async def search(
        self,
        principal: Principal,
        query: str,
        *,
        collection: str | None = None,
        filters: Filters | None = None,
        mode: Mode = "hybrid",
        limit: int = 8,
        tokens: int = 4000,
        embedder: "Embedder | None" = None,
    ) -> list[Hit]:
        """Return the passages that answer `query`, best first, together within a budget of estimated tokens.

        Only current versions are searched. `collection` (id or name) takes those nested in it along. `hybrid` without
        an embedder is lexical. Only vectors of the embedder's own model are compared. The first answer is cut to the
        budget if it alone exceeds it; later ones that don't fit are left out.

        Raises:
            Invalid: the query is empty or too long, or a limit is out of bounds.
            NotFound: there is no such collection.
            Unavailable: `semantic` without an embedder.
        """
        _check(query, limit, tokens)
        if mode == "semantic" and embedder is None:
            raise Unavailable("semantic search needs an embedding model and none is configured; use mode lexical")
        vector: Matrix | None = None
        if embedder is not None and mode != "lexical":
            vector = (await asyncio.to_thread(embedder.embed, [query]))[0]
        words = query_words(query) if mode != "semantic" else []
        for _ in range(_SNAPSHOTS):
            try:
                async with self._database.read() as connection:
                    allowed = await _allowed(connection, principal, collection, filters or Filters())
                    wanted = max(_FEWEST_CANDIDATES, _CANDIDATES_PER_HIT * limit)
                    lexical = await search_lexical(connection, principal.tenant, words, allowed, wanted)
                    semantic: list[Place] = []
                    if embedder is not None and vector is not None:
                        current = await _current_versions(connection, allowed)
                        semantic = await self._vectors.search(
                            connection, principal.tenant, embedder.model_id, vector, current, wanted
                        )
                    best = fuse(lexical, semantic)[:limit]
                    rows = await _load(connection, allowed, [candidate.place for candidate in best])
            except Outdated:
                continue
            return _within(_hits(best, rows), tokens)
        raise Unavailable("the index changed with every try; search again")


def _check(query: str, limit: int, tokens: int) -> None:
    if not query.strip() or len(query) > _LONGEST_QUERY:
        raise Invalid(f"a query has 1 to {_LONGEST_QUERY} characters, not {len(query)}", length=len(query))
    if not 1 <= limit <= _LARGEST_LIMIT:
        raise Invalid(f"limit is 1 to {_LARGEST_LIMIT}, not {limit}", limit=limit)
    if tokens < 1:
        raise Invalid(f"a budget of {tokens} tokens holds no answer; give at least 1", tokens=tokens)


def fuse(lexical: Sequence[Place], semantic: Sequence[Place]) -> list[_Candidate]:
    """Return every place of either list by falling sum of reciprocal ranks, equal ones by place."""
    by_words = {place: rank for rank, place in enumerate(lexical, 1)}
    by_meaning = {place: rank for rank, place in enumerate(semantic, 1)}
    found = [
        _Candidate(
            place,
            sum(1 / (FUSION + ranks[place]) for ranks in (by_words, by_meaning) if place in ranks),
            Ranks(lexical=by_words.get(place), semantic=by_meaning.get(place)),
        )
        for place in by_words.keys() | by_meaning.keys()
    ]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.place))


async def _allowed(
    connection: AsyncConnection, principal: Principal, collection: str | None, filters: Filters
) -> sa.ColumnElement[bool]:
    conditions = [may(principal, "read"), objects.c.current_version.is_not(None)]
    conditions += matching(principal.tenant, filters)
    if collection is not None:
        inside = await open_collection(connection, principal, collection)
        conditions.append(in_collections(principal.tenant, nested_in(principal.tenant, inside["collection_id"])))
    return sa.and_(*conditions)


async def _current_versions(connection: AsyncConnection, allowed: sa.ColumnElement[bool]) -> dict[str, int]:
    rows = await connection.execute(sa.select(objects.c.object_id, objects.c.current_version).where(allowed))
    return {str(object_id): int(version) for object_id, version in rows}


async def _load(
    connection: AsyncConnection, allowed: sa.ColumnElement[bool], places: Sequence[Place]
) -> dict[Place, RowMapping]:
    if not places:
        return {}
    rows = await connection.execute(
        sa.select(passages, objects.c.name, versions.c.state)
        .join(
            objects,
            sa.and_(
                objects.c.tenant == passages.c.tenant,
                objects.c.object_id == passages.c.object_id,
                objects.c.current_version == passages.c.version,
            ),
        )
        .join(
            versions,
            sa.and_(
                versions.c.tenant == passages.c.tenant,
                versions.c.object_id == passages.c.object_id,
                versions.c.number == passages.c.version,
            ),
        )
        .where(
            allowed,
            sa.tuple_(passages.c.object_id, passages.c.version, passages.c.number).in_(list(places)),
        )
    )
    return {(row["object_id"], row["version"], row["number"]): row for row in rows.mappings()}


def _hits(best: Sequence[_Candidate], rows: Mapping[Place, RowMapping]) -> list[Hit]:
    """Return one answer for each run of neighbours, in the order of the best passage of each."""
    present = [candidate for candidate in best if candidate.place in rows]
    taken: set[Place] = set()
    hits: list[Hit] = []
    for candidate in present:
        if candidate.place in taken:
            continue
        run = _run_around(candidate.place, {other.place for other in present} - taken, rows)
        taken.update(run)
        hits.append(_hit(candidate, [rows[place] for place in run]))
    return hits


def _run_around(place: Place, found: set[Place], rows: Mapping[Place, RowMapping]) -> list[Place]:
    object_id, version, number = place
    section = rows[place]["heading_path"]

    def joins(other: Place) -> bool:
        return other in found and rows[other]["heading_path"] == section

    first = last = number
    while joins((object_id, version, first - 1)):
        first -= 1
    while joins((object_id, version, last + 1)):
        last += 1
    return [(object_id, version, index) for index in range(first, last + 1)]


def _hit(candidate: _Candidate, run: Sequence[RowMapping]) -> Hit:
    text = str(run[0]["text"]) + "".join(f"{row['gap']}{row['text']}" for row in run[1:])
    boxes = enclose(Box.model_validate(box) for row in run for box in row["boxes"])
    box = boxes[0] if boxes else None
    object_id, version, _ = candidate.place
    anchor = Anchor(
        object_id=object_id,
        version=version,
        page=box.page if box else None,
        box=box,
        span=(run[0]["start"], run[-1]["end"]),
    )
    citation = Citation(
        object_id=object_id,
        name=run[0]["name"],
        version=version,
        anchor=str(anchor),
        page=anchor.page,
        box=box,
        heading_path=tuple(run[0]["heading_path"]),
        state=run[0]["state"],
        score=candidate.score,
        why=candidate.why,
    )
    return Hit(text=text, citation=citation, tokens=estimate_tokens(text))


def _within(hits: Sequence[Hit], tokens: int) -> list[Hit]:
    kept: list[Hit] = []
    for hit in hits:
        if not kept and hit.tokens > tokens:
            hit = _cut(hit, tokens)
        if hit.tokens <= tokens:
            kept.append(hit)
            tokens -= hit.tokens
    return kept


def _cut(hit: Hit, tokens: int) -> Hit:
    text = hit.text[: fit(hit.text, tokens)]
    anchor = Anchor.parse(hit.citation.anchor)
    assert anchor.span is not None
    start = anchor.span[0]
    shorter = anchor.model_copy(update={"span": (start, start + len(text))})
    citation = hit.citation.model_copy(update={"anchor": str(shorter)})
    return Hit(text=text, citation=citation, tokens=estimate_tokens(text))
