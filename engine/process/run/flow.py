"""The flow of a graph: one node after another, each step recorded in one transaction before the next begins."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import JsonValue

from engine import stage
from engine.process.definition import ErrorTransition, NodeBase, TimeoutTransition
from engine.process.patches import Patch
from engine.process.run.frame import Ended, Frame, NodeFailed
from engine.process.run.operations import allow_again, at_post, unless_ordered, until_resumed
from engine.process.run.posts import Order, Ordered, Post
from engine.process.run.results import NodeResult, Taken
from engine.process.run.supervision import parked
from engine.process.run.undoing import undoing
from engine.process.run.ways import by_person, choose
from engine.runs import AuditDraft, Change, EventDraft
from engine.values import Spent

Executor = Callable[[Frame, str, Any, str], Awaitable[NodeResult]]
"""How a type of node is carried out: `(frame, node id, node, step) -> result`."""

EXECUTORS: dict[str, Executor] = {}
"""By node type; each module of this package enters its own."""


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
    node: NodeBase = nodes[node_id]
    step = frame.next_step(node_id)
    post = at_post(frame, node_id, node, step)
    try:
        return await _step(frame, node, post)
    except Ordered as ordered:
        return await _follow(frame, node, post, ordered.order)
    finally:
        frame.conduct.posts.leave(post)


async def _step(frame: Frame, node: NodeBase, post: Post) -> str | None:
    node_id, step = post.node_id, post.step
    result, patch = NodeResult(), list[JsonValue]()
    try:
        await until_resumed(frame, post)
        _count_visit(frame, node_id, node)
        result = await unless_ordered(post, _carry_out(frame, node_id, node, step))
        patch = frame.write(node_id, tuple(node.writes), result.writes)
        taken = choose(frame, node_id, node, result.chosen)
    except NodeFailed as failed:
        failed.spent = failed.spent.plus(result.spent)
        return await _failed(frame, node, post, failed, patch)
    except Ended as ended:
        post.leads_to(None)
        result = NodeResult(facts={"outcome": ended.outcome}, spent=ended.spent)
        frame.conduct.spent, ended.spent = frame.conduct.spent.plus(ended.spent), Spent()
        await _record(frame, node_id, node, step, result, [], Taken(None, []))
        raise
    post.order = None
    post.leads_to(taken.to)
    frame.conduct.spent = frame.conduct.spent.plus(result.spent)
    _note_undo(frame, node_id, node, result)
    await _record(frame, node_id, node, step, result, patch, taken)
    return await by_person(frame, post, taken.offered) if taken.offered else taken.to


async def _follow(frame: Frame, node: NodeBase, post: Post, order: Order) -> str | None:
    """Do with a node what a person ordered, and return the next one; the order was found possible."""
    facts: dict[str, JsonValue] = {"order": order.action, "reason": order.reason, "was": post.phase}
    result, patch, taken = NodeResult(facts=facts), list[JsonValue](), Taken(order.to, [])
    kind = "node.retried" if order.action == "retry" else "node.skipped"
    if order.action == "retry":
        taken = Taken(post.node_id, [])
        allow_again(frame, node, post)
    elif order.action == "skip":
        try:
            patch = frame.write(post.node_id, tuple(node.writes), order.values)
            taken = choose(frame, post.node_id, node, order.to)
            if order.by.kind != "agent":
                frame.conduct.propose(order.by.subject, post.node_id, order.values)
        except NodeFailed as failed:
            # It was possible when it was ordered; the context has been changed since.
            post.order = None
            return await _failed(frame, node, post, failed, patch)
    post.leads_to(taken.to)
    await _record(frame, post.node_id, node, post.step, result, patch, taken, kind=kind, actor=order.by.subject)
    post.followed = order
    return await by_person(frame, post, taken.offered) if taken.offered else taken.to


async def _carry_out(frame: Frame, node_id: str, node: NodeBase, step: str) -> NodeResult:
    work = EXECUTORS[node.type](frame, node_id, node, step)
    if node.type != "tool" or node.compensate is None:
        return await work
    # A call that can be undone is not torn down in its middle: only its end says whether there is something to undo.
    calling = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await stage.to_its_end(_record_late(frame, node_id, node, step, calling))
        raise


async def _record_late(
    frame: Frame, node_id: str, node: NodeBase, step: str, calling: "asyncio.Future[NodeResult]"
) -> None:
    """Write down the end of a call that nobody waits for any more, so that it can be undone."""
    try:
        result = await calling
        patch = frame.write(node_id, tuple(node.writes), result.writes)
    except NodeFailed as failed:
        facts: dict[str, JsonValue] = {"error": {"kind": failed.kind, "message": failed.message}}
        await _record(frame, node_id, node, step, NodeResult(facts=facts), [], Taken(None, []))
        return
    _note_undo(frame, node_id, node, result)
    await _record(frame, node_id, node, step, result, patch, Taken(None, []))


def _note_undo(frame: Frame, node_id: str, node: NodeBase, result: NodeResult) -> None:
    undo = undoing(frame, node_id, node)
    if undo is not None:
        result.facts["undo"] = undo
        frame.conduct.undo[(str(undo["at"]), str(undo["node"]))] = None


def _count_visit(frame: Frame, node_id: str, node: NodeBase) -> None:
    visits = frame.visits.get(node_id, 0) + 1
    frame.visits[node_id] = visits
    if node.max_visits is not None and visits > node.max_visits:
        raise NodeFailed("max_visits", f"{node_id} may be visited {node.max_visits} times and was reached once more")


async def _failed(frame: Frame, node: NodeBase, post: Post, failed: NodeFailed, patch: Patch) -> str | None:
    node_id, step = post.node_id, post.step
    handler = _handler(frame, node_id, node, failed.kind)
    facts: dict[str, JsonValue] = {"error": {"kind": failed.kind, "message": failed.message}}
    taken = Taken(handler.to if handler else None, [])
    post.leads_to(taken.to)
    if handler is not None:
        post.order = None
    frame.conduct.spent = frame.conduct.spent.plus(failed.spent)
    await _record(frame, node_id, node, step, NodeResult(facts=facts, spent=failed.spent), patch, taken)
    if handler is not None:
        return handler.to
    order = await parked(frame, post, failed)
    if order is None:
        raise failed
    return await _follow(frame, node, post, order)


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
    patch: Patch,
    taken: Taken,
    *,
    kind: str = "",
    actor: str = "",
) -> None:
    conduct = frame.conduct
    failed = "error" in result.facts
    if not frame.path and taken.to is not None:
        conduct.position = taken.to
    data: dict[str, JsonValue] = {
        "step": step,
        "type": node.type,
        "scope": frame.scope,
        "patch": patch,
        "guards": taken.guards,
        "to": taken.to,
        **({"offered": [way.to for way in taken.offered]} if taken.offered else {}),
        **result.facts,
    }
    if result.spent.turns:
        data["spent"] = result.spent.model_dump(mode="json")
    event_data: dict[str, JsonValue] = {
        "step": step,
        "node": node_id,
        "type": node.type,
        "to": taken.to,
        "wrote": [str(one["path"])[1:] for one in patch if isinstance(one, dict)],
        **({"error": result.facts["error"]} if failed else {}),
    }
    kind = kind or ("node.failed" if failed else "node.finished")
    # A step that was failed, then done with as ordered, has two records.
    key = f"step/{step}" if kind in ("node.failed", "node.finished") else f"ordered/{step}"
    await conduct.record(
        Change(
            run=conduct.run,
            key=key,
            position=conduct.position,
            spent=result.spent,
            events=(EventDraft(key=key, type=kind, data=event_data),),
            audit=(
                AuditDraft(
                    key=key,
                    actor=actor or actor_of(frame),
                    action=kind,
                    node=node_id,
                    attempt=frame.visits.get(node_id, 1),
                    data=data,
                ),
            ),
        )
    )


def actor_of(frame: Frame) -> str:
    """Return who acts in the audit where nobody else does: the process itself."""
    return f"process:{frame.conduct.definition.process}"
