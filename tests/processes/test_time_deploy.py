"""An answer after a deploy: the worker that parked a run is gone, and one of another build goes on, on the real server.

That days pass meanwhile is `test_people_time`; that other code replays what was written, `tests/histories`.
"""

from functools import partial
from pathlib import Path

import pytest
from temporalio.worker import Worker

import server.worker
from engine.ports import TaskAnswer
from engine.runs import StartRun
from engine.values import Principal
from tests.processes.time_house import ME
from tests.server.agent_house import agent_house

pytestmark = pytest.mark.anyio

FAY = Principal(tenant=ME.tenant, subject="fay", roles=frozenset({"finance", "viewer"}))

WAITING = """
format: 1
process: waiting
title: Wait for finance
input: {type: object, properties: {invoice: {type: string}}, required: [invoice]}
context: {schema: {type: object, properties: {invoice: {type: string}, approval: {type: object}}}}
start: note
nodes:
  note:
    type: script
    input: {invoice: {var: invoice}}
    code: "{'invoice': invoice.upper()}"
    writes: [invoice]
    next: [{to: approve}]
  approve:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Pay {{invoice}}?"}
    decisions: [pay, drop]
    deadline: P5D
    remind_every: P1D
    on_timeout: {to: late}
    writes: [approval]
    next: [{to: paid}]
  paid: {type: end, outcome: paid, output: {var: invoice}}
  late: {type: end, outcome: late}
"""


def release(patch: pytest.MonkeyPatch, build: str) -> None:
    """Have the workers that start from now on be of a build."""
    patch.setattr(server.worker, "Worker", partial(Worker, build_id=build))


async def test_a_decision_after_a_deploy_is_carried_on_by_the_new_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_house(tmp_path / "data", working=False) as house:
        platform = house.platform
        await platform.definitions.put_draft(ME, "waiting", WAITING)
        version = await platform.definitions.publish(ME, "waiting")
        start = StartRun(kind="process", definition="waiting", version=str(version.number), input={"invoice": "ni-1"})
        release(monkeypatch, "release-1")
        async with server.worker.workers(platform):
            run = await platform.control.start(ME, start)
            (task,) = await house.asked(run)
        release(monkeypatch, "release-2")
        async with server.worker.workers(platform):
            said = TaskAnswer(task_id=task.task_id, by=FAY, decision="pay")
            await platform.control.answer(FAY, task.task_id, said)
            run = await house.finished(run)
            history = await house.handle(run).fetch_history()
    assert (run.status, run.result) == ("completed", {"outcome": "paid", "output": "NI-1"})
    done = [event.workflow_task_completed_event_attributes for event in history.events]
    builds = [one.worker_version.build_id or one.binary_checksum for one in done]
    assert list(dict.fromkeys(filter(None, builds))) == ["release-1", "release-2"]
