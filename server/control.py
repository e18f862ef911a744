"""Starting and steering runs: the row first, then the workflow under the run's id; a reconciler closes the gap."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from engine.agent.state import AgentInput
from engine.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from engine.json_schema import violations
from engine.ports import Control, Say, TaskAnswer
from engine.process.workflow import ProcessInput
from engine.runs import AuditDraft, Change, Run, RunKind, StartedWorkflow, StartRun, Task
from engine.values import Principal, Value, digest, utc_now
from server.store.runs import SqlRunStore

log = logging.getLogger(__name__)

WORKFLOWS: dict[RunKind, str] = {
    "agent": "AgentWorkflow",
    "process": "ProcessWorkflow",
    "intake": "IntakeWorkflow",
    "interaction": "InteractionWorkflow",
}
UPDATE_TIMEOUT = timedelta(seconds=20)
SETTLED_AFTER = timedelta(seconds=5)
"""How long a `starting` row is left to whoever made it before the reconciler takes it up."""

PROBLEMS: dict[str, type[Problem]] = {problem.code: problem for problem in (Conflict, Denied, Invalid, NotFound)}


class Runs:
    """The port `RunControl` over the store and Temporal."""

    def __init__(self, store: SqlRunStore, client: Client, queue_prefix: str) -> None:
        """Keep what is needed; `queue_prefix` leads the names of the task queues."""
        self._store = store
        self._client = client
        self._queue = f"{queue_prefix}.engine"

    async def start(self, principal: Principal, start: StartRun) -> Run:
        """Start a run, or return the one that the same idempotency key started."""
        if start.kind not in WORKFLOWS:
            raise Invalid(f"runs of kind {start.kind!r} can't be started; use one of {', '.join(WORKFLOWS)}")
        if not principal.has_role("operator", "author", "publisher", "approver"):
            raise Denied("starting a run takes the role operator, author, publisher or approver")
        run, _ = await self._store.create(principal, start)
        if run.status == "starting":
            await self._launch(run)
        return run

    async def _launch(self, run: Run) -> None:
        try:
            await self._client.start_workflow(
                WORKFLOWS[run.kind],
                _workflow_input(run),
                id=run.ref.workflow_id,
                task_queue=self._queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                rpc_timeout=UPDATE_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            # It ran to its end already: an earlier start of the same row went through after all.
            return
        except RPCError as error:
            # The row stands: the reconciler starts the workflow as soon as Temporal answers again.
            log.warning("run %s is kept and will be started later: %s", run.run_id, error)

    async def answer(self, principal: Principal, task_id: str, answer: TaskAnswer) -> Task:
        """Hand an answer to the run that waits for it; the first valid answer wins.

        Raises:
            NotFound: there is no such task for this principal.
            Denied: the principal does not hold the seat.
            Invalid: the decision is none of the task's, or the values break its form.
            Conflict: the task is over; the message says who decided.
        """
        task = await self._store.task(principal, task_id)
        _check_seat(task, principal)
        if task.status != "open":
            raise _over(task)
        _check_answer(task, answer)
        run = await self._store.get_for(task)
        update_id = digest([task_id, principal.subject, answer.model_dump(mode="json", exclude={"by"})])[:40]
        await self._update(run, "answer", answer, update_id, task=task)
        return await self._store.task(principal, task_id)

    async def control(self, principal: Principal, run_id: str, control: Control) -> Run:
        """Carry out a control verb; operators may steer every run, others their own."""
        run = await self._store.get(principal, run_id)
        if run.principal.subject != principal.subject and not principal.has_role("operator"):
            raise Denied(f"controlling a run of {run.principal.subject} takes the role operator")
        if run.finished:
            raise Conflict(f"run {run_id} is {run.status} already; nothing is left to {control.action}")
        await self._update(run, "control", control)
        return await self._store.get(principal, run_id)

    async def say(self, principal: Principal, run_id: str, say: Say) -> Run:
        """Hand a message to a running agent."""
        run = await self._store.get(principal, run_id)
        if run.kind != "agent":
            raise Invalid(f"run {run_id} is a {run.kind}; only agents take messages")
        if run.principal.subject != principal.subject and not principal.has_role("operator"):
            raise Denied(f"speaking to an agent of {run.principal.subject} takes the role operator")
        if run.finished:
            raise Conflict(f"run {run_id} is {run.status} already; start a new one to go on")
        await self._update(run, "send_message", say, digest([run_id, say.key])[:40])
        return await self._store.get(principal, run_id)

    async def _update(
        self, run: Run, name: str, message: Value, update_id: str | None = None, *, task: Task | None = None
    ) -> None:
        handle = self._client.get_workflow_handle(run.ref.workflow_id)
        try:
            await handle.execute_update(name, message, id=update_id, rpc_timeout=UPDATE_TIMEOUT)
        except WorkflowUpdateFailedError as error:
            raise _refusal(error) from error
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise await self._gone(run, task) from error
            raise Unavailable(f"run {run.run_id} could not be reached ({error.message}); try again") from error

    async def _gone(self, run: Run, task: Task | None) -> Problem:
        current = await self._store.load(run.ref)
        if task is not None:
            return _over(await self._store.task(current.principal, task.task_id))
        if current.finished:
            return Conflict(f"run {run.run_id} is {current.status} already")
        return Unavailable(f"run {run.run_id} is just being started; try again in a moment")

    async def reconcile(self) -> Sequence[str]:
        """Start what a crash left as `starting`, and settle runs whose workflow is over; return what was settled."""
        old = utc_now() - SETTLED_AFTER
        unsettled = await self._store.unsettled(["starting", "running", "waiting", "paused"])
        return [run.run_id for run in unsettled if run.updated_at < old and await self._settle(run)]

    async def _settle(self, run: Run) -> bool:
        if run.status == "starting":
            await self._launch(run)
        try:
            description = await self._client.get_workflow_handle(run.ref.workflow_id).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND and run.status != "starting":
                await self._close(run, "the durable engine no longer knows this run")
                return True
            return False
        if description.status in (None, WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW):
            return False
        await self._close(run, f"its workflow ended as {description.status.name.lower()} without a record")
        return True

    async def _close(self, run: Run, reason: str) -> None:
        audit = AuditDraft(key="reconciled", actor="engine", action="run.reconciled", data={"reason": reason})
        await self._store.apply(
            Change(run=run.ref, key="reconciled", status="failed", error=reason, waits_for="", audit=(audit,))
        )

    async def result(self, run: Run) -> None:
        """Wait until the workflow of a run is over, however it ends; for commands that wait for their run."""
        try:
            await self._client.get_workflow_handle(run.ref.workflow_id).result()
        except WorkflowFailureError:
            return


def _workflow_input(run: Run) -> Value:
    started = StartedWorkflow(run=run.ref, principal=run.principal)
    if run.kind == "agent":
        return AgentInput(run=started)
    if run.kind == "process":
        return ProcessInput(run=started)
    return started


def _check_seat(task: Task, principal: Principal) -> None:
    # An agent acts with the rights of its starter, so it would sit in the seat of its own approvals.
    if principal.kind == "agent":
        raise Denied(f"task {task.task_id} waits for a person; an agent can't answer it")
    if not task.seat.admits(principal):
        wanted = [*task.seat.users, *(f"role {role}" for role in task.seat.roles), *task.seat.groups]
        reason = "is excluded (four eyes)" if principal.subject in task.seat.excluded else "does not hold the seat"
        raise Denied(f"{principal.subject} {reason} of task {task.task_id}; it is for {', '.join(wanted) or 'nobody'}")


def _check_answer(task: Task, answer: TaskAnswer) -> None:
    if task.decisions and answer.decision not in task.decisions:
        raise Invalid(
            f"decision {answer.decision!r} is not one of {', '.join(task.decisions)}",
            field="decision",
            allowed=list(task.decisions),
        )
    if task.form is None:
        if answer.values:
            raise Invalid(f"task {task.task_id} has no form; leave `values` out", field="values")
        return
    for found in violations(task.form, answer.values):
        field = f"values{found.path.removeprefix('$')}"
        raise Invalid(f"{field}: {found.message}", field=field)


def _over(task: Task) -> Conflict:
    if task.status == "answered" and task.answer is not None and task.answered_at is not None:
        said = f" ({task.answer.decision})" if task.answer.decision else ""
        at = task.answered_at.isoformat(timespec="seconds")
        return Conflict(
            f"already decided by {task.answered_by}{said} at {at}",
            by=task.answered_by,
            decision=task.answer.decision,
            at=at,
        )
    return Conflict(f"task {task.task_id} is {task.status}; it takes no answer any more", status=task.status)


def _refusal(error: WorkflowUpdateFailedError) -> Problem:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        details = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
        return PROBLEMS.get(cause.type or "", Conflict)(cause.message, **details)
    return Conflict(str(cause))
