"""What the gates know, read for people: limits, who waits, what is paused."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import Database
from engine.runs import Run, RunRef
from engine.values import utc_now
from providers.capacity import Gate
from providers.pauses import Pause
from server.store import tables
from server.store.capacity import Place

gates, tickets, users = tables.capacity_gates, tables.capacity_tickets, tables.capacity_users


@dataclass(frozen=True)
class GateView:
    """One gate as people see it; `waiting` counts by tenant, `next_at` is when the next slot begins."""

    place: Place
    gate: Gate
    account: Pause
    waiting: dict[str, int]
    under_way: int
    next_at: float | None


async def waiting(connection: AsyncConnection, run: Run) -> Run:
    """Return the run; of one that works, `waits_for` says in words what capacity it waits for and until when.

    It stays `running`, for it asks again by itself then. All of it is read from the run's ticket at a gate: a wait
    for capacity is written nowhere else.
    """
    if run.status != "running" or run.waits_for:
        return run
    found = await wait_of(connection, run.ref, utc_now().timestamp())
    return run.model_copy(update={"waits_for": found}) if found else run


async def wait_of(connection: AsyncConnection, run: RunRef, now: float) -> str:
    """Return what capacity a run waits for at the time `now`, in seconds since 1970, and until when, or nothing."""
    mine = sa.select(users.c.gate).where(users.c.tenant == run.tenant)
    own = tickets.c.ticket.startswith(f"{run.run_id}/", autoescape=True)
    query = (
        sa.select(tickets.c.at, gates)
        .join(gates, gates.c.gate == tickets.c.gate)
        .where(tickets.c.tenant == run.tenant, tickets.c.gate.in_(mine), own)
        .where(tickets.c.state != "open", tickets.c.at > now)
    )
    row = (await connection.execute(query.order_by(tickets.c.at).limit(1))).first()
    if row is None:
        return ""
    whole = sa.select(gates.c.state).where(gates.c.gate == row.gate.removesuffix(f"/{row.model}"))
    state = (await connection.execute(whole)).scalar_one_or_none()
    pauses = (Pause() if state is None else Pause.model_validate(state), Gate.model_validate(row.state).pause)
    why = next((pause.code for pause in pauses if pause.held and pause.until > now), "at its limit")
    until = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="seconds")
    return f"capacity of {row.provider}/{row.model} ({why}), until {until}"


async def gate_views(database: Database, tenant: str, now: float) -> list[GateView]:
    """Return the gates that a tenant has called through; others that wait there count as one, without name."""
    async with database.read() as connection:
        mine = sa.select(users.c.gate).where(users.c.tenant == tenant)
        rows = (await connection.execute(sa.select(gates).where(gates.c.gate.in_(mine)).order_by(gates.c.gate))).all()
        whole = (await connection.execute(sa.select(gates).where(gates.c.model == ""))).all()
        accounts = {row.gate: Pause.model_validate(row.state) for row in whole}
        return [await _view(connection, row, accounts, tenant, now) for row in rows]


async def _view(connection: AsyncConnection, row: Any, accounts: dict[str, Pause], tenant: str, now: float) -> GateView:
    whole = row.gate.removesuffix(f"/{row.model}")
    mine = tickets.c.gate == row.gate
    counted = sa.select(tickets.c.tenant, tickets.c.state, sa.func.count(), sa.func.min(tickets.c.at)).where(mine)
    found = (await connection.execute(counted.group_by(tickets.c.tenant, tickets.c.state))).all()
    waiting: dict[str, int] = {}
    for name, state, count, _ in found:
        if state != "open":
            shown = name if name == tenant else "other tenants"
            waiting[shown] = waiting.get(shown, 0) + count
    place = Place(row.provider, row.account, whole.rpartition(":")[2], row.model)
    return GateView(
        place=place,
        gate=Gate.model_validate(row.state).refilled(now),
        account=accounts.get(whole, Pause()),
        waiting=waiting,
        under_way=sum(count for _, state, count, _ in found if state == "open"),
        next_at=min((at for _, state, _, at in found if state != "open"), default=None),
    )
