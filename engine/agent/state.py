"""What an agent run remembers between turns: numbers and flags, never the transcript; and the rules over them."""

from datetime import datetime, timedelta

from engine.agent.family import Child, reserved
from engine.agent.stuck import Ladder, Round
from engine.people import Closed
from engine.phases import Progress
from engine.ports import AgentPlan, Left, PlanStep
from engine.runs import StartedWorkflow
from engine.values import Budget, Spent, Value

TURNS_PER_HISTORY = 50

REPAIRS = 3
"""How often an answer that breaks its contract is sent back before the run fails."""


class Grant(Value):
    """What a person has allowed for the rest of a run: a tool on what `covers` says."""

    grant_id: str
    tool: str
    covers: str
    by: str


class AgentState(Value):
    """The whole memory of the workflow; it travels through continue-as-new.

    `said` and `seen` are numbers of events: the last message of a person, and the last event that the latest turn
    was made from. `last` is what that turn took. `plan` is the agent's own. `rounds` are the latest turns as the rules
    of `stuck` compare them, `ladder` what was done about what they found. `children` are the runs it has started.
    `checkpoints` counts how often the transcript was made smaller, `filled` are the turns before which it was full,
    the latest ones; `fresh`: the next turn is the first behind a checkpoint; `asked` is who wants one, and why.
    `progress` is where it stands in the phases of its tools.
    """

    turn: int = 0
    started_at: datetime | None = None
    spent: Spent = Spent()
    last: Spent = Spent()
    repairs: int = 0
    rounds: tuple[Round, ...] = ()
    ladder: Ladder = Ladder()
    grants: tuple[Grant, ...] = ()
    closed: dict[str, Closed] = {}
    note: str = ""
    said: int = 0
    seen: int = 0
    paused: bool = False
    plan: tuple[PlanStep, ...] = ()
    children: tuple[Child, ...] = ()
    checkpoints: int = 0
    filled: tuple[int, ...] = ()
    fresh: bool = False
    asked: str = ""
    progress: Progress = Progress()


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

    A transcript grows, so a turn takes at least as much as the one before: two more such turns must fit. What children
    have been given is not there for turns.
    """
    spent, last = state.spent.plus(reserved(state.children)), state.last
    if budget.turns is not None and spent.turns + 1 >= budget.turns:
        return "turns"
    if budget.tokens is not None and _tokens(spent) + 2 * _tokens(last) > budget.tokens:
        return "tokens"
    if budget.usd is not None and spent.usd + 2 * last.usd > budget.usd:
        return "usd"
    end = ends_at(budget, state)
    return "seconds" if end is not None and now >= end else None


def left_of(budget: Budget, state: AgentState) -> Left:
    """Return what the run itself may still take; what its children have been given is not there for it."""
    spent = state.spent.plus(reserved(state.children))
    return Left(
        tokens=None if budget.tokens is None else budget.tokens - _tokens(spent),
        usd=None if budget.usd is None else round(budget.usd - spent.usd, 10),
    )


def ends_at(budget: Budget, state: AgentState) -> datetime | None:
    """Return when the run is as old as its budget allows, or None."""
    if state.started_at is None or budget.seconds is None:
        return None
    return state.started_at + timedelta(seconds=budget.seconds)


def _tokens(spent: Spent) -> int:
    return spent.input_tokens + spent.output_tokens
