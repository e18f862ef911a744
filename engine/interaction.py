"""One interaction as a run of its own: render, call, validate; the record is the same as inside a process."""

from datetime import timedelta
from typing import Any

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from engine.ports import (
    InteractionCall,
    InteractionResult,
    apply_change,
    load_run,
    run_interaction,
)
from engine.routes import ModelChoice
from engine.runs import AuditDraft, Change, StartedWorkflow
from engine.values import Value

MODEL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)


class InteractionTask(Value):
    """What an interaction run works on; it is the run's `input`. `interaction` is an address, pinned at the start."""

    interaction: str
    parameters: dict[str, JsonValue] = {}
    model: ModelChoice | None = None


@workflow.defn(name="InteractionWorkflow")
class InteractionWorkflow:
    """One validated model call."""

    @workflow.run
    async def run(self, started: StartedWorkflow) -> InteractionResult:
        """Call the model through the interaction and keep what it took."""
        run = await load_run(started.run)
        task = InteractionTask.model_validate(run.input)
        call = InteractionCall(
            run=started.run,
            principal=started.principal,
            key="call",
            interaction=task.interaction,
            parameters=task.parameters,
            model=task.model,
            budget=run.budget,
        )
        await self._note(started, "started", status="running")
        try:
            result = await run_interaction(call, timeout=timedelta(minutes=15), retry=MODEL_RETRY)
        except ActivityError as error:
            reason = str(error.cause or error)
            await self._note(started, "finished", status="failed", error=reason)
            raise ApplicationError(reason, type="interaction_failed", non_retryable=True) from error
        data = result.model_dump(mode="json", exclude={"output"})
        await self._note(
            started, "finished", {"execution": data}, status="completed", result=result.model_dump(mode="json")
        )
        return result

    async def _note(
        self, started: StartedWorkflow, key: str, data: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        audit = AuditDraft(key=key, actor=started.principal.subject, action=f"interaction.{key}", data=data or {})
        await apply_change(Change(run=started.run, key=key, audit=(audit,), **fields))
