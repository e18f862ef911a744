"""What every run of a process takes from outside: answers, moves of tasks, events and control verbs."""

from typing import Any

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from engine import stage
from engine.errors import Conflict, Problem
from engine.people import Closed, People, refusal, with_reason
from engine.ports import Control, TaskAnswer, TaskMove, apply_change
from engine.process.messages import EventTaken, KeptEvent, ProcessEvent
from engine.process.run.batches import GivenBack
from engine.process.run.events import Events
from engine.process.run.frame import Conduct, Frame
from engine.process.run.moves import MOVES, Move, check_move
from engine.process.run.operations import ORDERS, check_order, context_change, give_order, set_context
from engine.process.run.posts import NotYet, Post
from engine.process.run.supervision import check_steers
from engine.runs import AuditDraft, Change, RunStatus, StartedWorkflow
from engine.values import Empty


class Steered:
    """The part of a workflow that people and events reach; `conduct` and `frame` are there once it has begun."""

    def __init__(
        self,
        run: StartedWorkflow,
        closed: dict[str, Closed],
        kept: tuple[KeptEvent, ...],
        heard: dict[str, str],
        paused: bool,
    ) -> None:
        """Take up what an earlier part of the same run has closed, kept and heard."""
        self._run = run.run
        self._principal = run.principal
        self._people = People(self._run, closed)
        self._events = Events(self._run, kept, heard)
        self._conduct: Conduct | None = None
        self._frame: Frame | None = None
        self._paused = paused
        self._ended_by: Control | None = None
        self._move: Move | None = None
        self._over = False
        self._undoing = False

    def under_way(self) -> list[Post]:
        """Return the nodes under way."""
        return self._conduct.posts.all() if self._conduct is not None else []

    async def _change(self, key: str, **fields: Any) -> None:
        await apply_change(Change(run=self._run, key=key, **fields))

    @workflow.update
    async def answer(self, answer: TaskAnswer) -> Empty:
        """Take a decision for an open seat; the first valid one wins."""
        await self._people.accept(answer)
        return Empty()

    @answer.validator
    def _check_answer(self, answer: TaskAnswer) -> None:
        self._people.check(answer)

    @workflow.update
    async def move_task(self, move: TaskMove) -> Empty:
        """Say who is to see to an open task: it is claimed, released, delegated or reassigned."""
        await self._people.accept_move(move)
        return Empty()

    @move_task.validator
    def _check_task_move(self, move: TaskMove) -> None:
        self._people.check_move(move)

    @workflow.update
    async def event(self, event: ProcessEvent) -> EventTaken:
        """Take an event: for the step that waits for it, or to be kept until one does."""
        return await self._events.accept(event)

    @workflow.signal
    async def take_back(self, given: GivenBack) -> None:
        """Have slots back that a batch of a foreach needs no more."""
        if self._conduct is not None:
            self._conduct.given_back[given.batch] = given.slots

    @workflow.update
    async def control(self, control: Control) -> Empty:
        """Pause between two steps, resume, end the run, move it, or do to it by hand what the validator let through."""
        if control.action in (*ORDERS, "set_context"):
            return await self._by_hand(control)
        if control.action in ("stop", "cancel"):
            self._ended_by = control
            return Empty()
        if control.action in MOVES:
            self._move = await check_move(self._conduct, self._frame, control)
            return Empty()
        self._paused = control.action == "pause"
        if self._conduct is not None:
            self._conduct.paused = self._paused
        key = f"control/{stage.uuid4()}"
        status: RunStatus = "paused" if self._paused else ("waiting" if self._people.waiting else "running")
        data: dict[str, JsonValue] = {"reason": control.reason}
        await self._change(
            key,
            status=status,
            audit=(AuditDraft(key=key, actor=control.by.subject, action=f"process.{control.action}", data=data),),
        )
        return Empty()

    @control.validator
    def check_control(self, control: Control) -> None:
        """Refuse a control verb that can't be followed as the run stands."""
        if self._over:
            raise ApplicationError("the run is just ending", type="conflict", non_retryable=True)
        verbs = ("stop", "cancel", "pause", "resume", *MOVES, *ORDERS, "set_context")
        if control.action not in verbs:
            raise ApplicationError(
                f"a process run can't {control.action}; it can {', '.join(verbs)}", type="invalid", non_retryable=True
            )
        with_reason(lambda: self._check_steering(control))

    def _check_steering(self, control: Control) -> None:
        conduct, frame = self._conduct, self._frame
        if conduct is None or frame is None:
            if control.action in ("stop", "cancel", "pause", "resume") and (
                control.by.subject == self._principal.subject or control.by.has_role("operator")
            ):
                return
            raise NotYet("the run is just being started")
        check_steers(conduct, control)
        if control.action in ORDERS:
            if self._undoing:
                raise Conflict(f"the run is being undone and ends then; nothing is left to {control.action}")
            check_order(conduct, control)
        elif control.action == "set_context":
            context_change(conduct, frame, control)

    async def _by_hand(self, control: Control) -> Empty:
        conduct, frame = self._conduct, self._frame
        assert conduct is not None, "the validator has seen both"
        assert frame is not None
        try:
            if control.action == "set_context":
                await set_context(conduct, frame, control)
            else:
                await give_order(conduct, control)
        except Problem as problem:
            raise refusal(problem) from problem
        return Empty()
