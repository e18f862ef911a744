"""What the tests of processes share: one house for the tests of a file, and somebody in a seat."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from engine.values import Principal
from tests.server.engine_house import EngineHouse, engine_house


@pytest.fixture(scope="module")
async def shared_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[EngineHouse]:
    async with engine_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened


@pytest.fixture
def house(shared_house: EngineHouse) -> EngineHouse:
    """The house of the file, without what earlier tests have put in."""
    for table in (shared_house.definitions, shared_house.answers, shared_house.tools):
        table.clear()
    return shared_house


@pytest.fixture(scope="module")
async def skipping_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[EngineHouse]:
    async with engine_house(tmp_path_factory.mktemp("skipping") / "data", skipping=True) as opened:
        yield opened


@pytest.fixture
async def skipping(skipping_house: EngineHouse) -> AsyncGenerator[EngineHouse]:
    """The house of the file in which days pass at once."""
    for table in (skipping_house.definitions, skipping_house.answers, skipping_house.tools):
        table.clear()
    with anyio.fail_after(60):
        yield skipping_house


@pytest.fixture
def fay() -> Principal:
    return Principal(tenant="local", subject="fay", roles=frozenset({"finance"}))
