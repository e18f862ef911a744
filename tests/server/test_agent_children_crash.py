"""A worker that is killed while subagents are at work, and runs that end without saying so."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from engine.ports import RunFilter
from engine.runs import Run
from engine.values import Principal
from server import control
from tests.server.agent_house import PATIENCE_S, SKILLS, AgentHouse, Held, Talk, agent_house, call, calling, check_log
from tests.server.test_agent_engine_crash import lines, until_lines, worker

pytestmark = pytest.mark.anyio

TOOLS = ("launch_subagent", "wait_subagents")


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncGenerator[AgentHouse]:
    """A house without workers of its own."""
    async with agent_house(tmp_path / "data", working=False) as house:
        yield house


async def children(house: AgentHouse, run: Run) -> list[Run]:
    return list(await house.platform.runs.list(run.principal, RunFilter(parent_id=run.run_id)))


async def test_a_killed_worker_doubles_no_subagent_and_the_run_ends_as_it_would_have(
    alone: AgentHouse, alice: Principal, tmp_path: Path
) -> None:
    data, place = tmp_path / "data", tmp_path / "place"
    place.mkdir()
    (data / "upstairs.toml").write_text(
        f"skills = {json.dumps([str(SKILLS)])}\n"
        '[models]\ndefault = "scripted/chief"\nscripts = ["tests.server.agent_script"]\n'
    )
    run = await alone.start(alice, Talk((), "chief"), tools=TOOLS)
    with worker(data, place):
        await until_lines(place / "asked", 2)
        await alone.until(run, lambda now: now.waits_for.startswith("subagents"))
    (place / "gate").touch()
    with worker(data, place):
        ended = await alone.finished(run)
    assert (ended.status, ended.result) == ("completed", "north: waited for it, south: waited for it"), ended.error
    below = await children(alone, run)
    assert sorted(one.title.partition(":")[0] for one in below) == ["north", "south"]
    assert [one.status for one in below] == ["completed", "completed"]
    # The calls of the models that were cut are made again; the turns stand once, and are counted once.
    assert len(lines(place / "asked")) == 4
    assert ended.spent.turns == 5
    for one in (ended, *below):
        check_log(await alone.events(one))
    kinds = [event.type for event in await alone.events(run) if event.type.startswith("subagent.")]
    assert sorted(kinds) == ["subagent.finished"] * 2 + ["subagent.started"] * 2


async def test_a_subagent_whose_workflow_is_lost_is_told_to_its_parent_by_the_reconciler(
    tmp_path: Path, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SETTLED_AFTER", timedelta(0))
    async with agent_house(tmp_path / "data") as house:
        held = Held("never said")
        wait = calling(call("wait_subagents"))
        launch = calling(call("launch_subagent", {"task": "x", "name": "lost", "model": house.talk(held).route}))
        parent = house.talk(launch, wait, "it was lost")
        run = await house.start(alice, parent, tools=TOOLS)
        await held.reached()
        await house.until(run, lambda now: now.waits_for == "subagents: lost")
        (child,) = await children(house, run)
        await house.handle(child).terminate("by the test")
        with anyio.fail_after(PATIENCE_S):
            while child.run_id not in await house.platform.control.reconcile():
                await anyio.sleep(0.05)
        ended = await house.finished(run)
        assert (ended.status, ended.result) == ("completed", "it was lost"), ended.error
        (finished,) = await house.events(run, "subagent.finished")
        assert finished.data["status"] == "failed"
        assert "terminated" in str(finished.data["error"])


async def test_when_the_workflow_of_an_agent_is_lost_its_subagents_are_cancelled_by_the_reconciler(
    tmp_path: Path, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SETTLED_AFTER", timedelta(0))
    async with agent_house(tmp_path / "data") as house:
        held = Held("never said")
        launch = calling(call("launch_subagent", {"task": "x", "name": "left", "model": house.talk(held).route}))
        run = await house.start(alice, house.talk(launch, calling(call("wait_subagents"))), tools=TOOLS)
        await held.reached()
        await house.until(run, lambda now: now.waits_for == "subagents: left")
        (child,) = await children(house, run)
        await house.handle(run).terminate("by the test")
        with anyio.fail_after(PATIENCE_S):
            while run.run_id not in await house.platform.control.reconcile():
                await anyio.sleep(0.05)
        ended = await house.finished(child)
        assert ended.status == "cancelled"
        assert "the agent that started it was lost" in str(ended.error)
