"""The small house behind its doors, as most tests of the server want it; a file that wants another overrides `flat`."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from content.database import Database
from server.http import make_app
from tests.server.agent_house import AgentHouse, agent_house
from tests.server.flat import Flat
from tests.server.served import Served, serve


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncGenerator[Database]:
    """An empty, migrated SQLite: for what doesn't depend on the kind of database, which `database` varies."""
    opened = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
def flat(sqlite: Database, tmp_path: Path) -> Flat:
    return Flat(sqlite, tmp_path)


@pytest.fixture
async def served(flat: Flat) -> AsyncGenerator[Served]:
    async with serve(make_app(flat)) as running:
        yield running


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[AgentHouse]:
    """One house of agents for the tests of a file; a file whose house is another overrides it."""
    async with agent_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened
