"""Nodes that hold other graphs side by side, and those that only wait or end: `branch`, `wait`, `end`."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from engine import stage
from engine.process.durations import parse_duration
from engine.process.nodes.branch import Arm, BranchNode
from engine.process.nodes.end import EndNode
from engine.process.nodes.wait import EventMatch, WaitNode
from engine.process.run.events import event_writes
from engine.process.run.flow import EXECUTORS, NodeResult, run_body
from engine.process.run.frame import Ended, Frame, NodeFailed
from engine.process.run.supervision import catches
from engine.process.verify import writes_schema
from engine.runs import EventWait


async def run_branch_node(frame: Frame, node_id: str, node: BranchNode, step: str) -> NodeResult:
    """Take the first arm whose guard holds, or every such arm side by side, and join them as the node says."""
    guards: list[JsonValue] = []
    arms: list[Arm] = []
    for arm in node.arms:
        holds = arm.when is None or bool(frame.evaluate(arm.when, f"{node_id}.{arm.name}"))
        trace = None if arm.when is None else frame.trace(arm.when)
        guards.append({"arm": arm.name, "holds": holds, "trace": trace})
        if holds:
            arms.append(arm)
    if node.take == "first":
        arms = arms[:1]
    if not arms:
        raise NodeFailed("no_arm", f"no arm of {node_id} holds; give the last arm no guard if one must be taken")
    facts: dict[str, JsonValue] = {"arms": guards, "taken": [arm.name for arm in arms]}
    work = [run_body(_arm_frame(frame, node, step, arm.name), arm.body.start, arm.body.nodes) for arm in arms]
    finished = await _join(work, _needed(node, len(arms)))
    facts["finished"] = [arms[number].name for number in finished]
    return NodeResult(facts=facts)


def _arm_frame(frame: Frame, node: BranchNode, step: str, name: str) -> Frame:
    # An arm writes into the context itself; the verifier has made sure that no two arms write one key.
    return Frame(
        conduct=frame.conduct,
        values=frame.values,
        path=f"{step}/{name}/",
        scope=frame.scope,
        outer=frame.outer,
        locals=frame.locals,
        caught=frame.caught or catches(node),
    )


def _needed(node: BranchNode, count: int) -> int:
    if node.join == "all":
        return count
    wanted = 1 if node.join == "any" else node.join.at_least
    if wanted > count:
        raise NodeFailed("join", f"{wanted} arms must finish, but only {count} were taken")
    return wanted


async def _join(work: Sequence[Coroutine[Any, Any, Any]], needed: int) -> list[int]:
    """Wait until `needed` have finished, cancel the others, and return which finished, in order of position."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        finished = await _first(tasks, needed)
    except (Exception, asyncio.CancelledError):
        await stage.cancel_all(tasks)
        raise
    await stage.cancel_all(tasks)
    return finished


async def _first(tasks: "list[asyncio.Task[Any]]", needed: int) -> list[int]:
    finished: list[int] = []
    while len(finished) < needed:
        await stage.first_done([task for task in tasks if not task.done()])
        finished = [number for number, task in enumerate(tasks) if task.done() and task.exception() is None]
        failures = [error for task in tasks if task.done() and (error := task.exception()) is not None]
        ended = [error for error in failures if isinstance(error, Ended)]
        if ended or len(failures) > len(tasks) - needed:
            raise (ended or failures)[0]
    return finished


async def run_wait_node(frame: Frame, node_id: str, node: WaitNode, step: str) -> NodeResult:
    """Wait for an event, for a duration or until a moment; only a timer is held."""
    frame.conduct.parked.add(step)
    try:
        if node.event is not None:
            return await _wait_for_event(frame, node_id, node, node.event, step)
        duration = _duration(frame, node_id, node)
        await asyncio.sleep(max(duration / timedelta(seconds=1), 0))
    finally:
        frame.conduct.parked.discard(step)
    return NodeResult(facts={"waited_s": duration / timedelta(seconds=1)})


def _duration(frame: Frame, node_id: str, node: WaitNode) -> timedelta:
    if node.for_ is not None:
        return parse_duration(node.for_)
    until = frame.evaluate(node.until, f"{node_id}.until")
    try:
        return datetime.fromisoformat(str(until)) - stage.now()
    except (ValueError, TypeError) as error:
        raise NodeFailed("expression", f"{node_id}.until gave {until!r}, not a time with its zone") from error


async def _wait_for_event(frame: Frame, node_id: str, node: WaitNode, wanted: EventMatch, step: str) -> NodeResult:
    conduct = frame.conduct
    wait = EventWait(
        step=step,
        node=node_id,
        name=wanted.name,
        match=frame.evaluate_all(wanted.match, f"{node_id}.event.match"),
        until=stage.now() + parse_duration(node.deadline) if node.deadline else None,
    )
    writes = tuple(node.writes)
    schema = writes_schema(conduct.definition, node)
    event = await conduct.events.wait(wait, writes, schema, position=None if frame.path else node_id)
    if event is None:
        raise NodeFailed("timeout", f"no event {wait.name!r} came within {node.deadline}")
    facts: dict[str, JsonValue] = {"event": {"name": event.name, "key": event.key, "by": event.by}}
    return NodeResult(writes=event_writes(writes, event.payload), facts=facts)


async def run_end_node(frame: Frame, node_id: str, node: EndNode, step: str) -> NodeResult:
    """End the graph this node stands in, with its outcome."""
    output = None if node.output is None else frame.evaluate(node.output, f"{node_id}.output")
    raise Ended(node.outcome, output)


EXECUTORS["branch"] = run_branch_node
EXECUTORS["wait"] = run_wait_node
EXECUTORS["end"] = run_end_node
