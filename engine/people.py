"""Waiting for people inside a workflow: open tasks, the first valid answer or a quorum, and who came too late.

A parked wait is a future and, at most, a timer: no activity, thread or connection is held. The answer arrives as a
Temporal update, is accepted before anything is awaited (so a second answer in the same moment is refused), is made
durable in the store, and only then lets the run go on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from engine import stage
from engine.errors import Problem
from engine.ports import TaskAnswer, TaskMove, apply_change
from engine.runs import (
    Answer,
    AuditDraft,
    Change,
    EventDraft,
    RunRef,
    Seat,
    TaskClosed,
    TaskDraft,
    TaskMoved,
    TaskVoted,
    Vote,
)
from engine.seats import alike, check_may_answer, check_move, moved_seat, reachable
from engine.values import Value

Judge = Callable[[TaskAnswer], None]
"""Looks at an answer before it is taken and raises the `Problem` for which it is refused."""

MOVED = {"claim": "claimed", "release": "released", "delegate": "delegated", "reassign": "reassigned"}
ENDED = {"undecided": "ended without enough alike decisions"}


class Undecided(Exception):  # an outcome that the asker handles
    """So many have decided differently that too few are left to decide alike."""


class Closed(Value):
    """A task that is over: answered by whom, or without an answer and how."""

    task_id: str
    by: str | None
    decision: str | None
    at: str
    status: str = "expired"


@dataclass
class Asked:
    """An open task: its draft as it stands now, who waits for it, and who has claimed it.

    `rungs` is how many escalations may still let others in.
    """

    draft: TaskDraft
    waiter: "asyncio.Future[TaskAnswer]"
    judge: Judge | None
    rungs: int = 0
    claimed_by: str | None = None
    moves: int = 0
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def lost(self) -> bool:
        """Tell whether a quorum can't be reached any more."""
        return self.rungs == 0 and not reachable(self.draft)


