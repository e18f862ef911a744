"""The gates in SQL: one row for each model on an account, changed by compare-and-set, and a row for each ticket.

Every change reads the gate with its version, decides by the pure rules of `providers.capacity`, and writes it back only
if the version is still the same; else it begins again. So any number of workers share one gate.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from content.database import Database, upsert
from engine.transcript import RateFacts
from engine.values import Value
from providers.capacity import (
    GRACE_S,
    HORIZON_S,
    PATIENT_S,
    Ahead,
    Decision,
    Gate,
    Lease,
    Priority,
    Ticket,
)
from providers.pauses import Pause
from providers.quotas import Cost
from server.store import tables

T = TypeVar("T")

PRIORITIES: tuple[Priority, ...] = ("interactive", "background")
SWEEP_S = 5.0
"""So often, at most, reservations that have expired are looked for."""

ATTEMPTS = 100
COSTS = ("requests", "input_tokens", "output_tokens")

gates, tickets, users = tables.capacity_gates, tables.capacity_tickets, tables.capacity_users


class Place(NamedTuple):
    """Where a call goes. `scope` tells keys of one account name apart, as those of two tenants; it is no secret."""

    provider: str
    account: str
    scope: str
    model: str

    @property
    def gate(self) -> str:
        """The key of the gate's row."""
        return f"{self.whole}/{self.model}"

    @property
    def whole(self) -> str:
        """The key of the row for the account as a whole."""
        return f"{self.provider}:{self.account}:{self.scope}"


class Failure(Value):
    """How a call failed. `whole`: it says something of the account, else of the model on it."""

    code: str
    retry_after_s: float | None = None
    rates: RateFacts | None = None
    whole: bool = False
    at_once: bool = False


@dataclass(frozen=True)
class Answer:
    """What the gate said: the decision, with the ticket's reservation, or a leased slice under `lease_key`."""

    decision: Decision
    since: float
    lease: Lease | None = None


class _Raced(Exception):  # it never leaves this module: whoever lost begins again
    """Another worker has changed the gate first."""


@dataclass
class _Held:
    """A gate as it was read, and as it is to be written."""

    connection: AsyncConnection
    place: Place
    now: float
    gate: Gate
    account: Pause
    tenant: str = ""


