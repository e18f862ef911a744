"""What the parts of an agent run share inside its workflow: who and which run, its memory, its stop, its record."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from engine import stage
from engine.agent.state import AgentState
from engine.people import People
from engine.ports import AgentPlan, apply_change
from engine.runs import AuditDraft, Change, RunRef, RunStatus
from engine.values import Budget, Principal

Result = TypeVar("Result")


class Stopped(Exception):  # it is an outcome of the loop, not a failure
    """The run is to end now: `status`, why, and who wants it (None: the engine)."""

    def __init__(self, status: RunStatus, reason: str, by: str | None = None) -> None:
        super().__init__(reason)
        self.status: RunStatus = status
        self.reason = reason
        self.by = by


@dataclass
class Conduct:
    """One agent run under way. `planned` is None until its plan is made, `stop` until it is to end.

    `spending` is held while something beside the turns takes of the budget, so that each sees what the others left.
    """

    run: RunRef
    principal: Principal
    people: People
    state: AgentState
    budget: Budget
    planned: AgentPlan | None = None
    stop: Stopped | None = None
    ending: bool = False
    spending: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def plan(self) -> AgentPlan:
        """What was fixed at the start."""
        assert self.planned is not None
        return self.planned

    def remember(self, **fields: Any) -> None:
        """Set fields of the memory that travels through continue-as-new."""
        self.state = self.state.model_copy(update=fields)

    async def change(self, key: str, **fields: Any) -> None:
        """Record a step of the run."""
        await apply_change(Change(run=self.run, key=key, **fields))

    def audit(
        self, action: str, data: dict[str, Any] | None = None, *, by: str | None = None, key: str | None = None
    ) -> tuple[AuditDraft, ...]:
        """Return the record of an action for a change; `by` is the caller of the run where nobody else acted."""
        return (AuditDraft(key=key or action, actor=by or self.principal.subject, action=action, data=data or {}),)

    def check_open(self) -> None:
        """Refuse what arrives while the run ends.

        Raises:
            ApplicationError: of type `conflict`.
        """
        if self.ending or self.stop is not None:
            raise ApplicationError("the run is just ending; start a new one", type="conflict", non_retryable=True)

    async def handled(self) -> None:
        """Return when no message, answer or control verb is being taken in; the loop sees what came first."""
        while not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)

    async def interruptible(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await `work`, or cancel it and end the run as soon as a stop arrives."""
        task = asyncio.ensure_future(work)
        try:
            await workflow.wait_condition(lambda: task.done() or self.stop is not None)
        except asyncio.CancelledError:
            await stage.cancel_all([task])
            raise
        if self.stop is not None:
            await stage.cancel_all([task])
            raise self.stop
        return task.result()

    async def hold(self) -> None:
        """Wait while the run is paused; end it if it is to stop."""
        if self.state.paused and self.stop is None:
            # A question that was answered meanwhile has set the run to running.
            await self.change(f"held/{workflow.uuid4()}", status="paused")
            await workflow.wait_condition(lambda: not self.state.paused or self.stop is not None)
            if self.stop is None:
                await self.change(f"held/{workflow.uuid4()}", status="running")
        if self.stop is not None:
            raise self.stop


def reason_of(error: BaseException) -> str:
    """Return what failed in an activity, in its own words."""
    return str(error.cause or error) if isinstance(error, ActivityError) else str(error)
