"""The official conformance suite, pinned, against the product's own factory; its installation needs the registries."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "conformance.sh"
CANNOT_INSTALL = 75
SECONDS = 300


def run(*arguments: str) -> tuple[int, str]:
    """Run the script, and end all of it when it takes too long."""
    script = subprocess.Popen(
        [str(SCRIPT), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = script.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(script.pid, signal.SIGKILL)
        raise
    return script.returncode, said


@pytest.mark.parametrize(("revision", "scenarios"), [("2025-11-25", 33), ("2026-07-28", 50)])
def test_the_server_passes_every_scenario_of_a_revision(revision: str, scenarios: int) -> None:
    code, said = run(revision)
    if code == CANNOT_INSTALL:
        pytest.skip(f"the official suite can't be installed here: {said.strip().splitlines()[-1]}")
    summary = said[said.index("=== SUMMARY ===") :]
    assert code == 0, summary
    # Of the scenarios that a revision does not score, as those of tasks, none fails either.
    assert "✗" not in summary, summary
    assert len([line for line in summary.split("Not scored")[0].splitlines() if line.startswith("✓")]) == scenarios
