"""Calling activities for a node: time limits and retries from the definition, failures as kinds it can match."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as TimeLimit

from engine.process.definition import NodeBase, parse_duration
from engine.process.run.frame import Conduct, NodeFailed

Result = TypeVar("Result")

DEFAULT_TIMEOUT = timedelta(minutes=10)


def timeout_of(node: NodeBase, conduct: Conduct) -> timedelta:
    """Return how long one attempt of a node may take: its own, the process's default, or ten minutes."""
    text = node.timeout or conduct.definition.defaults.timeout
    return parse_duration(text) if text else DEFAULT_TIMEOUT


def retry_of(node: NodeBase, conduct: Conduct) -> RetryPolicy:
    """Return how a failed attempt is repeated; three attempts where nothing is said."""
    wanted = node.retry or conduct.definition.defaults.retry
    if wanted is None:
        return RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
    return RetryPolicy(
        initial_interval=parse_duration(wanted.initial_interval),
        backoff_coefficient=wanted.backoff,
        maximum_interval=parse_duration(wanted.max_interval) if wanted.max_interval else None,
        maximum_attempts=wanted.max_attempts,
        non_retryable_error_types=list(wanted.not_on),
    )


async def attempt(work: Awaitable[Result]) -> Result:
    """Await an activity or child; turn its failure into a kind that `on_error` can match."""
    try:
        return await work
    except (ActivityError, ChildWorkflowError) as error:
        if is_cancelled_exception(error):
            raise
        raise _failure(error) from error


def _failure(error: ActivityError | ChildWorkflowError) -> NodeFailed:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ApplicationError | TimeLimit):
        cause = cause.__cause__
    if isinstance(cause, TimeLimit):
        return NodeFailed("timeout", "the node took longer than its time limit")
    if isinstance(cause, ApplicationError):
        return NodeFailed(cause.type or "error", cause.message)
    return NodeFailed("error", str(error))
