"""The process engine: one workflow that carries out any definition. Nobody writes Python to make a process."""

import asyncio
from typing import Any

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from engine.people import Closed, People
from engine.ports import (
    Control,
    ProcessAddress,
    ProcessSnapshot,
    StartedWorkflow,
    TaskAnswer,
    apply_change,
    load_process,
    load_run,
)
from engine.process.definition import ProcessDefinition
from engine.process.run.flow import run_step
from engine.process.run.frame import Conduct, Ended, Frame, NodeFailed
from engine.process.run.support import not_carried_out
from engine.runs import AuditDraft, Change, EventDraft, Run, RunStatus
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
        self._conduct: Conduct | None = None
        self._frame: Frame | None = None
        self._paused = False
        self._ended_by: Control | None = None

    @workflow.run
    async def run(self, start: ProcessInput) -> ProcessResult:
        """Carry out the definition; a node that fails unhandled fails the run where it stands."""
        main = asyncio.ensure_future(self._main())
        try:
            await workflow.wait_condition(lambda: main.done() or self._ended_by is not None)
            if self._ended_by is not None and not main.done():
                main.cancel()
                await asyncio.gather(main, return_exceptions=True)
                return await self._cancelled(self._ended_by)
            return await main
        except NodeFailed as failed:
            await self._finish("failed", error=f"{failed.kind}: {failed.message}")
            raise ApplicationError(failed.message, type=failed.kind, non_retryable=True) from failed
        except ActivityError as error:
            reason = str(error.cause or error)
            await self._finish("failed", error=reason)
            raise ApplicationError(reason, type="process_failed", non_retryable=True) from error
        except asyncio.CancelledError:
            await self._finish("cancelled", error="cancelled by the run that started it")
            raise

    async def _main(self) -> ProcessResult:
        conduct, frame, node = await self._open()
        self._conduct, self._frame = conduct, frame
        nodes = conduct.definition.nodes
        position: str | None = node
        try:
            while position is not None:
                position = await run_step(frame, nodes, position)
                if position is not None and workflow.info().is_continue_as_new_suggested():
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
            budget=state.budget if state else run.budget,
            spent=state.spent if state else Spent(),
            paused=self._paused,
            position=state.node if state else definition.start,
        )
        self._start = self._start.model_copy(update={"snapshot": snapshot})
        if state is not None:
            frame = Frame(conduct, dict(state.context), steps=state.steps, visits=dict(state.visits))
            return conduct, frame, state.node
        missing = not_carried_out(definition)
        if missing:
            raise NodeFailed("unsupported", f"this engine does not carry out {'; '.join(missing)}")
        frame = Frame(conduct, {**definition.context.initial, **run.input})
        await self._note_start(run, snapshot)
        return conduct, frame, definition.start

    async def _load(self, run: Run) -> ProcessSnapshot:
        address = ProcessAddress(run=self._run, principal=self._principal, name=run.definition, version=run.version)
        return await load_process(address)

    async def _note_start(self, run: Run, snapshot: ProcessSnapshot) -> None:
        facts: dict[str, JsonValue] = {
            "process": run.definition,
            "version": snapshot.version,
            "digest": snapshot.digest,
            "input": digest(run.input),
        }
        await self._change(
            "started",
            status="running",
            position=snapshot.definition["start"],
            audit=(AuditDraft(key="started", actor=self._principal.subject, action="process.started", data=facts),),
        )

    async def _carry_over(self, conduct: Conduct, frame: Frame, node: str) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        state = ProcessState(
            node=node,
            context=frame.values,
            steps=frame.steps,
            visits=frame.visits,
            spent=conduct.spent,
            budget=conduct.budget,
            closed=self._people.closed,
        )
        workflow.continue_as_new(self._start.model_copy(update={"state": state}))

    async def _cancelled(self, control: Control) -> ProcessResult:
        reason = control.reason or f"{control.action} by {control.by.subject}"
        await self._finish("cancelled", error=reason, actor=control.by.subject)
        return ProcessResult(outcome="cancelled")

    async def _finish(
        self, status: RunStatus, *, ended: Ended | None = None, error: str | None = None, actor: str = "engine"
    ) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
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
    async def control(self, control: Control) -> Empty:
        """Pause between two steps, resume, or end the run."""
        if control.action in ("stop", "cancel"):
            self._ended_by = control
            return Empty()
        self._paused = control.action == "pause"
        if self._conduct is not None:
            self._conduct.paused = self._paused
        key = f"control/{workflow.uuid4()}"
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
        if control.action not in ("stop", "cancel", "pause", "resume"):
            raise ApplicationError(
                f"a process run can't {control.action}; it can stop, cancel, pause and resume",
                type="invalid",
                non_retryable=True,
            )