class People:
    """The tasks of one run. `closed` is carried through continue-as-new so that a late answer still learns who won."""

    def __init__(self, run: RunRef, closed: dict[str, Closed] | None = None) -> None:
        """Start with what an earlier part of the same run has closed."""
        self._run = run
        self._open: dict[str, Asked] = {}
        self.closed: dict[str, Closed] = dict(closed or {})

    @property
    def waiting(self) -> list[TaskDraft]:
        """The tasks that are open now."""
        return [asked.draft for asked in self._open.values()]

    def check(self, answer: TaskAnswer) -> None:
        """Refuse an answer that can't be taken: the validator of the update, before anything is written.

        Raises:
            ApplicationError: of type `conflict` when the task is over or claimed, `not_found` when this run never
                asked it, `denied` without the seat, or of the type of what the asker finds wrong with it.
        """
        asked = self._asked(answer.task_id)
        with_reason(lambda: check_may_answer(asked.draft, asked.claimed_by, answer.by))
        self._judge(asked, answer)

    def _asked(self, task_id: str) -> Asked:
        over = self.closed.get(task_id)
        if over is not None and over.by is None:
            how = ENDED.get(over.status, over.status)
            raise ApplicationError(f"task {task_id} {how} at {over.at}", type="conflict", non_retryable=True)
        if over is not None:
            said = f" ({over.decision})" if over.decision else ""
            raise ApplicationError(
                f"already decided by {over.by}{said} at {over.at}",
                {"by": over.by, "decision": over.decision, "at": over.at},
                type="conflict",
                non_retryable=True,
            )
        if task_id not in self._open:
            raise ApplicationError(f"this run has no task {task_id}", type="not_found", non_retryable=True)
        return self._open[task_id]

    def _judge(self, asked: Asked, answer: TaskAnswer) -> None:
        judge = asked.judge
        if judge is not None:
            with_reason(lambda: judge(answer))

    async def accept(self, answer: TaskAnswer) -> None:
        """Take an answer that `check` let through: durable in the store, then handed to whoever waits."""
        # Two updates may have passed the validator in one activation: the second one fails here, not there.
        self.check(answer)
        await self._take(self._open[answer.task_id], answer)

    async def decide(self, answer: TaskAnswer) -> bool:
        """Take the decision of an agent that the definition has put into the seat; False when the task is over."""
        asked = self._open.get(answer.task_id)
        if asked is None:
            return False
        self._judge(asked, answer)
        await self._take(asked, answer)
        return True

    async def _take(self, asked: Asked, answer: TaskAnswer) -> None:
        draft = asked.draft
        vote = Vote(
            by=answer.by.subject,
            decision=answer.decision,
            values=answer.values,
            comment=answer.comment,
            at=_now(),
        )
        asked.draft = draft = draft.model_copy(update={"votes": (*draft.votes, vote)})
        found, values = alike(draft.votes, answer.decision)
        if len(found) < draft.quorum:
            await self._vote(asked, vote)
            return
        answer = answer.model_copy(update={"values": values})
        self._over(draft, "answered", answer)
        async with asked.writing:
            await apply_change(_answered(self._run, draft, vote, answer))
        if not asked.waiter.done():
            asked.waiter.set_result(answer)

    async def _vote(self, asked: Asked, vote: Vote) -> None:
        draft = asked.draft
        lost = asked.lost()
        if lost:
            self._over(draft, "undecided")
        async with asked.writing:
            await apply_change(_voted(self._run, draft, vote, lost=lost))
        if lost and not asked.waiter.done():
            asked.waiter.set_exception(Undecided(_undecided(draft)))

    def check_move(self, move: TaskMove) -> None:
        """Refuse a move that can't be made: the validator of the update.

        Raises:
            ApplicationError: of the type of the problem that was found.
        """
        asked = self._asked(move.task_id)
        with_reason(lambda: check_move(asked.draft, asked.claimed_by, move))

    async def accept_move(self, move: TaskMove) -> None:
        """Carry out a move that `check_move` let through."""
        self.check_move(move)
        asked = self._open[move.task_id]
        asked.claimed_by = move.by.subject if move.action == "claim" else None
        to = move.to.model_dump(mode="json", include={"users", "roles", "groups"}, exclude_defaults=True)
        await self._move(
            asked,
            moved_seat(asked.draft.seat, move),
            actor=move.by.subject,
            how=MOVED[move.action],
            reason=move.reason or f"{MOVED[move.action]} by {move.by.subject}",
            facts={"to": to} if to else {},
        )

    async def escalate(self, task_id: str, to: Seat, reason: str) -> None:
        """Let others in as well; a claim is over then."""
        asked = self._open.get(task_id)
        if asked is None:
            return
        asked.claimed_by = None
        asked.rungs -= 1
        await self._move(asked, asked.draft.seat.plus(to), actor="engine", how="escalated", reason=reason)
        if asked.lost() and task_id in self._open:
            await self._close(asked.draft, "undecided")
            asked.waiter.set_exception(Undecided(_undecided(asked.draft)))

    async def _move(
        self,
        asked: Asked,
        seat: Seat,
        *,
        actor: str,
        how: str,
        reason: str,
        facts: dict[str, JsonValue] | None = None,
    ) -> None:
        asked.draft = draft = asked.draft.model_copy(update={"seat": seat})
        asked.moves += 1
        key = f"{draft.task_id}/{how}/{asked.moves}"
        moved = TaskMoved(task_id=draft.task_id, seat=seat, reason=reason, claimed_by=asked.claimed_by)
        shown = seat.model_dump(mode="json")
        data: dict[str, JsonValue] = {"task_id": draft.task_id, "seat": shown, "reason": reason, **(facts or {})}
        audit = AuditDraft(key=key, actor=actor, action=f"task.{how}", node=draft.node, data=data)
        async with asked.writing:
            await apply_change(Change(run=self._run, key=key, moved=(moved,), audit=(audit,)))

    async def remind(self, task_id: str, number: int) -> bool:
        """Note that those in the seat are to be reminded; False when the task is over."""
        asked = self._open.get(task_id)
        if asked is None:
            return False
        draft = asked.draft
        key = f"{task_id}/reminded/{number}"
        data: dict[str, JsonValue] = {
            "task_id": task_id,
            "number": number,
            "title": draft.title,
            "seat": draft.seat.model_dump(mode="json"),
            "claimed_by": asked.claimed_by,
            "deadline": draft.deadline.isoformat() if draft.deadline else None,
        }
        event = EventDraft(key=key, type="task.reminded", data=data)
        audit = AuditDraft(key=key, actor="engine", action="task.reminded", node=draft.node, data=data)
        async with asked.writing:
            await apply_change(Change(run=self._run, key=key, events=(event,), audit=(audit,)))
        return True

    async def ask(
        self, draft: TaskDraft, *, position: str | None = None, judge: Judge | None = None, rungs: int = 0
    ) -> TaskAnswer | None:
        """Open a task and wait for its answer; None when its deadline passes first.

        Raises:
            Undecided: a quorum can't be reached any more; `rungs` escalations may still let others in before that.
        """
        waiter: asyncio.Future[TaskAnswer] = asyncio.get_running_loop().create_future()
        asked = Asked(draft, waiter, judge, rungs)
        if asked.lost():
            raise Undecided(_undecided(draft))
        # Known before it is visible in the store, so that no answer can arrive for a task this run doesn't know.
        self._open[draft.task_id] = asked
        try:
            # Else it could be opened after it was withdrawn.
            await stage.to_its_end(self._write_opening(asked, position))
            return await stage.wait_for(asyncio.shield(waiter), _seconds_until(draft.deadline))
        except TimeoutError:
            return await self._expire(draft, waiter)
        except asyncio.CancelledError:
            await self._withdraw(draft)
            raise

    async def _write_opening(self, asked: Asked, position: str | None) -> None:
        # The first to write: what changes the task meanwhile, as an escalation does, finds it there.
        opened = _opened(self._run, asked.draft, position)
        async with asked.writing:
            await apply_change(opened)

    async def _expire(self, draft: TaskDraft, waiter: "asyncio.Future[TaskAnswer]") -> TaskAnswer | None:
        if draft.task_id in self.closed:
            # The answer was accepted in the moment of the deadline and is being made durable: it counts.
            return await waiter
        await self._close(draft, "expired")
        return None

    async def _withdraw(self, draft: TaskDraft) -> None:
        if draft.task_id not in self.closed:
            await self._close(draft, "cancelled")

    def _over(self, draft: TaskDraft, status: str, answer: TaskAnswer | None = None) -> None:
        self._open.pop(draft.task_id, None)
        self.closed[draft.task_id] = Closed(
            task_id=draft.task_id,
            by=answer.by.subject if answer else None,
            decision=answer.decision if answer else None,
            at=_now(),
            status=status,
        )

    async def _close(self, draft: TaskDraft, status: Literal["expired", "cancelled", "undecided"]) -> None:
        self._over(draft, status)
        key = f"{draft.task_id}/{status}"
        closed = TaskClosed(task_id=draft.task_id, status="expired" if status == "expired" else "cancelled")
        event = EventDraft(key=key, type=f"task.{status}")
        await apply_change(Change(run=self._run, key=key, closed=(closed,), events=(event,)))


