"""The full-text index over the passages of current versions: FTS5 on SQLite, a GIN index on Postgres.

On SQLite the index is written by the transaction that changes which version is current; on Postgres it follows the
rows by itself and what is current is asked with each search. Any text is a valid query: its words are quoted.
"""

import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from content.tables import POSTGRES_DOCUMENT, create_full_text, drop_full_text, objects, passages

Place = tuple[str, int, int]
"""A passage: object id, version, number within the version."""

_WORD = re.compile(r"\w+")
_STOPWORDS = """
a about above after again all also am an and any are as at be because been before being below between both
but by can could did do does doing down during each few for from further had has have having he her here
hers him his how i if in into is it its itself just me more most my no nor not of off on once only or other
our ours out over own same she should so some such than that the their theirs them then there these they
this those through to too under until up very was we were what when where which while who whom why will with
would you your yours
"""
STOPWORDS = frozenset(_WORD.findall(_STOPWORDS))
"""Words that say nothing about what is looked for."""

_MOST_WORDS = 64
_HEADING_WEIGHT, _TEXT_WEIGHT = 0.5, 1.0


def query_words(query: str) -> list[str]:
    """Return the words to look for, each once, at most 64; stop words count only where there is nothing else."""
    words = list(dict.fromkeys(word for word in _WORD.findall(query.lower()) if word.strip("_")))
    return ([word for word in words if word not in STOPWORDS] or words)[:_MOST_WORDS]


async def index_version(connection: AsyncConnection, tenant: str, object_id: str, version: int) -> None:
    """Add the passages of a version that becomes current."""
    if connection.dialect.name == "sqlite":
        await connection.execute(
            sa.text(f"INSERT INTO passages_fts(rowid, heading, text) {_PASSAGES_OF_VERSION}"),
            {"tenant": tenant, "object_id": object_id, "version": version},
        )


async def drop_version(connection: AsyncConnection, tenant: str, object_id: str, version: int) -> None:
    """Take out the passages of a version that is no longer current; their rows must still be there."""
    if connection.dialect.name == "sqlite":
        await connection.execute(
            sa.text(
                "INSERT INTO passages_fts(passages_fts, rowid, heading, text) "
                + _PASSAGES_OF_VERSION.replace("SELECT", "SELECT 'delete',", 1)
            ),
            {"tenant": tenant, "object_id": object_id, "version": version},
        )


_PASSAGES_OF_VERSION = (
    'SELECT "row", heading, text FROM passages '
    "WHERE tenant = :tenant AND object_id = :object_id AND version = :version ORDER BY number"
)


def rebuild_full_text(connection: Connection) -> None:
    """Make the index anew from the rows; searches give the same answers as before."""
    drop_full_text(connection)
    create_full_text(connection)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            'INSERT INTO passages_fts(rowid, heading, text) SELECT p."row", p.heading, p.text '
            "FROM passages AS p JOIN objects AS o ON o.tenant = p.tenant AND o.object_id = p.object_id "
            'AND o.current_version = p.version ORDER BY p."row"'
        )


async def search_lexical(
    connection: AsyncConnection, tenant: str, words: list[str], allowed: sa.ColumnElement[bool], limit: int
) -> list[Place]:
    """Return the best passages that hold any of the words, best first.

    `allowed` is the condition on `objects` that says where to look; it is part of the same statement.
    """
    if not words:
        return []
    ranked = _ranked_by_fts5(words) if connection.dialect.name == "sqlite" else _ranked_by_postgres(tenant, words)
    found = await connection.execute(
        sa.select(passages.c.object_id, passages.c.version, passages.c.number)
        .join(ranked, ranked.c.row == passages.c.row)
        .join(
            objects,
            sa.and_(
                objects.c.tenant == passages.c.tenant,
                objects.c.object_id == passages.c.object_id,
                objects.c.current_version == passages.c.version,
            ),
        )
        .where(passages.c.tenant == tenant, allowed)
        .order_by(ranked.c.cost, passages.c.object_id, passages.c.number)
        .limit(limit)
    )
    return [(str(object_id), int(version), int(number)) for object_id, version, number in found]


def _ranked_by_fts5(words: list[str]) -> sa.Subquery:
    index = sa.table("passages_fts", sa.column("rowid"))
    itself = sa.literal_column("passages_fts")
    return (
        sa.select(index.c.rowid.label("row"), sa.func.bm25(itself, _HEADING_WEIGHT, _TEXT_WEIGHT).label("cost"))
        .where(itself.op("MATCH")(" OR ".join(f'"{word}"' for word in words)))
        # A limit keeps SQLite from merging this into the join and asking the index once per passage.
        .limit(-1)
        .subquery()
    )


def _ranked_by_postgres(tenant: str, words: list[str]) -> sa.Subquery:
    document = sa.literal_column(POSTGRES_DOCUMENT)
    query = sa.func.to_tsquery(sa.literal_column("'english'"), " | ".join(f"'{word}'" for word in words))
    return (
        sa.select(passages.c.row, (-sa.func.ts_rank(document, query, 1)).label("cost"))
        .where(passages.c.tenant == tenant, document.op("@@")(query))
        .subquery()
    )
