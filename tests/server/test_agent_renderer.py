"""A run keeps the renderer it started with: the bytes that a provider has seen are written the same for ever."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from engine.ports import AgentPlan, TurnMade, TurnOrder
from engine.runs import Event, StartedWorkflow
from engine.values import Principal
from server.activities.transcripts import PLAN, Transcript
from tests.server.agent_house import LEARN, AgentHouse, agent_house, start_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[AgentHouse, None]:
    async with agent_house(tmp_path) as made:
        yield made


async def test_a_run_goes_on_with_its_renderer_after_the_house_has_a_newer_one(
    house: AgentHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = house.talk(LEARN, "done")
    run, _ = await house.platform.runs.create(alice, start_of(talk.route, None, None))
    activities: dict[str, Any] = {activity.__name__: activity for activity in house.platform.activities()}
    environment = ActivityEnvironment()
    plan: AgentPlan = await environment.run(activities["plan_agent"], StartedWorkflow(run=run.ref, principal=alice))
    (planned,) = await house.platform.runs.log(run.ref, types=(PLAN,))
    assert planned.data["renderer"] == 1
    monkeypatch.setattr("server.activities.agent.RENDERER", 2)
    monkeypatch.setattr("providers.wire.RENDERERS", frozenset({1, 2}))
    again: AgentPlan = await environment.run(activities["plan_agent"], StartedWorkflow(run=run.ref, principal=alice))
    order = TurnOrder(run=run.ref, principal=alice, turn=1, route=again.route)
    made: TurnMade = await environment.run(activities["model_turn"], order)
    assert (again, made.calls[0].tool) == (plan, "learn_desk")
    assert [request.renderer for request in talk.requests] == [1]


async def test_a_run_that_starts_later_has_the_newer_one(
    house: AgentHouse, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.activities.agent.RENDERER", 2)
    monkeypatch.setattr("providers.wire.RENDERERS", frozenset({1, 2}))
    talk = house.talk("done")
    run, _ = await house.platform.runs.create(alice, start_of(talk.route, None, None))
    activities: dict[str, Any] = {activity.__name__: activity for activity in house.platform.activities()}
    environment = ActivityEnvironment()
    plan: AgentPlan = await environment.run(activities["plan_agent"], StartedWorkflow(run=run.ref, principal=alice))
    await environment.run(activities["model_turn"], TurnOrder(run=run.ref, principal=alice, turn=1, route=plan.route))
    assert [request.renderer for request in talk.requests] == [2]


def test_a_run_from_before_renderers_were_written_down_has_the_first() -> None:
    transcript = Transcript()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    transcript.extend([Event(run_id="run_1", seq=1, key=PLAN, type=PLAN, at=moment, data={"tools": []})])
    assert transcript.renderer == 1
