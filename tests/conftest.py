"""Fixtures that every area shares."""

import os
from pathlib import Path

import pytest

SUITES = Path(os.environ.get("SUITES", Path(__file__).resolve().parents[2] / "shared" / "suites"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def suites() -> Path:
    """The folder of outside test suites; tests that read it are skipped where it is absent."""
    if not SUITES.is_dir():
        pytest.skip(f"outside suites not found at {SUITES.name}; set SUITES to the folder that holds them")
    return SUITES
