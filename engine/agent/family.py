"""The runs that an agent has started beside itself, as it remembers them, and what it may give them of its budget.

A share is taken out of what is left when the run is started, and what it did not use comes back when it has ended. So
the shares of runs side by side together never exceed the budget of the agent that started them, on any depth.
"""

from datetime import datetime
from typing import Literal

from engine.errors import Exhausted
from engine.runs import TERMINAL, RunStatus
from engine.values import Budget, Spent, Value

MAX_DEPTH = 3
"""How many runs may stand above one that starts another."""

MAX_OPEN, MAX_CHILDREN = 16, 64
"""How many runs an agent may have at work in the same moment, and how many it may start in all."""

SUBAGENT = "subagent"
"""The definition under which a subagent's run is listed."""

STARTED, FINISHED, WAITING = "subagent.started", "subagent.finished", "subagent.waiting"
"""The events in the log of the run that started another."""


class Child(Value):
    """A run that an agent has started. `told` is how it stood when the model last heard of it.

    `settled`: it has ended, and what it took is counted.
    """

    name: str
    run_id: str
    kind: Literal["agent", "process"] = "agent"
    share: Budget = Budget()
    status: RunStatus = "starting"
    waits_for: str = ""
    told: str = ""
    settled: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.status in TERMINAL

    @property
    def standing(self) -> str:
        """What the model should know: how it ended, or whom it waits for; empty while it works by itself."""
        if self.ended:
            return self.status
        return f"waiting: {self.waits_for}" if self.waits_for else ""

    @property
    def untold(self) -> bool:
        """Whether the model should hear of it."""
        return bool(self.standing) and self.standing != self.told


def at_work(children: tuple[Child, ...]) -> tuple[Child, ...]:
    """Return the children that have not ended."""
    return tuple(child for child in children if not child.ended)


def reserved(children: tuple[Child, ...]) -> Spent:
    """Return what the children that are not counted yet may use at most, where their share says it."""
    shares = [child.share for child in children if not child.settled]
    return Spent(
        turns=sum(share.turns or 0 for share in shares),
        input_tokens=sum(share.tokens or 0 for share in shares),
        usd=round(sum(share.usd or 0.0 for share in shares), 10),
    )


def share_of(budget: Budget, committed: Spent, last: Spent, wanted: Budget, seconds_left: float | None) -> Budget:
    """Return the share of a new child: what it wants, else half of what is left, in each bound that `budget` has.

    `committed` is what is spent or given away, `last` what the agent's own latest turn took: room for its own closing
    turn stays. Time is shared by all, so a child has at most as much as is left of it.

    Raises:
        Exhausted: more is wanted than is left, or nothing is left.
    """
    used = committed.input_tokens + committed.output_tokens
    own = 2 * (last.input_tokens + last.output_tokens)
    turns = _part("turns", _left(budget.turns, committed.turns + 1), wanted.turns, 1)
    tokens = _part("tokens", _left(budget.tokens, used + own), wanted.tokens, 1)
    usd = _part("usd", _left(budget.usd, committed.usd + 2 * last.usd), wanted.usd, 1e-6)
    if seconds_left is not None and seconds_left <= 0:
        raise Exhausted("no time is left of this run's budget for another run", bound="seconds")
    times = [one for one in (wanted.seconds, seconds_left) if one is not None]
    return Budget(
        turns=None if turns is None else int(turns),
        tokens=None if tokens is None else int(tokens),
        usd=usd,
        seconds=min(times) if times else None,
    )


def _left(bound: float | None, used: float) -> float | None:
    return None if bound is None else bound - used


def _part(name: str, left: float | None, wanted: float | None, least: float) -> float | None:
    if left is None:
        return wanted
    if left < least:
        raise Exhausted(f"nothing is left of this run's budget of {name} for another run", bound=name, left=0)
    if wanted is not None and wanted > left:
        message = f"{wanted:g} {name} are wanted and {left:g} are left of this run's budget; ask for less"
        raise Exhausted(message, bound=name, left=left)
    return wanted if wanted is not None else max(least, left // 2 if least == 1 else left / 2)


def seconds_until(end: datetime | None, now: datetime) -> float | None:
    """Return how long it is until `end`, or None where there is no end."""
    return None if end is None else (end - now).total_seconds()
