"""Agents side by side never use more together than the first of them was given, whoever spends first."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.agent.family import Child, reserved, share_of
from engine.agent.state import AgentState, left_of
from engine.errors import Exhausted
from engine.values import Budget, Spent

START = 10_000

Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["spend", "launch", "end"]), st.integers(0, 11), st.integers(1, 12_000)), max_size=60
)


@dataclass
class Agent:
    """An agent as its workflow keeps it, and the agents it has started."""

    budget: Budget
    above: "Agent | None" = None
    state: AgentState = field(default_factory=AgentState)
    ended: bool = False

    def spend(self, tokens: int) -> None:
        """Make a call that is bounded by what is left, as every call is."""
        left = left_of(self.budget, self.state).tokens
        assert left is not None
        taken = Spent(turns=1, input_tokens=min(tokens, max(0, left)))
        self.state = self.state.model_copy(update={"spent": self.state.spent.plus(taken), "last": taken})

    def launch(self, name: str, wanted: int) -> "Agent | None":
        """Start another with a share of what is left, if there is one."""
        committed = self.state.spent.plus(reserved(self.state.children))
        want = Budget(tokens=wanted) if wanted % 3 else Budget()
        try:
            share = share_of(self.budget, committed, self.state.last, want, None)
        except Exhausted:
            return None
        children = (*self.state.children, Child(name=name, run_id=name, share=share))
        self.state = self.state.model_copy(update={"children": children})
        return Agent(share, self)

    def settle(self, name: str, spent: Spent) -> None:
        """Count what a child has used; the rest of its share comes back."""
        children = tuple(
            child.model_copy(update={"settled": True, "status": "completed"}) if child.name == name else child
            for child in self.state.children
        )
        self.state = self.state.model_copy(update={"children": children, "spent": self.state.spent.plus(spent)})


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_whatever_the_order_of_their_calls_a_family_keeps_within_the_budget_of_the_first(steps: list[Step]) -> None:
    family: dict[str, Agent] = {"0": Agent(Budget(tokens=START))}
    used = 0
    for number, (what, who, tokens) in enumerate(steps, start=1):
        name = list(family)[who % len(family)]
        agent = family[name]
        if agent.ended:
            continue
        if what == "spend":
            before = agent.state.spent.input_tokens
            agent.spend(tokens)
            used += agent.state.spent.input_tokens - before
        elif what == "launch":
            child = agent.launch(str(number), tokens)
            if child is not None:
                family[str(number)] = child
        elif agent.above is not None and all(child.settled for child in agent.state.children):
            agent.ended = True
            agent.above.settle(name, agent.state.spent)
        assert used <= START
