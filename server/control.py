"""Starting and steering runs: the row first, then the workflow under the run's id; a reconciler closes the gap."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from engine.agent.approvals import VERBS as APPROVAL_VERBS
from engine.agent.budgets import VERB as BUDGET_VERB
from engine.agent.log import LOGGED
from engine.agent.state import AgentInput
from engine.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from engine.json_schema import violations
from engine.ports import Control, ModelChanged, Say, TaskAnswer, TaskMove
from engine.process.continuing import undone
from engine.process.messages import EventSent, EventTaken, ProcessEvent, SendEvent
from engine.process.workflow import ProcessInput
from engine.routes import ModelChoice
from engine.runs import (
    AuditDraft,
    Change,
    Run,
    RunKind,
    StartedWorkflow,
    StartRun,
    Task,
    derived_id,
)
from engine.seats import check_may_answer, check_move
from engine.values import Principal, Value, digest, utc_now
from server.families import Families
from server.forking import fork_start
from server.sending import send_event
from server.store.runs import SqlRunStore

log = logging.getLogger(__name__)

WORKFLOWS: dict[RunKind, str] = {
    "agent": "AgentWorkflow",
    "process": "ProcessWorkflow",
    "intake": "IntakeWorkflow",
    "interaction": "InteractionWorkflow",
}
UPDATE_TIMEOUT = timedelta(seconds=20)
SOON_S = 0.05
"""How long the first pause is before an order is given once more that came between two nodes."""
SETTLED_AFTER = timedelta(seconds=5)
"""How long a `starting` row is left to whoever made it before the reconciler takes it up."""

PROBLEMS: dict[str, type[Problem]] = {problem.code: problem for problem in (Conflict, Denied, Invalid, NotFound)}


ModelOf = Callable[[Principal, ModelChoice], ModelChanged]
"""Says what a choice of a model means for the principal's tenant; `Invalid` where it means nothing."""


def no_models(principal: Principal, model: ModelChoice) -> ModelChanged:
    """Refuse: what a process that calls no models knows of them."""
    raise Unavailable("this process knows no models; ask the server of the data folder")


