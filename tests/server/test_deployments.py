"""Builds side by side on a real Temporal: runs stay where they began, go on with a new one, and can be moved there."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from temporalio import workflow
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker, WorkerDeploymentConfig

from engine.errors import Conflict, NotFound, Unavailable
from engine.runs import Run, StartRun
from engine.values import Principal, new_id
from providers.scripted import answer
from server.commands.diagnosis import Check, build_check, examine
from server.data_folder import DataFolder, open_data_folder
from server.deployments import Build, Deployment, Moved
from server.platform import open_platform
from server.queues import runner
from server.settings import Settings, TemporalSettings
from server.settings_sources import Loaded
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from tests.server.agent_house import LEARN, PATIENCE_S, AgentHouse, Held, settings_of

pytestmark = pytest.mark.anyio

OWNER = Principal(tenant="local", subject="owner", roles=frozenset({"administrator"}))
FAY = Principal(tenant="local", subject="fay", roles=frozenset({"finance", "operator"}))

TWO_QUESTIONS = """
format: 1
process: two_questions
title: Ask twice
input: {type: object, properties: {invoice: {type: string}}, required: [invoice]}
context: {schema: {type: object, properties: {invoice: {type: string}, first: {type: object}, second: {type: object}}}}
start: first
nodes:
  first:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Pay {{invoice}}?"}
    decisions: [pay, drop]
    deadline: P5D
    on_timeout: {to: late}
    writes: [first]
    next: [{to: second}]
  second:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Really pay {{invoice}}?"}
    decisions: [pay, drop]
    deadline: P5D
    on_timeout: {to: late}
    writes: [second]
    next: [{to: paid}]
  paid: {type: end, outcome: paid, output: {var: invoice}}
  late: {type: end, outcome: late}
