"""The `supervisor` node: a question to a seat, with a deadline, escalation and four eyes."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from engine.ports import Texts, apply_change, render_texts
from engine.process.durations import parse_duration
from engine.process.nodes.base import Seat as SeatSpec
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.run.flow import EXECUTORS, NodeResult
from engine.process.run.frame import Frame, NodeFailed
from engine.runs import AuditDraft, Change, Seat, TaskDraft, TaskMoved, derived_id


async def run_supervisor_node(frame: Frame, node_id: str, node: SupervisorNode, step: str) -> NodeResult:
    """Ask and wait; nothing but a timer is held meanwhile."""
    conduct = frame.conduct
    texts = {"title": node.ask.title, "description": node.ask.description}
    shown = await render_texts(Texts(texts=texts, data=frame.visible()))
    draft = TaskDraft(
        task_id=derived_id("task", conduct.run.workflow_id, step),
        kind="decision",
        node=node_id,
        title=shown.texts["title"],
        description=shown.texts["description"],
        form=node.ask.form,
        decisions=node.decisions,
        seat=_seat(node.seat, frame, four_eyes=node.four_eyes),
        context=_shown_context(frame, node),
        deadline=workflow.now() + parse_duration(node.deadline) if node.deadline else None,
    )
    ladder = [asyncio.ensure_future(_escalate(frame, draft, node, number)) for number in range(len(node.escalate))]
    try:
        answer = await conduct.people.ask(draft, position=None if frame.path else node_id)
    finally:
        for rung in ladder:
            rung.cancel()
    if answer is None:
        raise NodeFailed("timeout", f"nobody decided {draft.title!r} before its deadline")
    value: dict[str, JsonValue] = {
        "decision": answer.decision,
        "by": answer.by.subject,
        "comment": answer.comment,
        **answer.values,
    }
    facts: dict[str, JsonValue] = {"task_id": draft.task_id, "decision": answer.decision, "by": answer.by.subject}
    return NodeResult(writes=_writes(tuple(node.writes), value, answer.values), facts=facts)


def _writes(declared: tuple[str, ...], value: dict[str, JsonValue], form: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Give the first declared key the decision; further keys are taken from the form by name."""
    if not declared:
        return {}
    return {declared[0]: value, **{name: form[name] for name in declared[1:] if name in form}}


def _seat(spec: SeatSpec, frame: Frame, *, four_eyes: bool) -> Seat:
    return Seat(
        users=spec.users,
        roles=spec.roles,
        groups=spec.groups,
        excluded=(frame.conduct.principal.subject,) if four_eyes else (),
    )


def _shown_context(frame: Frame, node: SupervisorNode) -> dict[str, JsonValue]:
    visible = frame.visible()
    names = visible if node.reads is None else [name for name in node.reads if name in visible]
    return {name: visible[name] for name in names}


async def _escalate(frame: Frame, draft: TaskDraft, node: SupervisorNode, number: int) -> None:
    rung = node.escalate[number]
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(parse_duration(rung.after) / timedelta(seconds=1))
        wider = _seat(rung.to, frame, four_eyes=node.four_eyes)
        seat = Seat(
            users=(*draft.seat.users, *wider.users),
            roles=(*draft.seat.roles, *wider.roles),
            groups=(*draft.seat.groups, *wider.groups),
            excluded=draft.seat.excluded,
        )
        key = f"{draft.task_id}/escalated/{number + 1}"
        audit = AuditDraft(
            key=key,
            actor="engine",
            action="task.escalated",
            node=draft.node,
            data={"task_id": draft.task_id, "seat": seat.model_dump(mode="json")},
        )
        moved = TaskMoved(task_id=draft.task_id, seat=seat, reason=f"not decided within {rung.after}")
        await apply_change(Change(run=frame.conduct.run, key=key, moved=(moved,), audit=(audit,)))


EXECUTORS["supervisor"] = run_supervisor_node
