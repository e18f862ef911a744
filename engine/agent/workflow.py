"""The agent loop: model turn, tools in parallel, results, next turn; one workflow per run.

Messages, arguments and results live in the run's log; this history holds turn numbers, call ids, sizes and
finishes, so its bytes per turn don't grow with the transcript.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from engine.agent.calls import run_calls
from engine.agent.conduct import Conduct, Stopped, reason_of
from engine.agent.state import AgentInput, AgentState, last_turn_by
from engine.agent.turns import make_turn, stands
from engine.people import People
from engine.ports import (
    AgentAnswer,
    Control,
    Say,
    TaskAnswer,
    UserMessage,
    agent_answer,
    append_message,
    load_run,
    plan_agent,
)
from engine.runs import EventDraft
from engine.values import Empty


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
        conduct.planned = await plan_agent(self._start.run)
        await conduct.change("started", status="running", audit=conduct.audit("run.started"))

    async def _loop(self) -> AgentAnswer:
        conduct = self._conduct
        first = conduct.state.turn
        while True:
            await conduct.hold()
            bound = last_turn_by(conduct.budget, conduct.state, workflow.now())
            made = await make_turn(conduct, closing=bound is not None)
            if made.calls:
                await run_calls(conduct, made, bound)
            if stands(conduct, made, bound):
                await conduct.handled()
                if conduct.stop is not None:
                    raise conduct.stop
                # A person who spoke while the answer was made is answered; there is no turn for it at a bound.
                if bound is not None or conduct.state.said <= conduct.state.seen:
                    return await self._answer()
            long = conduct.state.turn - first >= self._start.turns_per_history
            if long or workflow.info().is_continue_as_new_suggested():
                await self._carry_over()

    async def _answer(self) -> AgentAnswer:
        conduct = self._conduct
        conduct.ending = True
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

    async def _carry_over(self) -> None:
        conduct = self._conduct
        await conduct.handled()
        if conduct.stop is not None:
            raise conduct.stop
        state = conduct.state.model_copy(update={"closed": self._people.closed})
        carried = {"plan": conduct.planned, "budget": conduct.budget, "state": state}
        workflow.continue_as_new(self._start.model_copy(update=carried))

    async def _finish(self, stopped: Stopped) -> None:
        conduct = self._conduct
        conduct.ending = True
        await conduct.handled()
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
        message = UserMessage(run=conduct.run, principal=say.by, key=f"said/{say.key}", text=say.text)
        recorded = await append_message(message)
        conduct.remember(said=max(conduct.state.said, recorded.last_seq))
        return Empty()

    @send_message.validator
    def _check_message(self, say: Say) -> None:
        self._conduct.check_open()

    @workflow.update
    async def control(self, control: Control) -> Empty:
        """Pause, resume or stop the run; `stop` keeps what was done, `cancel` says it is not wanted."""
        conduct, by = self._conduct, control.by.subject
        if control.action in ("stop", "cancel"):
            conduct.stop = Stopped("cancelled", f"{control.action} by {by}: {control.reason}".rstrip(": "), by)
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

    @control.validator
    def _check_control(self, control: Control) -> None:
        self._conduct.check_open()
        if control.action not in ("stop", "cancel", "pause", "resume"):
            raise ApplicationError(
                f"an agent run can't {control.action}; it can stop, cancel, pause and resume",
                type="invalid",
                non_retryable=True,
            )

    @workflow.query
    def status(self) -> AgentState:
        """Return turn, money and open waits as the workflow knows them."""
        return self._conduct.state
