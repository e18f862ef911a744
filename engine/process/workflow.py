"""The process engine: one workflow that carries out any definition. Nobody writes Python to make a process."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from engine import stage
from engine.errors import Conflict, Problem
from engine.people import Closed, People, refusal, with_reason
from engine.ports import (
    Control,
    ProcessAddress,
    ProcessSnapshot,
    TaskAnswer,
    TaskMove,
    apply_change,
    load_process,
    load_run,
    plan_rewind,
)
from engine.process.definition import ProcessDefinition
from engine.process.messages import EventTaken, KeptEvent, ProcessEvent, Proposal, RewindOrder
from engine.process.patches import writes_patch
from engine.process.run.compensation import Why, undo
from engine.process.run.events import Events
from engine.process.run.flow import run_step
from engine.process.run.frame import Conduct, Ended, Frame, NodeFailed
from engine.process.run.moves import MOVES, Move, carry_out, check_move, may_leave
from engine.process.run.operations import ORDERS, check_order, context_change, give_order, set_context
from engine.process.run.posts import Post, Posts
from engine.process.run.supervision import check_steers
from engine.process.run.support import not_carried_out
from engine.runs import AuditDraft, Change, EventDraft, Run, RunRef, RunStatus, StartedWorkflow
from engine.values import Budget, Empty, Spent, Value, digest


class ProcessState(Value):
    """The memory of a process between two histories: taken between two steps of the outermost graph."""

    node: str
    context: dict[str, JsonValue]
    steps: int
    visits: dict[str, int]
    spent: Spent
    budget: Budget
    closed: dict[str, Closed]
    kept: tuple[KeptEvent, ...] = ()
    heard: dict[str, str] = {}
    paused: bool = False
    proposals: tuple[Proposal, ...] = ()
    by_agent: dict[str, int] = {}


class ProcessInput(Value):
    """The input of the workflow: who and which run, and what an earlier part of it carried over."""

    run: StartedWorkflow
    snapshot: ProcessSnapshot | None = None
    state: ProcessState | None = None


class ProcessResult(Value):
    """How a process ended."""

    outcome: str
    output: JsonValue = None


@workflow.defn(name="ProcessWorkflow")
class ProcessWorkflow:
    """One process run from its start to one of its ends."""

    @workflow.init
    def __init__(self, start: ProcessInput) -> None:
        """Take up what an earlier part of the run carried over."""
        self._start = start
        self._run = start.run.run
        self._principal = start.run.principal
        self._people = People(self._run, start.state.closed if start.state else None)
        self._events = Events(self._run, start.state.kept, start.state.heard) if start.state else Events(self._run)
        self._conduct: Conduct | None = None
        self._frame: Frame | None = None
        self._paused = start.state.paused if start.state else False
        self._ended_by: Control | None = None
        self._move: Move | None = None
        self._over = False

    @workflow.run
    async def run(self, start: ProcessInput) -> ProcessResult:
        """Carry out the definition; a node that fails unhandled fails the run where it stands."""
        main = asyncio.ensure_future(self._main())
        try:
            return await self._until_over(main)
        except NodeFailed as failed:
            await self._undo("failed")
            await self._finish("failed", error=f"{failed.kind}: {failed.message}")
            raise ApplicationError(failed.message, type=failed.kind, non_retryable=True) from failed
        except ActivityError as error:
            reason = str(error.cause or error)
            await self._undo("failed")
            await self._finish("failed", error=reason)
            raise ApplicationError(reason, type="process_failed", non_retryable=True) from error
        except asyncio.CancelledError:
            await _leave(main)
            await self._undo("cancelled")
            await self._finish("cancelled", error="cancelled by the run that started it")
            raise

    async def _until_over(self, main: "asyncio.Future[ProcessResult]") -> ProcessResult:
        """Return the result of `main`, or leave it for what a control verb has ordered."""
        while True:
            await stage.wait_condition(lambda: main.done() or self._end() is not None or self._leaves())
            if main.done():
                return await main
            end = self._end()
            if end is not None:
                await _leave(main)
                return await self._cancelled(end)
            # Between two nodes the move was taken up already, by `main` itself.
            if self._conduct is not None and self._frame is not None and self._leaves():
                await _leave(main)
                await self._carry_over(self._conduct, self._frame, self._conduct.position)

    def _end(self) -> Control | None:
        return self._ended_by or (self._conduct.posts.ended_by if self._conduct is not None else None)

    def _leaves(self) -> bool:
        return self._move is not None and self._conduct is not None and may_leave(self._conduct, self._move)

    def context(self) -> dict[str, JsonValue]:
        """Return the context as it stands."""
        return dict(self._frame.values) if self._frame is not None else {}

    def under_way(self) -> list[Post]:
        """Return the nodes under way."""
        return self._conduct.posts.all() if self._conduct is not None else []

    async def _undo(self, why: Why) -> None:
        if self._conduct is not None:
            await _to_its_end(undo(self._conduct, why))

    async def _main(self) -> ProcessResult:
        conduct, frame, node = await self._open()
        self._conduct, self._frame = conduct, frame
        nodes = conduct.definition.nodes
        position: str | None = node
        try:
            while position is not None:
                position = await run_step(frame, nodes, position)
                if position is not None and (self._move or stage.history_is_long()):
                    await self._carry_over(conduct, frame, position)
        except Ended as ended:
            await self._finish("completed", ended=ended)
            return ProcessResult(outcome=ended.outcome, output=ended.output)
        raise NodeFailed("no_end", "the process stopped at a node without a way on")

    async def _open(self) -> tuple[Conduct, Frame, str]:
        run = await load_run(self._run)
        snapshot = self._start.snapshot or await self._load(run)
        definition = ProcessDefinition.model_validate(snapshot.definition)
        state = self._start.state
        conduct = Conduct(
            run=self._run,
            principal=self._principal,
            snapshot=snapshot,
            definition=definition,
            people=self._people,
            events=self._events,
            budget=state.budget if state else run.budget,
            spent=state.spent if state else Spent(),
            paused=self._paused,
            position=state.node if state else definition.start,
            posts=Posts(parks=True, by_agent=dict(state.by_agent) if state else {}),
            proposals=state.proposals if state else (),
        )
        self._start = self._start.model_copy(update={"snapshot": snapshot})
        if state is not None:
            frame = Frame(conduct, dict(state.context), steps=state.steps, visits=dict(state.visits))
            return conduct, frame, state.node
        missing = not_carried_out(definition)
        if missing:
            raise NodeFailed("unsupported", f"this engine does not carry out {'; '.join(missing)}")
        frame = await self._continued(conduct, run) if run.continues else None
        frame = frame or Frame(conduct, {**definition.context.initial, **run.input})
        await self._note_start(run, conduct, frame.values)
        return conduct, frame, conduct.position

    async def _continued(self, conduct: Conduct, run: Run) -> Frame | None:
        """Take up a failed run where it stood; None where it had not come to its first node."""
        assert run.continues is not None
        before = await load_run(RunRef(tenant=run.tenant, run_id=run.continues))
        plan = await plan_rewind(RewindOrder(run=before.ref, target=""))
        if before.position not in conduct.definition.nodes or not plan.visits:
            return None
        conduct.position = before.position
        # Whoever started the run that failed has proposed all of it, whoever goes on with it.
        conduct.proposals = plan.proposals
        conduct.propose(before.principal.subject, "", plan.context)
        # It is the same visit once more.
        visits = {**plan.visits, before.position: max(plan.visits.get(before.position, 0) - 1, 0)}
        return Frame(conduct, plan.context, visits=visits)

    async def _load(self, run: Run) -> ProcessSnapshot:
        address = ProcessAddress(run=self._run, principal=self._principal, name=run.definition, version=run.version)
        return await load_process(address)

    async def _note_start(self, run: Run, conduct: Conduct, context: dict[str, JsonValue]) -> None:
        snapshot = conduct.snapshot
        facts: dict[str, JsonValue] = {
            "process": run.definition,
            "version": snapshot.version,
            "digest": snapshot.digest,
            "input": digest(run.input),
            "patch": writes_patch({}, context),
            **({"continues": run.continues} if run.continues else {}),
        }
        await self._change(
            "started",
            status="running",
            position=conduct.position,
            audit=(AuditDraft(key="started", actor=self._principal.subject, action="process.started", data=facts),),
        )

    async def _carry_over(self, conduct: Conduct, frame: Frame, node: str) -> None:
        """Go on in a new history, where a move leads if one was ordered."""
        move, self._move = self._move, None
        moved = await carry_out(move, conduct, frame, node) if move is not None else None
        await stage.wait_condition(stage.all_handlers_finished)
        state = ProcessState(
            node=moved.node if moved else node,
            context=moved.context if moved else frame.values,
            steps=frame.steps,
            visits=moved.visits if moved else frame.visits,
            spent=conduct.spent,
            budget=conduct.budget,
            closed=self._people.closed,
            kept=tuple(self._events.kept),
            heard=self._events.heard,
            paused=self._paused,
            proposals=conduct.proposals,
            by_agent=conduct.posts.by_agent,
        )
        snapshot = moved.snapshot if moved else conduct.snapshot
        stage.continue_as_new(self._start.model_copy(update={"state": state, "snapshot": snapshot}))

    async def _cancelled(self, control: Control) -> ProcessResult:
        reason = control.reason or f"{control.action} by {control.by.subject}"
        if control.action == "cancel":
            await self._undo("cancelled")
        await self._finish("cancelled", error=reason, actor=control.by.subject)
        return ProcessResult(outcome="cancelled")

    async def _finish(
        self, status: RunStatus, *, ended: Ended | None = None, error: str | None = None, actor: str = "engine"
    ) -> None:
        self._over = True
        await _to_its_end(stage.wait_condition(stage.all_handlers_finished))
        context = self._frame.values if self._frame is not None else {}
        data: dict[str, JsonValue] = {"status": status, "context": context}
        if ended is not None:
            data |= {"outcome": ended.outcome, "output": ended.output}
        if error is not None:
            data["error"] = error
        audit = AuditDraft(
            key="finished", actor=actor, action=f"process.{status}", data={**data, "context": digest(context)}
        )
        await self._change(
            "finished",
            status=status,
            waits_for="",
            result={"outcome": ended.outcome, "output": ended.output} if ended else None,
            error=error,
            events=(EventDraft(key="finished", type="process.finished", data=data),),
            audit=(audit,),
        )

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
    def _check_control(self, control: Control) -> None:
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
            raise Conflict("the run is just being started; try again in a moment")
        check_steers(conduct, control)
        if control.action in ORDERS:
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


async def _leave(main: "asyncio.Future[ProcessResult]") -> None:
    """Cancel what is under way and wait until it is over: its tasks are withdrawn, its child runs have ended."""
    main.cancel()
    await asyncio.gather(main, return_exceptions=True)


async def _to_its_end(work: Awaitable[None]) -> None:
    """Await what a cancellation that comes meanwhile must not break off."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
