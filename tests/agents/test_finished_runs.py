"""What still arrives for a run that has ended changes nothing, whichever way it comes."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from engine.errors import Conflict, Problem
from engine.ports import ChildNews, Control, ControlAction, Say, TaskAnswer
from engine.values import Budget, Principal
from tests.server.agent_house import AgentHouse

pytestmark = pytest.mark.anyio

VERBS: dict[ControlAction, dict[str, Any]] = {
    "stop": {},
    "cancel": {},
    "pause": {},
    "resume": {},
    "checkpoint": {},
    "approval": {"approval": "full"},
    "model": {"model": "scripted/echo"},
    "budget": {"budget": Budget(turns=3)},
}


async def test_messages_verbs_answers_and_signals_to_a_finished_run_are_refused_and_leave_it_as_it_is(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.finished(await house.start(alice, house.talk("done"), budget=Budget(turns=2)))
    control, handle = house.platform.control, house.handle(run)
    before, audit = await house.events(run), await house.platform.runs.audit(alice, run.run_id)

    with pytest.raises(Conflict, match="is completed already; start a new one"):
        await house.say(run, "one more thing", "late")
    for action, given in VERBS.items():
        with pytest.raises(Problem, match="already"):
            await control.control(alice, run.run_id, Control(action=action, by=alice, **given))
    # What comes past our own door finds no workflow that would take it.
    answer = TaskAnswer(task_id="task_none", by=alice, decision="allow")
    sent: list[Callable[[], Awaitable[Any]]] = [
        lambda: handle.signal("TriggerCheckpoint", alice),
        lambda: handle.signal("child_changed", ChildNews(run_id="run_none", status="completed")),
        lambda: handle.execute_update("answer", answer),
        lambda: handle.execute_update("send_message", Say(by=alice, text="late", key="later")),
    ]
    for send in sent:
        with pytest.raises((RPCError, WorkflowUpdateFailedError)) as refused:
            await send()
        if isinstance(refused.value, RPCError):
            assert refused.value.status is RPCStatusCode.NOT_FOUND
    assert await house.platform.runs.load(run.ref) == run
    assert await house.events(run) == before
    assert await house.platform.runs.audit(alice, run.run_id) == audit
