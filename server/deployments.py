"""Builds of the code side by side on one Temporal: which takes new runs, which still has runs pinned to it.

Temporal's worker deployments, with the house's rules: a run stays on the build that it began on and goes on with the
current one when it goes on in a new history (`engine.stage`); a run that only waits can be moved before that, once
its history has been replayed on the code that it moves to.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentInfo, WorkerDeploymentVersion
from temporalio.api.enums.v1 import RoutingConfigUpdateState, TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from engine.errors import Conflict, NotFound, Unavailable
from server.queues import WORKFLOWS, runner

KNOWN_S = 30.0
"""How long Temporal may take to know a build whose workers have just started; a development server takes 2 to 4 s."""

POLL_S = 1.0
"""How often is asked meanwhile: Temporal refuses whoever asks about a deployment several times a second."""

UPDATING = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS
_PREFIX = "WORKER_DEPLOYMENT_VERSION_STATUS_"


@dataclass(frozen=True)
class Build:
    """A build that Temporal knows. `status`: inactive, current, ramping, draining or drained.

    `percent` of the new runs go to it while it is ramping; `runs` are the open ones that it carries; `workers` are the
    processes that have asked for its work in the last minutes.
    """

    build: str
    status: str
    percent: float
    runs: int
    workers: int


@dataclass(frozen=True)
class Moved:
    """A run that was to be moved, by its workflow; `why` says why it stays where it is, and is empty where it goes."""

    workflow_id: str
    why: str


class Deployment:
    """The builds of one deployment, by name; `prefix` is that of the task queues."""

    def __init__(self, client: Client, name: str, prefix: str) -> None:
        """Keep what is needed; nothing is asked yet."""
        self._client = client
        self._name = name
        self._queue = f"{prefix}.engine"

    async def builds(self) -> list[Build]:
        """Return every build that Temporal knows, the newest first; none before the first versioned worker."""
        info, _ = await self._describe()
        if info is None:
            return []
        workers = await self._workers()
        routing = info.routing_config
        found: list[Build] = []
        for one in sorted(info.version_summaries, key=lambda one: one.create_time.ToNanoseconds(), reverse=True):
            build = one.deployment_version.build_id
            status = WorkerDeploymentVersionStatus.Name(one.status).removeprefix(_PREFIX).lower()
            ramps = build == routing.ramping_deployment_version.build_id
            percent = routing.ramping_version_percentage if ramps else 0.0
            count = await self._client.count_workflows(self._open(build))
            found.append(Build(build, status, percent, count.count, workers.get(build, 0)))
        return found

    async def make_current(self, build: str) -> None:
        """Have every new run begin on a build, and every run that begins a new history.

        Raises:
            NotFound: no worker of it has ever started.
            Conflict: Temporal refuses, as when no worker of it runs.
        """
        await self._known(build)
        await _once_its_workers_are_known(lambda: self._set_current(build, b""))
        await self._until_all_queues_know()

    async def ramp(self, build: str, percent: float) -> None:
        """Have a share of the new runs, 0 to 100, begin on a build; raises as `make_current`."""
        await self._known(build)
        request = SetWorkerDeploymentRampingVersionRequest(
            namespace=self._client.namespace, deployment_name=self._name, build_id=build, percentage=percent
        )
        service = self._client.workflow_service
        await _once_its_workers_are_known(
            lambda: _taken(build, service.set_worker_deployment_ramping_version(request, retry=True))
        )
        await self._until_all_queues_know()

    async def claim(self, build: str) -> bool:
        """Make a build current where none has ever been, so that a first start needs no command; tell whether it is.

        Raises:
            Conflict: Temporal did not know the build within `KNOWN_S`.
            Unavailable: Temporal can't be asked about deployments.
        """
        try:
            async with asyncio.timeout(KNOWN_S):
                while True:
                    info, token = await self._describe()
                    if info is not None and build in _names(info):
                        if _was_current(info):
                            return info.routing_config.current_deployment_version.build_id == build
                        with contextlib.suppress(Conflict):
                            # With the token of what was seen: of two that start at once, one is first.
                            await self._set_current(build, token)
                            await self._until_all_queues_know()
                            return True
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Conflict(
                f"build {build!r} could not be made the current one of {self._name!r} within {KNOWN_S:.0f} s; new runs "
                f"wait until a build is: upstairs deployment current {build}",
                build=build,
            ) from None

    async def move(self, source: str, target: str) -> AsyncGenerator[Moved]:
        """Give the open runs of one build to another, whose code must be this process's own: it replays each first.

        A run goes with its next task; one that waits keeps counting for its old build until it is woken. Runs whose
        history this code can't replay stay where they are.

        Raises:
            NotFound: one of the builds is not known.
        """
        await self._known(source)
        await self._known(target)
        replayer = Replayer(workflows=WORKFLOWS, data_converter=self._client.data_converter, workflow_runner=runner())
        async for found in self._client.list_workflows(self._open(source)):
            handle = self._client.get_workflow_handle(found.id, run_id=found.run_id)
            replayed = await replayer.replay_workflow(await handle.fetch_history(), raise_on_replay_failure=False)
            if replayed.replay_failure is not None:
                yield Moved(found.id, " ".join(str(replayed.replay_failure).split()))
                continue
            yield Moved(found.id, await self._send(found.id, found.run_id, target))

    async def _send(self, workflow_id: str, run_id: str, target: str) -> str:
        version = WorkerDeploymentVersion(deployment_name=self._name, build_id=target)
        # Once only: a lasting override would be inherited by the next history and hold the run there for ever.
        once = VersioningOverride(one_time=VersioningOverride.OneTimeOverride(target_deployment_version=version))
        request = UpdateWorkflowExecutionOptionsRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            workflow_execution_options=WorkflowExecutionOptions(versioning_override=once),
        )
        request.update_mask.paths.append("versioning_override")
        try:
            await self._client.workflow_service.update_workflow_execution_options(request, retry=True)
        except RPCError as error:
            return error.message
        return ""

    def _open(self, build: str) -> str:
        return f"TemporalWorkerDeploymentVersion = '{self._name}:{build}' AND ExecutionStatus = 'Running'"

    async def _known(self, build: str) -> None:
        info, _ = await self._describe()
        names = _names(info) if info is not None else []
        if build not in names:
            there = f"it knows {', '.join(names)}" if names else "it knows none"
            raise NotFound(
                f"Temporal knows no build {build!r} of deployment {self._name!r} ({there}); start a server or worker "
                f'with temporal.build = "{build}" first'
            )

    async def _describe(self) -> tuple[WorkerDeploymentInfo | None, bytes]:
        request = DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=self._name)
        try:
            found = await self._client.workflow_service.describe_worker_deployment(request, retry=True)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None, b""
            raise Unavailable(
                f"Temporal did not say which builds of {self._name!r} it knows ({error.message}); worker deployments "
                "need a server of 1.29.1 or later, and a namespace that this client may read"
            ) from error
        return found.worker_deployment_info, found.conflict_token

    async def _until_all_queues_know(self) -> None:
        """Return once a change of the routing has reached every queue, so that what comes next goes by it."""
        until = time.monotonic() + KNOWN_S
        info, _ = await self._describe()
        while info is not None and info.routing_config_update_state == UPDATING and time.monotonic() < until:
            await asyncio.sleep(POLL_S)
            info, _ = await self._describe()

    async def _set_current(self, build: str, token: bytes) -> None:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace, deployment_name=self._name, build_id=build, conflict_token=token
        )
        await _taken(build, self._client.workflow_service.set_worker_deployment_current_version(request, retry=True))

    async def _workers(self) -> dict[str, int]:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=self._queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        found = await self._client.workflow_service.describe_task_queue(request, retry=True)
        mine: dict[str, set[str]] = {}
        for poller in found.pollers:
            if poller.deployment_options.deployment_name == self._name:
                mine.setdefault(poller.deployment_options.build_id, set()).add(poller.identity)
        return {build: len(identities) for build, identities in mine.items()}


def _names(info: WorkerDeploymentInfo) -> list[str]:
    return [one.deployment_version.build_id for one in info.version_summaries]


def _was_current(info: WorkerDeploymentInfo) -> bool:
    """Tell whether any build has ever taken runs."""
    return any(one.HasField("first_activation_time") for one in info.version_summaries)


async def _taken(build: str, answer: Awaitable[object]) -> None:
    try:
        await answer
    except RPCError as error:
        problem = Conflict(f"Temporal did not take build {build!r}: {error.message}", build=build)
        problem.details["passing"] = error.status is RPCStatusCode.FAILED_PRECONDITION
        raise problem from error


async def _once_its_workers_are_known(send: Callable[[], Awaitable[None]]) -> None:
    """Send until it is taken: Temporal hears of the queues of a worker that has just started one after the other."""
    until = time.monotonic() + KNOWN_S
    while True:
        try:
            return await send()
        except Conflict as problem:
            if not problem.details["passing"] or time.monotonic() > until:
                raise
        await asyncio.sleep(POLL_S)
