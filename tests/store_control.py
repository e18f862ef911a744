"""A control of runs without workflows, for what stands in front of it."""

from dataclasses import dataclass, field
from typing import Any

from engine.errors import Conflict, Denied, Invalid
from engine.ports import Control, Say, TaskAnswer, TaskMove
from engine.process.messages import EventSent, SendEvent
from engine.runs import Answer, Change, EventDraft, Run, StartRun, Task, TaskClosed
from engine.values import Principal
from server.store.runs import SqlRunStore


@dataclass
class StoreControl:
    """`RunControl` without workflows: a started run stays where it is, or ends at once as `finish` says."""

    runs: SqlRunStore
    finish: dict[str, Any] | None = None
    said: list[Any] = field(default_factory=lambda: [])
    """What it was told, in order: answers, control verbs and messages."""

    async def start(self, principal: Principal, start: StartRun) -> Run:
        run, new = await self.runs.create(principal, start)
        if new and self.finish is not None:
            events = (EventDraft(key="done", type="run.finished"),)
            await self.runs.apply(
                Change.model_validate({"run": run.ref, "key": "done", "events": events, **self.finish})
            )
        return run

    async def answer(self, principal: Principal, task_id: str, answer: TaskAnswer) -> Task:
        task = await self.runs.task(principal, task_id)
        if principal.kind == "agent" or not task.seat.admits(principal):
            raise Denied(f"{principal.subject} does not hold the seat of task {task_id}")
        if task.status != "open":
            raise Conflict(f"already decided by {task.answered_by}")
        if task.decisions and answer.decision not in task.decisions:
            raise Invalid(f"decision {answer.decision!r} is not one of {', '.join(task.decisions)}")
        self.said.append(answer)
        run = await self.runs.get_for(task)
        said = Answer(decision=answer.decision, values=answer.values, comment=answer.comment)
        closed = TaskClosed(task_id=task_id, status="answered", answer=said, by=principal.subject)
        await self.runs.apply(Change(run=run.ref, key=f"{task_id}/answered", closed=(closed,), status="running"))
        return await self.runs.task(principal, task_id)

    async def move_task(self, principal: Principal, move: TaskMove) -> Task:
        return await self.runs.task(principal, move.task_id)

    async def send_event(self, principal: Principal, event: SendEvent) -> EventSent:
        return EventSent(key=event.key or event.name)

    async def control(self, principal: Principal, run_id: str, control: Control) -> Run:
        self.said.append(control)
        return await self.runs.get(principal, run_id)

    async def say(self, principal: Principal, run_id: str, say: Say) -> Run:
        self.said.append(say)
        return await self.runs.get(principal, run_id)
