"""Long runs under load, for `make soak`: many runs side by side, half of them waiting for people."""

from pathlib import Path

import anyio
import pytest

from engine.ports import RunFilter, TaskAnswer
from engine.values import Principal
from tests.server.engine_house import engine_house
from tests.server.test_process_engine import INVOICE, reading
from tests.server.test_process_engine import pay as pay_tool

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

RUNS = 300


async def test_three_hundred_runs_side_by_side_all_end_and_none_is_lost(tmp_path: Path, alice: Principal) -> None:
    fay = Principal(tenant="local", subject="fay", roles=frozenset({"finance"}))
    with anyio.fail_after(1_800):
        async with engine_house(tmp_path / "data") as house:
            house.tools["erp.pay"] = pay_tool
            house.answers["extract"] = lambda call: reading(900 if call.parameters["document"] == "small" else 5000)
            started = [
                await house.start(alice, INVOICE, {"document": "small" if number % 2 else "large"})
                for number in range(RUNS)
            ]
            for run in started[::2]:
                (task,) = await house.asked(alice, run)
                await house.control.answer(
                    fay, task.task_id, TaskAnswer(task_id=task.task_id, by=fay, decision="approve")
                )
            for run in started:
                assert (await house.finished(alice, run)).status == "completed"
                events = await house.store.events(alice, run.run_id)
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
                assert (await house.store.verify_audit(alice, run.run_id)).anchored
            assert len(await house.store.list(alice, RunFilter(limit=500))) == RUNS
