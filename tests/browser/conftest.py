"""A real browser, a real server, and between them a host of MCP Apps made of the official client and bridge."""

import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.hosting import TIMEOUT_S, Hosting
from tests.browser.processes import APPROVAL, HOSTILE, LONG, LOOP
from tests.faults.house import FaultHouse

ROOT = Path(__file__).resolve().parents[2]
CANNOT_INSTALL = 75
SECONDS = 300

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser for tests alone, on one machine: it may run as root, and asks nobody else for anything."""


def run_script(name: str) -> str:
    """Run a script of deploy/ and return its last line; skip the test where it can't install what it should."""
    done = subprocess.run([str(ROOT / "deploy" / name)], capture_output=True, text=True, timeout=SECONDS, check=False)
    said = (done.stdout + done.stderr).strip().splitlines() or [""]
    if done.returncode == CANNOT_INSTALL:
        pytest.skip(said[-1])
    assert done.returncode == 0, said
    return said[-1]


@pytest.fixture(scope="package")
def browser() -> Generator[Browser]:
    """Chromium."""
    executable = run_script("chromium.sh")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=list(QUIET))
        expect.set_options(timeout=TIMEOUT_S * 1000)
        yield opened
        opened.close()


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultHouse]:
    """A server with four processes."""
    house = FaultHouse(tmp_path_factory.mktemp("browser") / "data")
    house.start()
    try:
        for name, text in (("approval", APPROVAL), ("hostile", HOSTILE), ("long", LONG), ("loop", LOOP)):
            house.publish("processes", name, text)
        yield house
    finally:
        house.stop()


@pytest.fixture(scope="package")
def hosting(house: FaultHouse) -> Iterator[Hosting]:
    """The host's own web server."""
    run_script("apps-host.sh")
    with Hosting(house.folder, ROOT / ".tools" / "apps-host" / "node_modules") as hosting:
        yield hosting
