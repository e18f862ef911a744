"""The gate in front of every model call: it is asked before the call, and told after it how the call went.

While there is plenty, a worker spends slices of quota that it has leased, and the store is not asked for each call;
where calls have to wait, each has a ticket in the store. Without the store nothing but what was leased is spent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from engine.capacity import GateReport, LimitReport
from engine.errors import Denied
from engine.runs import RunRef
from engine.transcript import RateFacts
from engine.values import Principal, new_id
from providers.capacity import TYPICAL_OUTPUT, Lease, Priority, reservation
from providers.errors import (
    NotYet,
    Overloaded,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SpendLimit,
)
from providers.quotas import BURST, KINDS, Cost
from server.store.capacity import Failure, Place, SqlCapacity
from server.store.capacity_views import GateView, gate_views

AWAY_S = 2.0
"""So much later a call asks again when the store could not be reached and no slice is left."""

WATCHERS = ("operator", "administrator")
"""Who may see what the gates know."""

T = TypeVar("T")

PriorityOf = Callable[[RunRef], Awaitable[Priority]]


@dataclass
class Asking:
    """Whose calls are made: an order of a run, under one ticket for all of its attempts. `calls` were answered."""

    ticket: str
    run: RunRef | None = None
    calls: int = 0


ASKING: ContextVar[Asking | None] = ContextVar("asking", default=None)
"""The order that is being carried out; activities set it around their work."""


@dataclass
class Slice:
    """A lease that is being spent: what is left of it, and what is to be told to the store."""

    key: str
    lease: Lease
    spent: Cost = field(default_factory=Cost)
    calls: list[Cost] = field(default_factory=list[Cost])
    lost: int = 0
    rates: RateFacts | None = None
    under_way: int = 0

    def holds(self, cost: Cost, now: float) -> bool:
        """Tell whether a call may still be made from it."""
        return now < self.lease.until and all(
            self.spent.of(kind) + cost.of(kind) <= left + 1e-9 for kind, left in self.lease.left.items()
        )

    def surprised(self, rates: RateFacts | None) -> bool:
        """Tell whether headers say what the store should know now: another limit, or that little is left."""
        for kind in KINDS:
            quota = getattr(rates, kind) if rates is not None else None
            if quota is None or quota.limit is None:
                continue
            scarce = quota.remaining is not None and quota.remaining < BURST * quota.limit
            if scarce or self.lease.known.get(kind) != quota.limit:
                return True
        return False


class Admission:
    """A call that may be made now; it is told exactly once how the call went. One that is cut stays charged."""

    def __init__(
        self, gates: "Capacity", place: Place, tenant: str, ticket: str, cost: Cost, slice_: Slice | None
    ) -> None:
        self._gates, self._place, self._tenant, self._ticket = gates, place, tenant, ticket
        self._cost, self._slice = cost, slice_

    async def answered(self, actual: Cost | None, rates: RateFacts | None) -> None:
        """Account for an answer; None: what it took is not known, and the reservation stands."""
        actual = actual or self._cost
        gates, now = self._gates, self._gates.clock()
        one = self._slice
        if one is None:
            await gates.told(gates.store.settle(self._place, self._tenant, self._ticket, actual, rates, now))
            return
        one.under_way -= 1
        one.spent = one.spent.plus(self._cost, -1.0).plus(actual)
        one.calls.append(actual)
        one.rates = rates or one.rates
        if one.surprised(rates) and rates is not None:
            await gates.told(gates.store.learn(self._place, self._tenant, rates, now))
            gates.end(one)
        await gates.accounted(self._place, self._tenant, one)

    async def failed(self, error: ProviderError) -> None:
        """Take in a failure: a refusal for the rate pauses the model, an absence or an empty purse the account."""
        gates, now = self._gates, self._gates.clock()
        failure = failure_of(error)
        if self._slice is not None:
            self._slice.under_way -= 1
            self._slice.lost += 1
            if failure is not None:
                gates.end(self._slice)
            await gates.accounted(self._place, self._tenant, self._slice)
        ticket = self._ticket if self._slice is None else ""
        if failure is not None:
            await gates.told(gates.store.fail(self._place, self._tenant, ticket, failure, now))
        elif ticket:
            # The request itself was at fault: it was counted, and its tokens as well, as far as anybody knows.
            await gates.told(gates.store.settle(self._place, self._tenant, ticket, self._cost, error.rates, now))

    def cut(self) -> None:
        """Note that the call was cut; its reservation stays charged until it expires."""
        if self._slice is not None:
            self._slice.under_way -= 1
            self._slice.lost += 1


def failure_of(error: ProviderError) -> Failure | None:
    """Return what a failure says about the next call, or None if it says nothing."""
    about = {"code": error.code, "retry_after_s": error.retry_after_s, "rates": error.rates}
    if isinstance(error, RateLimited | Overloaded):
        return Failure.model_validate(about)
    if isinstance(error, SpendLimit):
        return Failure.model_validate(about | {"whole": True, "at_once": True})
    if isinstance(error, ProviderUnavailable):
        return Failure.model_validate(about | {"whole": True})
    return None


async def always_interactive(run: RunRef) -> Priority:
    """Return `interactive`: what calls are that nobody has sorted."""
    return "interactive"


class Capacity:
    """The gates as one worker uses them; `clock` gives seconds since 1970."""

    def __init__(
        self,
        store: SqlCapacity,
        priority_of: PriorityOf = always_interactive,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the store; nothing is leased yet."""
        self.store = store
        self.clock = clock
        self._priority_of = priority_of
        self._worker = new_id("worker")
        self._leases = 0
        self._slices: dict[tuple[Place, str], Slice] = {}
        self._turns: dict[tuple[Place, str], asyncio.Lock] = {}

    async def enter(
        self, place: Place, tenant: str, input_tokens: int, max_output_tokens: int, asking: Asking | None = None
    ) -> Admission:
        """Let a call through, with its reservation.

        Raises:
            NotYet: it is to ask again later, under the same ticket.
            SpendLimit: the account's money is used up, and was so a moment ago.
        """
        leased = self._spend(place, tenant, input_tokens, max_output_tokens)
        if leased is not None:
            return leased
        # Of many calls that find no slice, one asks for the next.
        async with self._turns.setdefault((place, tenant), asyncio.Lock()):
            leased = self._spend(place, tenant, input_tokens, max_output_tokens)
            if leased is not None:
                return leased
            typical = await self._begin_anew(place, tenant)
            cost = reservation(typical, input_tokens, max_output_tokens)
            return await self._ask(place, tenant, cost, asking)

    async def through(
        self,
        place: Place,
        tenant: str,
        tokens: tuple[int, int],
        call: Callable[[], Awaitable[T]],
        took: Callable[[T], tuple[Cost | None, RateFacts | None]],
    ) -> T:
        """Make a call through its gate: `tokens` are its input and the largest output, `took` tells what it took.

        Raises:
            NotYet, SpendLimit: see `enter`.
            ProviderError: of the call itself.
        """
        asking = ASKING.get()
        admission = await self.enter(place, tenant, *tokens, asking)
        try:
            result = await call()
        except ProviderError as error:
            await admission.failed(error)
            raise
        except BaseException:
            admission.cut()
            raise
        await admission.answered(*took(result))
        if asking is not None:
            asking.calls += 1
        return result

    def _spend(self, place: Place, tenant: str, input_tokens: int, max_output_tokens: int) -> Admission | None:
        one = self._slices.get((place, tenant))
        if one is None:
            return None
        cost = reservation(one.lease.typical_output, input_tokens, max_output_tokens)
        return self._from(place, tenant, one, cost) if one.holds(cost, self.clock()) else None

    async def _begin_anew(self, place: Place, tenant: str) -> float:
        """Give back a slice that is used up or over; return the output that calls usually have."""
        one = self._slices.get((place, tenant))
        if one is None:
            return TYPICAL_OUTPUT
        self.end(one)
        await self.accounted(place, tenant, one)
        return one.lease.typical_output

    async def _ask(self, place: Place, tenant: str, cost: Cost, asking: Asking | None) -> Admission:
        now = self.clock()
        begun = asking is not None and asking.calls > 0
        ticket = new_id("ticket") if asking is None else f"{asking.ticket}/{asking.calls}" if begun else asking.ticket
        self._leases += 1
        key = f"{self._worker}/{self._leases}"
        try:
            if begun:
                # The rest of an order that has begun is not sent back: its first answers would be lost.
                answer = await self.store.take(place, tenant, ticket, cost, now)
            else:
                run = None if asking is None else asking.run
                priority: Priority = "interactive" if run is None else await self._priority_of(run)
                answer = await self.store.ask(place, tenant, ticket, priority, cost, now, lease_key=key)
        except (SQLAlchemyError, OSError) as error:
            raise _not_yet(place, now + AWAY_S, now, now, "store_away") from error
        if answer.lease is not None:
            fresh = self._slices[place, tenant] = Slice(key, answer.lease)
            return self._from(place, tenant, fresh, cost)
        decision = answer.decision
        if decision.kind == "go":
            return Admission(self, place, tenant, ticket, cost, None)
        if asking is None:
            # Nobody will come back under a ticket that nobody knows.
            await self.told(self.store.withdraw(place, tenant, ticket, now))
        if decision.kind == "refused":
            raise SpendLimit(
                f"The account {place.account or place.provider} has said that its money is used up.",
                provider=place.provider,
                model=place.model,
                retry_after_s=max(0.0, decision.at - now),
            )
        raise _not_yet(place, decision.at, now, answer.since, decision.code)

    def _from(self, place: Place, tenant: str, one: Slice, cost: Cost) -> Admission:
        one.spent = one.spent.plus(cost)
        one.under_way += 1
        return Admission(self, place, tenant, "", cost, one)

    def end(self, one: Slice) -> None:
        """Spend nothing more of a slice."""
        one.lease = one.lease.model_copy(update={"until": 0.0})
        self._slices = {key: held for key, held in self._slices.items() if held is not one}

    async def accounted(self, place: Place, tenant: str, one: Slice) -> None:
        """Give a slice back that is over and carries no call any more."""
        if self.clock() < one.lease.until or one.under_way:
            return
        self.end(one)
        calls, lost = one.calls, one.lost
        one.calls, one.lost = [], 0
        if calls or lost:
            report = self.store.report(place, tenant, one.key, one.spent, calls, lost, one.rates, self.clock())
            await self.told(report)

    async def told(self, telling: Awaitable[None]) -> None:
        """Tell the store something; where it is away the call still counts, and what it held comes back in time."""
        try:
            await telling
        except (SQLAlchemyError, OSError):
            return

    async def withdraw(self, place: Place, tenant: str) -> None:
        """Give the place of the order that is carried out up: another model has answered."""
        asking = ASKING.get()
        if asking is not None:
            await self.told(self.store.withdraw(place, tenant, asking.ticket, self.clock()))

    async def close(self) -> None:
        """Give back what is leased."""
        for (place, tenant), one in list(self._slices.items()):
            self.end(one)
            await self.accounted(place, tenant, one)

    async def reports(self, principal: Principal) -> list[GateReport]:
        """Return what is known of the gates that the principal's tenant has called through.

        Raises:
            Denied: the principal is no operator.
        """
        if not principal.has_role(*WATCHERS):
            raise Denied("what the gates know is for operators and administrators", roles=WATCHERS)
        now = self.clock()
        return [_report(view, now) for view in await gate_views(self.store.database, principal.tenant, now)]


