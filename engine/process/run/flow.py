"""The flow of a graph: one node after another, each step recorded in one transaction before the next begins."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue
from temporalio import workflow

from engine.ports import apply_change
from engine.process.definition import ErrorTransition, NodeBase, TimeoutTransition
from engine.process.run.frame import Ended, Frame, NodeFailed
from engine.runs import AuditDraft, Change, EventDraft
from engine.values import Spent


@dataclass
class NodeResult:
    """What a node came to: writes for the context, facts for the audit, and a route if the node may choose one."""

    writes: dict[str, JsonValue] = field(default_factory=lambda: {})
    facts: dict[str, JsonValue] = field(default_factory=lambda: {})
    spent: Spent = field(default_factory=Spent)
    chosen: str | None = None


Executor = Callable[[Frame, str, Any, str], Awaitable[NodeResult]]
"""How a type of node is carried out: `(frame, node id, node, step) -> result`."""

EXECUTORS: dict[str, Executor] = {}
"""By node type; each module of this package enters its own."""


@dataclass
class Taken:
    """The transition that was taken, and every guard that was looked at with the values it saw."""

    to: str | None
    guards: list[JsonValue]


async def run_body(frame: Frame, start: str, nodes: dict[str, Any]) -> None:
    """Carry out a nested graph until a node without a way on; an `end` in it ends the whole run."""
    node_id: str | None = start
    while node_id is not None:
        node_id = await run_step(frame, nodes, node_id)


async def run_step(frame: Frame, nodes: dict[str, Any], node_id: str) -> str | None:
    """Carry out one node and return the next one; None where the body is done.

    Raises:
        NodeFailed: the node failed and nothing in the definition handles that.
        Ended: an `end` node was reached.
    """
    conduct = frame.conduct
    await workflow.wait_condition(lambda: not conduct.paused)
    node: NodeBase = nodes[node_id]
    step = frame.next_step(node_id)
    try:
        _count_visit(frame, node_id, node)
        result = await EXECUTORS[node.type](frame, node_id, node, step)
        written = frame.write(node_id, tuple(node.writes), result.writes)
        taken = _choose(frame, node_id, node, result)
    except NodeFailed as failed:
        return await _failed(frame, node_id, node, step, failed)
    except Ended as ended:
        await _record(frame, node_id, node, step, NodeResult(facts={"outcome": ended.outcome}), {}, Taken(None, []))
        raise
    conduct.spent = conduct.spent.plus(result.spent)
    await _record(frame, node_id, node, step, result, written, taken)
    return taken.to


def _count_visit(frame: Frame, node_id: str, node: NodeBase) -> None:
    visits = frame.visits.get(node_id, 0) + 1
    frame.visits[node_id] = visits
    if node.max_visits is not None and visits > node.max_visits:
        raise NodeFailed("max_visits", f"{node_id} may be visited {node.max_visits} times and was reached once more")


def _choose(frame: Frame, node_id: str, node: NodeBase, result: NodeResult) -> Taken:
    guards: list[JsonValue] = []
    for transition in node.next:
        if transition.trigger == "agent":
            if result.chosen == transition.to:
                return Taken(transition.to, guards)
            continue
        if transition.when is None:
            return Taken(transition.to, guards)
        holds = bool(frame.evaluate(transition.when, f"{node_id}: guard to {transition.to}"))
        guards.append({"to": transition.to, "holds": holds, "trace": frame.trace(transition.when)})
        if holds:
            return Taken(transition.to, guards)
    if node.next:
        raise NodeFailed("no_transition", f"no guard of {node_id} holds and it has no default")
    return Taken(None, guards)


async def _failed(frame: Frame, node_id: str, node: NodeBase, step: str, failed: NodeFailed) -> str:
    handler = _handler(frame, node_id, node, failed.kind)
    facts: dict[str, JsonValue] = {"error": {"kind": failed.kind, "message": failed.message}}
    taken = Taken(handler.to if handler else None, [])
    frame.conduct.spent = frame.conduct.spent.plus(failed.spent)
    await _record(frame, node_id, node, step, NodeResult(facts=facts, spent=failed.spent), {}, taken)
    if handler is None:
        raise failed
    return handler.to


def _handler(frame: Frame, node_id: str, node: NodeBase, kind: str) -> ErrorTransition | TimeoutTransition | None:
    if kind == "timeout" and node.on_timeout is not None:
        return node.on_timeout
    for edge in node.on_error:
        if edge.match and kind not in edge.match:
            continue
        if edge.when is None or bool(frame.evaluate(edge.when, f"{node_id}: guard to {edge.to}")):
            return edge
    return None


async def _record(
    frame: Frame,
    node_id: str,
    node: NodeBase,
    step: str,
    result: NodeResult,
    written: dict[str, JsonValue],
    taken: Taken,
) -> None:
    conduct = frame.conduct
    failed = "error" in result.facts
    if not frame.path and taken.to is not None:
        conduct.position = taken.to
    patch: list[JsonValue] = [
        {"op": "add", "path": f"{frame.path and '/' + frame.path.strip('/')}/{name}", "value": value}
        for name, value in written.items()
    ]
    data: dict[str, JsonValue] = {
        "step": step,
        "type": node.type,
        "patch": patch,
        "guards": taken.guards,
        "to": taken.to,
        **result.facts,
    }
    if result.spent.turns:
        data["spent"] = result.spent.model_dump(mode="json")
    event_data: dict[str, JsonValue] = {
        "step": step,
        "node": node_id,
        "type": node.type,
        "to": taken.to,
        "wrote": list(written),
        **({"error": result.facts["error"]} if failed else {}),
    }
    kind = "node.failed" if failed else "node.finished"
    await apply_change(
        Change(
            run=conduct.run,
            key=f"step/{step}",
            position=conduct.position,
            spent=result.spent,
            events=(EventDraft(key=f"step/{step}", type=kind, data=event_data),),
            audit=(AuditDraft(key=f"step/{step}", actor=_actor(frame), action=kind, node=node_id, data=data),),
        )
    )


def _actor(frame: Frame) -> str:
    return f"process:{frame.conduct.definition.process}"
