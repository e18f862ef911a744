"""The agent loop: model turn, tools in parallel, results, next turn; one workflow per run.

Messages, arguments and results live in the run's log; this history holds turn numbers, call ids, sizes and
finishes, so its bytes per turn don't grow with the transcript.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from engine.agent.state import (
    REMEMBERED,
    REPAIRS,
    AgentInput,
    AgentState,
    ends_at,
    last_turn_by,
    loop_of,
    turn_fingerprint,
)
from engine.people import People
from engine.ports import (
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
from engine.runs import AuditDraft, Change, EventDraft, RunStatus, Seat, TaskDraft, derived_id
from engine.values import Empty

Result = TypeVar("Result")

MODEL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)

TOOL_RETRY = RetryPolicy(maximum_attempts=3)
"""A crash of a worker or store ends an attempt. The next one finds the record of the effect, which decides whether
the call is made again, answered from the record, or reported as unknown."""

NUDGE = (
    "You have made the same calls with the same results several times. Do not repeat them: use what you know, "
    "try another way, or finish with what you have."
)
CUT_OFF = "your answer was cut off by the output limit; give it again, shorter"
MALFORMED = "your last turn could not be read; give it again"


class Stopped(Exception):  # it is an outcome of the loop, not a failure
    """The run is to end now: `status`, why, and who wants it (None: the engine)."""

    def __init__(self, status: RunStatus, reason: str, by: str | None = None) -> None:
        super().__init__(reason)
        self.status: RunStatus = status
        self.reason = reason
        self.by = by


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow:
    """One agent run from its task to its answer."""

    @workflow.init
    def __init__(self, start: AgentInput) -> None:
        """Take up what an earlier part of the run carried over."""
        self._start = start
        self._run = start.run.run
        self._principal = start.run.principal
        self._plan = start.plan
        self._budget = start.budget
        self._state = start.state
        self._people = People(self._run, start.state.closed)
        self._stop: Stopped | None = None
        self._ending = False

    @workflow.run
    async def run(self, start: AgentInput) -> AgentAnswer:
        """Turn after turn until the model is done, the budget is spent, or somebody stops the run."""
        try:
            if self._plan is None:
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
            await self._finish(Stopped("failed", _reason(error)))
            raise ApplicationError(_reason(error), type="agent_failed", non_retryable=True) from error

    async def _begin(self) -> None:
        run = await load_run(self._run)
        self._budget = run.budget
        self._state = self._state.model_copy(update={"started_at": run.created_at})
        self._plan = await plan_agent(self._start.run)
        await self._change("started", status="running", audit=self._audit("run.started"))

    async def _loop(self) -> AgentAnswer:
        first = self._state.turn
        while True:
            await self._hold()
            bound = last_turn_by(self._budget, self._state, workflow.now())
            made = await self._turn(closing=bound is not None)
            _check_finish(made)
            if made.calls:
                await self._tools(made, bound)
            if self._over(made, bound):
                await self._handled()
                if self._stop is not None:
                    raise self._stop
                # A person who spoke while the answer was made is answered; there is no turn for it at a bound.
                if bound is not None or self._state.said <= self._state.seen:
                    return await self._answer()
            long = self._state.turn - first >= self._start.turns_per_history
            if long or workflow.info().is_continue_as_new_suggested():
                await self._carry_over()

    async def _turn(self, *, closing: bool) -> TurnMade:
        plan = self._known_plan()
        turn = self._state.turn + 1
        order = TurnOrder(
            run=self._run,
            principal=self._principal,
            turn=turn,
            route=plan.route,
            closing=closing,
            note=self._state.note,
        )
        queue = f"{sibling_queue('model')}.{plan.route.provider}"
        made = await self._interruptible(
            model_turn(order, timeout=timedelta(minutes=15), retry=MODEL_RETRY, queue=queue)
        )
        spent = self._state.spent.plus(made.spent)
        self._state = self._state.model_copy(
            update={"turn": turn, "spent": spent, "last": made.spent, "seen": made.seen, "note": ""}
        )
        return made

    def _over(self, made: TurnMade, bound: str | None) -> bool:
        """Tell whether the answer stands; leave a note for the next turn where it doesn't."""
        kind, problem = made.finish.unified, made.contract_error
        if bound is None and (made.calls or kind in ("paused", "compacted")):
            return False
        if kind == "malformed":
            problem = MALFORMED
        if kind in ("length", "cut_off"):
            problem = CUT_OFF
        if problem is None:
            return True
        if bound is not None:
            raise Stopped("failed", f"the budget of {bound} is used up and the answer is not valid: {problem}")
        if self._state.repairs >= REPAIRS:
            raise Stopped("failed", f"the answer broke its contract {REPAIRS + 1} times: {problem}")
        self._state = self._state.model_copy(update={"repairs": self._state.repairs + 1, "note": problem})
        return False

    async def _tools(self, made: TurnMade, bound: str | None) -> None:
        """Run the calls of a turn side by side; each is answered exactly once, whatever happens to it."""
        await self._hold()
        refusal = f"not run: the budget of {bound} is used up" if bound is not None else None
        calls = (self._tool(made.turn, call, refusal) for call in made.calls)
        # All of them come to their end before the first one's stop or cancellation goes on.
        done = await asyncio.gather(*calls, return_exceptions=True)
        ended = [one for one in done if isinstance(one, BaseException)]
        if ended:
            raise ended[0]
        prints = turn_fingerprint(tuple(one.fingerprint for one in done if isinstance(one, AgentToolDone)))
        kept = (*self._state.fingerprints, prints)[-REMEMBERED:]
        self._state = self._state.model_copy(update={"fingerprints": kept})
        loop = loop_of(kept) if bound is None else None
        if loop is not None and loop[0] == "stuck":
            raise Stopped("failed", f"stuck: {loop[1]}")
        if loop is not None:
            self._state = self._state.model_copy(update={"note": NUDGE})

    async def _tool(self, turn: int, call: CallRef, refusal: str | None) -> AgentToolDone:
        refusal = refusal or await self._interruptible(self._approval(turn, call))
        order = AgentToolCall(run=self._run, principal=self._principal, turn=turn, call=call, refusal=refusal)
        limit = timedelta(seconds=call.timeout_s + 10)
        try:
            return await self._interruptible(agent_tool(order, timeout=limit, retry=TOOL_RETRY))
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # Told to the model as it is: the call may have had its effect, and it will not be made again.
            what = f"outcome unknown: the call of {call.tool} was interrupted ({_reason(error)})"
            unknown = order.model_copy(update={"refusal": what})
            return await self._interruptible(agent_tool(unknown, retry=STORE_RETRY))

    async def _approval(self, turn: int, call: CallRef) -> str | None:
        """Return why a call may not run, or None; a call with effects waits here for a person."""
        always = call.effect == "always_ask"
        needs = always or (call.effect == "side_effecting" and self._known_plan().approval == "ask")
        grant = f"{call.tool}\0{call.target}"
        if not needs or (not always and grant in self._state.granted):
            return None
        answer = await self._people.ask(
            TaskDraft(
                task_id=derived_id("task", self._run.workflow_id, str(turn), call.call_id),
                kind="approval",
                node=f"turn {turn}",
                title=f"Allow {call.tool}?",
                description=call.target,
                decisions=("allow", "deny") if always else ("allow", "allow_for_run", "deny"),
                seat=Seat(users=(self._principal.subject,), roles=("approver",)),
                context={"turn": turn, "call_id": call.call_id, "tool": call.tool},
                deadline=ends_at(self._budget, self._state),
            )
        )
        if answer is None:
            return f"nobody approved {call.tool} in time; it was not run"
        if answer.decision == "deny":
            why = f": {answer.comment}" if answer.comment else ""
            return f"{call.tool} was refused by {answer.by.subject} and was not run{why}"
        if answer.decision == "allow_for_run":
            self._state = self._state.model_copy(update={"granted": (*self._state.granted, grant)})
        return None

    async def _answer(self) -> AgentAnswer:
        self._ending = True
        answer = await agent_answer(self._run)
        await self._change(
            "finished",
            status="completed",
            result=answer.value,
            waits_for="",
            audit=self._audit("run.completed", {"turns": self._state.turn}),
        )
        await self._handled()
        return answer

    async def _carry_over(self) -> None:
        await self._handled()
        if self._stop is not None:
            raise self._stop
        state = self._state.model_copy(update={"closed": self._people.closed})
        carried = {"plan": self._plan, "budget": self._budget, "state": state}
        workflow.continue_as_new(self._start.model_copy(update=carried))

    async def _handled(self) -> None:
        """Return when no message, answer or control verb is being taken in; the loop sees what came first."""
        while not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)

    async def _interruptible(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await `work`, or cancel it and end the run as soon as a stop arrives."""
        task = asyncio.ensure_future(work)
        try:
            await workflow.wait_condition(lambda: task.done() or self._stop is not None)
        except asyncio.CancelledError:
            await _cancelled(task)
            raise
        if self._stop is not None:
            await _cancelled(task)
            raise self._stop
        return task.result()

    async def _hold(self) -> None:
        """Wait while the run is paused; end it if it is to stop."""
        if self._state.paused and self._stop is None:
            # A question that was answered meanwhile has set the run to running.
            await self._change(f"held/{workflow.uuid4()}", status="paused")
            await workflow.wait_condition(lambda: not self._state.paused or self._stop is not None)
            if self._stop is None:
                await self._change(f"held/{workflow.uuid4()}", status="running")
        if self._stop is not None:
            raise self._stop

    async def _finish(self, stopped: Stopped) -> None:
        self._ending = True
        await self._handled()
        await self._change(
            "finished",
            status=stopped.status,
            error=stopped.reason,
            waits_for="",
            audit=self._audit(f"run.{stopped.status}", {"reason": stopped.reason}, by=stopped.by),
        )

    async def _change(self, key: str, **fields: Any) -> None:
        await apply_change(Change(run=self._run, key=key, **fields))

    def _audit(
        self, action: str, data: dict[str, Any] | None = None, *, by: str | None = None, key: str | None = None
    ) -> tuple[AuditDraft, ...]:
        actor = by or self._principal.subject
        return (AuditDraft(key=key or action, actor=actor, action=action, data=data or {}),)

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
        # Before its plan a run has no transcript that a message could stand in.
        await workflow.wait_condition(lambda: self._plan is not None or self._ending)
        self._check_open()
        message = UserMessage(run=self._run, principal=say.by, key=f"said/{say.key}", text=say.text)
        recorded = await append_message(message)
        self._state = self._state.model_copy(update={"said": max(self._state.said, recorded.last_seq)})
        return Empty()

    @send_message.validator
    def _check_message(self, say: Say) -> None:
        self._check_open()

    def _check_open(self) -> None:
        if self._ending or self._stop is not None:
            raise ApplicationError("the run is just ending; start a new one", type="conflict", non_retryable=True)

    @workflow.update
    async def control(self, control: Control) -> Empty:
        """Pause, resume or stop the run; `stop` keeps what was done, `cancel` says it is not wanted."""
        by = control.by.subject
        if control.action in ("stop", "cancel"):
            self._stop = Stopped("cancelled", f"{control.action} by {by}: {control.reason}".rstrip(": "), by)
            return Empty()
        paused = control.action == "pause"
        self._state = self._state.model_copy(update={"paused": paused})
        key, action = f"control/{workflow.uuid4()}", f"run.{control.action}"
        await self._change(
            key,
            status="paused" if paused else ("waiting" if self._people.waiting else "running"),
            events=(EventDraft(key=key, type=action),),
            audit=self._audit(action, {"reason": control.reason}, by=by, key=key),
        )
        return Empty()

    @control.validator
    def _check_control(self, control: Control) -> None:
        self._check_open()
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


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and return when it has tidied up: a question that is no longer asked is closed."""
    # Not in a `finally`: there it would run, and hang, when a cached workflow is thrown away.
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _check_finish(made: TurnMade) -> None:
    """Raise `Stopped` where the model itself has ended the run; no call of such a turn is made."""
    kind, raw = made.finish.unified, made.finish.raw
    if kind == "refusal":
        raise Stopped("failed", f"the model refused: {raw}")
    if kind in ("context_full", "error"):
        raise Stopped("failed", f"the model ended with {kind}: {raw}")


def _reason(error: BaseException) -> str:
    return str(error.cause or error) if isinstance(error, ActivityError) else str(error)
