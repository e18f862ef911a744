"""The process engine: one workflow that carries out any definition. Nobody writes Python to make a process."""

import asyncio

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from engine import stage
from engine.people import Closed
from engine.ports import (
    Control,
    ProcessAddress,
    ProcessSnapshot,
    load_process,
    load_run,
    plan_rewind,
)
from engine.process.definition import ProcessDefinition
from engine.process.messages import KeptEvent, Proposal, RewindOrder
from engine.process.patches import writes_patch
from engine.process.run import child_process, foreach, nesting, people_node, scripts, work
from engine.process.run.compensation import Why, undo
from engine.process.run.flow import run_step
from engine.process.run.frame import Conduct, Ended, Frame, NodeFailed
from engine.process.run.moves import carry_out, may_leave
from engine.process.run.posts import Posts
from engine.process.run.steering import Steered
from engine.runs import AuditDraft, EventDraft, Run, RunRef, RunStatus, StartedWorkflow
from engine.values import Budget, Spent, Value, digest

CARRIED_OUT = (work, child_process, scripts, people_node, nesting, foreach)
"""The modules that carry out nodes: naming them is what enters them."""


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
class ProcessWorkflow(Steered):
    """One process run from its start to one of its ends."""

    @workflow.init
    def __init__(self, start: ProcessInput) -> None:
        """Take up what an earlier part of the run carried over."""
        state = start.state
        memory = (state.closed, state.kept, state.heard, state.paused) if state else ({}, (), {}, False)
        super().__init__(start.run, *memory)
        self._start = start

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
            await stage.cancel_all([main])
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
                await stage.cancel_all([main])
                return await self._cancelled(end)
            # Between two nodes the move was taken up already, by `main` itself.
            if self._conduct is not None and self._frame is not None and self._leaves():
                await stage.cancel_all([main])
                await self._carry_over(self._conduct, self._frame, self._conduct.position)

    def _end(self) -> Control | None:
        return self._ended_by or (self._conduct.posts.ended_by if self._conduct is not None else None)

    def _leaves(self) -> bool:
        return self._move is not None and self._conduct is not None and may_leave(self._conduct, self._move)

    def context(self) -> dict[str, JsonValue]:
        """Return the context as it stands."""
        return dict(self._frame.values) if self._frame is not None else {}

    async def _undo(self, why: Why) -> None:
        self._undoing = True
        if self._conduct is not None:
            await stage.to_its_end(undo(self._conduct, why), heed=False)

    async def _main(self) -> ProcessResult:
        conduct, frame, node = await self._open()
        self._conduct, self._frame = conduct, frame
        nodes = conduct.definition.nodes
        position: str | None = node
        try:
            while position is not None:
                position = await run_step(frame, nodes, position)
                if position is not None and (self._move or stage.new_history_is_due()):
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
        await stage.to_its_end(stage.wait_condition(stage.all_handlers_finished), heed=False)
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
