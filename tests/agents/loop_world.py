"""The world around an agent's workflow, small enough to be looked at whole: every activity is answered by a test.

The workflow is the real one on a real worker; the store is a list, the model and the tools wait until a test says what
they do. Whatever must never happen is written down in `Case.wrong` as soon as it does.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from temporalio import activity
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

from engine import ports
from engine.agent.log import assemble, message_event
from engine.agent.state import AgentInput
from engine.agent.workflow import AgentWorkflow
from engine.ports import (
    AgentAnswer,
    AgentPlan,
    AgentToolCalls,
    AgentToolsDone,
    ApprovalMode,
    Control,
    Reviewed,
    ReviewOrder,
    Say,
    StuckFound,
    StuckNoted,
    TaskAnswer,
    TurnMade,
    TurnOrder,
    UserMessage,
)
from engine.routes import Route
from engine.runs import Change, EventDraft, Recorded, Run, RunRef, StartedWorkflow
from engine.transcript import system, user
from engine.values import Budget, Empty, Principal, Value, new_id
from providers.wire import unpaired_call
from server.data_folder import open_data_folder
from server.queues import runner
from server.settings import Settings
from server.temporal import connect
from server.temporal_child import EmbeddedTemporal
from tests.agents.loop_case import NOW, Case, check_allowed, ran, replied

ALICE = Principal(tenant="local", subject="alice", roles=frozenset({"operator"}))
PATIENCE_S = 30
TOOLS_GONE = "the tools are gone"
AT_ONCE = timedelta(milliseconds=1)


@dataclass
class World:
    """The cases by the id of their workflow, and what tests do to them."""

    client: Client
    cases: dict[str, Case] = field(default_factory=lambda: {})

    async def start(self, mode: ApprovalMode, budget: Budget, *, asks: bool, turns_per_history: int) -> Case:
        """Start a run."""
        ref = RunRef(tenant="local", run_id=new_id("run"))
        route = Route(provider="fake", model="fake")
        plan = AgentPlan(route=route, output_required=False, approval=mode, on_stuck="ask" if asks else "stop")
        case = Case(ref, plan, budget, mode=mode, modes={mode})
        case.append(message_event("system", system("rules")))
        case.append(message_event("task", user("task")))
        self.cases[ref.workflow_id] = case
        start = AgentInput(run=StartedWorkflow(run=ref, principal=ALICE), turns_per_history=turns_per_history)
        case.handle = await self.client.start_workflow(
            "AgentWorkflow", start, id=ref.workflow_id, task_queue="loop.engine"
        )
        await self.settled(case)
        return case

    async def settled(self, case: Case) -> None:
        """Wait until something waits for the test, or the run is over."""
        with anyio.fail_after(PATIENCE_S):
            while not (case.pending or case.tasks or case.ended or case.paused):
                case.moved.clear()
                await case.moved.wait()

    async def settle(self, case: Case, kind: type[Value], outcome: Any, which: int = 0) -> bool:
        """Say what comes of a waiting order of a kind; tell whether there was one."""
        waiting = [one for one in case.pending if isinstance(one.order, kind) and not one.outcome.done()]
        if not waiting:
            return False
        one = waiting[which % len(waiting)]
        # As the real activities do, what is under way is given up when its run is over.
        wanted = lasting("the run is over") if case.ended else outcome
        made = wanted(one.order) if callable(wanted) else wanted
        if isinstance(made, BaseException):
            one.outcome.set_exception(made)
        else:
            one.outcome.set_result(made)
        while one in case.pending:
            await asyncio.sleep(0)
        if case.paused and not case.ended and case.handle is not None:
            # Nothing follows that could be waited for: the answer to a query says that the workflow has gone on.
            await case.handle.query("status")
        await self.settled(case)
        return True

    async def update(self, case: Case, name: str, message: Value) -> str | None:
        """Send an update; return why it was refused, or None."""
        assert case.handle is not None
        try:
            with anyio.fail_after(PATIENCE_S):
                await case.handle.execute_update(name, message, result_type=Empty)
        except WorkflowUpdateFailedError as error:
            return str(error.cause)
        except RPCError as error:
            return error.message
        return None

    async def say(self, case: Case, text: str) -> None:
        """Say something to the agent."""
        await self.update(case, "send_message", Say(by=ALICE, text=text, key=new_id("key")))
        await self.settled(case)

    async def control(self, case: Case, control: Control) -> str | None:
        """Steer the run."""
        if control.action == "approval" and control.approval is not None:
            case.modes.add(control.approval)
        if control.action == "resume":
            case.paused = False
            case.held.clear()
        refused = await self.update(case, "control", control)
        if control.action == "approval" and control.approval is not None and refused is None:
            case.mode = control.approval
        if control.action == "pause" and refused is None:
            # A turn that was ordered just before may still begin, but no other one.
            under_way = any(isinstance(one.order, TurnOrder) for one in case.pending)
            case.paused, case.turns_left = True, 0 if under_way else 1
        await self.settled(case)
        return refused

    async def outwait(self, case: Case) -> None:
        """Answer nothing until the time of the run is up, if it has one, and what it asks with it."""
        if case.budget.seconds is None:
            return
        with anyio.fail_after(PATIENCE_S):
            while case.tasks and not case.ended:
                case.moved.clear()
                await case.moved.wait()
        await self.settled(case)

    async def answer(self, case: Case, which: int, choice: int) -> None:
        """Answer an open task, if there is one, twice: only the first answer may count."""
        if not case.tasks:
            return
        task = case.tasks[sorted(case.tasks)[which % len(case.tasks)]]
        decision = task.decisions[choice % len(task.decisions)] if task.decisions else None
        values: dict[str, Any] = {} if task.decisions else {"answer": "seven"}
        answer = TaskAnswer(task_id=task.task_id, by=ALICE, decision=decision, values=values, comment="so be it")
        call = (int(str(task.context["turn"])), str(task.context.get("call_id", "")))
        if decision in ("allow", "allow_for_run"):
            case.allowed.add(call)
        if decision == "allow_for_run":
            wanted = next(one for one in case.calls[call[0]] if one.call_id == call[1])
            case.granted.add((wanted.tool, wanted.target))
        if case.paused:
            case.held.add(call)
        if decision == "deny":
            case.denied.add(call)
        first = await self.update(case, "answer", answer)
        second = await self.update(case, "answer", answer.model_copy(update={"comment": "again"}))
        if first is None and second is None:
            case.wrong.append(f"task {task.task_id} was answered twice")
        case.tasks.pop(task.task_id, None)
        await self.settled(case)

    async def finish(self, case: Case) -> None:
        """Bring the run to its end by plain answers, then look at what is left."""
        with anyio.fail_after(PATIENCE_S):
            while not case.ended:
                await self.settled(case)
                if case.paused:
                    await self.control(case, Control(action="resume", by=ALICE))
                await self.settle(case, TurnOrder, partial(replied, case, finish="done", calls=()))
                await self.settle(case, AgentToolCalls, partial(ran, case, outcome="ok", result=1))
                await self.settle(case, ReviewOrder, Reviewed(verdict="deny", reason="no"))
                await self.answer(case, 0, -1)
            assert case.handle is not None
            await asyncio.gather(case.handle.result(), return_exceptions=True)
            for one in case.pending:
                one.outcome.cancel()
        if TOOLS_GONE in case.error:
            case.wrong.append("a tool that failed has ended the run")
        if case.tasks and case.status == "completed":
            case.wrong.append("the run is completed and still asks")
        if case.status == "completed" and not case.closing and case.said > case.seen:
            case.wrong.append("a person spoke and was not answered")
        problem = unpaired_call(assemble(case.entries)) if case.status == "completed" and not case.closing else None
        if problem:
            case.wrong.append(problem)


def passing(message: str) -> ApplicationError:
    """Return a failure after which the activity is tried again."""
    return ApplicationError(message, type="unavailable", next_retry_delay=AT_ONCE)


def lasting(message: str) -> ApplicationError:
    """Return a failure that stays."""
    return ApplicationError(message, type="unauthorized", non_retryable=True)


def activities(world: dict[str, Case]) -> list[Callable[..., Awaitable[Any]]]:
    """Return an activity for each stub; those that no test plans for fail loudly."""

    def case_of(ref: RunRef) -> Case:
        return world[ref.workflow_id]

    async def load_run(ref: RunRef) -> Run:
        case = case_of(ref)
        return Run(
            run_id=ref.run_id,
            tenant=ref.tenant,
            kind="agent",
            definition="agent",
            version="",
            title="",
            status="running",
            principal=ALICE,
            root_id=ref.run_id,
            budget=case.budget,
            created_at=datetime.now(UTC),
            updated_at=NOW,
        )

    async def apply_change(change: Change) -> Recorded:
        case = case_of(change.run)
        if change.key in case.changes:
            return Recorded(last_seq=len(case.events))
        if case.ended:
            case.wrong.append(f"{change.key} was changed after the end")
        case.changes.add(change.key)
        for draft in change.events:
            case.append(draft)
        case.tasks |= {draft.task_id: draft for draft in change.opened}
        for closed in change.closed:
            case.tasks.pop(closed.task_id, None)
        if change.status is not None:
            case.status, case.error = change.status, change.error or ""
        if case.ended:
            case.tasks.clear()
        case.moved.set()
        return Recorded(last_seq=len(case.events))

    async def plan_agent(started: StartedWorkflow) -> AgentPlan:
        return case_of(started.run).plan

    async def model_turn(order: TurnOrder) -> TurnMade:
        case = case_of(order.run)
        open_calls = [
            one for one in case.calls.get(order.turn - 1, ()) if (order.turn - 1, one.call_id) not in case.answered
        ]
        if open_calls:
            case.wrong.append(f"turn {order.turn} began with {len(open_calls)} open calls")
        problem = unpaired_call(assemble(case.entries))
        if problem and activity.info().attempt == 1:
            case.wrong.append(f"turn {order.turn}: {problem}")
        if case.ended:
            case.wrong.append(f"turn {order.turn} began after the end")
        if case.paused:
            case.turns_left -= activity.info().attempt == 1
            if case.turns_left < 0:
                case.wrong.append(f"turn {order.turn} began while the run was paused")
        case.seen, case.closing = len(case.events), order.closing
        return await case.wait(order)

    async def agent_tools(order: AgentToolCalls) -> AgentToolsDone:
        case = case_of(order.run)
        if order.given is not None:
            return ran(case, order, "error" if order.given.is_error else "ok", 0)
        for call in order.calls:
            check_allowed(case, order.turn, call)
        return await case.wait(order)

    async def review_call(order: ReviewOrder) -> Reviewed:
        case = case_of(order.run)
        reviewed: Reviewed = await case.wait(order)
        # What the reviewer denies is only not allowed: a person may open the mode while it thinks, and that counts.
        if reviewed.verdict == "allow":
            case.allowed.add((order.turn, order.call.call_id))
        return reviewed

    async def note_stuck(found: StuckFound) -> StuckNoted:
        case_of(found.run).append(EventDraft(key=f"turn/{found.turn}/stuck/{found.step}", type="stuck"))
        return StuckNoted(text="evidence")

    async def append_message(message: UserMessage) -> Recorded:
        case = case_of(message.run)
        seq = case.append(message_event(message.key, user(message.text)))
        case.said = max(case.said, seq)
        return Recorded(last_seq=seq)

    async def agent_answer(ref: RunRef) -> AgentAnswer:
        return AgentAnswer(value=len(case_of(ref).calls))

    planned = (load_run, apply_change, plan_agent, append_message, agent_answer)
    awaited = (model_turn, agent_tools, review_call, note_stuck)
    named: dict[str, Callable[..., Awaitable[Any]]] = {one.__name__: one for one in (*planned, *awaited)}
    stubs = [one for one in vars(ports).values() if isinstance(one, ports.Activity)]
    return [activity.defn(name=stub.name)(named[stub.name]) for stub in stubs if stub.name in named]


@asynccontextmanager
async def loop_world(root: Path) -> AsyncGenerator[World]:
    """Give a world over a real Temporal whose data lie below `root`."""
    settings, folder = Settings(data=root), open_data_folder(root)
    async with EmbeddedTemporal(settings.temporal, folder):
        client = await connect(settings.temporal, folder, pydantic_data_converter)
        world = World(client)
        fakes = activities(world.cases)
        engine = Worker(
            client, task_queue="loop.engine", workflows=[AgentWorkflow], activities=fakes, workflow_runner=runner()
        )
        tools, model = (Worker(client, task_queue=f"loop.{kind}", activities=fakes) for kind in ("tools", "model"))
        async with engine, tools, model:
            yield world
