"""The loop of long-lived processes, and what the garbage collector need not look at."""

import asyncio
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from server.long_lived import YOUNG, loading, run

ROOT = Path(__file__).resolve().parents[2]


async def loop_and_threshold() -> tuple[asyncio.AbstractEventLoop, int]:
    return asyncio.get_running_loop(), gc.get_threshold()[0]


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist for Windows")
def test_a_process_runs_on_uvloop_and_collects_rarely() -> None:
    before = gc.get_threshold()
    try:
        loop, young = run(loop_and_threshold())
    finally:
        gc.set_threshold(*before)
    assert isinstance(loop, uvloop.Loop)
    assert young == YOUNG


def test_an_error_ends_the_run_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("of the process itself")

    before = gc.get_threshold()
    try:
        with pytest.raises(ValueError, match="of the process itself"):
            run(fail())
    finally:
        gc.set_threshold(*before)


LOOK = """
import gc, json, sys
from server.long_lived import loading
gc.collect()
with loading():
    inside = gc.isenabled()
    import ctypes.wintypes as imported
    kept = [{} for _ in range(1000)]
after = {"frozen": gc.get_freeze_count(), "enabled": gc.isenabled(), "inside": inside}
with loading():
    more = [{} for _ in range(1000)]
print(json.dumps({**after, "again": gc.get_freeze_count()}))
"""


def test_what_is_imported_is_out_of_the_collectors_sight_and_what_is_not_is_not() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, env=environment).stdout
    found = json.loads(said)
    assert found["frozen"] > 1_000
    assert found["enabled"]
    assert not found["inside"]
    # Nothing was imported the second time, so nothing of it was kept for good; what is made between is not counted.
    assert found["again"] == found["frozen"]


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