def _report(view: GateView, now: float) -> GateReport:
    gate = view.gate
    pause = view.account if view.account.held else gate.pause
    limits = (
        LimitReport(
            kind=kind,
            limit=one.limit,
            window_s=one.window_s,
            planned_per_minute=60.0 * one.rate(gate.share),
            left=round(one.level, 3),
            learned="told" if one.told else "guessed",
        )
        for kind, one in sorted(gate.buckets.items())
    )
    return GateReport(
        model=f"{view.place.provider}/{view.place.model}",
        account=view.place.account,
        breaker=pause.state(now),
        because=pause.code if pause.held else "",
        paused_until=_moment(pause.until if pause.until > now else None),
        limits=tuple(limits),
        share=gate.share,
        under_way=view.under_way,
        leased=len(gate.leases),
        waiting=view.waiting,
        next_grant=_moment(view.next_at),
        granted=gate.granted,
        refused=gate.throttled,
    )


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _not_yet(place: Place, at: float, now: float, since: float, why: str) -> NotYet:
    wait = max(0.0, at - now)
    return NotYet(
        f"{place.provider}/{place.model} is at its limit ({why}); the call may go on in {wait:.1f} s.",
        until=at,
        why=why,
        waited_s=max(0.0, now - since),
        provider=place.provider,
        model=place.model,
        retry_after_s=wait,
    )
