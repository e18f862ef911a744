"""Writers that are cancelled in the middle of a statement: what they leave behind keeps nobody waiting."""

import asyncio
import gc
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from content.database import Database

pytestmark = pytest.mark.anyio

SLOW = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n ORDER BY i DESC"
)
"""A statement that is under way for a while, and then has rows that somebody would have to read."""


@pytest.fixture
def no_collector() -> Generator[None]:
    """What is left lying about is left there: when it would be found is up to chance otherwise."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_writer_that_is_cancelled_in_the_middle_of_a_statement_leaves_no_lock_behind(
    tmp_path: Path, no_collector: None, turns: int
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'house.db'}")
    async with database.write() as connection:
        await connection.execute(sa.text("CREATE TABLE noted (name TEXT)"))
    reached = asyncio.Event()

    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(sa.text("INSERT INTO noted VALUES ('cancelled')"))
            reached.set()
            await connection.execute(SLOW)

    with anyio.fail_after(20):
        for number in range(3):
            reached.clear()
            writing = asyncio.ensure_future(write())
            await reached.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            writing.cancel()
            (outcome,) = await asyncio.gather(writing, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError)
            async with database.write() as connection:
                await connection.execute(sa.text(f"INSERT INTO noted VALUES ('{number}')"))
    async with database.read() as connection:
        found = (await connection.execute(sa.text("SELECT name FROM noted"))).scalars().all()
    assert list(found) == ["0", "1", "2"]
    await database.close()


async def test_a_connection_that_is_closed_twice_is_closed(tmp_path: Path) -> None:
    """As the driver does where whoever closed it was cancelled."""
    database = Database(f"sqlite:///{tmp_path / 'house.db'}")
    async with database.read() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        kind: type[sqlite3.Connection] = type(driver._conn)
    await database.close()
    own = sqlite3.connect(tmp_path / "own.db", factory=kind)
    own.close()
    own.close()
