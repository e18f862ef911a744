"""What an agent run remembers between turns: numbers and flags, never the transcript."""

from engine.people import Closed
from engine.ports import AgentPlan, StartedWorkflow
from engine.values import Budget, Spent, Value

REPAIRS = 3
"""How often an answer that breaks its contract is sent back before the run fails."""

NUDGE_AT, STOP_AT = 3, 4
"""Same call with the same result: how often until a nudge, and until the run is stopped as stuck."""


class AgentState(Value):
    """The whole memory of the workflow; it travels through continue-as-new."""

    turn: int = 0
    spent: Spent = Spent()
    repairs: int = 0
    fingerprints: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    closed: dict[str, Closed] = {}
    note: str = ""


class AgentInput(Value):
    """The input of the workflow: who and which run, and what an earlier part of it carried over."""

    run: StartedWorkflow
    plan: AgentPlan | None = None
    budget: Budget = Budget()
    state: AgentState = AgentState()


def repeated(fingerprints: tuple[str, ...]) -> int:
    """Return how often the last fingerprint stands at the end without a break."""
    if not fingerprints:
        return 0
    count = 0
    for fingerprint in reversed(fingerprints):
        if fingerprint != fingerprints[-1]:
            break
        count += 1
    return count