"""


@dataclass
class Builds:
    """A house of one deployment, with workers of builds that come and go."""

    house: AgentHouse
    deployment: Deployment
    running: dict[str, AsyncExitStack] = field(default_factory=lambda: {})

    @property
    def temporal(self) -> TemporalSettings:
        """The settings of the house."""
        return self.house.platform.settings.temporal

    async def start(self, build: str) -> None:
        """Start the workers of a build."""
        platform = self.house.platform
        temporal = self.temporal.model_copy(update={"build": build})
        stack = self.running[build] = AsyncExitStack()
        settings = platform.settings.model_copy(update={"temporal": temporal})
        await stack.enter_async_context(workers(replace(platform, settings=settings)))

    async def stop(self, build: str) -> None:
        """Stop the workers of a build."""
        await self.running.pop(build).aclose()

    async def ask(self, invoice: str) -> Run:
        """Start a run that asks twice, and return it when it waits for its first answer."""
        start = StartRun(kind="process", definition="two_questions", version="1", input={"invoice": invoice})
        run = await self.house.platform.control.start(FAY, start)
        await self.house.asked(run)
        return run

    async def pay(self, run: Run) -> None:
        """Answer what a run asks, once it asks."""
        (task,) = await self.house.asked(run)
        await self.house.decide(FAY, task, "pay")

    async def histories(self, run: Run) -> list[str]:
        """Return the build that has carried each history of a run, the one that carried its last task."""
        return [
            [
                event.workflow_task_completed_event_attributes.deployment_version.build_id
                for event in history.events
                if event.HasField("workflow_task_completed_event_attributes")
            ][-1]
            for history in await self.house.histories(run)
        ]

    async def status(self) -> dict[str, str]:
        """Return the status of each build."""
        return {one.build: one.status for one in await self.deployment.builds()}


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[tuple[DataFolder, TemporalSettings]]:
    """A Temporal that the houses know by its address alone."""
    root = tmp_path_factory.mktemp("cluster") / "data"
    folder = open_data_folder(root)
    async with EmbeddedTemporal(settings_of(root).temporal, folder) as temporal:
        async with open_platform(settings_of(root), folder) as platform:
            await platform.definitions.put_draft(OWNER, "two_questions", TWO_QUESTIONS)
            await platform.definitions.publish(OWNER, "two_questions")
        yield folder, TemporalSettings(mode="external", address=temporal.address, namespace="upstairs")


@pytest.fixture
async def builds(cluster: tuple[DataFolder, TemporalSettings]) -> AsyncGenerator[Builds]:
    async with opened(*cluster) as found:
        yield found


@asynccontextmanager
async def opened(folder: DataFolder, external: TemporalSettings) -> AsyncGenerator[Builds]:
    """Give a house with a deployment and queues of its own."""
    name = new_id("dep").replace("_", "-")
    temporal = external.model_copy(update={"deployment": name, "task_queue_prefix": name})
    settings = settings_of(folder.root).model_copy(update={"temporal": temporal})
    async with open_platform(settings, folder) as platform:
        found = Builds(AgentHouse(platform), Deployment(platform.client, name, name))
        try:
            yield found
        finally:
            for running in found.running.values():
                await running.aclose()


async def test_the_first_build_takes_new_runs_by_itself_and_a_second_only_when_it_is_made_current(
    builds: Builds,
) -> None:
    assert await builds.deployment.builds() == []
    await builds.start("one")
    await builds.start("two")
    assert await builds.status() == {"one": "current", "two": "inactive"}
    old = await builds.ask("ni-1")
    await builds.deployment.make_current("two")
    new = await builds.ask("ni-2")
    assert await builds.histories(old) == ["one"]
    assert await builds.histories(new) == ["two"]
    found = {one.build: (one.status, one.runs, one.workers) for one in await builds.deployment.builds()}
    assert found == {"two": ("current", 1, 1), "one": ("draining", 1, 1)}
    # What a build that was current before says again at its next start changes nothing.
    assert await builds.deployment.claim("one") is False
    assert (await builds.status())["two"] == "current"


async def test_a_process_goes_on_with_the_current_build_at_its_next_node_and_loses_nothing(builds: Builds) -> None:
    await builds.start("one")
    run = await builds.ask("ni-3")
    await builds.start("two")
    await builds.deployment.make_current("two")
    await builds.pay(run)
    await builds.house.asked(run)
    assert await builds.histories(run) == ["one", "two"]
    await builds.stop("one")
    await builds.pay(run)
    ended = await builds.house.finished(run)
    assert (ended.status, ended.result) == ("completed", {"outcome": "paid", "output": "ni-3"})
    ended_nodes = [event.data["node"] for event in await builds.house.events(run, "node.finished")]
    assert ended_nodes == ["first", "second", "paid"]


async def test_an_agent_goes_on_with_the_current_build_between_two_turns(builds: Builds, alice: Principal) -> None:
    held = Held(LEARN)
    talk = builds.house.talk(held, answer("done"))
    await builds.start("one")
    run = await builds.house.start(alice, talk)
    await held.reached()
    await builds.start("two")
    await builds.deployment.make_current("two")
    held.released.set()
    ended = await builds.house.finished(run)
    assert (ended.status, ended.spent.turns) == ("completed", 2)
    assert await builds.histories(run) == ["one", "two"]
    assert [request.messages[0] for request in talk.requests[:1]] == [talk.requests[1].messages[0]]


async def test_a_waiting_run_is_moved_once_its_history_was_replayed_and_the_old_workers_can_go(builds: Builds) -> None:
    await builds.start("one")
    run = await builds.ask("ni-4")
    await builds.start("two")
    await builds.deployment.make_current("two")
    moved = [one async for one in builds.deployment.move("one", "two")]
    assert moved == [Moved(run.ref.workflow_id, "")]
    await builds.stop("one")
    await builds.pay(run)
    await builds.pay(run)
    ended = await builds.house.finished(run)
    assert (ended.status, ended.result) == ("completed", {"outcome": "paid", "output": "ni-4"})
    assert await builds.histories(run) == ["two"]


async def test_a_run_that_this_code_would_carry_on_otherwise_stays_where_it_is(builds: Builds) -> None:
    name, client = builds.temporal.deployment, builds.house.platform.client
    config = WorkerDeploymentConfig(WorkerDeploymentVersion(name, "old"), True, VersioningBehavior.PINNED)
    old = Worker(
        client, task_queue=f"{name}.engine", workflows=[Older], workflow_runner=runner(), deployment_config=config
    )
    async with old:
        assert await builds.deployment.claim("old")
        await builds.start("new")
        run = await builds.house.platform.control.start(
            FAY, StartRun(kind="process", definition="two_questions", version="1", input={"invoice": "ni-5"})
        )
        with anyio.fail_after(PATIENCE_S):
            await builds.house.handle(run).execute_update("began")
        [stays] = [one async for one in builds.deployment.move("old", "new")]
    assert stays.workflow_id == run.ref.workflow_id
    assert "ondeterminism" in stays.why


@workflow.defn(name="ProcessWorkflow")
class Older:
    """Code of another time: what it has begun with, the code of today does not begin with."""

    def __init__(self) -> None:
        self._began = False

    @workflow.run
    async def run(self, _: Any) -> None:
        """Set a timer, then wait for ever."""
        await asyncio.sleep(0.01)
        self._began = True
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def began(self) -> None:
        """Return when the timer is over."""
        await workflow.wait_condition(lambda: self._began)


async def test_new_runs_are_shared_out_while_a_build_ramps(builds: Builds) -> None:
    await builds.start("one")
    await builds.start("two")
    await builds.deployment.ramp("two", 100)
    [ramping] = [one for one in await builds.deployment.builds() if one.build == "two"]
    assert (ramping.status, ramping.percent) == ("ramping", 100)
    assert await builds.histories(await builds.ask("ni-6")) == ["two"]


async def test_of_two_builds_that_start_at_once_one_is_current(builds: Builds) -> None:
    async with asyncio.TaskGroup() as group:
        for build in ("one", "two"):
            group.create_task(builds.start(build))
    assert sorted((await builds.status()).values()) == ["current", "inactive"]


async def test_a_build_without_any_worker_is_refused_with_what_to_do(builds: Builds) -> None:
    with pytest.raises(NotFound, match=r'it knows none.*temporal.build = "three"'):
        await builds.deployment.make_current("three")
    await builds.start("one")
    with pytest.raises(NotFound, match="it knows one"):
        await builds.deployment.ramp("three", 10)
    with pytest.raises(NotFound, match="'three'"):
        _ = [one async for one in builds.deployment.move("three", "one")]


async def test_a_temporal_without_deployments_is_named_and_the_workers_start_all_the_same(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise RPCError("unknown method DescribeWorkerDeployment", RPCStatusCode.UNIMPLEMENTED, b"")

    service = builds.house.platform.client.workflow_service
    monkeypatch.setattr(service, "describe_worker_deployment", unknown)
    with pytest.raises(Unavailable, match=r"unknown method DescribeWorkerDeployment.*1\.29\.1"):
        await builds.deployment.builds()
    await builds.start("one")


async def test_a_share_out_of_range_is_temporals_to_refuse(builds: Builds) -> None:
    await builds.start("one")
    await builds.start("two")
    with pytest.raises(Conflict, match="did not take build 'two'"):
        await builds.deployment.ramp("two", 101)


async def test_the_command_lists_switches_ramps_and_moves(builds: Builds, tmp_path: Path) -> None:
    await builds.start("one")
    run = await builds.ask("ni-7")
    await builds.start("two")
    temporal = builds.temporal
    config = tmp_path / "upstairs.toml"
    lines = ["[temporal]", 'mode = "external"', 'build = "two"']
    lines += [f"{key} = {json.dumps(getattr(temporal, key))}" for key in ("address", "namespace", "deployment")]
    config.write_text("\n".join([*lines, f"task_queue_prefix = {json.dumps(temporal.task_queue_prefix)}", ""]))
    data = builds.house.platform.folder.root

    async def command(*arguments: str) -> tuple[int, str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UPSTAIRS_")}
        whole = [sys.executable, "-P", "-m", "server.cli", *arguments]
        process = await asyncio.create_subprocess_exec(
            *whole,
            *("--data", str(data), "--config", str(config)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode or 0, out.decode().strip(), err.decode().strip()

    code, out, _ = await command("deployment", "list")
    assert (code, out.splitlines()[-1]) == (0, "one: current, 1 open runs, 1 worker")
    assert (await command("deployment", "ramp", "two", "25"))[:2] == (0, "25 % of new runs begin on two")
    assert "two: ramping (25 %), 0 open runs, 1 worker" in (await command("deployment", "list"))[1]
    assert (await command("deployment", "current", "two"))[:2] == (0, "new runs begin on two")
    assert (await command("deployment", "move", "one"))[:2] == (0, f"{run.ref.workflow_id} goes to two")
    code, _, error = await command("deployment", "move", "two")
    assert (code, "is the build of this code" in error) == (1, True)


async def test_the_doctor_says_which_build_takes_new_runs(builds: Builds) -> None:
    settings = builds.house.platform.settings

    async def check() -> Check:
        mine = settings.model_copy(update={"temporal": builds.temporal.model_copy(update={"build": "two"})})
        [found] = [one async for one in examine(Loaded(mine, {}, None)) if one.name == "builds"]
        return found

    assert (await check()).text == "two is not started yet; no build takes new runs: upstairs deployment current"
    await builds.start("one")
    await builds.ask("ni-8")
    await builds.start("two")
    assert await check() == Check("builds", "ok", "two is inactive")
    await builds.deployment.make_current("two")
    assert await check() == Check("builds", "ok", "two is current")


def test_the_doctor_names_the_builds_whose_runs_nobody_carries() -> None:
    builds = [Build("two", "current", 0, 3, 1), Build("one", "draining", 0, 2, 0), Build("zero", "drained", 0, 0, 0)]
    found = build_check(builds, "two")
    assert (found.state, found.text.partition(" and ")[0]) == ("missing", "2 open runs on one")


def test_a_build_needs_a_temporal_that_other_builds_share() -> None:
    with pytest.raises(ValueError, match="build needs mode"):
        Settings(temporal=TemporalSettings(build="one"))
