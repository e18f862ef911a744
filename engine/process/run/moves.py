"""Moving a run: back before an earlier step, or on to another version of its process.

A move is checked while the run goes on, so that a wrong one changes nothing. Then the run leaves what it is at: at once
to go back; to migrate, at once where the node only waits and else as soon as the node is over. It goes on in a new
history.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue
from temporalio.exceptions import ActivityError, ApplicationError

from engine.ports import (
    Control,
    ProcessAddress,
    ProcessSnapshot,
    apply_change,
    load_process,
    plan_migration,
    plan_rewind,
)
from engine.process.definition import ProcessDefinition
from engine.process.messages import MigrationOrder, RewindOrder
from engine.process.migrate import misfits
from engine.process.run.compensation import undo
from engine.process.run.frame import Conduct, Frame
from engine.runs import AuditDraft, Change, EventDraft

MOVES = ("rewind", "migrate")
"""The control verbs that are carried out here."""


@dataclass(frozen=True)
class Move:
    """A move that was found possible; `version` and `snapshot` are where a migration leads."""

    action: Literal["rewind", "migrate"]
    by: str
    reason: str
    target: str
    version: str = ""
    snapshot: ProcessSnapshot | None = None


@dataclass(frozen=True)
class Moved:
    """Where a run goes on: the node, what it sees, and the visits that count."""

    node: str
    context: dict[str, JsonValue]
    visits: dict[str, int]
    snapshot: ProcessSnapshot


async def check_move(conduct: Conduct | None, frame: Frame | None, control: Control) -> Move:
    """Return the move that a control asks for, or refuse it with the reason: the run stays where it is.

    Raises:
        ApplicationError: of the kind of the problem that was found.
    """
    if conduct is None or frame is None:
        raise _refused("the run is just being started; try again in a moment", "conflict")
    if not control.target:
        what = "the step or node to go back before" if control.action == "rewind" else "a version"
        raise _refused(f"the verb {control.action} needs a target: {what}", "invalid")
    try:
        if control.action == "rewind":
            plan = await plan_rewind(RewindOrder(run=conduct.run, target=control.target))
            return Move("rewind", control.by.subject, control.reason, plan.step)
        return await _check_migration(conduct, frame, control, control.target)
    except ActivityError as failure:
        cause = failure.cause
        if not isinstance(cause, ApplicationError):
            raise
        said: Any = cause.details[0] if cause.details else {}
        raise ApplicationError(cause.message, said.get("details", {}), type=cause.type, non_retryable=True) from failure


async def _check_migration(conduct: Conduct, frame: Frame, control: Control, target: str) -> Move:
    definition = conduct.definition
    plan = await plan_migration(
        MigrationOrder(
            run=conduct.run,
            principal=conduct.principal,
            process=definition.process,
            version=conduct.snapshot.version,
            target=target.removeprefix(f"{definition.process}@"),
            node=conduct.position,
            context=frame.values,
            visits=frame.visits,
        )
    )
    errors = [finding for finding in plan.findings if finding.severity == "error"]
    if errors:
        raise ApplicationError(
            f"the run can't go on in version {plan.version}: {errors[0].message} (at {errors[0].path})",
            {"findings": [finding.model_dump(mode="json") for finding in plan.findings]},
            type="conflict",
            non_retryable=True,
        )
    if plan.version == conduct.snapshot.version:
        raise _refused(f"the run is on version {plan.version} already", "conflict")
    address = ProcessAddress(
        run=conduct.run, principal=conduct.principal, name=definition.process, version=plan.version
    )
    snapshot = await load_process(address)
    return Move("migrate", control.by.subject, control.reason, target, plan.version, snapshot)


def may_leave(conduct: Conduct, move: Move) -> bool:
    """Tell whether the run can leave what it is at for this move: it goes back, or its node only waits."""
    if move.action == "rewind":
        return True
    node = conduct.definition.nodes.get(conduct.position)
    asked = any(draft.node == conduct.position for draft in conduct.people.waiting)
    waits = any(step.endswith(f".{conduct.position}") and "/" not in step for step in conduct.parked)
    return node is not None and node.waits() and (asked or waits)


async def carry_out(move: Move, conduct: Conduct, frame: Frame, node: str) -> Moved | None:
    """Record the move and return where the run goes on; `node` is the next one, or the one that was left.

    None: the run came to a node by now that does not fit the version, so it stays on the one it is on.
    """
    if move.action == "rewind":
        return await _go_back(move, conduct)
    assert move.snapshot is not None
    new = ProcessDefinition.model_validate(move.snapshot.definition)
    found = misfits(conduct.definition, new, node=node, context=frame.values, visits=frame.visits)
    errors = [finding for finding in found if finding.severity == "error"]
    facts: dict[str, JsonValue] = {
        "from": conduct.snapshot.version,
        "version": move.version,
        "digest": move.snapshot.digest,
        "node": node,
        "findings": [finding.model_dump(mode="json") for finding in found],
    }
    key = f"migrate/{frame.steps}/{conduct.snapshot.version}/{move.version}"
    if errors:
        await _record(conduct, move, "process.migration_refused", key, facts)
        return None
    await _record(conduct, move, "process.migrated", key, facts, version=move.version)
    return Moved(node, frame.values, frame.visits, move.snapshot)


async def _go_back(move: Move, conduct: Conduct) -> Moved:
    first = await plan_rewind(RewindOrder(run=conduct.run, target=move.target))
    paused = conduct.paused
    await undo(conduct, "rewound", after=first.after)
    conduct.paused = paused
    # Once more: what was under way may have been written down since.
    plan = await plan_rewind(RewindOrder(run=conduct.run, target=move.target))
    facts: dict[str, JsonValue] = {"to_step": plan.step, "to_node": plan.node, "patch": plan.patch}
    await _record(conduct, move, "process.rewound", f"rewind/{plan.step}", facts, position=plan.node)
    return Moved(plan.node, plan.context, plan.visits, conduct.snapshot)


async def _record(
    conduct: Conduct,
    move: Move,
    action: str,
    key: str,
    facts: dict[str, JsonValue],
    *,
    version: str | None = None,
    position: str | None = None,
) -> None:
    data: dict[str, JsonValue] = {**facts, "reason": move.reason}
    told: dict[str, JsonValue] = {name: value for name, value in data.items() if name != "patch"}
    await apply_change(
        Change(
            run=conduct.run,
            key=key,
            position=position,
            version=version,
            events=(EventDraft(key=key, type=action, data={**told, "by": move.by}),),
            audit=(AuditDraft(key=key, actor=move.by, action=action, data=data),),
        )
    )


def _refused(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind, non_retryable=True)