class Runs:
    """The port `RunControl` over the store and Temporal."""

    def __init__(self, store: SqlRunStore, client: Client, queue_prefix: str, model_of: ModelOf = no_models) -> None:
        """Keep what is needed; `queue_prefix` leads the names of the task queues."""
        self._model_of = model_of
        self._store = store
        self._families = Families(store, client)
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
            await self.launch(run)
        return run

    async def launch(self, run: Run) -> None:
        """Start the workflow of a row; one that was started already is left as it is."""
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
        if task.status != "open":
            # Whoever has no seat is told so, not who decided.
            check_may_answer(task.model_copy(update={"votes": ()}), None, principal)
            raise _over(task)
        check_may_answer(task, task.claimed_by, principal)
        _check_answer(task, answer)
        run = await self._store.get_for(task)
        update_id = digest([task_id, principal.subject, answer.model_dump(mode="json", exclude={"by"})])[:40]
        await self._update(run, "answer", answer, update_id, task=task)
        return await self._store.task(principal, task_id)

    async def move_task(self, principal: Principal, move: TaskMove) -> Task:
        """Say who is to see to an open task of a process.

        Raises:
            NotFound: there is no such task for this principal.
            Denied: the principal lacks the seat or the role, or the task goes to somebody who is excluded.
            Conflict: the task is over, or somebody else has claimed it.
            Invalid: it does not say to whom, or the task is none of a process.
        """
        task = await self._store.task(principal, move.task_id)
        if task.status != "open":
            raise _over(task)
        run = await self._store.get_for(task)
        if run.kind not in ("process", "batch"):
            raise Invalid(f"task {task.task_id} belongs to a run of kind {run.kind}; only those of processes are moved")
        check_move(task, task.claimed_by, move)
        await self._update(run, "move_task", move, task=task)
        # The one who gave it away may not see it any more.
        return await self._store.task(run.principal, task.task_id)

    async def control(self, principal: Principal, run_id: str, control: Control) -> Run:
        """Carry out a control verb; operators may steer every run, others their own.

        Who allows the calls of an agent is settled by people: whoever could answer its questions, and operators. A
        process looks for itself who steers it by hand: operators, and the seat over it.
        """
        run = await self._steered(principal, run_id)
        if run.kind in ("process", "batch"):
            return await self._control_process(principal, run, control)
        settles = control.action in (*APPROVAL_VERBS, BUDGET_VERB)
        if settles and principal.kind == "agent":
            raise Denied("what agents may do and spend is settled by people; an agent can't change it")
        may = ("operator", "approver") if settles else ("operator",)
        if run.principal.subject != principal.subject and not principal.has_role(*may):
            raise Denied(f"controlling a run of {run.principal.subject} takes the role {' or '.join(may)}")
        if control.action == "fork":
            # Of a finished run as well: nothing of it is changed.
            events = await self._store.log(run.ref, types=LOGGED)
            return await self.start(principal, fork_start(principal, run, events, control))
        if run.finished:
            raise Conflict(f"run {run_id} is {run.status} already; nothing is left to {control.action}")
        if settles and run.kind != "agent":
            raise Invalid(f"run {run_id} is a {run.kind}; only agents take the verb {control.action}")
        if control.action == "model":
            control = control.model_copy(update={"changed": self._model(run, control.model)})
        await self._update(run, "control", control)
        if control.action in ("stop", "cancel"):
            # What its model is saying counts no more, so it is not left to speak until the end is on record.
            self._store.stopping(run.ref)
        return await self._store.get(principal, run_id)

    async def _steered(self, principal: Principal, run_id: str) -> Run:
        """Return a run that the principal may see, or that waits for the principal: a seat is enough to steer from."""
        try:
            return await self._store.get(principal, run_id)
        except NotFound:
            tasks = await self._store.tasks(principal, run_id=run_id)
            if not tasks:
                raise
            return await self._store.get_for(tasks[0])

    async def _control_process(self, principal: Principal, run: Run, control: Control) -> Run:
        if run.kind == "process" and run.status == "failed" and control.action == "retry":
            return await self._continue(principal, run)
        if run.finished:
            raise Conflict(f"run {run.run_id} is {run.status} already; nothing is left to {control.action}")
        await self._order(run, control)
        return await self._store.load(run.ref)

    async def _order(self, run: Run, control: Control) -> None:
        """Hand over a control verb; where the run is just between two nodes, as soon as the next one is under way."""
        until, pause = time.monotonic() + UPDATE_TIMEOUT / timedelta(seconds=1), SOON_S
        while True:
            try:
                await self._update(run, "control", control)
            except Conflict as refused:
                if "soon" not in refused.details or time.monotonic() > until:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, 10 * SOON_S)
            else:
                return

    async def _continue(self, principal: Principal, run: Run) -> Run:
        """Start a run that goes on from the node at which a process failed; asked again, return the same run.

        What is over stays over, so that its audit is complete: the new run has its own, and names the old one.
        """
        if run.principal.subject != principal.subject and not principal.has_role("operator"):
            raise Denied(f"retrying a run of {run.principal.subject} takes the role operator")
        if undone(await self._store.records(run.ref)):
            raise Conflict(f"what run {run.run_id} had done was undone when it failed; start it anew")
        start = StartRun(
            kind=run.kind,
            definition=run.definition,
            version=run.version,
            title=run.title,
            input=run.input,
            budget=run.budget,
            continues=run.run_id,
        )
        run_id = derived_id("run", run.ref.workflow_id, "continued")
        found, _ = await self._store.create(principal, start, run_id=run_id)
        if found.status == "starting":
            await self.launch(found)
        return found

    def _model(self, run: Run, model: ModelChoice | None) -> ModelChanged:
        if run.kind != "agent":
            raise Invalid(f"run {run.run_id} is a {run.kind}; only agents change their model while they run")
        if model is None:
            raise Invalid("the verb model needs a model: provider/model, or a route of the settings", field="model")
        # The run's own principal: a route means what it means in the tenant that the run belongs to.
        return self._model_of(run.principal, model)

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

    async def send_event(self, principal: Principal, event: SendEvent) -> EventSent:
        """Hand an event to the processes that wait for it; see `server.sending`."""
        return await send_event(self._store, self._deliver, principal, event)

    async def _deliver(self, run: Run, event: ProcessEvent) -> EventTaken:
        update_id = digest([run.run_id, event.key])[:40]
        return EventTaken.model_validate(await self._update(run, "event", event, update_id))

    async def _update(
        self, run: Run, name: str, message: Value, update_id: str | None = None, *, task: Task | None = None
    ) -> Any:
        handle = self._client.get_workflow_handle(run.ref.workflow_id)
        try:
            return await handle.execute_update(name, message, id=update_id, rpc_timeout=UPDATE_TIMEOUT)
        except WorkflowUpdateFailedError as error:
            raise _refusal(error) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise Unavailable(
                f"run {run.run_id} did not answer in time; look where it stands, then try again"
            ) from error
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
        if run.status == "starting" and run.kind != "batch":
            await self.launch(run)
        try:
            description = await self._client.get_workflow_handle(run.ref.workflow_id).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND and run.status != "starting":
                await self._close(run, "the durable engine no longer knows this run")
                return True
            return False
        if description.status in (None, WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW):
            return False
        # Looked at before, the row may be old by now; a workflow that ends by itself has written its end down first.
        if (await self._store.load(run.ref)).finished:
            return False
        await self._close(run, f"its workflow ended as {description.status.name.lower()} without a record")
        return True

    async def _close(self, run: Run, reason: str) -> None:
        audit = AuditDraft(key="reconciled", actor="engine", action="run.reconciled", data={"reason": reason})
        change = Change(run=run.ref, key="reconciled", status="failed", error=reason, waits_for="", audit=(audit,))
        await self._store.apply(change)
        await self._families.report(change)
        control = Control(action="cancel", by=run.principal, reason="the agent that started it was lost")
        for child in await self._families.at_work_below(run):
            try:
                await self._update(child, "control", control)
            except Problem as problem:
                log.warning("run %s goes on without its parent: %s", child.run_id, problem.message)

    async def report(self, change: Change) -> None:
        """Tell the agents above a run how it stands, where a change of it may have changed that."""
        await self._families.report(change)

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
