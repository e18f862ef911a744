"""The one SQL database of the house: its engines, its metadata, its migration chain, and how to write to it.

SQLite (write-ahead log, full synchronisation) and Postgres are served by the same statements. A writer takes the
write lock when it begins, so that a transaction never finds out halfway that it cannot commit: four processes may
write at once and none is told that the database is locked.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.errors import Invalid

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

BUSY_TIMEOUT_MS = 60_000
MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x75707374  # an arbitrary constant: the Postgres advisory lock of the migration chain


class Timestamp(sa.types.TypeDecorator[datetime]):
    """A moment with its zone, stored in UTC; SQLite keeps no zones, so it is put back on the way out."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse a moment without a zone: it would silently mean another one elsewhere."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; use engine.values.utc_now()")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give the moment its zone back."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


Document = sa.JSON(none_as_null=True)
"""The column type of JSON values; None is SQL's NULL."""


class Database:
    """One database by URL: `read()` and `write()` give a connection inside a transaction."""

    def __init__(self, url: str, *, readers: int = 4) -> None:
        """Take `sqlite:///file` or `postgresql://…`; the asynchronous driver is chosen here."""
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if not self.is_sqlite and parsed.get_backend_name() != "postgresql":
            raise Invalid(f"{parsed.get_backend_name()!r} databases are not served; use sqlite:/// or postgresql://")
        self.url = parsed.set(drivername="sqlite+aiosqlite" if self.is_sqlite else "postgresql+asyncpg")
        self._writer = self._engine(1 if self.is_sqlite else readers, "BEGIN IMMEDIATE")
        self._reader = self._engine(readers, "BEGIN")
        self._write_turn = asyncio.Lock()

    def _engine(self, size: int, begin: str) -> AsyncEngine:
        if not self.is_sqlite:
            return create_async_engine(self.url, pool_size=size, max_overflow=size, pool_pre_ping=True)
        engine = create_async_engine(
            self.url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=BUSY_TIMEOUT_MS / 1000,
            connect_args={"factory": _Connection},
        )
        listen(engine.sync_engine, "connect", _prepare_sqlite)
        listen(engine.sync_engine, "begin", partial(_begin, begin))
        return engine

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Give a connection in one consistent snapshot."""
        return self._reader.begin()

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncConnection]:
        """Give a connection that holds the write lock (SQLite) and commits at the end unless an error leaves it."""
        if not self.is_sqlite:
            async with self._writer.begin() as connection:
                yield connection
            return
        async with self._write_turn, self._writer.begin() as connection:
            yield connection

    async def migrate(self) -> None:
        """Bring the schema to the newest revision; refuse a database that a newer release has written.

        Raises:
            Invalid: the database is at a revision that this release does not know.
        """
        async with self.write() as connection:
            if not self.is_sqlite:
                await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            await connection.run_sync(_upgrade)

    async def data_version(self) -> int:
        """Return a number that changes when another connection has committed (SQLite); always 0 elsewhere."""
        if not self.is_sqlite:
            return 0
        async with self.read() as connection:
            return int((await connection.execute(sa.text("PRAGMA data_version"))).scalar_one())

    async def close(self) -> None:
        """Close every connection."""
        await self._writer.dispose()
        await self._reader.dispose()


class _Connection(sqlite3.Connection):
    """A connection that leaves no lock behind when it is closed.

    Whoever is cancelled in the middle of a statement leaves a cursor that nobody has read to its end. SQLite closes a
    connection only behind its last cursor, and until the garbage collector finds that one, its transaction would go on
    and every writer would be told that the database is locked.
    """

    def close(self) -> None:
        """End the transaction, then close; one that is closed stays so, as ever."""
        with suppress(sqlite3.ProgrammingError):
            if self.in_transaction:
                self.rollback()
        super().close()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control is off: BEGIN is ours (see _begin), or a write would start as a read.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(statement: str, connection: Connection) -> None:
    connection.exec_driver_sql(statement)


def migration_config(connection: Connection) -> Config:
    """Return alembic's configuration bound to an open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    config = migration_config(connection)
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise Invalid(
            f"the database is at revision {current}, which this release does not know: a newer release has written "
            "it. Start that release or restore the backup made before the upgrade.",
            revision=current,
        )
    if current != script.get_current_head():
        command.upgrade(config, "head")


def upsert(table: sa.Table, connection: AsyncConnection) -> Any:
    """Return the dialect's INSERT that can say `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "sqlite":
        return sqlite_insert(table)
    return postgres_insert(table)
