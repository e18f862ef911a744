"""Fixtures that every area shares."""

import os
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from content.database import Database
from engine.values import Principal

SUITES = Path(os.environ.get("SUITES", Path(__file__).resolve().parents[2] / "shared" / "suites"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how much of the exhaustive tests is run."""
    parser.addoption(
        "--sweep", choices=("sample", "all"), default="sample", help="fault sweeps: a fixed sample, or every point"
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One loop for all; of the widest scope, so that fixtures of any scope may be asynchronous."""
    return "asyncio"


@pytest.fixture(scope="session")
def suites() -> Path:
    """The folder of outside test suites; tests that read it are skipped where it is absent."""
    if not SUITES.is_dir():
        pytest.skip(f"outside suites not found at {SUITES.name}; set SUITES to the folder that holds them")
    return SUITES


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Database]:
    """An empty, migrated database of each kind; Postgres by the URL in POSTGRES_FOR_TESTS."""
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'test.db'}")
    else:
        opened = Database(await _new_postgres())
    await opened.migrate()
    yield opened
    await opened.close()


async def _new_postgres() -> str:
    server = os.environ.get("POSTGRES_FOR_TESTS")
    if not server:
        pytest.skip("no Postgres: set POSTGRES_FOR_TESTS to the URL of a server, or run make test")
    name = f"test_{uuid.uuid4().hex}"
    url = make_url(server)
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def alice() -> Principal:
    return Principal(tenant="local", subject="alice", roles=frozenset({"administrator"}))


@pytest.fixture
def mallory() -> Principal:
    """An administrator of another tenant."""
    return Principal(tenant="other", subject="mallory", roles=frozenset({"administrator"}))
