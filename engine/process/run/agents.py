"""Bounded agents inside a process: each is a child run of its own, whose cost counts as the process's."""

from dataclasses import dataclass

from pydantic import JsonValue

from engine import stage
from engine.agent.state import AgentInput
from engine.ports import AgentAnswer, AgentTask, ChildStart, create_child, load_run
from engine.process.run.calls import attempt
from engine.process.run.frame import Conduct, NodeFailed
from engine.runs import RunRef, StartedWorkflow, StartRun, derived_id
from engine.values import Budget, Spent


@dataclass(frozen=True)
class AgentDone:
    """What an agent answered, in which run, and what it took."""

    value: JsonValue
    run_id: str
    spent: Spent


async def run_agent(
    conduct: Conduct, key: tuple[str, ...], *, node_id: str, title: str, task: AgentTask, budget: Budget
) -> AgentDone:
    """Run an agent as a child run of the process; `key` makes it the same run on every replay.

    Raises:
        NodeFailed: it failed, with what it used up all the same.
    """
    start = StartRun(
        kind="agent",
        definition=f"{conduct.definition.process}.{node_id}",
        title=title,
        input=task.model_dump(mode="json"),
        budget=budget,
        parent_id=conduct.run.run_id,
    )
    run_id = derived_id("run", conduct.run.workflow_id, *key)
    child = await create_child(ChildStart(parent=conduct.run, principal=conduct.principal, run_id=run_id, start=start))
    try:
        answer = await attempt(_run_child(child, conduct))
    except NodeFailed as failed:
        failed.spent = (await load_run(child)).spent
        raise
    return AgentDone(answer.value, child.run_id, (await load_run(child)).spent)


async def _run_child(child: RunRef, conduct: Conduct) -> AgentAnswer:
    return await stage.execute_child_workflow(
        "AgentWorkflow",
        AgentInput(run=StartedWorkflow(run=child, principal=conduct.principal)),
        id=child.workflow_id,
        result_type=AgentAnswer,
        parent_close_policy=stage.ParentClosePolicy.REQUEST_CANCEL,
    )
