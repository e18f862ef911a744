"""The arithmetic of the gate on a clock that the test moves: limits, slots, order, pauses, slices."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.transcript import Quota, RateFacts, Usage
from providers.capacity import HORIZON_S, LEASE_GRACE_S, LEASE_S, Ahead, Decision, Gate, Priority, Ticket
from providers.pauses import Pause
from providers.quotas import Bucket, Cost, counted

ONE = Cost(requests=1)


def limited(per_minute: int) -> Gate:
    """A gate that was told a limit of requests a long time ago."""
    told = RateFacts(requests=Quota(limit=per_minute, remaining=per_minute, resets_in_s=30.0))
    return Gate(at=0.0).learned(told)


@dataclass
class Queue:
    """The gate with its tickets in memory, as the store keeps them."""

    gate: Gate
    account: Pause = field(default_factory=Pause)
    tickets: dict[str, Ticket] = field(default_factory=dict[str, Ticket])
    called: list[tuple[float, Ticket]] = field(default_factory=list[tuple[float, Ticket]])

    def ask(self, name: str, now: float, tenant: str = "t", priority: Priority = "interactive") -> Decision:
        """Ask under a ticket; one that goes leaves the queue."""
        self.gate = self.gate.refilled(now)
        ticket = self.tickets.get(name)
        if ticket is None:
            self.gate, ticket = self.gate.arrived(tenant, name, priority, ONE)
        before = [one for one in self.tickets.values() if one.state == "waiting" and one.ticket != name]
        mine = (ticket.tag, ticket.number)
        same = [one for one in before if one.priority == ticket.priority and (one.tag, one.number) < mine]
        higher = [one for one in before if one.priority == "interactive" and ticket.priority == "background"]
        ahead = Ahead(same=_sum(same), same_due=_due(same, now), higher=_sum(higher), higher_due=_due(higher, now))
        self.gate, ticket, decision = self.gate.asked(ticket, ahead, self.account)
        if decision.kind == "go":
            self.called.append((now, ticket))
            self.tickets.pop(name, None)
        else:
            self.tickets[name] = ticket
        return decision

    def drain(self, until: float, *, arrivals: dict[float, tuple[str, str, Priority]] | None = None) -> None:
        """Let tickets come, and come back exactly when they were told to."""
        coming = sorted((arrivals or {}).items())
        while True:
            back = min(self.tickets.values(), key=lambda one: (one.at, one.number), default=None)
            if coming and (back is None or coming[0][0] <= back.at):
                at, (name, tenant, priority) = coming.pop(0)
                self.ask(name, at, tenant, priority)
                continue
            if back is None or back.at > until:
                return
            self.ask(back.ticket, max(back.at, self.gate.at))


def _sum(tickets: list[Ticket]) -> Cost:
    total = Cost()
    for one in tickets:
        total = total.plus(one.cost)
    return total


def _due(tickets: list[Ticket], now: float) -> Cost:
    return _sum([one for one in tickets if one.at <= now + HORIZON_S])


def test_nothing_is_held_back_where_no_limit_is_known() -> None:
    queue = Queue(Gate())
    assert [queue.ask(f"c{number}", 0.0).kind for number in range(500)] == ["go"] * 500


@settings(max_examples=40, deadline=None)
@given(
    per_minute=st.integers(6, 600),
    gaps=st.lists(st.floats(0.0, 20.0), min_size=20, max_size=120),
)
def test_no_window_of_a_minute_holds_more_than_the_limit_and_a_burst(per_minute: int, gaps: list[float]) -> None:
    queue = Queue(limited(per_minute))
    now, arrivals = 1.0, dict[float, tuple[str, str, Priority]]()
    for number, gap in enumerate(gaps):
        now += gap + 1e-6
        arrivals[now] = (f"c{number}", "t", "interactive")
    queue.drain(1e6, arrivals=arrivals)
    times = [at for at, _ in queue.called]
    assert len(times) == len(gaps)
    for begin in times:
        inside = sum(begin <= at < begin + 60.0 for at in times)
        assert inside <= per_minute * 0.98 + max(1.0, per_minute * 0.1) + 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_slot_that_was_given_never_moves_and_everybody_gets_one(data: st.DataObject) -> None:
    queue = Queue(limited(60))
    slots: dict[str, float] = {}
    names = [f"c{number}" for number in range(data.draw(st.integers(10, 60)))]
    now = 0.0
    for name in names:
        decision = queue.ask(name, now)
        if decision.kind == "slot":
            slots[name] = decision.at
    while queue.tickets:
        name = data.draw(st.sampled_from(sorted(queue.tickets)))
        # Some come back too early, and ask for nothing but the time they were given.
        now = max(now, queue.tickets[name].at - data.draw(st.sampled_from([0.0, 0.0, 0.5])))
        decision = queue.ask(name, now)
        if name in slots and decision.kind in ("slot", "go") and now <= slots[name] + 30.0:
            assert decision.at == slots[name] if decision.kind == "slot" else now >= slots[name]
        elif decision.kind == "slot":
            slots[name] = decision.at
        if decision.kind != "go":
            now = max(now, min(one.at for one in queue.tickets.values()))
    assert {ticket.ticket for _, ticket in queue.called} == set(names)


def test_the_interactive_go_first_and_the_background_is_not_starved() -> None:
    queue = Queue(limited(60))
    arrivals: dict[float, tuple[str, str, Priority]] = {
        0.001 * number: (f"b{number}", "t", "background") for number in range(100)
    }
    arrivals |= {1.0 + 0.5 * number: (f"i{number}", "t", "interactive") for number in range(400)}
    queue.drain(160.0, arrivals={at: one for at, one in arrivals.items() if at < 160.0})
    late = [ticket.priority for at, ticket in queue.called if 40.0 < at <= 160.0]
    assert late.count("interactive") > 4 * late.count("background")
    assert late.count("background") >= 8


def test_tenants_share_alike_however_many_calls_each_has() -> None:
    queue = Queue(limited(60))
    arrivals: dict[float, tuple[str, str, Priority]] = {}
    for tenant, count, begin in (("large", 200, 0.0), ("small", 80, 0.0005), ("late", 80, 30.0)):
        for number in range(count):
            arrivals[begin + 0.001 * number] = (f"{tenant}{number}", tenant, "background")
    queue.drain(150.0, arrivals=arrivals)
    share = [ticket.tenant for at, ticket in queue.called if 60.0 <= at < 120.0]
    for tenant in ("large", "small", "late"):
        assert share.count(tenant) >= 0.8 * len(share) / 3


def test_after_a_refusal_nothing_goes_before_the_time_that_was_asked_for_and_then_one_as_a_probe() -> None:
    queue = Queue(limited(600))
    queue.gate = queue.gate.refilled(10.0).refused("rate_limited", 30.0, None)
    first, second = queue.ask("first", 11.0), queue.ask("second", 11.0)
    assert first == Decision("wait", 40.0, "rate_limited")
    assert second.at > first.at
    assert queue.ask("first", 39.9).kind == "wait"
    assert queue.ask("first", 40.0).kind == "go"
    assert queue.ask("second", 40.1).kind == "wait"
    queue.gate = queue.gate.answered(ONE, None)
    assert queue.ask("second", 43.2).kind == "go"


def test_refusals_that_come_together_halve_the_rate_once_and_it_grows_again() -> None:
    gate = limited(600).refilled(10.0)
    for _ in range(20):
        gate = gate.refused("rate_limited", 1.0, None)
    assert gate.share == 0.7
    gate = gate.refilled(12.0).answered(ONE, None)
    assert gate.refilled(100.0).share > gate.share
    assert gate.refilled(1_000.0).share == 1.0


def test_a_limit_that_nobody_named_is_guessed_from_the_rate_of_the_refusal() -> None:
    queue = Queue(Gate())
    for number in range(600):
        queue.ask(f"c{number}", 0.05 * number)
    gate = queue.gate.refused("rate_limited", None, None)
    assert gate.buckets["requests"].limit == 0.7 * 600
    assert not gate.buckets["requests"].told


def test_an_account_is_left_alone_after_three_calls_without_an_answer_and_its_pause_ends_by_itself() -> None:
    pause = Pause()
    for number in range(3):
        assert pause.verdict(number).kind == "open"
        pause = pause.failed("provider_unavailable", float(number), None, at_once=False)
    assert pause.verdict(2.5).kind == "wait"
    assert pause.verdict(3.0).kind == "probe"
    probing = pause.probed(3.0)
    assert probing.verdict(3.5).kind == "wait"
    assert probing.verdict(18.0).kind == "probe"
    assert pause.failed("provider_unavailable", 3.0, None, at_once=False).until == 5.0


def test_an_empty_purse_is_not_waited_for() -> None:
    queue = Queue(limited(60), account=Pause().failed("spend_limit", 0.0, 600.0, at_once=True))
    assert queue.ask("c", 1.0).kind == "refused"


def test_a_slice_is_spent_without_asking_and_comes_back_after_its_worker_died() -> None:
    gate = limited(600).refilled(1.0)
    before = gate.buckets["requests"].level
    leased = gate.leased("worker/1", ONE)
    assert leased is not None
    gate, lease = leased
    assert lease.left == {"requests": 15.0}
    assert lease.until == 1.0 + LEASE_S
    assert gate.buckets["requests"].level == before - 15.0
    assert "worker/1" not in gate.refilled(lease.until + LEASE_GRACE_S + 1.0).leases
    told = gate.reported("worker/1", Cost(requests=4), 4)
    assert told.buckets["requests"].level == before - 4.0


def test_a_slice_is_not_leased_where_little_is_left_or_a_pause_holds() -> None:
    gate = limited(600).refilled(1.0)
    assert gate.spent(Cost(requests=40)).leased("worker/1", ONE) is None
    assert gate.refused("rate_limited", 1.0, None).leased("worker/1", ONE) is None


def test_what_the_provider_says_is_left_counts_where_it_is_less() -> None:
    gate = limited(600).learned(RateFacts(requests=Quota(limit=600, remaining=2, resets_in_s=59.0)))
    assert gate.buckets["requests"].level == 2.0


def test_a_days_quota_is_not_spread_over_the_day() -> None:
    bucket = Bucket(limit=1_000.0, level=1_000.0)
    daily = bucket.taught(Quota(limit=1_000, remaining=900, resets_in_s=50_000.0))
    assert (daily.window_s, daily.wait_s(500.0, 1.0)) == (86_400.0, 0.0)


def test_what_was_read_from_a_cache_is_not_counted_where_the_provider_does_not() -> None:
    usage = Usage(input_total=1_000, cache_read=900, output_total=10)
    assert counted("anthropic", usage).input_tokens == 100
    assert counted("openai", usage).input_tokens == 1_000
