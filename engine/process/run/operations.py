"""What people do to a run by hand: a node done again, skipped or left, and changes of the context.

The engine holds the line whoever steers: writes are those that the node declares, of the types of the context, guards
are looked at, and four eyes stay four. An order is checked before it is taken, so that a wrong one changes nothing.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from pydantic import JsonValue

from engine import stage
from engine.errors import Conflict, Denied, Invalid
from engine.json_schema import first_violation
from engine.ports import Control, TaskAnswer, apply_change
from engine.process.definition import NodeBase
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.patches import Patch, apply_patch, difference
from engine.process.run.frame import MAX_CONTEXT_BYTES, Conduct, Frame, NodeFailed
from engine.process.run.posts import NotYet, Order, Ordered, Post
from engine.process.run.ways import check_target, choose
from engine.runs import AuditDraft, Change, EventDraft
from engine.values import canonical_json

Result = TypeVar("Result")

ORDERS = ("retry", "skip", "advance")
"""The control verbs for a node."""

UNTORN = ("tool", "script")
"""Nodes whose work is not broken off by an order: whether it had its effect would not be known."""

PROMPT = "prompt_orders"
"""Runs begun before this learned that an order had come too late only when its node was left."""


def at_post(frame: Frame, node_id: str, node: NodeBase, step: str) -> Post:
    """Take up a node, so that orders for it find it."""

    def check(order: Order) -> None:
        _check(frame, post, order)

    post = Post(step, node_id, node, check)
    frame.conduct.posts.enter(post)
    return post


async def until_resumed(frame: Frame, post: Post) -> None:
    """Wait while the run is paused.

    Raises:
        Ordered: the node was ordered away meanwhile.
    """
    conduct = frame.conduct
    await stage.wait_condition(lambda: not conduct.paused or post.order is not None)
    if post.order is not None:
        raise Ordered(post.order)
    post.phase = "running"


async def unless_ordered(post: Post, work: Awaitable[Result]) -> Result:
    """Return the result of a node's work, or break it off where an order comes first.

    Raises:
        Ordered: the order; what was under way has ended by then.
    """
    task = asyncio.ensure_future(work)
    try:
        await stage.wait_condition(lambda: task.done() or post.order is not None)
    except asyncio.CancelledError:
        await stage.cancel_all([task])
        raise
    if post.order is None or task.done():
        return await task
    await stage.cancel_all([task])
    raise Ordered(post.order)


def allow_again(frame: Frame, node: NodeBase, post: Post) -> None:
    """Let a node be done again by order where its `max_visits` are used up."""
    visits = frame.visits.get(post.node_id, 0)
    if node.max_visits is not None and visits >= node.max_visits:
        frame.visits[post.node_id] = node.max_visits - 1


def barred(frame: Frame, node_id: str, node: NodeBase) -> tuple[str, ...]:
    """Return who may not decide in a seat of four eyes: whoever started the run, or put there by hand what is decided.

    That is whoever decided in another node what this one reads, or set it in the context.
    """
    reads = node.reads
    found = [one.by for one in frame.conduct.proposals if one.node != node_id and (reads is None or one.key in reads)]
    return tuple(dict.fromkeys((frame.conduct.principal.subject, *found)))


def _check(frame: Frame, post: Post, order: Order) -> None:
    """Refuse an order that can't be followed; nothing is changed here.

    Raises:
        Conflict: the node is over, another order is under way, or its work can't be broken off.
        NotYet: what the node came to is just being written down.
        Denied: under four eyes the orderer may not decide here.
        Invalid: the writes break their declaration, or the way on is not open.
    """
    node_id, node = post.node_id, post.node
    if post.phase == "leaving":
        raise NotYet(f"{node_id} is just over")
    if post.order is not None:
        raise Conflict(f"{post.order.by.subject} has ordered already what becomes of {node_id}")
    if post.phase in ("choosing", "over"):
        raise Conflict(f"{node_id} is done, and only the way on from it is open; advance, or rewind to do it again")
    _check_untorn(frame.conduct, post)
    if isinstance(node, SupervisorNode) and order.action != "retry":
        _check_seat(frame, node_id, node, order)
    if order.action == "skip":
        _check_skip(frame, node_id, node, order)
    elif order.action == "advance":
        check_target(frame, node_id, node, order.to)


def _check_seat(frame: Frame, node_id: str, node: SupervisorNode, order: Order) -> None:
    if order.by.kind == "agent":
        raise Denied(f"{node_id} is a seat; an agent can't {order.action} it")
    if node.four_eyes and order.by.subject in barred(frame, node_id, node):
        raise Denied(f"{order.by.subject} is excluded (four eyes) from {node_id}, so can't {order.action} it either")


def _check_untorn(conduct: Conduct, post: Post) -> None:
    if post.phase != "running":
        return
    busy = [one for one in (post, *conduct.posts.inside(post)) if one.node.type in UNTORN and one.phase == "running"]
    if busy:
        raise Conflict(
            f"{busy[0].node_id} is at its {busy[0].node.type} call, which is not broken off; "
            "wait for its end, or cancel the run",
            step=busy[0].step,
        )
    done = [one for one in conduct.posts.inside(post) if one.node.type in UNTORN and one.phase == "leaving"]
    if done:
        raise NotYet(f"{done[0].node_id} is just over")


def _check_skip(frame: Frame, node_id: str, node: NodeBase, order: Order) -> None:
    if node.type == "end":
        raise Invalid(f"{node_id} is an end; it can't be skipped", field="target")
    if order.to is not None and order.to not in [way.to for way in node.next if way.trigger == "agent"]:
        raise Invalid(
            f"{order.to!r} is no way that an agent chooses at {node_id}; leave `to` out, or use advance", field="to"
        )
    trial = frame.trial()
    try:
        trial.write(node_id, tuple(node.writes), order.values)
        choose(trial, node_id, node, order.to)
    except NodeFailed as failed:
        raise Invalid(f"{node_id} can't be skipped so: {failed.message}", field="values", kind=failed.kind) from failed


def order_of(control: Control) -> Order:
    """Return the order that a control verb gives.

    Raises:
        Invalid: it brings what the verb does not take.
    """
    action = control.action
    assert action == "retry" or action == "skip" or action == "advance", "the verbs of ORDERS"
    if control.patch is not None or (control.values is not None and action != "skip"):
        raise Invalid(f"the verb {action} takes no {'patch' if control.patch is not None else 'values'}")
    if control.to is not None and action == "retry":
        raise Invalid("the verb retry takes no `to`; name the node by target", field="to")
    return Order(action, control.by, control.reason, control.to, dict(control.values or {}))


def check_order(conduct: Conduct, control: Control) -> Post:
    """Return the node that an order is for, or refuse the order.

    Raises:
        Problem: with the reason; the run stays where it is.
    """
    post = conduct.posts.find(control.target)
    order = order_of(control)
    if not (post.phase == "choosing" and order.action == "advance"):
        post.check(order)
    return post


async def give_order(conduct: Conduct, control: Control) -> None:
    """Hand an order that was checked to the node it is for, and wait until it is followed and recorded.

    Raises:
        Conflict: the node was over first.
        ApplicationError: the way on that was chosen is not open.
    """
    post = conduct.posts.find(control.target)
    if post.phase == "choosing":
        choice = TaskAnswer(task_id=post.task_id, by=control.by, decision=control.to, comment=control.reason)
        await conduct.people.decide(choice)
        return
    post.order = order = order_of(control)
    prompt = stage.patched(PROMPT)

    def settled() -> bool:
        return post.followed is not None or post.phase == "over" or (prompt and post.order is not order)

    await stage.wait_condition(settled)
    if post.followed is not order:
        raise Conflict(f"{post.node_id} was over before it could {order.action}; look where the run stands")


def context_change(conduct: Conduct, frame: Frame, control: Control) -> tuple[dict[str, JsonValue], Patch]:
    """Return the context that a control verb asks for, and the patch that leads to it.

    Raises:
        Invalid: nothing or both of values and patch are given, the patch does not fit, or the schema refuses it.
    """
    if (control.values is None) == (control.patch is None):
        raise Invalid("set_context takes values by key, or a JSON Patch", field="values")
    if control.patch is not None:
        new = apply_patch(frame.values, control.patch)
    else:
        new = {**frame.values, **(control.values or {})}
    patch = difference(frame.values, new)
    if not patch:
        raise Invalid("nothing in the context would change", field="values")
    changed = {key: value for key, value in new.items() if key not in frame.values or frame.values[key] != value}
    problem = first_violation({**conduct.definition.context.schema_, "required": []}, changed)
    if problem:
        raise Invalid(f"the context's schema refuses it: {problem}", field="values")
    if len(canonical_json(new).encode()) > MAX_CONTEXT_BYTES:
        raise Invalid(f"the context would be over {MAX_CONTEXT_BYTES} bytes; keep an artifact's path instead")
    return new, patch


async def set_context(conduct: Conduct, frame: Frame, control: Control) -> None:
    """Change the context by hand; whoever did it does not decide on it under four eyes."""
    new, patch = context_change(conduct, frame, control)
    # In place: parallel arms share the values.
    frame.values.clear()
    frame.values.update(new)
    keys = [str(one["path"])[1:].split("/")[0] for one in patch if isinstance(one, dict)]
    conduct.propose(control.by.subject, "", keys)
    key = f"context/{stage.uuid4()}"
    data: dict[str, JsonValue] = {"scope": "", "patch": patch, "reason": control.reason}
    told: dict[str, JsonValue] = {"wrote": list(keys), "by": control.by.subject, "reason": control.reason}
    audit = AuditDraft(key=key, actor=control.by.subject, action="context.set", data=data)
    event = EventDraft(key=key, type="context.set", data=told)
    await apply_change(Change(run=conduct.run, key=key, events=(event,), audit=(audit,)))
