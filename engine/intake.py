"""The intake of one version: extract, then cut, embed, index and publish; each step may be repeated."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from engine.ports import (
    IntakeReport,
    IntakeStep,
    IntakeTask,
    apply_change,
    extract_version,
    index_version,
    load_run,
)
from engine.runs import AuditDraft, Change, EventDraft, RunRef, RunStatus, StartedWorkflow

STEP_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)


@workflow.defn(name="IntakeWorkflow")
class IntakeWorkflow:
    """One intake run; a file that can't be read ends as `rejected`, which is a result and not a failure."""

    @workflow.run
    async def run(self, started: StartedWorkflow) -> IntakeReport:
        """Carry one version from its bytes to searchable passages."""
        run = await load_run(started.run)
        task = IntakeTask.model_validate(run.input)
        step = IntakeStep(run=started.run, principal=started.principal, task=task)
        await _note(started, "started", "running", {"object_id": task.object_id, "version": task.version})
        try:
            report = await extract_version(step, timeout=timedelta(minutes=15), retry=STEP_RETRY)
            if report.state != "rejected":
                await _step(started.run, "extracted", report)
                report = await index_version(step, timeout=timedelta(minutes=30), retry=STEP_RETRY)
            await _step(started.run, "indexed", report)
        except ActivityError as error:
            reason = str(error.cause or error)
            await _note(started, "finished", "failed", {"reason": reason}, error=reason)
            raise ApplicationError(reason, type="intake_failed", non_retryable=True) from error
        await _note(started, "finished", "completed", report.model_dump(mode="json"), result=report)
        return report


async def _step(run: RunRef, name: str, report: IntakeReport) -> None:
    data = report.model_dump(mode="json")
    await apply_change(
        Change(run=run, key=name, position=name, events=(EventDraft(key=name, type=f"intake.{name}", data=data),))
    )


async def _note(
    started: StartedWorkflow,
    key: str,
    status: RunStatus,
    data: "dict[str, object]",
    *,
    error: str | None = None,
    result: IntakeReport | None = None,
) -> None:
    audit = AuditDraft.model_validate(
        {"key": key, "actor": started.principal.subject, "action": f"intake.{key}", "data": data}
    )
    await apply_change(
        Change(
            run=started.run,
            key=key,
            status=status,
            error=error,
            result=result.model_dump(mode="json") if result else None,
            audit=(audit,),
        )
    )
