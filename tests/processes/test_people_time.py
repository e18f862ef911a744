"""Seats and time: reminders, escalations, deadlines, and answers that come days and a deploy later."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from engine.errors import Conflict, Denied
from engine.runs import Event, Run
from engine.values import Principal
from server.queues import WORKFLOWS, runner
from tests.processes.seats import move, outcome, person, say, seat
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

FAY, BO, CY = person("fay"), person("bo", "cfo"), person("cy")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def events(house: EngineHouse, run: Run, kind: str) -> list[Event]:
    """Return the events of one type."""
    return list(await house.store.events(run.principal, run.run_id, types=(kind,)))


async def until(house: EngineHouse, run: Run, kind: str, count: int) -> list[Event]:
    """Wait until there are `count` events of a type."""
    seen = 0
    while len(found := await events(house, run, kind)) < count:
        now = await house.store.wait(run.principal, run.run_id, after=seen, timeout_s=10)
        assert not now.finished, f"the run ended as {now.status}: {now.error}"
        seen = now.events
    return found


async def test_those_in_the_seat_are_reminded_until_somebody_decides(skipping: EngineHouse, alice: Principal) -> None:
    run = await skipping.start(alice, seat("seat: {roles: [finance]}", "deadline: P5D", "remind_every: P1D"))
    (task,) = await skipping.asked(alice, run)
    await skipping.pass_time(2 * DAY + HOUR)
    first, second = await until(skipping, run, "task.reminded", 2)
    assert (first.data["number"], second.data["number"]) == (1, 2)
    assert (first.data["task_id"], first.data["title"]) == (task.task_id, "Pay 100?")
    assert isinstance(first.data["seat"], dict)
    assert first.data["seat"]["roles"] == ["finance"]
    await say(skipping, FAY, task, "approve")
    await skipping.finished(alice, run)
    await skipping.pass_time(3 * DAY)
    assert len(await events(skipping, run, "task.reminded")) == 2
    audit = await skipping.store.audit(alice, run.run_id)
    assert [one.actor for one in audit if one.action == "task.reminded"] == ["engine", "engine"]


async def test_others_are_let_in_rung_by_rung_and_a_claim_does_not_keep_them_out(
    skipping: EngineHouse, alice: Principal
) -> None:
    ladder = "escalate: [{after: P1D, to: {roles: [cfo]}}, {after: P2D, to: {users: [cy]}}]"
    run = await skipping.start(alice, seat("seat: {users: [fay]}", "deadline: P5D", ladder))
    (task,) = await skipping.asked(alice, run)
    await move(skipping, FAY, task, "claim")
    with pytest.raises(Denied, match="bo does not hold the seat"):
        await say(skipping, BO, task, "approve")
    await skipping.pass_time(DAY + HOUR)
    await until(skipping, run, "task.moved", 2)
    now = await skipping.store.task(alice, task.task_id)
    assert (now.seat.users, now.seat.roles, now.claimed_by) == (("fay",), ("cfo",), None)
    await skipping.pass_time(DAY)
    await until(skipping, run, "task.moved", 3)
    assert (await skipping.store.task(alice, task.task_id)).seat.users == ("fay", "cy")
    await say(skipping, BO, task, "approve")
    assert outcome((await skipping.finished(alice, run)).result) == "paid"


async def test_a_quorum_out_of_reach_waits_for_the_escalation_that_may_still_let_others_in(
    skipping: EngineHouse, alice: Principal
) -> None:
    ladder = "escalate: [{after: P1D, to: {users: [cy]}}]"
    run = await skipping.start(alice, seat("seat: {users: [fay, bo]}", "quorum: 2", "deadline: P5D", ladder))
    (task,) = await skipping.asked(alice, run)
    await say(skipping, FAY, task, "approve")
    await say(skipping, BO, task, "reject")
    assert (await skipping.store.task(alice, task.task_id)).status == "open"
    await skipping.pass_time(DAY + HOUR)
    await until(skipping, run, "task.moved", 1)
    await say(skipping, CY, task, "approve")
    assert outcome((await skipping.finished(alice, run)).result) == "paid"


async def test_a_decision_after_the_deadline_is_told_so_and_changes_nothing(
    skipping: EngineHouse, alice: Principal
) -> None:
    run = await skipping.start(alice, seat("seat: {roles: [finance]}", "quorum: 2", "deadline: P2D"))
    (task,) = await skipping.asked(alice, run)
    await say(skipping, FAY, task, "approve")
    await skipping.pass_time(2 * DAY + HOUR)
    assert outcome((await skipping.finished(alice, run)).result) == "late"
    with pytest.raises(Conflict, match="is expired; it takes no answer any more"):
        await say(skipping, CY, task, "approve")


async def test_an_answer_days_later_lands_in_a_history_that_new_code_replays(
    skipping: EngineHouse, alice: Principal
) -> None:
    run = await skipping.start(alice, seat("seat: {roles: [finance]}", "deadline: P5D", "remind_every: P1D"))
    (task,) = await skipping.asked(alice, run)
    await skipping.pass_time(2 * DAY + HOUR)
    await move(skipping, FAY, task, "claim")
    await say(skipping, FAY, task, "approve", amount=60)
    assert (await skipping.finished(alice, run)).result == {"outcome": "paid", "output": 60}
    history: WorkflowHistory = await skipping.client.get_workflow_handle(run.ref.workflow_id).fetch_history()
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=skipping.client.data_converter,
        workflow_runner=runner(),
    )
    replayed = await replayer.replay_workflow(history)
    assert replayed.replay_failure is None
