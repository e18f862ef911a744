"""Activities about a process run as a whole: its child processes, what undoes it, going back, and other versions."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from engine.errors import Exhausted, Invalid
from engine.json_schema import violations
from engine.ports import ChildStart, open_process, plan_migration, plan_rewind, plan_undo
from engine.process.continuing import stand
from engine.process.definition import ProcessDefinition
from engine.process.messages import (
    Batch,
    MigrationOrder,
    MigrationPlan,
    RewindOrder,
    RewindPlan,
    Undo,
    UndoOrder,
    UndoPage,
)
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
    of = order.of or order.run
    by = await runs.records(order.run) if order.of is not None else ()
    for one in to_undo(await runs.records(of), order.after, await _batches(runs, of), by):
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
        undo=tuple([one async for one in _undoing(runs, order.run)]),
    )
    return MigrationPlan(version=new.version, findings=found)


async def _undoing(runs: SqlRunStore, run: RunRef) -> AsyncGenerator[Undo]:
    """Yield what could be undone of a run: each step, and of a batch each node that undoes something in it."""
    batches = {one.run_id: one for one in await _batches(runs, run)}
    for one in to_undo(await runs.records(run), batches=tuple(batches.values())):
        if not one.batch:
            yield one
            continue
        for at, node in batches[one.run_id].undo:
            yield one.model_copy(update={"at": at, "node": node})


async def _kinds(runs: SqlRunStore, batch: RunRef) -> list[tuple[str, str]]:
    steps = to_undo(await runs.records(batch))
    return list(dict.fromkeys((one.at, one.node) for one in steps))


async def _batches(runs: SqlRunStore, run: RunRef) -> list[Batch]:
    """Return the batches of a run's foreaches; those that undo others are none."""
    found: list[Batch] = []
    for one in await runs.batches(run):
        facts: Any = one.input
        if "undoes" in facts:
            continue
        result: Any = one.result
        # One that was lost has no result: what could be undone is read from what it did.
        undo: Any = result["undo"] if result else await _kinds(runs, one.ref)
        found.append(
            Batch(run_id=one.run_id, node=facts["node"], step=facts["step"], number=facts["number"], undo=undo)
        )
    return found
