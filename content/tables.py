"""The tables of content, interactions and definitions, and the full-text index over the passages.

The tenant leads every key. The one exception is `passages.row`, the number by which SQLite's full-text index knows a
passage; no query reaches it but through a row of the tenant.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from content.database import Document, Timestamp, metadata

grants = sa.Table(
    "content_grants",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("resource_id", sa.String(40), primary_key=True),
    sa.Column("right", sa.String(8), primary_key=True),
    sa.Column("grantee", sa.String(300), primary_key=True),
    sa.Index(None, "tenant", "grantee"),
)
"""Who may do what: `right` is read, add or write; `grantee` is `tenant:*`, `user:…`, `role:…` or `group:…`."""

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("collection_id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("owner", sa.String(256), nullable=False),
    sa.Column("content_types", Document, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("tenant", "owner", "name"),
)
"""The collection `default` has no owner. Names are unique per owner: a name one may not see is not in the way."""

collection_members = sa.Table(
    "collection_members",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("collection_id", sa.String(40), primary_key=True),
    sa.Column("object_id", sa.String(40), primary_key=True),
    sa.Index(None, "tenant", "object_id"),
)

collection_children = sa.Table(
    "collection_children",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("parent_id", sa.String(40), primary_key=True),
    sa.Column("child_id", sa.String(40), primary_key=True),
    sa.Index(None, "tenant", "child_id"),
)

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("object_id", sa.String(40), primary_key=True),
    sa.Column("home_id", sa.String(40), nullable=False),
    sa.Column("scope", sa.String(300), nullable=False),
    sa.Column("name", sa.String(400), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("content_type", sa.String(200), nullable=False),
    sa.Column("tags", Document, nullable=False),
    sa.Column("properties", Document, nullable=False),
    sa.Column("owner", sa.String(256), nullable=False),
    sa.Column("inherits", sa.Boolean, nullable=False),
    sa.Column("provenance", Document, nullable=False),
    sa.Column("last_version", sa.Integer, nullable=False),
    sa.Column("current_version", sa.Integer),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.UniqueConstraint("tenant", "scope", "name"),
    sa.Index(None, "tenant", "home_id"),
    sa.Index(None, "tenant", "owner"),
)
"""`scope` is what a name is unique in: the home collection, or the owner's own part of it for an object with a list."""

object_facets = sa.Table(
    "object_facets",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("object_id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"), primary_key=True),
    sa.Column("number", sa.Double),
    sa.Index(None, "tenant", "name", "value"),
)
"""What objects are filtered by, derived from `objects`: `#` names a tag, anything else a property's scalar as JSON."""

versions = sa.Table(
    "object_versions",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("object_id", sa.String(40), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mime", sa.String(200), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("structure_digest", sa.String(64)),
    sa.Column("extractor", sa.String(200), nullable=False),
    sa.Column("report", Document, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("language", sa.String(40), nullable=False),
    sa.Column("page_count", sa.Integer, nullable=False),
    sa.Column("passage_count", sa.Integer, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("published_at", Timestamp),
    sa.Index(None, "tenant", "object_id", "digest"),
    sa.Index(None, "tenant", "digest"),
    sa.Index(None, "tenant", "structure_digest"),
)

passages = sa.Table(
    "passages",
    metadata,
    sa.Column("row", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(63), nullable=False),
    sa.Column("object_id", sa.String(40), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("start", sa.Integer, nullable=False),
    sa.Column("end", sa.Integer, nullable=False),
    sa.Column("gap", sa.Text, nullable=False),
    sa.Column("heading_path", Document, nullable=False),
    sa.Column("boxes", Document, nullable=False),
    sa.Column("heading", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("tenant", "object_id", "version", "number"),
)
"""What is found: characters `start` to `end` of the version's text; `gap` stands between it and the one before."""

vectors = sa.Table(
    "passage_vectors",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("model_id", sa.String(200), primary_key=True),
    sa.Column("object_id", sa.String(40), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
"""One vector per passage and model: little-endian float32 of unit length."""

generations = sa.Table(
    "index_generations",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
)
"""Counts the changes of what a tenant's searches may find; whatever is cached from the rows carries this number."""

doomed_blobs = sa.Table(
    "doomed_blobs",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
)
"""Blobs that an erased object has left behind; they are deleted unless a version refers to them again."""

drafts = sa.Table(
    "definition_drafts",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("author", sa.String(256), nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)

published = sa.Table(
    "definition_versions",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("author", sa.String(256), nullable=False),
    sa.Column("publisher", sa.String(256), nullable=False),
    sa.Column("published_at", Timestamp, nullable=False),
)

labels = sa.Table(
    "definition_labels",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("label", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)

label_moves = sa.Table(
    "definition_label_moves",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("from_number", sa.Integer),
    sa.Column("to_number", sa.Integer, nullable=False),
    sa.Column("by", sa.String(256), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
)

executions = sa.Table(
    "executions",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("execution_id", sa.String(40), primary_key=True),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("key", sa.String(250), nullable=False),
    sa.Column("interaction", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(40)),
    sa.Column("provider", sa.String(80), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("finish", sa.String(40), nullable=False),
    sa.Column("valid", sa.Boolean),
    sa.Column("usd", sa.Double),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.Column("record", Document, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.UniqueConstraint("tenant", "subject", "key"),
    sa.Index(None, "tenant", "at"),
    sa.Index(None, "tenant", "interaction", "at"),
    sa.Index(None, "tenant", "run_id"),
)

POSTGRES_DOCUMENT = "to_tsvector('english', heading || ' ' || text)"
"""What Postgres indexes of a passage; the query must say exactly this for the index to be used."""


def create_full_text(connection: Connection) -> None:
    """Create the full-text index over the passages: FTS5 with porter stems on SQLite, a GIN index on Postgres.

    The tables of `metadata` must exist. On SQLite the index holds the passages of current versions and is written by
    `content.index_lexical`; on Postgres it follows the rows by itself.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            "CREATE VIRTUAL TABLE IF NOT EXISTS passages_fts USING fts5(heading, text, content='passages', "
            "content_rowid='row', tokenize=\"porter unicode61 remove_diacritics 2\")"
        )
    else:
        connection.exec_driver_sql(
            f"CREATE INDEX IF NOT EXISTS passages_fts ON passages USING gin ({POSTGRES_DOCUMENT})"
        )


def drop_full_text(connection: Connection) -> None:
    """Remove what `create_full_text` made; no row of the passages is lost."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP TABLE IF EXISTS passages_fts")
    else:
        connection.exec_driver_sql("DROP INDEX IF EXISTS passages_fts")
