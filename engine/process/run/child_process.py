"""The `process` node: another process as a child run, with a row, an audit and a budget line of its own."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ChildWorkflowError

from engine import stage
from engine.ports import ChildStart, load_run, open_process
from engine.process.definition import parse_duration
from engine.process.nodes.process import ProcessNode
from engine.process.run.calls import attempt
from engine.process.run.flow import EXECUTORS, NodeResult
from engine.process.run.frame import Conduct, Frame, NodeFailed
from engine.process.run.results import writes_of
from engine.runs import Run, RunRef, StartedWorkflow, StartRun, derived_id
from engine.values import Spent, Value


class ChildInput(Value):
    """The input of a child's workflow, in the shape of every process's own."""

    run: StartedWorkflow


class ChildResult(Value):
    """How a child ended, in the shape of every process's own result."""

    outcome: str
    output: JsonValue = None


async def run_process_node(frame: Frame, node_id: str, node: ProcessNode, step: str) -> NodeResult:
    """Run the child and take over what it returns; how it failed is the kind of this node's failure.

    Only a `retry` of the node's own starts a failed child again, as another run: the process's default is for calls.
    """
    inputs = frame.evaluate_all(node.input, f"{node_id}.input")
    tries = node.retry.max_attempts if node.retry is not None else 1
    spent = Spent()
    for number in range(1, tries + 1):
        run_id = derived_id("run", frame.conduct.run.workflow_id, step, *([str(number)] if number > 1 else []))
        try:
            child, result = await _run(frame.conduct, node_id, node, run_id, inputs)
            return _result(frame, node_id, node, child, result, spent)
        except NodeFailed as failed:
            spent = failed.spent = spent.plus(failed.spent)
            if number == tries or (node.retry is not None and failed.kind in node.retry.not_on):
                raise
        await _pause(node, number)
    raise AssertionError("the last try returns or raises")


async def _run(
    conduct: Conduct, node_id: str, node: ProcessNode, run_id: str, inputs: dict[str, JsonValue]
) -> tuple[Run, ChildResult]:
    name, _, version = node.process.partition("@")
    start = StartRun(
        kind="process",
        definition=name,
        version=version,
        title=node.title or node_id,
        input=inputs,
        budget=conduct.budget,
        parent_id=conduct.run.run_id,
    )
    order = ChildStart(parent=conduct.run, principal=conduct.principal, run_id=run_id, start=start)
    child = await attempt(open_process(order))
    try:
        result = await _in_time(child, conduct, node)
    except NodeFailed as failed:
        failed.spent = (await load_run(child)).spent
        raise
    run = await load_run(child)
    if run.status == "cancelled":
        cancelled = NodeFailed("cancelled", f"{node.process} was cancelled: {run.error or 'no reason was given'}")
        cancelled.spent = run.spent
        raise cancelled
    return run, result


async def _in_time(child: RunRef, conduct: Conduct, node: ProcessNode) -> ChildResult:
    """Await the child; one that is out of time is cancelled, undoes what it did, and only then the node has failed."""
    limit = parse_duration(node.timeout) if node.timeout else None
    until = stage.now() + limit if limit else None
    try:
        return await stage.wait_for(attempt(_child(child, conduct)), limit / timedelta(seconds=1) if limit else None)
    except (TimeoutError, ChildWorkflowError) as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        if until is not None and stage.now() >= until:
            raise NodeFailed("timeout", f"{node.process} took longer than {node.timeout}") from error
        raise NodeFailed("cancelled", f"{node.process} was cancelled") from error


async def _child(child: RunRef, conduct: Conduct) -> ChildResult:
    return await stage.execute_child_workflow(
        "ProcessWorkflow",
        ChildInput(run=StartedWorkflow(run=child, principal=conduct.principal)),
        id=child.workflow_id,
        result_type=ChildResult,
        parent_close_policy=stage.ParentClosePolicy.REQUEST_CANCEL,
    )


async def _pause(node: ProcessNode, number: int) -> None:
    if node.retry is None:
        return
    first = parse_duration(node.retry.initial_interval) / timedelta(seconds=1)
    most = parse_duration(node.retry.max_interval) / timedelta(seconds=1) if node.retry.max_interval else first * 100
    await asyncio.sleep(min(first * node.retry.backoff ** (number - 1), most))


def _result(frame: Frame, node_id: str, node: ProcessNode, child: Run, result: ChildResult, spent: Spent) -> NodeResult:
    facts: dict[str, JsonValue] = {
        "process_run": child.run_id,
        "process": f"{child.definition}@{child.version}",
        "outcome": result.outcome,
    }
    returned: dict[str, Any] = {"outcome": result.outcome, "output": result.output}
    if node.returns:
        inner = Frame(frame.conduct, returned)
        writes = {key: inner.evaluate(rule, f"{node_id}.returns.{key}") for key, rule in node.returns.items()}
    else:
        writes = writes_of(tuple(node.writes), result.output, node_id)
    return NodeResult(writes=writes, facts=facts, spent=spent.plus(child.spent))


EXECUTORS["process"] = run_process_node
