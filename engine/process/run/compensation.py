"""Undoing what a process has done: the compensations of its completed steps, latest first, each once.

A process is undone when it fails unhandled, is cancelled, or goes back to an earlier step. What is to be undone is read
from the audit, so that a run remembers it through crashes, deploys and new histories without carrying it. A
compensation runs its one node under the rules of every node (retries, time limit, declared writes) over the values
that the undone step saw and wrote; it neither changes the context nor leads on. One that fails is put to the seat of
the supervision where the process has one; else it is recorded and the others go on.
"""

from typing import Any, Literal

from pydantic import JsonValue

from engine.ports import apply_change, plan_undo
from engine.process.messages import Undo, UndoOrder
from engine.process.run.batches import undo_batch
from engine.process.run.flow import EXECUTORS, actor_of
from engine.process.run.frame import UNDO, Conduct, Ended, Frame, NodeFailed
from engine.process.run.undoing import body_at, compensates
from engine.runs import AuditDraft, Change, EventDraft, RunRef, Seat, TaskDraft, derived_id
from engine.values import Spent

Why = Literal["failed", "cancelled", "rewound"]


async def undo(conduct: Conduct, why: Why, *, after: int = 0, of: RunRef | None = None) -> None:
    """Run the compensations of what was completed behind the record `after` of the audit and is not undone yet.

    With `of` it is that run which is undone, by this one. The batches of a foreach are undone as runs of their own.
    """
    if not compensates(conduct.definition):
        return
    # A paused run is undone as well: whoever cancels it waits for nobody to resume it.
    conduct.paused = False
    while True:
        page = await plan_undo(UndoOrder(run=conduct.run, after=after, of=of))
        for one in page.steps:
            await (_undo_batch(conduct, one, of, why) if one.batch else _undo_step(conduct, one, why))
        if not page.more:
            return


async def _undo_batch(conduct: Conduct, one: Undo, of: RunRef | None, why: Why) -> None:
    facts: dict[str, JsonValue] = {"undone": one.run_id, "of": one.run_id, "why": why, "batch": one.batch}
    action = "node.compensated"
    try:
        run = await undo_batch(conduct, one, of or conduct.run, why)
        facts["undone_by"] = run.run_id
    except NodeFailed as failed:
        action = "node.compensation_failed"
        facts["error"] = {"kind": failed.kind, "message": failed.message}
    path = f"{UNDO}{one.run_id}/"
    frame = Frame(conduct, {}, path=path, scope=path)
    await _record(frame, one, frame.next_step(one.node), facts, action, Spent())


async def _undo_step(conduct: Conduct, one: Undo, why: Why) -> None:
    path = f"{UNDO}{one.step}/"
    frame = Frame(conduct, dict(one.seen), path=path, scope=path)
    while True:
        facts: dict[str, JsonValue] = {"undone": one.step, "of": one.run_id, "why": why}
        step = frame.next_step(one.node)
        try:
            spent = await _run(frame, one, step, facts)
        except NodeFailed as failed:
            facts["error"] = {"kind": failed.kind, "message": failed.message}
            if await _again(conduct, one, step, failed):
                await _record(frame, one, step, facts, "node.compensation_retried", failed.spent)
                continue
            await _record(frame, one, step, facts, "node.compensation_failed", failed.spent)
            return
        await _record(frame, one, step, facts, "node.compensated", spent)
        return


async def _run(frame: Frame, one: Undo, step: str, facts: dict[str, JsonValue]) -> Spent:
    body = body_at(frame.conduct.definition, one.at)
    node: Any = body.nodes.get(one.node) if body is not None else None
    if node is None:
        raise NodeFailed("no_node", f"this version has no node {one.node!r} to undo {one.step} with")
    try:
        result = await EXECUTORS[node.type](frame, one.node, node, step)
        facts["patch"] = frame.write(one.node, tuple(node.writes), result.writes)
    except Ended as ended:
        raise NodeFailed("ended", "a compensation can't end the run; remove its end node") from ended
    facts |= result.facts
    return result.spent


async def _again(conduct: Conduct, one: Undo, step: str, failed: NodeFailed) -> bool:
    """Ask the seat over the run what a failed compensation comes to; without such a seat it stays failed."""
    supervision = conduct.definition.supervision
    if supervision is None:
        return False
    seat = supervision.seat
    draft = TaskDraft(
        task_id=derived_id("task", conduct.run.workflow_id, step),
        kind="decision",
        node=one.node,
        title=f"{one.node} could not undo {one.step}",
        description=f"{failed.kind}: {failed.message}",
        decisions=("retry", "skip"),
        seat=Seat(users=seat.users, roles=seat.roles, groups=seat.groups),
        context=one.seen,
    )
    answer = await conduct.people.ask(draft)
    return answer is not None and answer.decision == "retry"


async def _record(frame: Frame, one: Undo, step: str, facts: dict[str, JsonValue], action: str, spent: Spent) -> None:
    conduct = frame.conduct
    conduct.spent = conduct.spent.plus(spent)
    data: dict[str, JsonValue] = {"step": step, "scope": frame.scope, **facts}
    if spent.turns:
        data["spent"] = spent.model_dump(mode="json")
    told = {name: data[name] for name in ("step", "undone", "why", "error") if name in data}
    audit = AuditDraft(
        key=f"step/{step}", actor=actor_of(frame), action=action, node=one.node, attempt=frame.steps, data=data
    )
    await apply_change(
        Change(
            run=conduct.run,
            key=f"step/{step}",
            spent=spent,
            events=(EventDraft(key=f"step/{step}", type=action, data={"node": one.node, **told}),),
            audit=(audit,),
        )
    )
