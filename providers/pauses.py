"""Pauses: when an account or a model is left alone, and how it is tried again; each ends by itself."""

from typing import Literal, NamedTuple

from engine.values import Value

THRESHOLD = 3
"""So many failures one after the other, where a single one says little."""

COOL_S = 1.0
"""The first pause where the provider names none; it doubles with each failure after it."""

LONGEST_S = 600.0
LOOK_S = 3.0
"""So much later it is worth asking whether the probe was answered."""

PROBE_S = 15.0
"""How long a probe may take before another call is let through as the next one."""


class Verdict(NamedTuple):
    """Whether calls may be made: all, one as a `probe`, or none before `at`."""

    kind: Literal["open", "probe", "wait"]
    at: float = 0.0


class Pause(Value):
    """What is held against an account or a model. After `until` one call at a time is let through, as a probe.

    `failures` counts those without an answer between them; `code` is the latest.
    """

    until: float = 0.0
    code: str = ""
    failures: int = 0
    probe_until: float = 0.0

    @property
    def held(self) -> bool:
        """Whether anything is held against it that an answer would lift."""
        return self.until > 0.0

    def verdict(self, now: float) -> Verdict:
        """Tell whether calls may be made."""
        if not self.held:
            return Verdict("open")
        if now < self.until:
            return Verdict("wait", self.until)
        return Verdict("probe") if now >= self.probe_until else Verdict("wait", min(self.probe_until, now + LOOK_S))

    def answered(self, now: float) -> "Pause":
        """Return what is left after an answer: nothing, unless it comes from a call made before the pause began."""
        return self if now < self.until else Pause()

    def probed(self, now: float) -> "Pause":
        """Return the pause with a probe under way."""
        return self.model_copy(update={"probe_until": now + PROBE_S})

    def failed(self, code: str, now: float, retry_after_s: float | None, *, at_once: bool) -> "Pause":
        """Return the pause after a failure: what the provider asked for, else longer with each one."""
        failures = self.failures + 1
        before = 1 if at_once else THRESHOLD
        until = self.until
        if failures >= before:
            asked = COOL_S * 2.0 ** min(failures - before, 16) if retry_after_s is None else retry_after_s
            # The longest wait that was asked for stands: an earlier answer may arrive later.
            until = max(until, now + min(asked, LONGEST_S if retry_after_s is None else 24 * 3600.0))
        return Pause(until=until, code=code, failures=failures)

    def state(self, now: float) -> str:
        """Return it in a word: `closed` (calls go through), `open` (none do) or `half-open` (one at a time)."""
        if not self.held:
            return "closed"
        return "open" if now < self.until else "half-open"
