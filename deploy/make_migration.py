"""Write the next revision of the schema: the difference between the migration chain and the tables."""

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy.engine import Connection

import content.tables
import server.store.tables
from content.database import Database, migration_config

TABLES = (content.tables, server.store.tables)
"""Importing them is what enters their tables into the metadata."""


async def main(message: str) -> None:
    """Bring an empty database to the newest revision, compare it with the tables, and write what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
        await database.migrate()
        async with database.write() as connection:
            await connection.run_sync(_revise, message)
        await database.close()


def _revise(connection: Connection, message: str) -> None:
    config = migration_config(connection)
    number = len(list((Path(config.get_main_option("script_location") or "") / "versions").glob("[0-9]*.py"))) + 1
    command.revision(config, message=message, autogenerate=True, rev_id=f"{number:04d}")
    print("Full-text indexes are no tables: call content.tables.create_full_text(op.get_bind()) where one is made.")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "change"))
