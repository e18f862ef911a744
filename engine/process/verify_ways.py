"""The ways on from a node and the arms of a branch: one is open in every case, whatever the node itself chooses."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.process.findings import Finding
from engine.process.logic import Path
from engine.process.nodes.base import NodeBase
from engine.process.nodes.branch import BranchNode
from engine.process.verify_guards import Cases, Round, Way, check_ways
from engine.process.verify_types import Values


@dataclass(frozen=True, slots=True)
class Choices:
    """What guards are judged by: the context's schema, which decisions its paths hold, and the names of items."""

    schema: dict[str, Any]
    decisions: Values
    local: frozenset[str]

    def cases(self, node: NodeBase, decision: str | None = None) -> Cases:
        """Return the cases after a node: where it decides, its own decisions stand in its first key."""
        decisions = node.decisions_of()
        if not decisions or not node.writes:
            return Cases(self.schema, self.decisions, self.local)
        own: Path = (node.writes[0], "decision")
        known = [decision] if decision is not None else sorted(set(decisions))

        def values(path: Path) -> list[Any] | None:
            return known if path == own else self.decisions(path)

        return Cases(self.schema, values, self.local)


def check_node_ways(node: NodeBase, at: str, choices: Choices) -> Iterator[Finding]:
    """Yield what is wrong with the transitions of a node and with the arms of a branch."""
    ways = [
        Way(f"{at}/next/{index}", f"the way to {way.to!r}", way.when, way.trigger == "user")
        for index, way in enumerate(node.next)
    ]
    if ways and not _caught(node, "no_transition"):
        yield from check_ways(ways, _rounds(node, choices), f"{at}/next", "add a last transition without when")
    if isinstance(node, BranchNode) and not _caught(node, "no_arm"):
        # Every arm that holds is taken where all are: then none of them stands in the way of another.
        arms = [
            Way(f"{at}/arms/{index}", f"the arm {arm.name!r}", arm.when, node.take == "every")
            for index, arm in enumerate(node.arms)
        ]
        whole = Round(tuple(range(len(arms))), Cases(choices.schema, choices.decisions, choices.local))
        yield from check_ways(arms, [whole], f"{at}/arms", "give the last arm no guard")


def _rounds(node: NodeBase, choices: Choices) -> list[Round]:
    """Return one round for each thing the node may choose, where it chooses."""
    every = range(len(node.next))
    targets = {way.to for way in node.next if way.trigger == "agent"}
    plain = tuple(index for index in every if node.next[index].trigger != "agent")
    if not targets:
        return [Round(plain, choices.cases(node))]
    decisions = node.decisions_of()
    rounds = [
        Round(
            tuple(index for index in every if node.next[index].trigger != "agent" or node.next[index].to == chosen),
            choices.cases(node, chosen if decisions else None),
            chosen,
        )
        for chosen in (dict.fromkeys(decisions) if decisions else sorted(targets))
    ]
    # Whoever skips the node by hand may choose nothing; what is open then is taken by nobody else.
    return [*rounds, Round(plain, choices.cases(node), needed=False)]


def _caught(node: NodeBase, kind: str) -> bool:
    """Tell whether the definition itself says what happens where no way is open."""
    return any(kind in failure.match and failure.when is None for failure in node.on_error)
