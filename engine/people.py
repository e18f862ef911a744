"""Waiting for people inside a workflow: open tasks, the first valid answer, and who came second.

A parked wait is a future and, at most, a timer: no activity, thread or connection is held. The answer arrives as a
Temporal update, is accepted before anything is awaited (so a second answer in the same moment is refused), is made
durable in the store, and only then lets the run go on.
"""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from engine.ports import TaskAnswer, apply_change
from engine.runs import Answer, AuditDraft, Change, EventDraft, RunRef, TaskClosed, TaskDraft
from engine.values import Value


class Closed(Value):
    """A task that is over: answered by whom, or expired."""

    task_id: str
    by: str | None
    decision: str | None
    at: str


class People:
    """The tasks of one run. `closed` is carried through continue-as-new so that a late answer still learns who won."""

    def __init__(self, run: RunRef, closed: dict[str, Closed] | None = None) -> None:
        """Start with what an earlier part of the same run has closed."""
        self._run = run
        self._open: dict[str, asyncio.Future[TaskAnswer]] = {}
        self._drafts: dict[str, TaskDraft] = {}
        self.closed: dict[str, Closed] = dict(closed or {})

    @property
    def waiting(self) -> list[TaskDraft]:
        """The tasks that are open now."""
        return list(self._drafts.values())

    def check(self, answer: TaskAnswer) -> None:
        """Refuse an answer that can't be taken: the validator of the update, before anything is written.

        Raises:
            ApplicationError: of type `conflict` when the task is over, `not_found` when this run never asked it.
        """
        over = self.closed.get(answer.task_id)
        if over is not None and over.by is None:
            raise ApplicationError(f"task {answer.task_id} expired at {over.at}", type="conflict", non_retryable=True)
        if over is not None:
            said = f" ({over.decision})" if over.decision else ""
            raise ApplicationError(
                f"already decided by {over.by}{said} at {over.at}",
                {"by": over.by, "decision": over.decision, "at": over.at},
                type="conflict",
                non_retryable=True,
            )
        if answer.task_id not in self._open:
            raise ApplicationError(f"this run has no task {answer.task_id}", type="not_found", non_retryable=True)

    async def accept(self, answer: TaskAnswer) -> None:
        """Take an answer that `check` let through: durable in the store, then handed to whoever waits."""
        # Two updates may have passed the validator in one activation: the second one fails here, not there.
        self.check(answer)
        draft = self._drafts.pop(answer.task_id)
        waiter = self._open.pop(answer.task_id)
        now = workflow.now()
        self.closed[answer.task_id] = Closed(
            task_id=answer.task_id, by=answer.by.subject, decision=answer.decision, at=now.isoformat(timespec="seconds")
        )
        said = Answer(decision=answer.decision, values=answer.values, comment=answer.comment)
        await apply_change(
            Change(
                run=self._run,
                key=f"{answer.task_id}/answered",
                closed=(TaskClosed(task_id=answer.task_id, status="answered", answer=said, by=answer.by.subject),),
                audit=(
                    AuditDraft(
                        key=f"{answer.task_id}/answered",
                        actor=answer.by.subject,
                        action=f"task.{draft.kind}",
                        node=draft.node,
                        data={"task_id": answer.task_id, "title": draft.title, **said.model_dump(mode="json")},
                    ),
                ),
            )
        )
        if not waiter.done():
            waiter.set_result(answer)

    async def ask(self, draft: TaskDraft, *, position: str | None = None) -> TaskAnswer | None:
        """Open a task and wait for its answer; None when its deadline passes first."""
        waiter: asyncio.Future[TaskAnswer] = asyncio.get_running_loop().create_future()
        # Known before it is visible in the store, so that no answer can arrive for a task this run doesn't know.
        self._open[draft.task_id] = waiter
        self._drafts[draft.task_id] = draft
        await apply_change(
            Change(
                run=self._run,
                key=f"{draft.task_id}/opened",
                position=position,
                opened=(draft,),
                audit=(
                    AuditDraft(
                        key=f"{draft.task_id}/opened",
                        actor="engine",
                        action="task.opened",
                        node=draft.node,
                        data={"task_id": draft.task_id, "kind": draft.kind, "title": draft.title},
                    ),
                ),
            )
        )
        try:
            return await asyncio.wait_for(asyncio.shield(waiter), _seconds_until(draft.deadline))
        except TimeoutError:
            return await self._expire(draft, waiter)
        except asyncio.CancelledError:
            await self._withdraw(draft)
            raise

    async def _expire(self, draft: TaskDraft, waiter: "asyncio.Future[TaskAnswer]") -> TaskAnswer | None:
        if draft.task_id in self.closed:
            # The answer was accepted in the moment of the deadline and is being made durable: it counts.
            return await waiter
        await self._close(draft, "expired")
        return None

    async def _withdraw(self, draft: TaskDraft) -> None:
        if draft.task_id not in self.closed:
            await self._close(draft, "cancelled")

    async def _close(self, draft: TaskDraft, status: "str") -> None:
        self._open.pop(draft.task_id, None)
        self._drafts.pop(draft.task_id, None)
        now = workflow.now().isoformat(timespec="seconds")
        self.closed[draft.task_id] = Closed(task_id=draft.task_id, by=None, decision=None, at=now)
        await apply_change(
            Change(
                run=self._run,
                key=f"{draft.task_id}/{status}",
                closed=(TaskClosed(task_id=draft.task_id, status="expired" if status == "expired" else "cancelled"),),
                events=(EventDraft(key=f"{draft.task_id}/{status}", type=f"task.{status}"),),
            )
        )


def _seconds_until(deadline: datetime | None) -> float | None:
    if deadline is None:
        return None
    return max((deadline - workflow.now()) / timedelta(seconds=1), 0.001)