def with_reason(check: Callable[[], None]) -> None:
    """Run a check; its problem becomes the refusal of an update, with code and details.

    Raises:
        ApplicationError: of the problem's code.
    """
    try:
        check()
    except Problem as problem:
        raise refusal(problem) from problem


def refusal(problem: Problem) -> ApplicationError:
    """Return a problem as the failure of an update, with its code and details."""
    details = (problem.details,) if problem.details else ()
    return ApplicationError(problem.message, *details, type=problem.code, non_retryable=True)


def _opened(run: RunRef, draft: TaskDraft, position: str | None) -> Change:
    key = f"{draft.task_id}/opened"
    data: dict[str, JsonValue] = {"task_id": draft.task_id, "kind": draft.kind, "title": draft.title}
    audit = AuditDraft(key=key, actor="engine", action="task.opened", node=draft.node, data=data)
    return Change(run=run, key=key, position=position, opened=(draft,), audit=(audit,))


def _answered(run: RunRef, draft: TaskDraft, vote: Vote, answer: TaskAnswer) -> Change:
    said = Answer(decision=answer.decision, values=answer.values, comment=answer.comment)
    key = f"{draft.task_id}/answered"
    data: dict[str, JsonValue] = {"task_id": draft.task_id, "title": draft.title, **said.model_dump(mode="json")}
    if draft.quorum > 1:
        data["votes"] = [one.model_dump(mode="json") for one in draft.votes]
    audit = AuditDraft(key=key, actor=answer.by.subject, action=f"task.{draft.kind}", node=draft.node, data=data)
    return Change(
        run=run,
        key=key,
        voted=(TaskVoted(task_id=draft.task_id, vote=vote),) if draft.quorum > 1 else (),
        closed=(TaskClosed(task_id=draft.task_id, status="answered", answer=said, by=answer.by.subject),),
        audit=(audit,),
    )


def _voted(run: RunRef, draft: TaskDraft, vote: Vote, *, lost: bool) -> Change:
    key = f"{draft.task_id}/voted/{len(draft.votes)}"
    data: dict[str, JsonValue] = {"task_id": draft.task_id, "title": draft.title, **vote.model_dump(mode="json")}
    audit = AuditDraft(key=key, actor=vote.by, action="task.vote", node=draft.node, data=data)
    return Change(
        run=run,
        key=key,
        voted=(TaskVoted(task_id=draft.task_id, vote=vote),),
        closed=(TaskClosed(task_id=draft.task_id, status="cancelled"),) if lost else (),
        events=(EventDraft(key=f"{draft.task_id}/undecided", type="task.undecided"),) if lost else (),
        audit=(audit,),
    )


def _undecided(draft: TaskDraft) -> str:
    votes = ", ".join(f"{vote.by}: {vote.decision}" for vote in draft.votes) or "nobody has decided"
    return f"{draft.quorum} must decide {draft.title!r} alike, and too few are left ({votes})"


def _now() -> str:
    return stage.now().isoformat(timespec="seconds")


def _seconds_until(deadline: datetime | None) -> float | None:
    if deadline is None:
        return None
    return max((deadline - stage.now()) / timedelta(seconds=1), 0.001)
