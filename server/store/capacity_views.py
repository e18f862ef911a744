"""What the gates know, read for people: limits, who waits, what is paused."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import Database
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
