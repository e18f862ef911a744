"""Tasks in SQL: the one object of waiting for a person."""

from collections.abc import Sequence

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import upsert
from engine.runs import Change, EventDraft, RunRef, Task, TaskStatus
from engine.values import Principal, utc_now
from server.store import tables


async def open_tasks(connection: AsyncConnection, change: Change) -> list[EventDraft]:
    """Open the tasks of a change and return their events."""
    events: list[EventDraft] = []
    for draft in change.opened:
        fields = draft.model_dump(mode="json", exclude={"deadline"})
        await connection.execute(
            upsert(tables.tasks, connection)
            .values(
                tenant=change.run.tenant,
                run_id=change.run.run_id,
                status="open",
                created_at=utc_now(),
                deadline=draft.deadline,
                **fields,
            )
            .on_conflict_do_nothing()
        )
        data = {name: fields[name] for name in ("task_id", "kind", "node", "title", "decisions")}
        events.append(EventDraft(key=f"{draft.task_id}/opened", type="task.opened", data=data))
    return events


async def close_tasks(connection: AsyncConnection, change: Change) -> list[EventDraft]:
    """Close the tasks of a change, each only if it is still open, and return their events."""
    events: list[EventDraft] = []
    table = tables.tasks
    for closed in change.closed:
        answer = closed.answer.model_dump(mode="json") if closed.answer else None
        result = await connection.execute(
            table.update()
            .where(
                table.c.tenant == change.run.tenant,
                table.c.task_id == closed.task_id,
                table.c.run_id == change.run.run_id,
                table.c.status == "open",
            )
            .values(status=closed.status, answer=answer, answered_by=closed.by, answered_at=utc_now())
        )
        if result.rowcount:
            data: dict[str, JsonValue] = {
                "task_id": closed.task_id,
                "status": closed.status,
                "by": closed.by,
                "answer": answer,
            }
            events.append(EventDraft(key=f"{closed.task_id}/closed", type="task.closed", data=data))
    return events


async def move_tasks(connection: AsyncConnection, change: Change) -> list[EventDraft]:
    """Give open tasks another seat and return their events."""
    events: list[EventDraft] = []
    table = tables.tasks
    for moved in change.moved:
        seat = moved.seat.model_dump(mode="json")
        await connection.execute(
            table.update()
            .where(table.c.tenant == change.run.tenant, table.c.task_id == moved.task_id, table.c.status == "open")
            .values(seat=seat, claimed_by=moved.claimed_by)
        )
        data: dict[str, JsonValue] = {
            "task_id": moved.task_id,
            "seat": seat,
            "reason": moved.reason,
            "claimed_by": moved.claimed_by,
        }
        events.append(EventDraft(key=f"{change.key}/moved/{moved.task_id}", type="task.moved", data=data))
    return events


async def add_votes(connection: AsyncConnection, change: Change) -> list[EventDraft]:
    """Add decisions to open tasks that need several alike, and return their events."""
    events: list[EventDraft] = []
    table = tables.tasks
    for voted in change.voted:
        this = sa.and_(table.c.tenant == change.run.tenant, table.c.task_id == voted.task_id, table.c.status == "open")
        votes = (await connection.execute(sa.select(table.c.votes).where(this))).scalar_one_or_none()
        if votes is None:
            continue
        vote = voted.vote.model_dump(mode="json")
        await connection.execute(table.update().where(this).values(votes=[*votes, vote], claimed_by=None))
        data: dict[str, JsonValue] = {"task_id": voted.task_id, **vote}
        events.append(EventDraft(key=f"{change.key}/voted/{voted.task_id}", type="task.voted", data=data))
    return events


async def waiting_for(connection: AsyncConnection, run: RunRef) -> str:
    """Return what a run waits for people to do, in words; empty when it waits for nobody."""
    table = tables.tasks
    query = (
        sa.select(table.c.kind, table.c.title)
        .where(table.c.tenant == run.tenant, table.c.run_id == run.run_id, table.c.status == "open")
        .order_by(table.c.created_at, table.c.task_id)
    )
    return ", ".join(f"{row.kind}: {row.title}" for row in await connection.execute(query))


async def cancel_open(connection: AsyncConnection, run: RunRef) -> None:
    """Close what is still open when a run ends: nobody waits for an answer any more."""
    table = tables.tasks
    await connection.execute(
        table.update()
        .where(table.c.tenant == run.tenant, table.c.run_id == run.run_id, table.c.status == "open")
        .values(status="cancelled", answered_at=utc_now())
    )


async def visible(
    connection: AsyncConnection,
    principal: Principal,
    may_see_run: Sequence[sa.ColumnElement[bool]],
    status: TaskStatus | None,
    run_id: str | None,
    limit: int,
    task_id: str | None = None,
    *,
    family: bool = False,
) -> list[Task]:
    """Return tasks of runs the principal may see, and those whose seat admits it, oldest first.

    With `family` those of the runs below `run_id` count as its own.
    """
    table = tables.tasks
    joined = sa.join(
        table, tables.runs, sa.and_(table.c.tenant == tables.runs.c.tenant, table.c.run_id == tables.runs.c.run_id)
    )
    sees_run = sa.and_(sa.true(), *may_see_run).label("sees_run")
    query = sa.select(table, sees_run).select_from(joined).where(table.c.tenant == principal.tenant)
    if run_id is not None and family:
        query = query.where(table.c.run_id.in_(_below(principal.tenant, run_id)))
        run_id = None
    for column, wanted in ((table.c.status, status), (table.c.run_id, run_id), (table.c.task_id, task_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    found: list[Task] = []
    async for row in await connection.stream(query.order_by(table.c.created_at, table.c.task_id)):
        task = _task(row)
        if row.sees_run or task.seat.admits(principal):
            found.append(task)
        if len(found) >= limit:
            break
    return found


def _below(tenant: str, run_id: str) -> "sa.Select[tuple[str]]":
    """Return the ids of a run and of every run below it."""
    table = tables.runs
    of_tenant = table.c.tenant == tenant
    top = sa.select(table.c.run_id).where(of_tenant, table.c.run_id == run_id).cte("family", recursive=True)
    below = sa.select(table.c.run_id).where(of_tenant, table.c.parent_id == top.c.run_id)
    return sa.select(top.union_all(below).c.run_id)


def _task(row: "sa.Row[tuple[object, ...]]") -> Task:
    found = row._mapping  # pyright: ignore[reportPrivateUsage] # SQLAlchemy's documented name
    return Task(**{name: found[name] for name in Task.model_fields})


def ref(task: Task) -> RunRef:
    """Return the run that waits for a task."""
    return RunRef(tenant=task.tenant, run_id=task.run_id)
