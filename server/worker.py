"""The workers of one process: one per kind of queue, over the activities of the platform."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from engine import ports
from engine.errors import Problem
from server.deployments import Deployment
from server.platform import Platform
from server.queues import SLOTS, WORKFLOWS, queues, runner
from server.settings import TemporalSettings

log = logging.getLogger(__name__)

STUBS = [stub for stub in vars(ports).values() if isinstance(stub, ports.Activity)]


@asynccontextmanager
async def workers(platform: Platform) -> AsyncGenerator[None]:
    """Run the workers of all queues while the block runs; leaving it lets what is under way finish for a moment."""
    by_name = {activity.__name__: activity for activity in platform.activities()}
    temporal = platform.settings.temporal
    async with AsyncExitStack() as stack:
        for queue, kind in queues(temporal.task_queue_prefix).items():
            mine = [by_name[stub.name] for stub in STUBS if stub.queue == kind]
            await stack.enter_async_context(
                Worker(
                    platform.client,
                    task_queue=queue,
                    workflows=WORKFLOWS if kind == "engine" else [],
                    activities=mine,
                    workflow_runner=runner(),
                    deployment_config=_versioned(temporal),
                    max_concurrent_activities=SLOTS[kind],
                    max_heartbeat_throttle_interval=timedelta(milliseconds=500),
                    default_heartbeat_throttle_interval=timedelta(milliseconds=500),
                    graceful_shutdown_timeout=timedelta(seconds=2),
                )
            )
        if temporal.build is not None:
            await _claim(platform, temporal.build)
        yield


def _versioned(temporal: TemporalSettings) -> WorkerDeploymentConfig | None:
    """Return how the workers of a build are told from those of others; None where there is only one of them."""
    if temporal.build is None:
        return None
    version = WorkerDeploymentVersion(deployment_name=temporal.deployment, build_id=temporal.build)
    # By default and not on the workflows: those would be refused by a worker without a build, in silence.
    return WorkerDeploymentConfig(version, True, VersioningBehavior.PINNED)


async def _claim(platform: Platform, build: str) -> None:
    temporal = platform.settings.temporal
    try:
        current = await Deployment(platform.client, temporal.deployment, temporal.task_queue_prefix).claim(build)
    except Problem as problem:
        log.warning("%s", problem.message)
        return
    text = "takes new runs" if current else "takes no new runs before: upstairs deployment current"
    log.info("build %s of %s works and %s", build, temporal.deployment, text)
