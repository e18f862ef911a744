"""The gate in front of a model on an account, as pure values: who may call now, who at what time, who asks again.

A ticket is one call that wants to be made. It waits in the order priority, fair share of its tenant, age; it is given
a slot, a time at which it may call, once its turn lies within the horizon, and a slot that was given never moves. Only
a pause of the provider undoes it. The quota of a slot is taken when it is given, so that no two tickets share it.
"""

from typing import Literal, NamedTuple

from engine.transcript import RateFacts
from engine.values import Value
from providers.pauses import Pause
from providers.quotas import GROWTH, STEP_S, Bucket, Cost, Kind, taught

Priority = Literal["interactive", "background"]

HORIZON_S = 20.0
"""A turn that lies no further ahead gets its slot; beyond, the order may still change for those who matter more."""

GRACE_S = 30.0
"""A ticket that comes so much later than it was told has lost its slot, though not its place."""

PATIENT_S = 900.0
"""A ticket that did not come back for so long after its time is dropped."""

RESERVED_S = 1_200.0
"""How long a call may be under way; then its reservation comes back, for its worker is dead."""

BACKGROUND_PART = 8.0
"""Background gets one in so many parts of the quota, however much is asked for interactively."""

CUT, LEAST_SHARE = 0.7, 0.1
LEAST_GUESS = 30.0
"""Calls per minute that are allowed at least where no provider has named a limit: few calls say little about one."""

EPISODE_S = 10.0
"""Refusals that come within such a time are one: calls that were under way together."""

SOON, AGAIN_S = 0.8, 1.0
"""Who has no slot yet asks again when this part of the expected wait is over: an expectation may be too long."""

LEASE_S, LEASE_PART = 5.0, 0.25
LEASE_GRACE_S = 60.0
"""A leased slice that its worker has not accounted for by then comes back whole: the worker is dead."""

TYPICAL_OUTPUT = 600.0
LEARNING = 0.2
OUTPUT_MARGIN = 1.25


class Ticket(Value):
    """A call that wants to be made: `tag` and `number` are its place in the order and never change.

    `at` is its slot, or when it asks again; `since` is when it came first.
    """

    tenant: str
    ticket: str
    priority: Priority
    cost: Cost
    tag: float
    number: int
    since: float
    state: Literal["waiting", "slot", "open"] = "waiting"
    at: float = 0.0
    expires: float = 0.0


class Ahead(Value):
    """What stands before a ticket without a slot: its own class and, for background, the interactive ones.

    `due` are those that come back within the horizon: others can't use what is free until then.
    """

    same: Cost = Cost()
    same_due: Cost = Cost()
    higher: Cost = Cost()
    higher_due: Cost = Cost()


class Decision(NamedTuple):
    """`go`: call now. `slot`: call at `at`, whatever comes. `wait`: ask again at `at`. `refused`: not soon."""

    kind: Literal["go", "slot", "wait", "refused"]
    at: float
    code: str = ""


class Lease(Value):
    """A slice of quota that one worker may spend until `until` without asking; a kind without limit is not in it."""

    until: float
    left: dict[Kind, float]
    known: dict[Kind, float]
    typical_output: float = TYPICAL_OUTPUT


