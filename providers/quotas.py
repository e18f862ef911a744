"""Quotas as buckets that fill with time: what a call costs of each, and what answers teach about them.

Times are seconds since 1970 on whatever clock the caller has, so that tests drive them by hand.
"""

from typing import Literal

from engine.transcript import Quota, RateFacts, Usage
from engine.values import Value

Kind = Literal["requests", "input_tokens", "output_tokens", "tokens"]

KINDS: tuple[Kind, ...] = ("requests", "input_tokens", "output_tokens", "tokens")

HEADROOM = 0.98
"""The part of a limit that is planned with: clocks differ, and a call arrives later than it left."""

BURST = 0.1
"""How much of a minute's limit may be spent in one moment; in any window at most this much is spent above the limit."""

WINDOWS_S = (1.0, 60.0, 3_600.0, 86_400.0)
READINGS, TELLING = 20, 0.8
"""So many answers, with no more than such a part left, must speak of resets within a second before the window counts
as one second."""

GROWTH, STEP_S = 0.05, 30.0
"""After a cut the rate grows again by this part of the limit for each such time without another one."""


class Cost(Value):
    """What a call takes of the quotas, or several calls together."""

    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0

    def of(self, kind: Kind) -> float:
        """Return how much of one kind it is; `tokens` counts input and output."""
        if kind == "tokens":
            return self.input_tokens + self.output_tokens
        return {"requests": self.requests, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens}[kind]

    def plus(self, other: "Cost", times: float = 1.0) -> "Cost":
        """Return the sum, with the other taken `times`."""
        return Cost(
            requests=self.requests + times * other.requests,
            input_tokens=self.input_tokens + times * other.input_tokens,
            output_tokens=self.output_tokens + times * other.output_tokens,
        )


def counted(provider: str, usage: Usage) -> Cost:
    """Return what a provider counts of a call: Anthropic leaves what was read from the cache out of the input quota."""
    read = usage.cache_read if provider == "anthropic" else 0
    return Cost(requests=1, input_tokens=max(0, usage.input_total - read), output_tokens=usage.output_total)


class Bucket(Value):
    """One quota: `limit` per window, and `level`, what may be spent now; below 0 it is promised ahead.

    `told`: a provider named the limit; otherwise it is guessed from the rate at which refusals began.
    """

    limit: float
    window_s: float = 60.0
    level: float = 0.0
    told: bool = True
    longest_reset_s: float = 0.0
    readings: int = 0

    @property
    def burst(self) -> float:
        """How high the level may be."""
        return max(1.0, self.limit * (BURST if self.window_s <= 60.0 else 1.0))

    def rate(self, share: float) -> float:
        """Return how much comes back in a second."""
        return max(self.limit, 1e-3) / self.window_s * HEADROOM * share

    def refilled(self, seconds: float, share: float) -> "Bucket":
        """Return the bucket so much later."""
        level = min(self.burst, self.level + self.rate(share) * max(0.0, seconds))
        return self.model_copy(update={"level": level})

    def moved(self, amount: float) -> "Bucket":
        """Return the bucket with so much more in it, or less where `amount` is negative."""
        return self.model_copy(update={"level": min(self.burst, self.level + amount)})

    def wait_s(self, amount: float, share: float, behind: float = 0.0) -> float:
        """Return when `amount` can be spent after `behind`; more than a burst waits for a full bucket and borrows."""
        if amount <= 0 and behind <= 0:
            return 0.0
        return max(0.0, (min(amount, self.burst) + behind - self.level) / self.rate(share))

    def taught(self, quota: Quota) -> "Bucket":
        """Return the bucket after an answer spoke of the quota.

        What the provider says is left may be less than we know of, for others use the account too, but never more: our
        own calls under way are not in its count yet.
        """
        longest = max(self.longest_reset_s, quota.resets_in_s or 0.0)
        # Where little was used, every reset is near, however long the window.
        told = quota.resets_in_s is not None and quota.remaining is not None
        readings = self.readings + (told and (quota.remaining or 0) <= TELLING * (quota.limit or self.limit))
        fitting = next((window for window in WINDOWS_S[1:] if longest <= window * 1.1), WINDOWS_S[-1])
        if readings >= READINGS and longest <= WINDOWS_S[0] * 1.1:
            fitting = WINDOWS_S[0]
        taught = self.model_copy(
            update={
                "limit": float(quota.limit if quota.limit is not None else self.limit),
                "window_s": fitting,
                "told": self.told or quota.limit is not None,
                "longest_reset_s": longest,
                "readings": readings,
            }
        )
        left = taught.burst if quota.remaining is None else float(quota.remaining)
        return taught.model_copy(update={"level": min(taught.level, taught.burst, left)})


def first_bucket(quota: Quota) -> Bucket | None:
    """Return the bucket of a quota that was not known yet, full as far as the provider says, or None."""
    if quota.limit is None or quota.limit <= 0:
        return None
    bucket = Bucket(limit=float(quota.limit))
    return bucket.model_copy(update={"level": bucket.burst}).taught(quota)


def taught(buckets: dict[Kind, Bucket], rates: RateFacts | None) -> dict[Kind, Bucket]:
    """Return the buckets after an answer; those that it says nothing of stay as they were."""
    if rates is None:
        return buckets
    found = dict(buckets)
    for kind in KINDS:
        quota: Quota | None = getattr(rates, kind)
        if quota is None:
            continue
        known = found.get(kind)
        bucket = first_bucket(quota) if known is None or not known.told else known.taught(quota)
        if bucket is not None:
            found[kind] = bucket
    return found
