"""The workers of one process: one per kind of queue, over the activities of the platform."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from engine import ports
from server.platform import Platform
from server.queues import SLOTS, WORKFLOWS, queues

STUBS = [stub for stub in vars(ports).values() if isinstance(stub, ports.Activity)]


@asynccontextmanager
async def workers(platform: Platform) -> AsyncGenerator[None]:
    """Run the workers of all queues while the block runs; leaving it lets what is under way finish for a moment."""
    by_name = {activity.__name__: activity for activity in platform.activities()}
    async with AsyncExitStack() as stack:
        for queue, kind in queues(platform.settings.temporal.task_queue_prefix).items():
            mine = [by_name[stub.name] for stub in STUBS if stub.queue == kind]
            await stack.enter_async_context(
                Worker(
                    platform.client,
                    task_queue=queue,
                    workflows=WORKFLOWS if kind == "engine" else [],
                    activities=mine,
                    workflow_runner=SandboxedWorkflowRunner(
                        restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
                    ),
                    max_concurrent_activities=SLOTS[kind],
                    max_heartbeat_throttle_interval=timedelta(milliseconds=500),
                    default_heartbeat_throttle_interval=timedelta(milliseconds=500),
                    graceful_shutdown_timeout=timedelta(seconds=2),
                )
            )
        yield
