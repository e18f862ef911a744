"""The gates in the store: many workers on one gate, reservations that come back, and a store that is away."""

import anyio
import pytest
import sqlalchemy as sa

from content.database import Database
from engine.errors import Denied
from engine.runs import RunRef
from engine.transcript import Quota, RateFacts
from engine.values import Principal
from providers.capacity import LEASE_S, RESERVED_S
from providers.errors import NotYet, Overloaded, ProviderUnavailable, RateLimited, SpendLimit
from providers.quotas import Cost
from server.capacity import Admission, Asking, Capacity, failure_of
from server.store.capacity import Place, SqlCapacity
from server.store.capacity_views import GateView, gate_views
from tests.capacity.simulation import PLACE, Clock

pytestmark = pytest.mark.anyio

ONE = Cost(requests=1)


def asking(name: str, tenant: str = "local") -> Asking:
    return Asking(name, RunRef(tenant=tenant, run_id=f"run_{name}"))


def told(limit: int, remaining: int | None = None) -> RateFacts:
    return RateFacts(requests=Quota(limit=limit, remaining=limit if remaining is None else remaining, resets_in_s=30.0))


async def gate_of(database: Database, clock: Clock, tenant: str = "local") -> GateView:
    (view,) = await gate_views(database, tenant, clock.now)
    return view


async def enter(gates: Capacity, name: str, tenant: str = "local", place: Place = PLACE) -> Admission | NotYet:
    try:
        return await gates.enter(place, tenant, 10, 10, asking(name, tenant))
    except NotYet as wait:
        return wait


async def known(database: Database, clock: Clock, limit: int) -> Capacity:
    """Return the gate of a worker after the provider has told its limit."""
    gates = Capacity(SqlCapacity(database), clock=clock)
    await (await gates.enter(PLACE, "local", 10, 10)).answered(ONE, told(limit))
    return gates


async def test_workers_that_race_for_one_gate_give_out_what_there_is_and_no_more(database: Database) -> None:
    clock = Clock()
    await known(database, clock, 100)
    workers = [Capacity(SqlCapacity(Database(str(database.url))), clock=clock) for _ in range(3)]
    got: list[Admission | NotYet] = []

    async def take(number: int) -> None:
        got.append(await enter(workers[number % 3], f"c{number}"))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(take, number)
    granted = [one for one in got if isinstance(one, Admission)]
    slots = sorted(one.until for one in got if isinstance(one, NotYet))
    # A burst of ten may go at once; the first call was one of them, and the rest of a worker's slice is no whole call.
    assert 6 <= len(granted) <= 9
    assert len(slots) == len({round(at, 3) for at in slots}) == 30 - len(granted)
    assert sum((await gate_of(database, clock)).waiting.values()) == len(slots)
    for worker in workers:
        await worker.store.database.close()


async def test_a_ticket_keeps_its_place_and_its_slot_when_it_asks_again_by_another_worker(database: Database) -> None:
    clock = Clock()
    first = await known(database, clock, 10)
    second = Capacity(SqlCapacity(database), clock=clock)
    waits = [await enter(first, f"c{number}") for number in range(3)]
    wait = waits[-1]
    assert isinstance(wait, NotYet)
    clock.now = wait.until - 1.0
    again = await enter(second, "c2")
    assert isinstance(again, NotYet)
    assert again.until == wait.until
    clock.now = wait.until
    assert isinstance(await enter(second, "c2"), Admission)


async def test_what_a_dead_worker_had_reserved_comes_back(database: Database) -> None:
    clock = Clock()
    gates = await known(database, clock, 100)
    for number in range(9):
        await enter(gates, f"c{number}")
    del gates
    await enter(Capacity(SqlCapacity(database), clock=clock), "waits")
    clock.now += RESERVED_S + 1.0
    other = Capacity(SqlCapacity(database), clock=clock)
    assert isinstance(await enter(other, "new"), Admission)
    view = await gate_of(database, clock)
    assert view.under_way + len(view.gate.leases) == 1


async def test_a_call_that_was_cut_stays_charged_and_its_order_asks_anew(database: Database) -> None:
    clock = Clock()
    gates = await known(database, clock, 10)
    wait = await enter(gates, "c")
    assert isinstance(wait, NotYet)
    clock.now = wait.until
    admission = await enter(gates, "c")
    assert isinstance(admission, Admission)
    before = (await gate_of(database, clock)).gate.buckets["requests"].level
    admission.cut()
    assert (await gate_of(database, clock)).gate.buckets["requests"].level == before
    assert isinstance(await enter(gates, "c"), NotYet)


