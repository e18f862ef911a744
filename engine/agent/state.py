"""What an agent run remembers between turns: numbers and flags, never the transcript; and the rules over them."""

import re
from datetime import datetime, timedelta
from typing import Literal

from engine.people import Closed
from engine.ports import AgentPlan, StartedWorkflow
from engine.values import Budget, Spent, Value, digest

TURNS_PER_HISTORY = 50

REPAIRS = 3
"""How often an answer that breaks its contract is sent back before the run fails."""

NUDGE_AT, STOP_AT = 3, 4
"""Same calls with the same results: how many turns until a nudge, and until the run is stopped as stuck."""

CYCLE_NUDGE_AT, CYCLE_STOP_AT, MAX_CYCLE = 2, 3, 5
"""The same for turns that go round in a circle, and how many turns long such a circle may be."""

REMEMBERED = MAX_CYCLE * CYCLE_STOP_AT
"""As many turns are compared."""

_CHANGING = re.compile(
    r"\b[a-z]{2,12}_[0-9a-hjkmnp-tv-z]{26}\b"  # ids of ours
    r"|\b\d{4}-\d\d-\d\dT\d\d:\d\d[:.\dZ+-]*"  # moments
    r"|(?<=/artifacts/tools/)\d+-[\w.-]+"  # where the whole of a long answer lies
)


class AgentState(Value):
    """The whole memory of the workflow; it travels through continue-as-new.

    `said` and `seen` are numbers of events: the last message of a person, and the last event that the latest turn
    was made from. `last` is what that turn took.
    """

    turn: int = 0
    started_at: datetime | None = None
    spent: Spent = Spent()
    last: Spent = Spent()
    repairs: int = 0
    fingerprints: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    closed: dict[str, Closed] = {}
    note: str = ""
    said: int = 0
    seen: int = 0
    paused: bool = False


class AgentInput(Value):
    """The input of the workflow: who and which run, and what an earlier part of it carried over.

    After `turns_per_history` turns the run goes on in a new history.
    """

    run: StartedWorkflow
    plan: AgentPlan | None = None
    budget: Budget = Budget()
    state: AgentState = AgentState()
    turns_per_history: int = TURNS_PER_HISTORY


def last_turn_by(budget: Budget, state: AgentState, now: datetime) -> str | None:
    """Return the bound of `budget` that leaves room for one more turn only, or None.

    A transcript grows, so a turn takes at least as much as the one before: two more such turns must fit.
    """
    spent, last = state.spent, state.last
    if budget.turns is not None and spent.turns + 1 >= budget.turns:
        return "turns"
    if budget.tokens is not None and _tokens(spent) + 2 * _tokens(last) > budget.tokens:
        return "tokens"
    if budget.usd is not None and spent.usd + 2 * last.usd > budget.usd:
        return "usd"
    end = ends_at(budget, state)
    return "seconds" if end is not None and now >= end else None


def ends_at(budget: Budget, state: AgentState) -> datetime | None:
    """Return when the run is as old as its budget allows, or None."""
    if state.started_at is None or budget.seconds is None:
        return None
    return state.started_at + timedelta(seconds=budget.seconds)


def _tokens(spent: Spent) -> int:
    return spent.input_tokens + spent.output_tokens


def call_fingerprint(tool: str, target: str, text: str, *, is_error: bool) -> str:
    """Return what makes a call and its result the same as another; the same error is the same whatever was asked."""
    return digest([tool, "" if is_error else target, _CHANGING.sub("*", text), is_error])[:24]


def turn_fingerprint(calls: tuple[str, ...]) -> str:
    """Return what makes the calls of a turn, in any order, the same as those of another."""
    return digest(sorted(calls))[:24]


def loop_of(turns: tuple[str, ...]) -> tuple[Literal["nudge", "stuck"], str] | None:
    """Return what is to be done about turns that repeat themselves at the end, and what they do; None: nothing."""
    found: tuple[Literal["nudge", "stuck"], str] | None = None
    for length in range(1, MAX_CYCLE + 1):
        rounds = _rounds(turns, length)
        nudge, stop = (NUDGE_AT, STOP_AT) if length == 1 else (CYCLE_NUDGE_AT, CYCLE_STOP_AT)
        what = "the same call with the same result" if length == 1 else f"the same {length} turns in a circle"
        if rounds >= stop:
            return "stuck", f"{what} {rounds} times in a row"
        if rounds >= nudge and found is None:
            found = "nudge", what
    return found


def _rounds(turns: tuple[str, ...], length: int) -> int:
    """Return how often the last `length` turns stand at the end without a break."""
    last, count = turns[-length:], 0
    while last and turns[len(turns) - length * (count + 1) : len(turns) - length * count] == last:
        count += 1
        if length * (count + 1) > len(turns):
            break
    return count
