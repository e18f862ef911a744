"""The peer of the loop: a plain workflow that orders the same activities as ours, with nothing around them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from engine.agent.state import TURNS_PER_HISTORY
from engine.ports import AgentPlan, AgentToolCalls, TurnOrder, agent_tools, model_turn, plan_agent
from engine.runs import StartedWorkflow
from engine.values import Empty, Value

QUEUE = "bare-loop.engine"


class BareRun(Value):
    """Which run to make turns of, on the queues of which house, and how far it is."""

    started: StartedWorkflow
    prefix: str
    plan: AgentPlan | None = None
    turn: int = 0


@workflow.defn
class BareLoop:
    """Model turn, tools, next turn: no stop, pause, approval, budget, stuck rule, checkpoint or message."""

    @workflow.run
    async def run(self, run: BareRun) -> Empty:
        """Make turns until the model calls nothing more; go on in new histories as our loop does."""
        ref, principal = run.started.run, run.started.principal
        plan = run.plan or await plan_agent(run.started, queue=f"{run.prefix}.engine")
        for turn in range(run.turn + 1, run.turn + TURNS_PER_HISTORY + 1):
            order = TurnOrder(run=ref, principal=principal, turn=turn, route=plan.route)
            made = await model_turn(order, queue=f"{run.prefix}.model")
            if not made.calls:
                return Empty()
            calls = AgentToolCalls(run=ref, principal=principal, turn=turn, calls=made.calls)
            await agent_tools(calls, queue=f"{run.prefix}.tools")
        workflow.continue_as_new(run.model_copy(update={"plan": plan, "turn": run.turn + TURNS_PER_HISTORY}))


@asynccontextmanager
async def bare_loop(client: Client) -> AsyncGenerator[None]:
    """Run the peer's workflows while the block runs; the activities are those of the house."""
    runner = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
    async with Worker(client, task_queue=QUEUE, workflows=[BareLoop], workflow_runner=runner):
        yield
