"""The ways on from a node: which transition is taken, and how a person chooses among those that wait for one."""

from dataclasses import replace

from pydantic import JsonValue

from engine.errors import Invalid
from engine.ports import TaskAnswer, apply_change
from engine.process.definition import NodeBase, Transition
from engine.process.run.frame import Conduct, Frame, NodeFailed
from engine.process.run.posts import Post
from engine.process.run.results import Taken
from engine.runs import AuditDraft, Change, EventDraft, Seat, TaskDraft, derived_id


def choose(frame: Frame, node_id: str, node: NodeBase, chosen: str | None = None) -> Taken:
    """Return the first transition whose guard holds; `chosen` is what an agent or a decision named.

    Where that one waits for a person, all those of a person whose guards hold are offered.

    Raises:
        NodeFailed: of kind `no_transition`, when there are transitions and none can be taken.
    """
    taken = Taken(None, [])
    for way in node.next:
        if way.trigger == "agent" and way.to != chosen:
            continue
        if way.trigger != "user" and taken.offered:
            continue
        if not _holds(frame, node_id, way, taken.guards):
            continue
        if way.trigger != "user":
            return replace(taken, to=way.to)
        taken = replace(taken, offered=(*taken.offered, way))
    if node.next and not taken.offered:
        raise NodeFailed("no_transition", f"no guard of {node_id} holds and it has no default")
    return taken


def _holds(frame: Frame, node_id: str, way: Transition, guards: list[JsonValue]) -> bool:
    if way.when is None:
        return True
    holds = bool(frame.evaluate(way.when, f"{node_id}: guard to {way.to}"))
    guards.append({"to": way.to, "holds": holds, "trace": frame.trace(way.when)})
    return holds


def open_ways(frame: Frame, node_id: str, node: NodeBase) -> tuple[list[str], list[str]]:
    """Return where one may go on from a node by hand: the targets open now, and those whose guards bar them."""
    opened: dict[str, None] = {}
    barred: dict[str, None] = {}
    for way in node.next:
        try:
            holds = _holds(frame, node_id, way, [])
        except NodeFailed:
            holds = False
        (opened if holds else barred)[way.to] = None
    handlers = [*node.on_error, *([node.on_timeout] if node.on_timeout else [])]
    opened |= {handler.to: None for handler in handlers}
    return list(opened), [to for to in barred if to not in opened]


def check_target(frame: Frame, node_id: str, node: NodeBase, to: str | None) -> None:
    """Refuse a target that no transition of the node leads to, or whose guard does not hold now.

    Raises:
        Invalid: it names the targets that are open.
    """
    opened, barred = open_ways(frame, node_id, node)
    if to in opened:
        return
    shown = ", ".join(opened) or "none"
    if to in barred:
        raise Invalid(f"the guard of {node_id} to {to} does not hold; open now: {shown}", field="to", allowed=opened)
    said = f"no transition of {node_id} leads to {to!r}" if to else "the verb advance needs a node to go to"
    raise Invalid(f"{said}; open now: {shown}", field="to", allowed=opened)


def people_over(conduct: Conduct) -> Seat:
    """Return who steers a run by hand: whoever started it, operators, and the seat over it where it has one."""
    seat = Seat(users=(conduct.principal.subject,), roles=("operator", "administrator"))
    over = conduct.definition.supervision
    if over is None or "advance" not in over.may:
        return seat
    return seat.plus(Seat(users=over.seat.users, roles=over.seat.roles, groups=over.seat.groups))


async def by_person(frame: Frame, post: Post, offered: tuple[Transition, ...]) -> str:
    """Wait until a person chooses one of the ways on, whose guard must hold then as well, and return its target."""
    conduct = frame.conduct
    node_id, node = post.node_id, post.node
    targets = tuple(dict.fromkeys(way.to for way in offered))
    draft = TaskDraft(
        task_id=derived_id("task", conduct.run.workflow_id, post.step, "advance"),
        kind="decision",
        node=node_id,
        title=f"Where to go on after {node.title or node_id}",
        description="\n".join(f"{way.to}: {way.label}" for way in offered if way.label),
        decisions=targets,
        seat=people_over(conduct),
    )
    guards: list[JsonValue] = []

    def judge(answer: TaskAnswer) -> None:
        guards.clear()
        ways = [way for way in offered if way.to == answer.decision]
        try:
            if any(_holds(frame, node_id, way, guards) for way in ways):
                return
        except NodeFailed as failed:
            raise Invalid(failed.message, field="decision") from failed
        raise Invalid(f"the guard of {node_id} to {answer.decision!r} does not hold", field="decision")

    post.phase, post.task_id = "choosing", draft.task_id
    answer = await conduct.people.ask(draft, position=None if frame.path else node_id, judge=judge)
    assert answer is not None, "a task without a deadline does not expire"
    assert answer.decision is not None, "the judge takes only offered targets"
    post.leads_to(answer.decision)
    await _record(frame, post, answer.decision, answer.by.subject, guards)
    return answer.decision


async def _record(frame: Frame, post: Post, to: str, by: str, guards: list[JsonValue]) -> None:
    conduct = frame.conduct
    if not frame.path:
        conduct.position = to
    key = f"advanced/{post.step}"
    told: dict[str, JsonValue] = {"step": post.step, "node": post.node_id, "to": to, "by": by}
    data: dict[str, JsonValue] = {"at_step": post.step, "to": to, "guards": guards}
    audit = AuditDraft(key=key, actor=by, action="node.advanced", node=post.node_id, data=data)
    event = EventDraft(key=key, type="node.advanced", data=told)
    await apply_change(Change(run=conduct.run, key=key, position=conduct.position, events=(event,), audit=(audit,)))
