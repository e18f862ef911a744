"""Activities about a process run as a whole: its child processes, what undoes it, going back, and other versions."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from engine.errors import Exhausted, Invalid
from engine.json_schema import violations
from engine.ports import ChildStart, open_process, plan_migration, plan_rewind, plan_undo
from engine.process.continuing import stand
from engine.process.definition import ProcessDefinition
from engine.process.messages import MigrationOrder, MigrationPlan, RewindOrder, RewindPlan, UndoOrder, UndoPage
from engine.process.migrate import misfits
from engine.process.rewind import rewind, to_undo
from engine.runs import Run, RunRef
from engine.values import Principal, canonical_json
from server.activities.guard import implements
from server.store.runs import SqlRunStore

MAX_DEPTH = 8
"""How many processes deep a process may start others."""

PAGE_STEPS = 100
PAGE_BYTES = 512 * 1024
"""How much is undone from one answer of the store; the next answer begins where it ends."""


@dataclass(frozen=True)
class Pinned:
    """A process by its published version: what a label meant when it was looked up."""

    name: str
    version: str
    definition: ProcessDefinition


FindProcess = Callable[[Principal, str], Awaitable[Pinned]]
"""Returns what an address (`name`, `name@number`, `name@label`) means to a principal, or raises `NotFound`."""


def move_activities(runs: SqlRunStore, find: FindProcess) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the runs and the published processes."""

    @implements(open_process)
    async def open_child(child: ChildStart) -> RunRef:
        return await _open_child(runs, find, child)

    @implements(plan_undo)
    async def undo(order: UndoOrder) -> UndoPage:
        return await _undo_page(runs, order)

    @implements(plan_rewind)
    async def back(order: RewindOrder) -> RewindPlan:
        records = await runs.records(order.run)
        return rewind(records, order.target) if order.target else stand(records)

    @implements(plan_migration)
    async def migration(order: MigrationOrder) -> MigrationPlan:
        return await _migration(runs, find, order)

    return [open_child, undo, back, migration]


async def _open_child(runs: SqlRunStore, find: FindProcess, child: ChildStart) -> RunRef:
    """Write the row of a child process whose input fits, on the version that its address means."""
    depth = await _depth(runs, await runs.load(child.parent))
    if depth >= MAX_DEPTH:
        raise Exhausted(
            f"processes start each other {depth} deep here; a process may not be called by itself without end",
            limit=MAX_DEPTH,
        )
    version = child.start.version
    found = await find(child.principal, f"{child.start.definition}@{version}" if version else child.start.definition)
    for wrong in violations({"type": "object", **found.definition.input}, child.start.input):
        raise Invalid(
            f"the input of {found.name}@{found.version} does not fit its schema: {wrong.path}: {wrong.message}",
            path=wrong.path,
        )
    start = child.start.model_copy(update={"definition": found.name, "version": found.version})
    run, _ = await runs.create(child.principal, start, run_id=child.run_id)
    return run.ref


async def _depth(runs: SqlRunStore, run: Run) -> int:
    """Return how many processes there are from the root to `run`, itself among them."""
    depth = 1
    while run.parent_id is not None and depth < MAX_DEPTH:
        run = await runs.load(RunRef(tenant=run.tenant, run_id=run.parent_id))
        depth += run.kind == "process"
    return depth


async def _undo_page(runs: SqlRunStore, order: UndoOrder) -> UndoPage:
    page: list[Any] = []
    size = 0
    for one in to_undo(await runs.records(order.run), order.after):
        size += len(canonical_json(one.seen).encode())
        if page and (len(page) >= PAGE_STEPS or size > PAGE_BYTES):
            return UndoPage(steps=tuple(page), more=True)
        page.append(one)
    return UndoPage(steps=tuple(page))


async def _migration(runs: SqlRunStore, find: FindProcess, order: MigrationOrder) -> MigrationPlan:
    old = await find(order.principal, f"{order.process}@{order.version}")
    new = await find(order.principal, f"{order.process}@{order.target}")
    found = misfits(
        old.definition,
        new.definition,
        node=order.node,
        context=order.context,
        visits=order.visits,
        undo=tuple(to_undo(await runs.records(order.run))),
    )
    return MigrationPlan(version=new.version, findings=found)
