"""Histories of released code replay on this code: a run that waits for days is carried on by whatever runs then."""

import json
from collections import Counter
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowReplayResult

from server.queues import WORKFLOWS, runner
from tests.histories.record import PLAIN, RECORDED, read
from tests.processes.time_house import FOLDER

pytestmark = pytest.mark.anyio

FILES = sorted(RECORDED.glob("*.gz"))


async def replay(history: WorkflowHistory) -> WorkflowReplayResult:
    replayer = Replayer(workflows=WORKFLOWS, data_converter=PLAIN, workflow_runner=runner())
    return await replayer.replay_workflow(history, raise_on_replay_failure=False)


def kinds(history: WorkflowHistory) -> Counter[str]:
    return Counter(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events)


def test_there_is_a_history_of_every_example_of_an_agent_and_of_a_run_that_was_undone() -> None:
    names = {file.name.removesuffix(".gz") for file in FILES}
    examples = {path.stem for path in (FOLDER / "processes").glob("*.yaml")}
    assert {f"{name}_done.process" for name in examples} <= names
    assert any(name.endswith("_undone.process") for name in names)
    assert any(name.endswith(".agent") for name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".gz"))
async def test_a_recorded_history_has_activities_and_replays(file: Path) -> None:
    history = read(file)
    found = kinds(history)
    assert found["ACTIVITY_TASK_SCHEDULED"] >= 3
    assert found["ACTIVITY_TASK_COMPLETED"] >= 3
    assert found["WORKFLOW_EXECUTION_COMPLETED"] + found["WORKFLOW_EXECUTION_FAILED"] == 1
    assert (await replay(history)).replay_failure is None


async def test_code_that_would_have_done_something_else_does_not_replay() -> None:
    told = json.loads(read(FILES[0]).to_json())
    scheduled = [event for event in told["events"] if "activityTaskScheduledEventAttributes" in event]
    scheduled[-1]["activityTaskScheduledEventAttributes"]["activityType"]["name"] = "something_else"
    result = await replay(WorkflowHistory.from_json("changed", json.dumps(told)))
    assert result.replay_failure is not None
    assert "something_else" in str(result.replay_failure)
