"""Runs in SQL: rows, the event log, tasks and audit, changed together in one transaction per step."""

import asyncio
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection

from content.blobs import Blobs
from content.database import Database, upsert
from engine.errors import Conflict, NotFound
from engine.ports import ForeachProgress, RunFilter
from engine.runs import (
    TERMINAL,
    Artifact,
    AuditRecord,
    Change,
    Event,
    EventDraft,
    Recorded,
    Run,
    RunRef,
    StartRun,
    Task,
    TaskStatus,
)
from engine.values import Principal, Spent, digest, new_id, utc_now
from server.hub import Hub
from server.hub_values import END, Place, settled_by
from server.store import artifacts, capacity_views, event_log, progress, tables, tasks, waits
from server.store import audit as chain

KEPT = ("position", "result", "error", "version")
"""The fields of a change that are set where it gives them."""

SEES_ALL = ("viewer", "operator", "approver", "administrator")


class SqlRunStore:
    """The port `RunStore` over the database; it also wakes those who wait in this process."""

    def __init__(self, database: Database, blobs: Blobs, signer: chain.Signer, hub: Hub) -> None:
        """Keep what is needed; nothing is opened here."""
        self._database = database
        self._blobs = blobs
        self._signer = signer
        self._hub = hub
        self.waits = waits.Waits(database)

    async def create(self, principal: Principal, start: StartRun, *, run_id: str | None = None) -> tuple[Run, bool]:
        """Write the row as `starting`; an existing row of the same key or id is returned with False.

        Raises:
            Conflict: the idempotency key was used with another definition or input.
        """
        run_id = run_id or new_id("run")
        now = utc_now()
        fingerprint = digest([start.kind, start.definition, start.version, start.input])
        async with self._database.write() as connection:
            root = await self._root(connection, principal.tenant, start.parent_id, run_id)
            inserted = await connection.execute(
                upsert(tables.runs, connection)
                .values(
                    tenant=principal.tenant,
                    run_id=run_id,
                    kind=start.kind,
                    definition=start.definition,
                    version=start.version,
                    title=start.title or start.definition,
                    status="starting",
                    principal=principal.model_dump(mode="json"),
                    subject=principal.subject,
                    parent_id=start.parent_id,
                    root_id=root,
                    input=start.input,
                    input_digest=fingerprint,
                    idempotency_key=start.idempotency_key,
                    budget=start.budget.model_dump(mode="json"),
                    spent=Spent().model_dump(mode="json"),
                    created_at=now,
                    updated_at=now,
                    continues=start.continues,
                )
                .on_conflict_do_nothing()
            )
            row = await self._existing(connection, principal, run_id, start.idempotency_key)
            if row.input_digest != fingerprint:
                raise Conflict(
                    f"the idempotency key {start.idempotency_key!r} was used for run {row.run_id} with another input; "
                    "use a new key for a new input",
                    run_id=row.run_id,
                )
        run, new = _run(row), bool(inserted.rowcount)
        if new:
            self._hub.changed(run.ref)
        return run, new

    async def _root(self, connection: AsyncConnection, tenant: str, parent_id: str | None, run_id: str) -> str:
        if parent_id is None:
            return run_id
        query = sa.select(tables.runs.c.root_id).where(*_is(RunRef(tenant=tenant, run_id=parent_id)))
        root = (await connection.execute(query)).scalar_one_or_none()
        if root is None:
            raise NotFound(f"there is no run {parent_id} to be the parent; start the run without one")
        return root

    async def _existing(
        self, connection: AsyncConnection, principal: Principal, run_id: str, key: str | None
    ) -> "sa.Row[tuple[object, ...]]":
        table = tables.runs
        mine = sa.and_(table.c.tenant == principal.tenant, table.c.run_id == run_id)
        if key is not None:
            same = sa.and_(
                table.c.tenant == principal.tenant,
                table.c.subject == principal.subject,
                table.c.idempotency_key == key,
            )
            mine = sa.or_(mine, same)
        return (await connection.execute(sa.select(table).where(mine))).one()

    async def get(self, principal: Principal, run_id: str) -> Run:
        """Return the run, with its wait for capacity; one the principal may not see does not exist for it."""
        async with self._database.read() as connection:
            return await capacity_views.waiting(connection, _run(await self._row(connection, principal, run_id)))

    async def load(self, ref: RunRef) -> Run:
        """Return a run by its key, for the workflows of the house alone."""
        async with self._database.read() as connection:
            row = (await connection.execute(sa.select(tables.runs).where(*_is(ref)))).first()
        if row is None:
            raise NotFound(f"there is no run {ref.run_id}")
        return _run(row)

    async def batches(self, ref: RunRef) -> Sequence[Run]:
        """Return the batches of a run's foreaches, for the activities of the house alone."""
        table = tables.runs
        mine = (table.c.tenant == ref.tenant, table.c.parent_id == ref.run_id, table.c.kind == "batch")
        async with self._database.read() as connection:
            return [_run(row) for row in await connection.execute(sa.select(table).where(*mine))]

    async def get_for(self, task: Task) -> Run:
        """Return the run that waits for a task the caller was allowed to see."""
        return await self.load(tasks.ref(task))

    async def _row(
        self, connection: AsyncConnection, principal: Principal, run_id: str
    ) -> "sa.Row[tuple[object, ...]]":
        ref = RunRef(tenant=principal.tenant, run_id=run_id)
        row = (await connection.execute(sa.select(tables.runs).where(*_is(ref), *_visible(principal)))).first()
        if row is None:
            raise NotFound(f"there is no run {run_id}; list_runs shows the runs you may see")
        return row

    async def list(self, principal: Principal, wanted: RunFilter) -> Sequence[Run]:
        """Return a page of runs, newest first."""
        table = tables.runs
        query = sa.select(table).where(table.c.tenant == principal.tenant, *_visible(principal))
        for name in ("kind", "status", "definition", "parent_id"):
            value = getattr(wanted, name)
            if value is not None:
                query = query.where(table.c[name] == value)
        if wanted.kind is None and wanted.parent_id is None:
            query = query.where(table.c.kind != "batch")
        if wanted.after is not None:
            query = query.where(table.c.run_id < wanted.after)
        query = query.order_by(table.c.run_id.desc()).limit(wanted.limit)
        async with self._database.read() as connection:
            return [_run(row) for row in await connection.execute(query)]

    async def foreaches(self, principal: Principal, run_ids: Sequence[str]) -> Mapping[str, Sequence[ForeachProgress]]:
        """Return how far the foreaches in batches are, of those of the runs that have any, by run."""
        async with self._database.read() as connection:
            return await progress.foreaches(connection, principal.tenant, _visible(principal), run_ids)

    def stopping(self, ref: RunRef) -> None:
        """Tell whoever works for a run that its workflow has taken the order to end it; the record of it follows."""
        self._hub.stopping(ref)

    async def apply(self, change: Change) -> Recorded:
        """Apply a change once, in one transaction: row, events, audit, tasks."""
        self._hub.flush(change.run)
        async with self._database.write() as connection:
            fresh = await connection.execute(
                upsert(tables.changes, connection)
                .values(tenant=change.run.tenant, run_id=change.run.run_id, key=change.key)
                .on_conflict_do_nothing()
            )
            row = (await connection.execute(sa.select(tables.runs).where(*_is(change.run)).with_for_update())).first()
            if row is None:
                raise NotFound(f"there is no run {change.run.run_id} to change")
            if not fresh.rowcount:
                return Recorded(last_seq=row.last_seq)
            last_seq = await self._apply(connection, change, _run(row), row.audit_seq, row.audit_head)
        self._hub.changed(change.run, _settled(change))
        return Recorded(last_seq=last_seq)

    async def _apply(self, connection: AsyncConnection, change: Change, run: Run, audit_seq: int, head: str) -> int:
        status = run.status if run.finished or change.status is None else change.status
        drafts = list(change.events)
        drafts += await tasks.open_tasks(connection, change)
        drafts += await tasks.add_votes(connection, change)
        drafts += await tasks.close_tasks(connection, change)
        drafts += await tasks.move_tasks(connection, change)
        await waits.change(connection, change)
        waits_for = change.waits_for
        if change.opened or change.closed:
            waits_for = await tasks.waiting_for(connection, change.run)
            if status in ("running", "waiting"):
                status = "waiting" if waits_for else "running"
        if status != run.status:
            data: dict[str, JsonValue] = {"status": status, "was": run.status}
            if change.error:
                data["error"] = change.error
            drafts.append(EventDraft(key=f"{change.key}/status", type="run.status", data=data))
        last_seq = await event_log.append(connection, change.run, run.events, drafts)
        audit_seq, head = await chain.append(connection, change.run, change.audit, audit_seq, head)
        now = utc_now()
        ending = status in TERMINAL and not run.finished
        values = {
            "status": status,
            "updated_at": now,
            "last_seq": last_seq,
            "audit_seq": audit_seq,
            "audit_head": head,
            "spent": run.spent.plus(change.spent).model_dump(mode="json"),
            **{
                name: value
                for name, value in (*((name, getattr(change, name)) for name in KEPT), ("waits_for", waits_for))
                if value is not None
            },
            **({"budget": change.budget.model_dump(mode="json")} if change.budget is not None else {}),
            **({"finished_at": now} if ending else {}),
        }
        await connection.execute(tables.runs.update().where(*_is(change.run)).values(**values))
        if ending:
            await tasks.cancel_open(connection, change.run)
            await waits.forget(connection, change.run)
        # What is recorded of a run that is over gets an anchor of its own: the one of its end covers no more than that.
        if ending or (run.finished and change.audit):
            await chain.anchor(connection, self._signer, change.run, audit_seq, head)
        return last_seq

    async def events(
        self, principal: Principal, run_id: str, *, after: int = 0, limit: int = 500, types: Sequence[str] = ()
    ) -> Sequence[Event]:
        """Return the events behind number `after`, in order."""
        async with self._database.read() as connection:
            await self._row(connection, principal, run_id)
            return await event_log.read(connection, RunRef(tenant=principal.tenant, run_id=run_id), after, limit, types)

    async def log(self, ref: RunRef, *, after: int = 0, types: Sequence[str] = ()) -> Sequence[Event]:
        """Return a run's own events, for the activities of the house alone."""
        async with self._database.read() as connection:
            return await event_log.read(connection, ref, after, None, types)

    async def wait(self, principal: Principal, run_id: str, *, after: int, timeout_s: float) -> Run:
        """Return the run once it has an event behind `after` or is finished, or as it stands when time is up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            run = await self.get(principal, run_id)
            left = until - loop.time()
            if run.events > after or run.finished or left <= 0:
                return run
            await self._hub.wait(run.ref, min(self._hub.look_s, left))

    async def tasks(
        self,
        principal: Principal,
        *,
        status: TaskStatus | None = "open",
        run_id: str | None = None,
        family: bool = False,
        limit: int = 100,
    ) -> Sequence[Task]:
        """Return the tasks of runs the principal may see, or whose seat admits it, oldest first."""
        async with self._database.read() as connection:
            return await tasks.visible(connection, principal, _visible(principal), status, run_id, limit, family=family)

    async def task(self, principal: Principal, task_id: str) -> Task:
        """Return one task the principal may see."""
        async with self._database.read() as connection:
            found = await tasks.visible(connection, principal, _visible(principal), None, None, 1, task_id)
        if not found:
            raise NotFound(f"there is no task {task_id}; list_tasks shows what waits for you")
        return found[0]

    async def audit(self, principal: Principal, run_id: str, *, item: str = "") -> Sequence[AuditRecord]:
        """Return the whole chain of a run, or all records of one item of its foreaches, whichever batch it was in."""
        ref = RunRef(tenant=principal.tenant, run_id=run_id)
        async with self._database.read() as connection:
            await self._row(connection, principal, run_id)
            return await (chain.read_item(connection, ref, item) if item else chain.read(connection, ref))

    async def records(self, ref: RunRef) -> Sequence[AuditRecord]:
        """Return the whole chain of a run, for the activities of the house alone."""
        async with self._database.read() as connection:
            return await chain.read(connection, ref)

    async def verify_audit(self, principal: Principal, run_id: str) -> chain.ChainVerdict:
        """Recompute the chain of a run and check its end and its anchor."""
        async with self._database.read() as connection:
            await self._row(connection, principal, run_id)
            return await chain.verify(connection, self._signer, RunRef(tenant=principal.tenant, run_id=run_id))

    async def write_artifact(self, run: RunRef, path: str, content: bytes, *, mime: str, key: str) -> Artifact:
        """Write a version of `path`; the same `key` again returns what was written first."""
        stored = await self._blobs.put(run.tenant, content)
        async with self._database.write() as connection:
            return await artifacts.write(connection, run, path, stored, mime, len(content), key)

    async def adopt_artifacts(self, run: RunRef, child: RunRef, name: str) -> Sequence[Artifact]:
        """Let `run` have what `child` has made, below the folder `name`; done again it adds nothing."""
        async with self._database.write() as connection:
            return await artifacts.adopt(connection, run, child, name)

    async def artifacts(self, principal: Principal, run_id: str) -> Sequence[Artifact]:
        """Return the newest version of each path."""
        async with self._database.read() as connection:
            await self._row(connection, principal, run_id)
            return await artifacts.newest(connection, RunRef(tenant=principal.tenant, run_id=run_id))

    async def read_artifact(self, principal: Principal, run_id: str, path: str) -> tuple[Artifact, bytes]:
        """Return the newest version of `path` and its bytes."""
        found = {artifact.path: artifact for artifact in await self.artifacts(principal, run_id)}
        if path not in found:
            raise NotFound(f"run {run_id} has no artifact {path!r}; it has {', '.join(found) or 'none'}")
        return found[path], await self._blobs.get(principal.tenant, found[path].digest)

    async def unsettled(self, statuses: Sequence[str], limit: int = 1_000) -> Sequence[Run]:
        """Return runs of all tenants in one of `statuses`, oldest first, for the reconciler alone."""
        table = tables.runs
        query = sa.select(table).where(table.c.status.in_(statuses)).order_by(table.c.updated_at).limit(limit)
        async with self._database.read() as connection:
            return [_run(row) for row in await connection.execute(query)]


def _settled(change: Change) -> Place | None:
    """Return the place before which a change makes what the run has streamed void, if it does."""
    if change.status in TERMINAL:
        return END
    places = [place for event in change.events if (place := settled_by(event.type, event.data)) is not None]
    return max(places, default=None)


def _is(ref: RunRef) -> tuple[sa.ColumnElement[bool], ...]:
    return (tables.runs.c.tenant == ref.tenant, tables.runs.c.run_id == ref.run_id)


def _visible(principal: Principal) -> tuple[sa.ColumnElement[bool], ...]:
    if principal.has_role(*SEES_ALL):
        return ()
    return (tables.runs.c.subject == principal.subject,)


def _run(row: "sa.Row[tuple[object, ...]]") -> Run:
    found = row._mapping  # pyright: ignore[reportPrivateUsage] # SQLAlchemy's documented name
    fields = {name: found[name] for name in Run.model_fields if name != "events"}
    return Run(**fields, events=found["last_seq"])
