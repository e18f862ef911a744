"""A worker that is killed in the middle of its work, and another one that takes it up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from engine.transcript import ToolResult
from engine.values import Principal
from tests.server.agent_house import PATIENCE_S, SKILLS, AgentHouse, Talk, agent_house, check_log
from tests.server.agent_script import PLACE

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def worker(data: Path, place: Path) -> Generator["subprocess.Popen[bytes]"]:
    """Run a worker as a process of its own; it is killed at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UPSTAIRS_")}
    environment |= {"PYTHONPATH": str(ROOT), PLACE: str(place)}
    with (data / "logs" / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "server.cli", "worker", "--data", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place,
            env=environment,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def until_lines(file: Path, count: int) -> list[str]:
    """Wait until a file has that many lines."""
    with anyio.fail_after(PATIENCE_S):
        while len(lines(file)) < count:
            await anyio.sleep(0.02)
    return lines(file)


def lines(file: Path) -> list[str]:
    """Return the lines of a file."""
    return file.read_text().splitlines() if file.exists() else []


async def test_a_killed_worker_loses_no_turn_repeats_no_effect_and_says_what_it_does_not_know(
    tmp_path: Path, alice: Principal
) -> None:
    data, place = tmp_path / "data", tmp_path / "place"
    place.mkdir()
    (place / "ledger").touch()
    async with agent_house(data, working=False) as house:
        (data / "upstairs.toml").write_text(
            f"skills = {json.dumps([str(SKILLS)])}\n"
            '[models]\ndefault = "scripted/payer"\nscripts = ["tests.server.agent_script"]\n'
        )
        paying = await house.start(alice, Talk((), "payer"), approval="full")
        waiting = await house.start(alice, Talk((), "waiting"))
        with worker(data, place):
            begun = await until_lines(place / "ledger", 2)
            await until_lines(place / "asked", 1)
        (place / "gate").touch()
        with worker(data, place):
            paid, waited = await house.finished(paying), await house.finished(waiting)
        # The effect of the tool that honours its key stands once, and so does the other one, which nobody repeats.
        assert lines(place / "ledger") == begun
        assert sorted(line.split()[0] for line in begun) == ["blind", "keyed"]
        assert (paid.status, paid.result) == ("completed", "paid what could be paid"), paid.error
        blind, keyed = await answers(house, paid.run_id, alice)
        assert blind.text.startswith("outcome unknown: an earlier attempt was interrupted")
        assert blind.is_error
        assert (keyed.text, keyed.is_error) == ("paid", False)
        # The call of the model that was cut is made again, and its turn stands once in the log.
        assert (waited.status, waited.result, waited.spent.turns) == ("completed", "waited for it", 1)
        assert lines(place / "asked") == ["asked", "asked"]
        assert [len(await house.messages(run, "assistant")) for run in (paid, waited)] == [3, 1]
        for run in (paid, waited):
            check_log(await house.events(run))
        restarted = [event.data["attempt"] for event in await house.events(waited, "turn.restarted")]
        assert restarted == [2]


async def test_a_worker_that_is_killed_while_it_sums_up_leaves_one_checkpoint_as_if_nothing_had_happened(
    tmp_path: Path, alice: Principal
) -> None:
    data, place = tmp_path / "data", tmp_path / "place"
    place.mkdir()
    async with agent_house(data, working=False) as house:
        (data / "upstairs.toml").write_text(
            f"skills = {json.dumps([str(SKILLS)])}\n"
            '[models]\ndefault = "scripted/summing"\nscripts = ["tests.server.agent_script"]\n'
        )
        run = await house.start(alice, Talk((), "summing"))
        with worker(data, place):
            await until_lines(place / "asked", 1)
        (place / "gate").touch()
        with worker(data, place):
            run = await house.finished(run)
        assert (run.status, run.result) == ("completed", "finished after the checkpoint"), run.error
        assert lines(place / "asked") == ["asked", "asked"]
        (made,) = await house.events(run, "checkpoint")
        assert (made.data["kind"], made.data["reason"], made.key) == ("summary", "context_full", "checkpoint/1")
        assert run.spent.turns == 6
        check_log(await house.events(run))


async def answers(house: AgentHouse, run_id: str, who: Principal) -> list[ToolResult]:
    """Return the answers to the payments, by the order of the calls."""
    run = await house.platform.runs.get(who, run_id)
    parts = [part for message in await house.messages(run, "tool") for part in message.parts]
    found = [part for part in parts if isinstance(part, ToolResult) and part.name.startswith("desk.pay")]
    return sorted(found, key=lambda part: part.name)