async def test_estimates_are_put_right_by_what_a_call_took(database: Database) -> None:
    clock = Clock()
    gates = Capacity(SqlCapacity(database), clock=clock)
    rates = RateFacts(input_tokens=Quota(limit=10_000, remaining=10_000, resets_in_s=30.0))
    await (await gates.enter(PLACE, "local", 10, 10)).answered(Cost(requests=1, input_tokens=0), rates)
    admission = await gates.enter(PLACE, "local", 800, 10, asking("c"))
    await admission.answered(Cost(requests=1, input_tokens=100), rates)
    await gates.close()
    assert (await gate_of(database, clock)).gate.buckets["input_tokens"].level == 900.0


async def test_a_refusal_stops_every_worker_and_the_call_keeps_its_place(database: Database) -> None:
    clock = Clock()
    first = await known(database, clock, 10)
    wait = await enter(first, "c")
    assert isinstance(wait, NotYet)
    clock.now = wait.until
    admission = await enter(first, "c")
    assert isinstance(admission, Admission)
    await admission.failed(RateLimited("slow", provider="simulated", retry_after_s=100.0))
    until = clock.now + 100.0
    second = Capacity(SqlCapacity(database), clock=clock)
    behind = await enter(second, "d")
    assert isinstance(behind, NotYet)
    assert behind.until > until
    again = await enter(second, "c")
    assert isinstance(again, NotYet)
    assert (again.until, again.why) == (until, "rate_limited")
    assert again.waited_s > 0.0


async def test_an_account_that_does_not_answer_is_left_alone_with_all_its_models(database: Database) -> None:
    clock = Clock()
    gates = Capacity(SqlCapacity(database), clock=clock)
    for number in range(3):
        admission = await gates.enter(PLACE, "local", 10, 10, asking(f"c{number}"))
        await admission.failed(ProviderUnavailable("gone", provider="simulated"))
    other = PLACE._replace(model="another")
    wait = await enter(gates, "d", place=other)
    assert isinstance(wait, NotYet)
    assert wait.why == "provider_unavailable"
    clock.now = wait.until
    probe = await enter(gates, "d", place=other)
    assert isinstance(probe, Admission)
    assert isinstance(await enter(gates, "e", place=other), NotYet)
    await probe.answered(ONE, None)
    assert isinstance(await enter(gates, "f", place=other), Admission)


async def test_a_spent_account_refuses_at_once_and_asks_nobody_to_wait(database: Database) -> None:
    clock = Clock()
    gates = Capacity(SqlCapacity(database), clock=clock)
    admission = await gates.enter(PLACE, "local", 10, 10, asking("c"))
    await admission.failed(SpendLimit("empty", provider="simulated", retry_after_s=600.0))
    with pytest.raises(SpendLimit) as refused:
        await gates.enter(PLACE, "local", 10, 10, asking("d"))
    assert not refused.value.retryable


async def test_slices_are_spent_without_the_store_and_nothing_beyond_them_while_it_is_away(
    database: Database,
) -> None:
    clock = Clock()
    gates = await known(database, clock, 1_200)
    assert isinstance(await enter(gates, "leases"), Admission)
    async with database.write() as connection:
        await connection.execute(sa.text("ALTER TABLE capacity_gates RENAME TO capacity_gates_away"))
    got = [await enter(gates, f"c{number}") for number in range(40)]
    # A quarter of the burst of 120 was leased; one of it was spent above.
    assert sum(isinstance(one, Admission) for one in got) == 29
    waits = [one for one in got if isinstance(one, NotYet)]
    assert {one.why for one in waits} == {"store_away"}
    clock.now += LEASE_S
    assert isinstance(await enter(gates, "late"), NotYet)


async def test_an_operator_sees_limits_queues_and_pauses_of_the_own_tenant_and_no_other_name(
    database: Database, alice: Principal, mallory: Principal
) -> None:
    clock = Clock()
    gates = await known(database, clock, 10)
    for tenant in ("local", "third"):
        for number in range(2):
            await enter(gates, f"{tenant}{number}", tenant)
    busy = failure_of(Overloaded("busy", provider="simulated", retry_after_s=60.0))
    assert busy is not None
    await gates.store.fail(PLACE, "local", "", busy, clock.now)
    (report,) = await gates.reports(alice)
    assert (report.model, report.breaker, report.because) == ("simulated/model", "open", "overloaded")
    assert report.waiting == {"local": 2, "other tenants": 2}
    assert [(one.kind, one.limit, one.learned) for one in report.limits] == [("requests", 10.0, "told")]
    assert await gates.reports(mallory) == []
    with pytest.raises(Denied):
        await gates.reports(Principal(tenant="local", subject="vic", roles=frozenset({"viewer"})))
