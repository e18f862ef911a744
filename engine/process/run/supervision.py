"""A run under supervision: who may steer it, and what becomes of a node that nothing in the definition saves."""

import asyncio
from typing import Any

from engine import stage
from engine.errors import Conflict, Denied, Invalid
from engine.json_schema import first_violation
from engine.ports import Control, TaskAnswer, Texts, render_texts
from engine.process.definition import NodeBase, Supervision
from engine.process.run.frame import Conduct, Frame, NodeFailed
from engine.process.run.operations import ORDERS, PROMPT, unless_ordered
from engine.process.run.posts import Order, Ordered, Post
from engine.process.run.seat_agent import decide_by_agent
from engine.process.verify import writes_schema
from engine.runs import Seat, TaskDraft, derived_id

MAY = {"pause": "pause", "resume": "pause", "set_context": "set_context", **{verb: verb for verb in ORDERS}}
"""What the seat over a run must be allowed for each control verb."""

OWN = ("stop", "cancel", "pause", "resume", "rewind", "migrate")
"""The control verbs for which it is enough to have started the run: none of them gets past a node."""

AGENT_ORDERS = 3
"""How often an agent in the seat may order one node; after that people do."""


def check_steers(conduct: Conduct, control: Control) -> None:
    """Refuse whoever may not use a control verb on this run.

    Raises:
        Denied: it takes the role operator, or the seat over the run.
    """
    by, over = control.by, conduct.definition.supervision
    if by.kind == "agent" and control.action in (*ORDERS, "set_context"):
        raise Denied(f"to {control.action} is for people; an agent can't, apart from one in the seat over the run")
    if by.has_role("operator") or (control.action in OWN and by.subject == conduct.principal.subject):
        return
    if over is not None and people_of(conduct).admits(by) and MAY.get(control.action) in over.may:
        return
    raise Denied(f"to {control.action} this run takes the role operator, or the seat over it where that may")


def people_of(conduct: Conduct) -> Seat:
    """Return the people in the seat over the run; an empty seat where there is none."""
    over = conduct.definition.supervision
    return Seat() if over is None else Seat(users=over.seat.users, roles=over.seat.roles, groups=over.seat.groups)


def catches(node: NodeBase) -> bool:
    """Tell whether a node with graphs inside it can live with a failure in one of them."""
    joins_fewer = getattr(node, "join", "all") != "all"
    return bool(node.on_error) or joins_fewer or getattr(node, "on_item_error", "fail") == "collect"


async def parked(frame: Frame, post: Post, failed: NodeFailed) -> Order | None:
    """Put an unhandled failure to the seat over the run and wait; None where there is none, so that the run fails.

    An agent in the seat is asked first. Operators may give their order by control verb meanwhile.
    """
    conduct = frame.conduct
    over = conduct.definition.supervision
    if over is None or not conduct.posts.parks or frame.caught or frame.undoes:
        return None
    draft = _task(frame, post, failed, over)
    post.phase = "failed"
    try:
        order = await _by_agent(frame, post, draft)
    except Ordered as ordered:
        return ordered.order
    if order is not None:
        return order
    seat = draft.seat
    if not (seat.users or seat.roles or seat.groups):
        return None
    return await _by_people(frame, post, draft)


def _task(frame: Frame, post: Post, failed: NodeFailed, over: Supervision) -> TaskDraft:
    may = set(over.may) - ({"skip"} if post.node.type == "end" else set())
    decisions = tuple(verb for verb in ("retry", "skip") if verb in may)
    return TaskDraft(
        task_id=derived_id("task", frame.conduct.run.workflow_id, post.step, "failed"),
        kind="decision",
        node=post.node_id,
        title=f"{post.node.title or post.node_id} failed: {failed.kind}",
        description=failed.message,
        form=_form(frame, post.node) if "skip" in decisions else None,
        decisions=(*decisions, "cancel"),
        seat=people_of(frame.conduct),
        context=frame.visible(),
    )


async def _by_people(frame: Frame, post: Post, draft: TaskDraft) -> Order:
    conduct = frame.conduct

    def judge(answer: TaskAnswer) -> None:
        _judge(post, draft, answer)

    position = None if frame.path else post.node_id
    asking = asyncio.ensure_future(conduct.people.ask(draft, position=position, judge=judge))
    try:
        await stage.wait_condition(lambda: asking.done() or post.order is not None)
    except asyncio.CancelledError:
        await stage.cancel_all([asking])
        raise
    if post.order is not None and not asking.done():
        await stage.cancel_all([asking])
        return post.order
    answer = await asking
    assert answer is not None, "a task without a deadline does not expire"
    if answer.decision == "cancel":
        await _cancel(conduct, answer)
    return _order(answer)


def _form(frame: Frame, node: NodeBase) -> dict[str, Any]:
    """Return the form of what a skipped node would have written: any part of it."""
    schema = writes_schema(frame.conduct.definition, node)
    return {**schema, "required": [], "description": "for skip: what the node would have written"}


def _order(answer: TaskAnswer) -> Order:
    action = "skip" if answer.decision == "skip" else "retry"
    return Order(action, answer.by, answer.comment, values=answer.values if action == "skip" else {})


def _judge(post: Post, draft: TaskDraft, answer: TaskAnswer) -> None:
    if answer.decision not in draft.decisions:
        raise Invalid(f"decision {answer.decision!r} is not one of {', '.join(draft.decisions)}", field="decision")
    if answer.decision == "cancel":
        return
    problem = first_violation(draft.form, answer.values) if draft.form is not None else None
    if problem:
        raise Invalid(f"values: {problem}", field="values")
    post.check(_order(answer))


async def _by_agent(frame: Frame, post: Post, draft: TaskDraft) -> Order | None:
    conduct = frame.conduct
    over = conduct.definition.supervision
    spec = over.seat.agent if over is not None else None
    given = conduct.posts.by_agent.get(post.node_id, 0)
    if spec is None or given >= AGENT_ORDERS:
        return None
    # An agent may do and take over what people may, but not end the run.
    asked = draft.model_copy(update={"decisions": tuple(one for one in draft.decisions if one != "cancel")})
    if not asked.decisions:
        return None
    conduct.posts.by_agent[post.node_id] = given + 1
    rendered = await render_texts(Texts(texts={"instructions": spec.instructions}, data=frame.visible()))

    def judge(answer: TaskAnswer) -> None:
        _judge(post, asked, answer)

    deciding = decide_by_agent(conduct, f"{post.step}/failed", spec, asked, rendered.texts["instructions"], judge)
    verdict = await (unless_ordered(post, deciding) if stage.patched(PROMPT) else deciding)
    return None if verdict.answer is None else _order(verdict.answer)


async def _cancel(conduct: Conduct, answer: TaskAnswer) -> None:
    """End the run from its task: the workflow cancels what is under way, this step with it."""
    if conduct.posts.ended_by is None:
        conduct.posts.ended_by = Control(action="cancel", by=answer.by, reason=answer.comment)
    await stage.wait_condition(lambda: False)
    raise Conflict("a cancelled step does not go on")
