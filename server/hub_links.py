"""Which way the hub of this process is joined to others: over the database where it is Postgres, else over a socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from content.database import Database
from server.data_folder import DataFolder
from server.hub import Hub
from server.hub_postgres import joined_over_postgres
from server.hub_socket import join_hub, serve_hub
from server.keys import KeyRing


@asynccontextmanager
async def linked(
    hub: Hub, database: Database, keys: KeyRing, folder: DataFolder, *, serves: bool
) -> AsyncGenerator[None]:
    """Join `hub` to those of the other processes while the block runs. `serves`: this one has readers.

    Over Postgres everyone tells everyone, across machines. Over SQLite all processes are on one machine: workers join
    the server of their data folder.
    """
    if not database.is_sqlite:
        joined = joined_over_postgres(hub, database, keys, serves=serves)
    else:
        joined = serve_hub(hub, folder) if serves else join_hub(hub, folder)
    async with joined:
        yield
