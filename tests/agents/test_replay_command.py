"""`upstairs replay`: the real command against a real server; its exit code says whether the run comes out the same."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.house import FaultHouse, until

PATIENCE_S = 90


@pytest.fixture
def house(tmp_path: Path) -> Generator[FaultHouse]:
    """A server as a process of its own."""
    opened = FaultHouse(tmp_path / "data", model="scripted/echo")
    opened.start()
    try:
        yield opened
    finally:
        opened.stop()


def replay(house: FaultHouse, *words: str) -> "subprocess.CompletedProcess[str]":
    """Type the command."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "server.cli", "replay", *words, "--data", str(house.folder.root)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=house.folder.root,
        env=house.environment(),
        check=False,
    )


def forge(house: FaultHouse, run_id: str) -> None:
    """Change a word of the task in the log, behind the server's back."""
    with closing(sqlite3.connect(house.folder.database, timeout=PATIENCE_S)) as connection, connection:
        changed = connection.execute(
            "UPDATE events SET data = replace(data, 'twelve', 'eleven') WHERE run_id = ? AND key = 'message/task'",
            (run_id,),
        )
        assert changed.rowcount == 1


def test_a_run_comes_out_the_same_and_a_changed_log_is_told_by_its_turn(house: FaultHouse) -> None:
    started = house.call("start_agent", None, task="Say twelve.", skills=[], tools=[])
    run_id = str(started["run_id"])
    ended = "SELECT result FROM runs WHERE run_id = ? AND status = 'completed'"
    (run,) = until(lambda: house.rows(ended, run_id), PATIENCE_S, "the agent answers")
    assert json.loads(run["result"]) == "Say twelve."

    same = replay(house, run_id)
    assert (same.returncode, same.stdout) == (
        0,
        "the same: 1 turns, 1 of them compared by the digest of their request\n",
    ), same.stderr

    forge(house, run_id)
    other = replay(house, run_id)
    assert other.returncode == 1
    assert other.stdout.startswith("NOT the same: "), other.stderr
    assert [line.split()[0] for line in other.stdout.splitlines()[1:]] == ["sent", "now"]
    as_json = replay(house, run_id, "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["difference"]["turn"]) == (1, 1)

    unknown = replay(house, "run_unknown")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert len(unknown.stderr.splitlines()) == 1
    assert "run_unknown" in unknown.stderr