class SqlCapacity:
    """The gates of an installation. Times are seconds since 1970, given by the caller."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self.database = database

    async def ask(
        self, place: Place, tenant: str, ticket: str, priority: Priority, cost: Cost, now: float, *, lease_key: str = ""
    ) -> Answer:
        """Ask for a call under a ticket; with a `lease_key`, a slice may come instead while nobody waits."""

        async def work(held: _Held) -> Answer:
            known = await _find(held, tenant, ticket)
            if known is None:
                await _note_user(held, tenant)
            if known is None and lease_key and held.account.verdict(now).kind == "open" and not await _anybody(held):
                leased = held.gate.leased(lease_key, cost)
                if leased is not None:
                    held.gate, lease = leased
                    return Answer(Decision("go", now), now, lease)
            if known is None:
                held.gate, known = held.gate.arrived(tenant, ticket, priority, cost)
            elif known.state == "open":
                # The call before was cut: it is charged at its reservation, and the place is kept.
                known = known.model_copy(update={"state": "waiting"})
            in_order = known.state == "waiting" or held.gate.pause.held or held.account.held
            ahead = await _ahead(held, known) if in_order else Ahead()
            held.gate, known, decision = held.gate.asked(known, ahead, held.account)
            if decision.kind == "go" and held.account.held:
                held.account = held.account.probed(now)
            await (_forget(held, known) if decision.kind == "refused" else _keep(held, known))
            return Answer(decision, known.since)

        return await self._change(place, tenant, now, work)

    async def take(self, place: Place, tenant: str, ticket: str, cost: Cost, now: float) -> Answer:
        """Reserve without waiting, for the rest of something that has begun; only a pause is in its way."""

        async def work(held: _Held) -> Answer:
            for pause in (held.account, held.gate.pause):
                if (verdict := pause.verdict(now)).kind == "wait":
                    return Answer(Decision("wait", verdict.at, pause.code), now)
            held.gate, made = held.gate.spent(cost).arrived(tenant, ticket, "interactive", cost)
            held.gate, made, decision = held.gate.asked(
                made.model_copy(update={"state": "slot", "at": now}), Ahead(), held.account
            )
            await _keep(held, made)
            return Answer(decision, now)

        return await self._change(place, tenant, now, work)

    async def settle(
        self, place: Place, tenant: str, ticket: str, actual: Cost, rates: RateFacts | None, now: float
    ) -> None:
        """Account for a call that was answered."""

        async def work(held: _Held) -> None:
            found = await _find(held, tenant, ticket)
            reserved = found.cost if found is not None and found.state == "open" else Cost()
            held.gate, held.account = held.gate.settled(reserved, actual, rates), held.account.answered(now)
            if found is not None:
                await _forget(held, found)

        await self._change(place, tenant, now, work)

    async def fail(self, place: Place, tenant: str, ticket: str, failure: Failure, now: float) -> None:
        """Take in that a call failed; one that was turned away keeps its place and gets back all but its request."""

        async def work(held: _Held) -> None:
            found = await _find(held, tenant, ticket) if ticket else None
            if failure.whole:
                held.account = held.account.failed(failure.code, now, failure.retry_after_s, at_once=failure.at_once)
            else:
                held.gate = held.gate.refused(failure.code, failure.retry_after_s, failure.rates)
            if found is None or found.state != "open":
                return
            if not failure.whole:
                held.gate = held.gate.spent(
                    Cost(input_tokens=-found.cost.input_tokens, output_tokens=-found.cost.output_tokens)
                )
            await _keep(held, found.model_copy(update={"state": "waiting", "at": now, "expires": now + PATIENT_S}))

        await self._change(place, tenant, now, work)

    async def report(
        self,
        place: Place,
        tenant: str,
        key: str,
        spent: Cost,
        calls: Sequence[Cost],
        lost: int,
        rates: RateFacts | None,
        now: float,
    ) -> None:
        """Give a slice back, with what was spent of it, the calls that were answered, and how many were not."""

        async def work(held: _Held) -> None:
            held.gate = held.gate.reported(key, spent, len(calls) + lost)
            for one in calls:
                held.gate = held.gate.answered(one, None)
            if calls:
                held.gate, held.account = held.gate.learned(rates), held.account.answered(now)

        await self._change(place, tenant, now, work)

    async def learn(self, place: Place, tenant: str, rates: RateFacts, now: float) -> None:
        """Take in what the headers of an answer within a slice said."""

        async def work(held: _Held) -> None:
            held.gate = held.gate.learned(rates)

        await self._change(place, tenant, now, work)

    async def withdraw(self, place: Place, tenant: str, ticket: str, now: float) -> None:
        """Give a place up; the quota of a slot comes back."""

        async def work(held: _Held) -> None:
            found = await _find(held, tenant, ticket)
            if found is not None:
                held.gate = held.gate.returned(found)
                await _forget(held, found)

        await self._change(place, tenant, now, work)

    async def _change(self, place: Place, tenant: str, now: float, work: Callable[[_Held], Awaitable[T]]) -> T:
        for _ in range(ATTEMPTS):
            try:
                async with self.database.write() as connection:
                    return await _changed(connection, place, tenant, now, work)
            except _Raced:
                continue
        raise RuntimeError(f"the gate {place.gate} was changed by others {ATTEMPTS} times in a row")


async def _changed(
    connection: AsyncConnection, place: Place, tenant: str, now: float, work: Callable[[_Held], Awaitable[T]]
) -> T:
    rows = (await connection.execute(sa.select(gates).where(gates.c.gate.in_((place.gate, place.whole))))).all()
    found = {row.gate: row for row in rows}
    gate, account = found.get(place.gate), found.get(place.whole)
    held = _Held(
        connection,
        place,
        now,
        (Gate(at=now) if gate is None else Gate.model_validate(gate.state)).refilled(now),
        Pause() if account is None else Pause.model_validate(account.state),
    )
    before = held.account
    if held.gate.at >= held.gate.swept_at + SWEEP_S:
        await _sweep(held)
    result = await work(held)
    await _write(connection, place, place.gate, gate, held.gate, now)
    if held.account != before:
        await _write(connection, place._replace(model=""), place.whole, account, held.account, now)
    return result


async def _write(connection: AsyncConnection, place: Place, key: str, row: Any, state: Value, now: float) -> None:
    values = {"state": state.model_dump(mode="json"), "updated_at": datetime.fromtimestamp(now, UTC)}
    if row is None:
        names = {"gate": key, "provider": place.provider, "account": place.account, "model": place.model, "version": 1}
        done = await connection.execute(upsert(gates, connection).values(**names, **values).on_conflict_do_nothing())
    else:
        mine = (gates.c.gate == key, gates.c.version == row.version)
        done = await connection.execute(gates.update().where(*mine).values(version=row.version + 1, **values))
    if not done.rowcount:
        raise _Raced


async def _sweep(held: _Held) -> None:
    """Give back what dead workers had reserved: who missed a slot keeps the place, who never came back loses it."""
    mine, late = tickets.c.gate == held.place.gate, held.now - GRACE_S
    over = sa.or_(tickets.c.expires < held.now, sa.and_(tickets.c.state == "slot", tickets.c.at < late))
    for row in (await held.connection.execute(sa.select(tickets).where(mine, over))).all():
        ticket = _ticket(row)
        held.gate = held.gate.returned(ticket)
        if ticket.expires < held.now:
            await _forget(held, ticket)
        else:
            await _keep(held, ticket.model_copy(update={"state": "waiting"}))
    held.gate = held.gate.model_copy(update={"swept_at": held.now})


async def _note_user(held: _Held, tenant: str) -> None:
    used = upsert(users, held.connection).values(tenant=tenant, gate=held.place.gate)
    await held.connection.execute(used.on_conflict_do_nothing())


async def _find(held: _Held, tenant: str, ticket: str) -> Ticket | None:
    mine = (tickets.c.tenant == tenant, tickets.c.gate == held.place.gate, tickets.c.ticket == ticket)
    row = (await held.connection.execute(sa.select(tickets).where(*mine))).one_or_none()
    return None if row is None else _ticket(row)


def _ticket(row: Any) -> Ticket:
    return Ticket(
        tenant=row.tenant,
        ticket=row.ticket,
        priority=PRIORITIES[row.priority],
        cost=Cost(**{name: getattr(row, name) for name in COSTS}),
        tag=row.tag,
        number=row.number,
        since=row.since,
        state=row.state,
        at=row.at,
        expires=row.expires,
    )


async def _keep(held: _Held, ticket: Ticket) -> None:
    now = {"state": ticket.state, "at": ticket.at, "expires": ticket.expires}
    values = {
        **now,
        "tenant": ticket.tenant,
        "gate": held.place.gate,
        "ticket": ticket.ticket,
        "priority": PRIORITIES.index(ticket.priority),
        "tag": ticket.tag,
        "number": ticket.number,
        "since": ticket.since,
        **{name: getattr(ticket.cost, name) for name in COSTS},
    }
    await held.connection.execute(
        upsert(tickets, held.connection)
        .values(**values)
        .on_conflict_do_update(index_elements=["tenant", "gate", "ticket"], set_=now)
    )


async def _forget(held: _Held, ticket: Ticket) -> None:
    mine = (tickets.c.tenant == ticket.tenant, tickets.c.gate == held.place.gate, tickets.c.ticket == ticket.ticket)
    await held.connection.execute(tickets.delete().where(*mine))


async def _anybody(held: _Held) -> bool:
    waits = (tickets.c.gate == held.place.gate, tickets.c.state != "open")
    return (await held.connection.execute(sa.select(tickets.c.ticket).where(*waits).limit(1))).first() is not None


def _sums() -> sa.Select[Any]:
    same = sa.and_(
        tickets.c.priority == sa.bindparam("own"),
        sa.or_(
            tickets.c.tag < sa.bindparam("tag_"),
            sa.and_(tickets.c.tag == sa.bindparam("tag_"), tickets.c.number < sa.bindparam("number_")),
        ),
    )
    higher = tickets.c.priority < sa.bindparam("own")
    due = tickets.c.at.between(sa.bindparam("since_"), sa.bindparam("until_"))
    sums = [
        sa.func.coalesce(sa.func.sum(sa.case((condition, tickets.c[name]), else_=0.0)), 0.0)
        for condition in (same, sa.and_(same, due), higher, sa.and_(higher, due))
        for name in COSTS
    ]
    waits = (tickets.c.gate == sa.bindparam("gate_"), tickets.c.state == "waiting")
    return sa.select(*sums).where(*waits, tickets.c.priority <= sa.bindparam("own"))


SUMS = _sums()
"""Made once: it is asked for by every call that has to wait."""


async def _ahead(held: _Held, ticket: Ticket) -> Ahead:
    """Add up what stands before a ticket: of its class by tag and number, and of the classes above."""
    given = {
        "own": PRIORITIES.index(ticket.priority),
        "tag_": ticket.tag,
        "number_": ticket.number,
        "since_": held.now - GRACE_S,
        "until_": held.now + HORIZON_S,
        "gate_": held.place.gate,
    }
    row = (await held.connection.execute(SUMS, given)).one()
    costs = [Cost(requests=row[at], input_tokens=row[at + 1], output_tokens=row[at + 2]) for at in range(0, 12, 3)]
    return Ahead(same=costs[0], same_due=costs[1], higher=costs[2], higher_due=costs[3])
