"""A provider with real quotas and many runs that call it, on a clock that the simulation moves itself.

The gate, its store and its workers are the real ones; the provider is a token bucket for requests and for input tokens,
which refuses what is too much, tells its quotas in every answer, and can be out of order for a while.
"""

import heapq
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from content.database import Database
from engine.runs import RunRef
from engine.transcript import Quota, RateFacts
from engine.values import new_id
from providers.capacity import Priority
from providers.errors import NotYet, RateLimited
from providers.quotas import Cost
from server.capacity import Admission, Asking, Capacity
from server.store.capacity import Place, SqlCapacity

START = 1_800_000_000.0
PLACE = Place("simulated", "", "0", "model")


@dataclass
class Clock:
    """The time of the simulation, in seconds since 1970."""

    now: float = START

    def __call__(self) -> float:
        """Return it."""
        return self.now


@dataclass
class Simulated:
    """The provider: `per_minute` requests and input tokens; `outage` are the seconds in which it refuses everything."""

    clock: Clock
    requests: float
    tokens: float
    outage: tuple[float, float] = (0.0, 0.0)
    levels: dict[str, float] = field(default_factory=dict[str, float])
    at: float = START
    calls: int = 0
    refused: int = 0
    served: list[tuple[float, str, int]] = field(default_factory=list[tuple[float, str, int]])

    def call(self, tenant: str, tokens: int) -> RateFacts:
        """Take a call, or raise `RateLimited` with what is asked for."""
        now = self.clock.now
        self.calls += 1
        limits = {"requests": self.requests, "tokens": self.tokens}
        for kind, limit in limits.items():
            filled = self.levels.get(kind, limit) + limit / 60.0 * (now - self.at)
            self.levels[kind] = min(limit, filled)
        self.at = now
        begins, ends = (START + second for second in self.outage)
        if begins <= now < ends:
            self.refused += 1
            raise RateLimited("Out of order.", provider="simulated", retry_after_s=min(300.0, ends - now))
        if self.levels["requests"] < 1 or self.levels["tokens"] < tokens:
            self.refused += 1
            raise RateLimited("Too fast.", provider="simulated", retry_after_s=5.0)
        self.levels["requests"] -= 1
        self.levels["tokens"] -= tokens
        self.served.append((now, tenant, tokens))
        return RateFacts(requests=self._quota("requests"), input_tokens=self._quota("tokens"))

    def _quota(self, kind: str) -> Quota:
        limit = self.requests if kind == "requests" else self.tokens
        missing = limit - self.levels[kind]
        return Quota(limit=int(limit), remaining=int(self.levels[kind]), resets_in_s=missing / limit * 60.0)

    def used(self, begin: float, end: float) -> tuple[float, float]:
        """Return the parts of both quotas that were used between two seconds of the simulation."""
        inside = [tokens for at, _, tokens in self.served if begin <= at - START < end]
        minutes = (end - begin) / 60.0
        return len(inside) / (self.requests * minutes), sum(inside) / (self.tokens * minutes)

    def by_tenant(self, begin: float, end: float) -> dict[str, int]:
        """Return how many tokens each tenant got between two seconds."""
        found: dict[str, int] = {}
        for at, tenant, tokens in self.served:
            if begin <= at - START < end:
                found[tenant] = found.get(tenant, 0) + tokens
        return found


@dataclass
class Caller:
    """One run: it calls again and again, and thinks between two calls."""

    name: str
    tenant: str
    think_s: float
    tokens: Callable[[], int]
    left: int
    early: int = 0
    done: int = 0
    asks: int = 0
    asking: Asking | None = None
    next_tokens: int = 0
    allowed_at: float = 0.0
    longest_wait_s: float = 0.0
    begun_at: float = 0.0


class World:
    """The runs, the provider and the workers on one clock; what happens next is at the top of a heap."""

    def __init__(
        self, database: Database, provider: Simulated, clock: Clock, *, workers: int = 3, seed: int = 1
    ) -> None:
        self.clock, self.provider = clock, provider
        self.random = random.Random(seed)
        self.store = SqlCapacity(database)
        self.priorities: dict[str, Priority] = {}
        self.workers = [Capacity(self.store, self._priority, clock=clock) for _ in range(workers)]
        self.slots_held = 0
        self.most_slots = 0
        self._heap: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
        self._order = itertools.count()

    async def _priority(self, run: RunRef) -> Priority:
        return self.priorities.get(run.run_id, "background")

    def at(self, when: float, what: Callable[[], Awaitable[None]]) -> None:
        """Have something happen."""
        heapq.heappush(self._heap, (max(when, self.clock.now), next(self._order), what))

    def start(self, caller: Caller, at: float) -> None:
        """Have a run begin."""
        self.at(START + at, lambda: self._begin(caller))

    async def run(self, until: float) -> None:
        """Let everything happen up to a second."""
        while self._heap and self._heap[0][0] <= START + until:
            self.clock.now, _, what = heapq.heappop(self._heap)
            await what()

    async def _begin(self, caller: Caller) -> None:
        caller.asking = Asking(new_id("order"), RunRef(tenant=caller.tenant, run_id=caller.name))
        caller.next_tokens = caller.tokens()
        caller.begun_at = self.clock.now
        await self._ask(caller)

    async def _ask(self, caller: Caller) -> None:
        """Be the activity: it asks, and either calls or ends at once."""
        worker = self.random.choice(self.workers)
        caller.asks += 1
        if self.clock.now < caller.allowed_at - 1e-6:
            caller.early += 1
        guess = int(caller.next_tokens * self.random.uniform(0.9, 1.15))
        try:
            admission = await worker.enter(PLACE, caller.tenant, guess, 500, caller.asking)
        except NotYet as wait:
            caller.allowed_at = wait.until
            self.at(wait.until, lambda: self._ask(caller))
            return
        caller.longest_wait_s = max(caller.longest_wait_s, self.clock.now - caller.begun_at)
        await self._call(caller, admission)

    async def _call(self, caller: Caller, admission: Admission) -> None:
        try:
            rates = self.provider.call(caller.tenant, caller.next_tokens)
        except RateLimited as refused:
            await admission.failed(refused)
            caller.allowed_at = self.clock.now + (refused.retry_after_s or 0.0)
            self.at(caller.allowed_at, lambda: self._ask(caller))
            return
        self.slots_held += 1
        self.most_slots = max(self.most_slots, self.slots_held)
        self.at(self.clock.now + self.random.uniform(1.0, 4.0), lambda: self._answered(caller, admission, rates))

    async def _answered(self, caller: Caller, admission: Admission, rates: RateFacts) -> None:
        self.slots_held -= 1
        await admission.answered(Cost(requests=1, input_tokens=caller.next_tokens, output_tokens=200), rates)
        caller.done += 1
        caller.left -= 1
        if caller.left > 0:
            self.at(self.clock.now + caller.think_s * self.random.uniform(0.5, 1.5), lambda: self._begin(caller))
