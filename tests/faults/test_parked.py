"""A run that waits for its supervisor holds nothing: no slot of a worker, no thread, no connection."""

import json
import os
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from temporalio.client import Client

from server.client import Refused
from server.temporal_child import read_running
from tests.faults.house import FaultHouse, until

PARKED = 50

WAITING = """
format: 1
process: waiting
title: Wait for finance
input: {type: object, properties: {document: {type: string}}, required: [document]}
context: {schema: {type: object, properties: {document: {type: string}, approval: {type: object}}}}
start: approve
nodes:
  approve:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Approve {{document}}?"}
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: late}
    writes: [approval]
    next: [{to: done}]
  done: {type: end, outcome: decided, output: {var: approval}}
  late: {type: end, outcome: late, output: {var: document}}
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Generator[FaultHouse]:
    """A server with a process that only waits."""
    house = FaultHouse(tmp_path / "data")
    house.start()
    try:
        house.publish("processes", "waiting", WAITING)
        yield house
    finally:
        house.stop()


def park(house: FaultHouse, count: int) -> list[str]:
    """Start runs and return their ids once each waits for its supervisor."""
    runs = [
        str(house.call("start_process", None, process="waiting", input={"document": f"invoice {number}"})["run_id"])
        for number in range(count)
    ]
    marks = ", ".join("?" for _ in runs)
    waiting = f"SELECT count(*) AS n FROM runs WHERE status = 'waiting' AND run_id IN ({marks})"
    until(lambda: house.rows(waiting, *runs)[0]["n"] == count, 120, f"{count} runs are parked")
    return runs


def held(house: FaultHouse) -> tuple[int, int]:
    """Return how many threads and how many sockets the server has; nobody is connected meanwhile."""
    process = Path(f"/proc/{house.pid}")
    sockets = 0
    for descriptor in (process / "fd").iterdir():
        try:
            sockets += os.readlink(descriptor).startswith("socket:")
        except FileNotFoundError:  # closed between being listed and being read
            continue
    return len(list((process / "task").iterdir())), sockets


async def under_way(house: FaultHouse, runs: list[str]) -> tuple[int, int]:
    """Return how many activities and how many workflow tasks of the runs are scheduled or being worked on."""
    running = read_running(house.folder)
    client = await Client.connect(running.address, namespace=running.namespace)
    activities = tasks = 0
    for run_id in runs:
        description = (await client.get_workflow_handle(f"local/{run_id}").describe()).raw_description
        activities += len(description.pending_activities)
        tasks += description.HasField("pending_workflow_task")
    return activities, tasks


def answer(house: FaultHouse, user: str, run_id: str, decision: str) -> dict[str, object]:
    """Answer the one task of a run as `user`."""
    (task,) = house.rows("SELECT task_id FROM tasks WHERE run_id = ?", run_id)
    return house.call("answer_run", user, run_id=run_id, task_id=task["task_id"], decision=decision)


def test_fifty_parked_runs_hold_nothing_and_are_answered_after_a_restart_each_once(waiting: FaultHouse) -> None:
    # As many runs as later, so that whatever a server makes when it first needs it is there before it is counted.
    for run_id in park(waiting, PARKED):
        waiting.call("control_run", None, run_id=run_id, action="cancel")
    waiting.hang_up()
    threads, sockets = held(waiting)

    runs = park(waiting, PARKED)
    waiting.hang_up()

    def no_more() -> bool:
        now = held(waiting)
        return now[0] <= threads and now[1] <= sockets

    until(no_more, 30, "the server holds no more than without parked runs")
    assert anyio.run(under_way, waiting, runs) == (0, 0)

    waiting.kill()
    waiting.restart_if_ended()
    for run_id in runs:
        assert answer(waiting, "fay", run_id, "approve")["status"] == "answered"
        with pytest.raises(Refused, match=r"already decided by fay \(approve\) at 20"):
            answer(waiting, "gil", run_id, "reject")
        (run,) = until(
            lambda run_id=run_id: waiting.rows("SELECT * FROM runs WHERE run_id = ? AND status = 'completed'", run_id),
            60,
            "the run goes on",
        )
        decided = json.loads(run["result"])["output"]
        assert (decided["decision"], decided["by"]) == ("approve", "fay")
        answers = waiting.rows("SELECT * FROM events WHERE run_id = ? AND type = 'task.closed'", run_id)
        assert len(answers) == 1
    still = waiting.rows("SELECT count(*) AS n FROM runs WHERE status = 'waiting'")
    assert still[0]["n"] == 0
