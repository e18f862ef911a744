"""A house over a database of its own."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from content.database import Database
from tests.skills.house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House]:
    database = Database(f"sqlite:///{tmp_path / 'house.db'}")
    await database.migrate()
    yield House(database, tmp_path)
    await database.close()
