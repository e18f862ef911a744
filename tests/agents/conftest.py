"""One house for all tests of agents that need a real one."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.agents.house import hostile_house
from tests.server.agent_house import AgentHouse


@pytest.fixture(scope="package")
async def house(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncGenerator[AgentHouse]:
    async with hostile_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which tools leave what they did."""
    (tmp_path / "ledger").touch()
    return tmp_path
