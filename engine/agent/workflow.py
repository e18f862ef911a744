"""The agent loop: model turn, tools in parallel, results, next turn; one workflow per run.

Messages, arguments and results live in the run's log; this history holds turn numbers, call ids, sizes and
finishes, so its bytes per turn don't grow with the transcript.
"""

import asyncio
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from engine import stage
from engine.agent.approvals import VERBS, carry_out_verb, check_verb
from engine.agent.budgets import VERB as BUDGET
from engine.agent.budgets import add, check_added, more_needed
from engine.agent.calls import run_calls
from engine.agent.checkpoint import VERB as CHECKPOINT
from engine.agent.checkpoint import ask_by_control, ask_for, checkpoint
from engine.agent.children import bound_of, come_in, end_all, hear, settle
from engine.agent.conduct import Conduct, Stopped, reason_of
from engine.agent.family import Child
from engine.agent.state import AgentInput, AgentState, Grant
from engine.agent.stuck import Round
from engine.agent.turns import before_any_turn, make_turn, stands
from engine.agent.ways_out import note_round
from engine.people import People
from engine.ports import (
    AgentAnswer,
    ChildNews,
    Control,
    ModelChanged,
    PlanStep,
    Say,
    TaskAnswer,
    TurnMade,
    UserMessage,
    agent_answer,
    append_message,
    load_run,
    plan_agent,
)
from engine.runs import EventDraft
from engine.values import Empty, Principal


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow:
    """One agent run from its task to its answer."""

    @workflow.init
    def __init__(self, start: AgentInput) -> None:
        """Take up what an earlier part of the run carried over."""
        run = start.run.run
        self._start = start
        self._people = People(run, start.state.closed)
        self._conduct = Conduct(
            run=run,
            principal=start.run.principal,
            people=self._people,
            state=start.state,
            budget=start.budget,
            planned=start.plan,
        )

    @workflow.run
    async def run(self, start: AgentInput) -> AgentAnswer:
        """Turn after turn until the model is done, the budget is spent, or somebody stops the run."""
        try:
            if self._conduct.planned is None:
                await self._begin()
            return await self._loop()
        except Stopped as stopped:
            await self._finish(stopped)
            if stopped.status == "failed" or workflow.info().parent is not None:
                raise ApplicationError(stopped.reason, type=f"agent_{stopped.status}", non_retryable=True) from None
            return AgentAnswer()
        except (ActivityError, asyncio.CancelledError) as error:
            if is_cancelled_exception(error):
                await self._finish(Stopped("cancelled", "cancelled by the run that started it"))
                raise
            await self._finish(Stopped("failed", reason_of(error)))
            raise ApplicationError(reason_of(error), type="agent_failed", non_retryable=True) from error

    async def _begin(self) -> None:
        conduct = self._conduct
        run = await load_run(conduct.run)
        conduct.budget = run.budget
        conduct.remember(started_at=run.created_at)
        conduct.planned = plan = await plan_agent(self._start.run)
        conduct.remember(turn=plan.turn, checkpoints=plan.checkpoints, plan=plan.steps)
        await conduct.change("started", status="running", audit=conduct.audit("run.started"))
        if plan.calls:
            await run_calls(conduct, before_any_turn(plan.calls), None)

    async def _loop(self) -> AgentAnswer:
        conduct = self._conduct
        first = conduct.state.turn
        while True:
            await conduct.hold()
            await settle(conduct)
            if conduct.state.asked:
                await self._make_smaller(conduct.state.asked, full=False)
            bound = await bound_of(conduct)
            made = await self._turn(bound)
            if made is None:
                continue
            if made.calls:
                await run_calls(conduct, made, bound)
            elif made.finish.unified == "paused":
                await note_round(conduct, Round(turn=made.turn))
            if stands(conduct, made, bound):
                # An answer given while subagents are at work is not the last one: the model is told how they end.
                if bound is None:
                    await come_in(conduct)
                await conduct.handled()
                if conduct.stop is not None:
                    raise conduct.stop
                # A person who spoke while the answer was made is answered; there is no turn for it at a bound.
                if bound is not None or conduct.state.said <= conduct.state.seen:
                    return await self._answer()
            long = conduct.state.turn - first >= self._start.turns_per_history
            if long or stage.new_history_is_due():
                await self._carry_over()

    async def _turn(self, bound: str | None) -> TurnMade | None:
        """Make the next turn, the last one where there is a bound; None where something else had to be done first."""
        conduct = self._conduct
        if bound is not None and conduct.plan.on_budget == "pause":
            await more_needed(conduct, bound)
            return None
        made = await make_turn(conduct, closing=bound is not None)
        if made is None:
            return None
        if made.short_of:
            await more_needed(conduct, made.short_of, made)
            return None
        if made.checkpoint:
            await self._make_smaller(made.checkpoint, full=made.checkpoint != "expired")
            return None
        return made

    async def _answer(self) -> AgentAnswer:
        conduct = self._conduct
        conduct.ending = True
        await end_all(conduct)
        answer = await agent_answer(conduct.run)
        await conduct.change(
            "finished",
            status="completed",
            result=answer.value,
            waits_for="",
            audit=conduct.audit("run.completed", {"turns": conduct.state.turn}),
        )
        await conduct.handled()
        return answer

    async def _make_smaller(self, reason: str, *, full: bool) -> None:
        self._conduct.remember(asked="")
        await checkpoint(self._conduct, reason, full=full)
        # Going on in a new history takes a second while the old one is younger than that.
        if workflow.now() - workflow.info().start_time > timedelta(seconds=1):
            await self._carry_over()

    async def _carry_over(self) -> None:
        conduct = self._conduct
        await conduct.handled()
        if conduct.stop is not None:
            raise conduct.stop
        state = conduct.state.model_copy(update={"closed": self._people.closed})
        carried = {"plan": conduct.planned, "budget": conduct.budget, "state": state}
        stage.continue_as_new(self._start.model_copy(update=carried))

    async def _finish(self, stopped: Stopped) -> None:
        conduct = self._conduct
        conduct.ending = True
        await conduct.handled()
        await end_all(conduct)
        await conduct.change(
            "finished",
            status=stopped.status,
            error=stopped.reason,
            waits_for="",
            audit=conduct.audit(f"run.{stopped.status}", {"reason": stopped.reason}, by=stopped.by),
        )

    @workflow.update
    async def answer(self, answer: TaskAnswer) -> Empty:
        """Take an answer to an open approval or question."""
        await self._people.accept(answer)
        return Empty()

    @answer.validator
    def _check_answer(self, answer: TaskAnswer) -> None:
        self._people.check(answer)

    @workflow.update
    async def send_message(self, say: Say) -> Empty:
        """Append a person's message; the next turn reads it, and an answer under way is followed by another turn."""
        conduct = self._conduct
        # Before its plan a run has no transcript that a message could stand in.
        await workflow.wait_condition(lambda: conduct.planned is not None or conduct.ending)
        conduct.check_open()
        message = UserMessage(
            run=conduct.run, principal=say.by, key=f"said/{say.key}", text=say.text, attachments=say.attachments
        )
        recorded = await append_message(message)
        conduct.remember(said=max(conduct.state.said, recorded.last_seq))
        return Empty()

    @send_message.validator
    def _check_message(self, say: Say) -> None:
        self._conduct.check_open()

    @workflow.update
    async def control(self, control: Control) -> Empty:
        """Pause, resume or stop the run, or change its model; `stop` keeps what was done, `cancel` means unwanted."""
        conduct, by = self._conduct, control.by.subject
        if control.action in ("stop", "cancel"):
            conduct.stop = Stopped("cancelled", f"{control.action} by {by}: {control.reason}".rstrip(": "), by)
            return Empty()
        if control.changed is not None:
            await self._change_model(control, control.changed)
            return Empty()
        if control.action in VERBS:
            await carry_out_verb(conduct, control)
            return Empty()
        if control.action == BUDGET:
            await add(conduct, control)
            return Empty()
        if control.action == CHECKPOINT:
            await ask_by_control(conduct, control)
            return Empty()
        paused = control.action == "pause"
        conduct.remember(paused=paused)
        key, action = f"control/{workflow.uuid4()}", f"run.{control.action}"
        await conduct.change(
            key,
            status="paused" if paused else ("waiting" if self._people.waiting else "running"),
            events=(EventDraft(key=key, type=action),),
            audit=conduct.audit(action, {"reason": control.reason}, by=by, key=key),
        )
        return Empty()

    async def _change_model(self, control: Control, changed: ModelChanged) -> None:
        """Go on with another model from the next turn on; a turn under way is finished by the one that began it."""
        conduct = self._conduct
        await workflow.wait_condition(lambda: conduct.planned is not None or conduct.ending)
        conduct.check_open()
        before = conduct.plan.route
        conduct.planned = conduct.plan.model_copy(update={"route": changed.route})
        key, by = f"control/{workflow.uuid4()}", control.by.subject
        data: dict[str, JsonValue] = {
            "from": str(before),
            "to": changed.model_dump(mode="json"),
            "by": by,
            "reason": control.reason,
        }
        await conduct.change(
            key,
            events=(EventDraft(key=key, type="model.changed", data=data),),
            audit=conduct.audit("run.model", data, by=by, key=key),
        )

    @control.validator
    def _check_control(self, control: Control) -> None:
        self._conduct.check_open()
        if control.action in VERBS:
            check_verb(self._conduct, control)
        elif control.action == BUDGET:
            check_added(self._conduct, control)
        elif control.action not in ("stop", "cancel", "pause", "resume", CHECKPOINT) and control.changed is None:
            raise ApplicationError(
                f"an agent run can't {control.action}; it can stop, cancel, pause, resume, make a checkpoint, change "
                "its model, its approvals and its budget",
                type="invalid",
                non_retryable=True,
            )

    @workflow.signal
    def child_changed(self, news: ChildNews) -> None:
        """Take in how a run that this one has started stands."""
        hear(self._conduct, news)

    @workflow.query
    def workstreams(self) -> tuple[Child, ...]:
        """Return the runs that this one has started, as it knows them."""
        return self._conduct.state.children

    @workflow.signal(name="TriggerCheckpoint")
    def trigger_checkpoint(self, by: Principal) -> None:
        """Make the transcript smaller before the next turn."""
        ask_for(self._conduct, by)

    @workflow.query
    def plan(self) -> tuple[PlanStep, ...]:
        """Return the plan that the agent keeps of its own work."""
        return self._conduct.state.plan

    @workflow.query
    def grants(self) -> tuple[Grant, ...]:
        """Return what people have allowed for the rest of the run."""
        return self._conduct.state.grants

    @workflow.query
    def status(self) -> AgentState:
        """Return turn, money and open waits as the workflow knows them."""
        return self._conduct.state
