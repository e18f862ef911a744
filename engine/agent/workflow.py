"""The agent loop: model turn, tools in parallel, results, next turn; one workflow per run.

Messages, arguments and results live in the run's log; this history holds turn numbers, call ids, sizes and
finishes, so its bytes per turn don't grow with the transcript.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from engine.agent.state import NUDGE_AT, REPAIRS, STOP_AT, AgentInput, AgentState, repeated
from engine.people import People
from engine.ports import (
    ONCE,
    STORE_RETRY,
    AgentAnswer,
    AgentPlan,
    AgentToolCall,
    AgentToolDone,
    CallRef,
    Control,
    Say,
    TaskAnswer,
    TurnMade,
    TurnOrder,
    UserMessage,
    agent_answer,
    agent_tool,
    append_message,
    apply_change,
    load_run,
    model_turn,
    plan_agent,
    sibling_queue,
)
from engine.runs import AuditDraft, Change, EventDraft, RunRef, RunStatus, Seat, StartedWorkflow, TaskDraft, derived_id
from engine.values import Empty, Principal

TURNS_PER_HISTORY = 50

MODEL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)

NUDGE = (
    "You have made the same call with the same result several times. Do not repeat it: use what you know, "
    "try another way, or finish with what you have."
)


class Stopped(Exception):  # it is an outcome of the loop, not a failure
    """The run is to end now: `status` and why."""

    def __init__(self, status: RunStatus, reason: str) -> None:
        super().__init__(reason)
        self.status: RunStatus = status
        self.reason = reason


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow:
    """One agent run from its task to its answer."""

    @workflow.init
    def __init__(self, start: AgentInput) -> None:
        """Take up what an earlier part of the run carried over."""
        self._run = start.run.run
        self._principal = start.run.principal
        self._plan = start.plan
        self._budget = start.budget
        self._state = start.state
        self._people = People(self._run, start.state.closed)
        self._stop: Stopped | None = None
        self._paused = False
        self._unread = 0
        self._work: asyncio.Task[Any] | None = None

    @workflow.run
    async def run(self, start: AgentInput) -> AgentAnswer:
        """Turn after turn until the model is done, the budget is spent, or somebody stops the run."""
        try:
            if self._plan is None:
                await self._begin()
            answer = await self._loop()
        except Stopped as stopped:
            await self._finish(stopped.status, stopped.reason)
            if stopped.status == "failed":
                raise ApplicationError(stopped.reason, type="agent_failed", non_retryable=True) from None
            return AgentAnswer()
        except ActivityError as error:
            await self._finish("failed", _reason(error))
            raise ApplicationError(_reason(error), type="agent_failed", non_retryable=True) from error
        except asyncio.CancelledError:
            await self._finish("cancelled", "cancelled by the run that started it")
            raise
        await workflow.wait_condition(workflow.all_handlers_finished)
        return answer

    async def _begin(self) -> None:
        self._budget = (await load_run(self._run)).budget
        self._plan = await plan_agent(_started(self._run, self._principal))
        await self._change("started", status="running", audit=self._audit("run.started"))

    async def _loop(self) -> AgentAnswer:
        while True:
            await self._hold()
            spent_up = self._state.spent.exceeds(self._budget)
            made = await self._turn(closing=spent_up is not None)
            if made.calls and spent_up is None:
                await self._tools(made)
                self._notice_loops()
            elif self._over(made, spent_up):
                return await self._answer()
            if self._state.turn % TURNS_PER_HISTORY == 0 or workflow.info().is_continue_as_new_suggested():
                await self._carry_over()

    async def _turn(self, *, closing: bool) -> TurnMade:
        plan = self._known_plan()
        turn = self._state.turn + 1
        note, self._unread = self._state.note, 0
        order = TurnOrder(
            run=self._run, principal=self._principal, turn=turn, route=plan.route, closing=closing, note=note
        )
        queue = f"{sibling_queue('model')}.{plan.route.provider}"
        made = await self._interruptible(
            model_turn(
                order, timeout=timedelta(minutes=15), retry=MODEL_RETRY, heartbeat=timedelta(seconds=60), queue=queue
            )
        )
        self._state = self._state.model_copy(
            update={"turn": turn, "spent": self._state.spent.plus(made.spent), "note": ""}
        )
        return made

    def _over(self, made: TurnMade, spent_up: str | None) -> bool:
        """Tell whether the answer stands; leave a note for the next turn where it doesn't."""
        kind = made.finish.unified
        if kind == "refusal":
            raise Stopped("failed", f"the model refused: {made.finish.raw}")
        if kind in ("context_full", "error", "malformed"):
            raise Stopped("failed", f"the model ended with {kind}: {made.finish.raw}")
        problem = made.contract_error
        if kind in ("length", "cut_off") and problem is None:
            problem = "your answer was cut off by the output limit; give it again, shorter"
        if spent_up is not None:
            if problem is not None:
                raise Stopped("failed", f"the budget of {spent_up} is used up and the answer is not valid: {problem}")
            return True
        if problem is None:
            return self._unread == 0
        if self._state.repairs >= REPAIRS:
            raise Stopped("failed", f"the answer broke its contract {REPAIRS + 1} times: {problem}")
        self._state = self._state.model_copy(update={"repairs": self._state.repairs + 1, "note": problem})
        return False

    async def _tools(self, made: TurnMade) -> None:
        """Run the calls of a turn side by side; each is answered exactly once, whatever happens to it."""
        done = await asyncio.gather(*(self._tool(made.turn, call) for call in made.calls))
        kept = (*self._state.fingerprints, *(one.fingerprint for one in done))[-20:]
        self._state = self._state.model_copy(update={"fingerprints": kept})

    async def _tool(self, turn: int, call: CallRef) -> AgentToolDone:
        refusal = await self._approval(turn, call)
        order = AgentToolCall(run=self._run, principal=self._principal, turn=turn, call=call, refusal=refusal)
        try:
            return await self._interruptible(
                agent_tool(
                    order,
                    timeout=timedelta(seconds=call.timeout_s + 10),
                    retry=RetryPolicy(maximum_attempts=3) if call.repeatable else ONCE,
                    heartbeat=timedelta(seconds=30),
                )
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # Told to the model as it is: the call may have had its effect, and it will not be made again.
            unknown = order.model_copy(
                update={"refusal": f"outcome unknown: the call was interrupted ({_reason(error)})"}
            )
            return await agent_tool(unknown, timeout=timedelta(seconds=30), retry=STORE_RETRY)

    async def _approval(self, turn: int, call: CallRef) -> str | None:
        """Return why a call may not run, or None; a call with effects waits here for a person."""
        needs = call.effect == "always_ask" or (
            call.effect == "side_effecting" and self._known_plan().approval == "ask"
        )
        grant = f"{call.tool}\0{call.target}"
        if not needs or (call.effect != "always_ask" and grant in self._state.granted):
            return None
        answer = await self._people.ask(
            TaskDraft(
                task_id=derived_id("task", self._run.workflow_id, str(turn), call.call_id),
                kind="approval",
                node=f"turn {turn}",
                title=f"Allow {call.tool}?",
                description=call.target,
                decisions=("allow", "allow_for_run", "deny"),
                seat=Seat(users=(self._principal.subject,), roles=("approver",)),
            )
        )
        if answer is None or answer.decision == "deny":
            return f"refused by {answer.by.subject}" if answer else "nobody approved the call in time"
        if answer.decision == "allow_for_run":
            self._state = self._state.model_copy(update={"granted": (*self._state.granted, grant)})
        return None

    def _notice_loops(self) -> None:
        count = repeated(self._state.fingerprints)
        if count >= STOP_AT:
            raise Stopped("failed", f"stuck: the same call with the same result {count} times in a row")
        if count >= NUDGE_AT:
            self._state = self._state.model_copy(update={"note": NUDGE})

    async def _answer(self) -> AgentAnswer:
        answer = await agent_answer(self._run)
        await self._change(
            "finished",
            status="completed",
            result=answer.value,
            waits_for="",
            audit=self._audit("run.completed", {"turns": self._state.turn}),
        )
        return answer

    async def _carry_over(self) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        state = self._state.model_copy(update={"closed": self._people.closed})
        workflow.continue_as_new(
            AgentInput(run=_started(self._run, self._principal), plan=self._plan, budget=self._budget, state=state)
        )

    async def _interruptible(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await `work`, or cancel it and end the run as soon as a stop arrives."""
        task = asyncio.ensure_future(work)
        await workflow.wait_condition(lambda: task.done() or self._stop is not None)
        if self._stop is None:
            return await task
        task.cancel()
        raise self._stop

    async def _hold(self) -> None:
        await workflow.wait_condition(lambda: not self._paused or self._stop is not None)
        if self._stop is not None:
            raise self._stop

    async def _finish(self, status: RunStatus, reason: str) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        await self._change(
            "finished",
            status=status,
            error=reason,
            waits_for="",
            audit=self._audit(f"run.{status}", {"reason": reason}),
        )

    async def _change(self, key: str, **fields: Any) -> None:
        await apply_change(Change(run=self._run, key=key, **fields))

    def _audit(self, action: str, data: dict[str, Any] | None = None) -> tuple[AuditDraft, ...]:
        return (AuditDraft(key=action, actor=self._principal.subject, action=action, data=data or {}),)

    def _known_plan(self) -> AgentPlan:
        assert self._plan is not None
        return self._plan

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
        await append_message(UserMessage(run=self._run, principal=say.by, key=f"said/{say.key}", text=say.text))
        self._unread += 1
        return Empty()

    @workflow.update
    async def control(self, control: Control) -> Empty:
        """Pause, resume or stop the run; `stop` keeps what was done, `cancel` says it is not wanted."""
        if control.action in ("stop", "cancel"):
            self._stop = Stopped(
                "cancelled", f"{control.action} by {control.by.subject}: {control.reason}".rstrip(": ")
            )
        else:
            self._paused = control.action == "pause"
            await self._change(
                f"control/{workflow.uuid4()}",
                status="paused" if self._paused else "running",
                events=(EventDraft(key=f"control/{workflow.uuid4()}", type=f"run.{control.action}"),),
            )
        return Empty()

    @control.validator
    def _check_control(self, control: Control) -> None:
        if control.action not in ("stop", "cancel", "pause", "resume"):
            raise ApplicationError(
                f"an agent run can't {control.action}; it can stop, cancel, pause and resume",
                type="invalid",
                non_retryable=True,
            )

    @workflow.query
    def status(self) -> AgentState:
        """Return turn, money and open waits as the workflow knows them."""
        return self._state


def _started(run: RunRef, principal: Principal) -> StartedWorkflow:
    return StartedWorkflow(run=run, principal=principal)


def _reason(error: ActivityError) -> str:
    return str(error.cause or error)