class Gate(Value):
    """What is known of a model on an account, at the time `at`."""

    at: float = 0.0
    buckets: dict[Kind, Bucket] = {}
    share: float = 1.0
    cut_at: float = 0.0
    raised_at: float = 0.0
    pause: Pause = Pause()
    served: dict[str, float] = {}
    finish: dict[str, float] = {}
    number: int = 0
    background_at: float = 0.0
    swept_at: float = 0.0
    typical_output: float = TYPICAL_OUTPUT
    minute: float = 0.0
    count: float = 0.0
    count_before: float = 0.0
    leases: dict[str, Lease] = {}
    granted: int = 0
    throttled: int = 0

    def refilled(self, now: float) -> "Gate":
        """Return the gate at `now`: buckets filled, the rate grown again, dead workers' slices back."""
        now = max(now, self.at)
        dead = {key: one for key, one in self.leases.items() if one.until + LEASE_GRACE_S < now}
        buckets: dict[Kind, Bucket] = {}
        for kind, one in self.buckets.items():
            back = sum(lease.left.get(kind, 0.0) for lease in dead.values())
            buckets[kind] = one.refilled(now - self.at, self.share).moved(back)
        leases = {key: one for key, one in self.leases.items() if key not in dead}
        gate = self.model_copy(update={"at": now, "buckets": buckets, "leases": leases})
        return gate._grown()

    def _grown(self) -> "Gate":
        """Additive increase: for each quiet step a part of the limit more."""
        steps = int((self.at - max(self.raised_at, self.cut_at, self.pause.until)) / STEP_S)
        guessed = any(not bucket.told for bucket in self.buckets.values())
        if steps < 1 or (self.share >= 1.0 and not guessed):
            return self
        buckets = {
            kind: one
            if one.told
            else one.model_copy(update={"limit": one.limit + max(1.0, GROWTH * one.limit) * min(steps, 20)})
            for kind, one in self.buckets.items()
        }
        share = min(1.0, self.share + GROWTH * steps)
        return self.model_copy(update={"share": share, "raised_at": self.at, "buckets": buckets})

    def seconds(self, cost: Cost) -> float:
        """Return for how long the quota works for a cost; without any limit calls count alike."""
        if not self.buckets:
            return cost.requests
        return max(cost.of(kind) / one.rate(1.0) for kind, one in self.buckets.items())

    def wait_s(self, cost: Cost, behind: Cost | None = None) -> float:
        """Return when a cost can be spent once what is `behind` it in the queue's order before it was."""
        behind = behind or Cost()
        return max(
            (one.wait_s(cost.of(kind), self.share, behind.of(kind)) for kind, one in self.buckets.items()), default=0.0
        )

    def spent(self, cost: Cost) -> "Gate":
        """Return the gate after a cost was taken out of every bucket; a negative one is given back."""
        buckets = {kind: one.moved(-cost.of(kind)) for kind, one in self.buckets.items()}
        return self.model_copy(update={"buckets": buckets})

    def arrived(self, tenant: str, ticket: str, priority: Priority, cost: Cost) -> tuple["Gate", Ticket]:
        """Give a new ticket its place: behind what its tenant has in the queue, and not before what was served."""
        key = f"{priority}/{tenant}"
        tag = max(self.served.get(priority, 0.0), self.finish.get(key, 0.0))
        # A tenant that has caught up with what is served needs no entry of its own any more.
        kept = {name: end for name, end in self.finish.items() if end > self.served.get(name.partition("/")[0], 0.0)}
        finish = {**kept, key: tag + self.seconds(cost)}
        gate = self.model_copy(update={"finish": finish, "number": self.number + 1})
        return gate, Ticket(
            tenant=tenant, ticket=ticket, priority=priority, cost=cost, tag=tag, number=gate.number, since=self.at
        )

    def asked(self, ticket: Ticket, ahead: Ahead, account: Pause) -> tuple["Gate", Ticket, Decision]:
        """Decide about a ticket at the time of the gate, which is refilled."""
        now = self.at
        if ticket.state == "slot" and now > ticket.at + GRACE_S:
            return self.returned(ticket).asked(ticket.model_copy(update={"state": "waiting"}), ahead, account)
        held = next((one for one in (account.verdict(now), self.pause.verdict(now)) if one.kind == "wait"), None)
        if held is not None:
            return self._held(ticket, ahead, account, held.at)
        if ticket.state == "slot":
            return self._slot(ticket, account, ticket.at)
        behind, due = ahead.same.plus(ahead.higher), ahead.same_due.plus(ahead.higher_due)
        if ticket.priority == "background" and now >= self.background_at + BACKGROUND_PART * self.seconds(ticket.cost):
            behind, due = ahead.same, ahead.same_due
        if self.wait_s(ticket.cost, due) > HORIZON_S:
            expected = self.wait_s(ticket.cost, behind)
            at = now + max(AGAIN_S, SOON * (expected - HORIZON_S / 2))
            return self, self._waiting(ticket, at), Decision("wait", at, "queued")
        slot = now + self.wait_s(ticket.cost)
        served = {**self.served, ticket.priority: max(self.served.get(ticket.priority, 0.0), ticket.tag)}
        update: dict[str, object] = {"served": served}
        if ticket.priority == "background":
            update["background_at"] = now
        return self.spent(ticket.cost).model_copy(update=update)._slot(ticket, account, slot)

    def _slot(self, ticket: Ticket, account: Pause, slot: float) -> tuple["Gate", Ticket, Decision]:
        """Let a ticket with a slot through as soon as its time has come."""
        if self.at < slot:
            kept = ticket.model_copy(update={"state": "slot", "at": slot, "expires": slot + PATIENT_S})
            return self, kept, Decision("slot", slot, "slot")
        gate = self._counted(1).model_copy(update={"granted": self.granted + 1})
        if self.pause.held:
            gate = gate.model_copy(update={"pause": self.pause.probed(self.at)})
        gone = ticket.model_copy(update={"state": "open", "at": self.at, "expires": self.at + RESERVED_S})
        return gate, gone, Decision("go", self.at)

    def _held(self, ticket: Ticket, ahead: Ahead, account: Pause, until: float) -> tuple["Gate", Ticket, Decision]:
        """Send a ticket behind a pause, each one by its place: no two come back in the same moment."""
        code = account.code if account.verdict(self.at).kind == "wait" else self.pause.code
        gate = self.returned(ticket) if ticket.state == "slot" else self
        behind = ahead.same.plus(ahead.higher)
        spread = gate.seconds(behind) if gate.buckets else 0.2 * behind.requests
        at = until + SOON * spread
        kind = "refused" if code == "spend_limit" else "wait"
        return gate, self._waiting(ticket, at), Decision(kind, at, code)

    def _waiting(self, ticket: Ticket, at: float) -> Ticket:
        return ticket.model_copy(update={"state": "waiting", "at": at, "expires": at + PATIENT_S})

    def returned(self, ticket: Ticket) -> "Gate":
        """Return the gate with the quota of a ticket back in it, where it had any."""
        return self if ticket.state == "waiting" else self.spent(Cost().plus(ticket.cost, -1.0))

    def settled(self, reserved: Cost, actual: Cost, rates: RateFacts | None) -> "Gate":
        """Return the gate after an answer: what was reserved too much is back, and it is known what the headers say."""
        return self.spent(actual.plus(reserved, -1.0)).answered(actual, rates)

    def answered(self, actual: Cost, rates: RateFacts | None) -> "Gate":
        """Take in an answer: a probe ends the pause, limits are learned."""
        typical = self.typical_output + LEARNING * (actual.output_tokens - self.typical_output)
        return self.model_copy(update={"pause": self.pause.answered(self.at), "typical_output": typical}).learned(rates)

    def learned(self, rates: RateFacts | None) -> "Gate":
        """Take in what headers say about the quotas."""
        return self if rates is None else self.model_copy(update={"buckets": taught(self.buckets, rates)})

    def refused(self, code: str, retry_after_s: float | None, rates: RateFacts | None) -> "Gate":
        """Multiplicative decrease, once for refusals that come together, and the pause that the provider asks for."""
        now = self.at
        pause = self.pause.failed(code, now, retry_after_s, at_once=True)
        gate = self.model_copy(
            update={"pause": pause, "throttled": self.throttled + 1, "buckets": taught(self.buckets, rates)}
        )
        # A refusal after a pause says that the outage goes on, not that the rate was too high.
        if self.pause.held or now - self.cut_at < EPISODE_S:
            return gate
        buckets: dict[Kind, Bucket] = dict(gate.buckets)
        if not buckets:
            buckets = {"requests": Bucket(limit=max(LEAST_GUESS, CUT * self.pace), level=1.0, told=False)}
        share = max(LEAST_SHARE, gate.share * CUT) if gate.buckets else gate.share
        return gate.model_copy(update={"share": share, "cut_at": now, "buckets": buckets})

    @property
    def pace(self) -> float:
        """The calls of the last minute, about."""
        part = 1.0 - min(1.0, (self.at - self.minute) / 60.0)
        return self.count + part * self.count_before

    def _counted(self, calls: float) -> "Gate":
        passed = self.at - self.minute
        if passed < 60.0:
            return self.model_copy(update={"count": self.count + calls})
        before = self.count if passed < 120.0 else 0.0
        return self.model_copy(update={"minute": self.at, "count": calls, "count_before": before})

    def leased(self, key: str, cost: Cost) -> tuple["Gate", Lease] | None:
        """Give a worker a slice that holds at least `cost`, while there is plenty; else None: it asks call by call."""
        if self.pause.held:
            return None
        left: dict[Kind, float] = {}
        for kind, one in self.buckets.items():
            part = max(LEASE_PART * one.burst, cost.of(kind))
            if one.level < max(0.5 * one.burst, part):
                return None
            left[kind] = part
        known: dict[Kind, float] = {kind: one.limit for kind, one in self.buckets.items() if one.told}
        lease = Lease(until=self.at + LEASE_S, left=left, known=known, typical_output=self.typical_output)
        buckets = {kind: one.moved(-left[kind]) for kind, one in self.buckets.items()}
        return self.model_copy(update={"buckets": buckets, "leases": {**self.leases, key: lease}}), lease

    def reported(self, key: str, spent: Cost, calls: int) -> "Gate":
        """Take a slice back: its rest fills the buckets; one that came back already is charged with what it spent."""
        lease = self.leases.get(key)
        left: dict[Kind, float] = {} if lease is None else lease.left
        buckets = {kind: one.moved(left.get(kind, 0.0) - spent.of(kind)) for kind, one in self.buckets.items()}
        leases = {name: one for name, one in self.leases.items() if name != key}
        gate = self.model_copy(update={"buckets": buckets, "leases": leases, "granted": self.granted + calls})
        return gate._counted(calls)

    def reservation(self, input_tokens: int, max_output_tokens: int) -> Cost:
        """Return what a call is taken to cost before it is made."""
        return reservation(self.typical_output, input_tokens, max_output_tokens)


def reservation(typical_output: float, input_tokens: int, max_output_tokens: int) -> Cost:
    """Return the estimated cost of a call: its input, and the output that calls of this model usually have."""
    output = min(float(max_output_tokens), OUTPUT_MARGIN * typical_output)
    return Cost(requests=1, input_tokens=float(input_tokens), output_tokens=output)
