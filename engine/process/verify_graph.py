"""Whether every node can be reached, every run can end, and no cycle runs for ever."""

import itertools
from collections.abc import Iterator

from engine.process.findings import Finding, error, warning
from engine.process.nodes.base import NodeBase, Transition
from engine.process.verify_scopes import Graph, cycles, edges_of, reachable


def check_graph(graph: Graph) -> Iterator[Finding]:
    """Yield what is wrong with the shape of one graph."""
    yield from _targets(graph)
    if not graph.has(graph.body.start):
        known = ", ".join(sorted(graph.body.nodes)[:10])
        yield error("unknown_start", f"{graph.at}/start", f"there is no node {graph.body.start!r}; start with {known}")
        return
    found = reachable(graph, [graph.body.start])
    for name in graph.body.nodes:
        if name not in found:
            yield error(
                "unreachable", graph.where(name), f"no transition leads to {name!r}; add one or remove the node"
            )
    yield from _ends(graph, found)
    yield from _loops(graph, found)
    yield from _undoing(graph)
    for name, node in graph.body.nodes.items():
        yield from _transitions(node, graph.where(name))


def _targets(graph: Graph) -> Iterator[Finding]:
    known = ", ".join(sorted(graph.body.nodes)[:10])
    for name, node in graph.body.nodes.items():
        for edge in edges_of(name, node, graph.where(name)):
            if not graph.has(edge.target):
                yield error("unknown_target", f"{edge.at}/to", f"there is no node {edge.target!r} here; it has {known}")
        if node.compensate is not None and not graph.has(node.compensate):
            at = f"{graph.where(name)}/compensate"
            yield error("unknown_target", at, f"there is no node {node.compensate!r} here; it has {known}")


def _undoing(graph: Graph) -> Iterator[Finding]:
    """Yield the compensations that can't be run alone."""
    for name, node in graph.body.nodes.items():
        at = f"{graph.where(name)}/compensate"
        if node.compensate is None or not graph.has(node.compensate):
            continue
        undo = graph.body.nodes[node.compensate]
        if undo.type == "end" or node.compensate == name:
            yield error("compensation_end", at, f"{node.compensate!r} can't undo {name!r}; name a node that acts")
        elif undo.compensate is not None:
            yield error(
                "compensation_nested",
                at,
                f"{node.compensate!r} is itself undone by a node; a compensation is not undone",
            )
        elif undo.next and node.compensate not in _entered(graph):
            yield warning(
                "compensation_next",
                f"{graph.where(node.compensate)}/next",
                f"{node.compensate!r} only undoes; it is run alone and leads nowhere, so remove next",
            )


def _entered(graph: Graph) -> set[str]:
    return {graph.body.start, *(edge.target for name in graph.body.nodes for edge in graph.edges(name))}


def _ends(graph: Graph, found: set[str]) -> Iterator[Finding]:
    """Yield the nodes from which no end can be reached, and those after which nothing is said."""
    # What only undoes is run alone.
    undo = {node.compensate for node in graph.body.nodes.values()} - _entered(graph)
    living = {name for name in graph.body.nodes if graph.is_exit(name)}
    before: dict[str, list[str]] = {}
    for name in graph.body.nodes:
        for edge in graph.edges(name):
            before.setdefault(edge.target, []).append(name)
    pending = sorted(living)
    while pending:
        for name in before.get(pending.pop(), ()):
            if name not in living:
                living.add(name)
                pending.append(name)
    for name in graph.body.nodes:
        if name not in found or name in undo:
            continue
        if not graph.body.nodes[name].next and not graph.is_exit(name):
            yield error("no_way_on", graph.where(name), f"nothing comes after {name!r}; add next, or make it an end")
        elif name not in living:
            yield error("no_end", graph.where(name), f"no way from {name!r} leads to an end; add one")


def _loops(graph: Graph, found: set[str]) -> Iterator[Finding]:
    """Yield the cycles in which nothing waits and nothing counts."""
    free = {name for name in found if graph.body.nodes[name].max_visits is None and not graph.body.nodes[name].waits()}
    follow: dict[str, list[str]] = {}
    for name in sorted(free):
        for edge in graph.edges(name):
            waits = isinstance(edge.transition, Transition) and edge.transition.trigger == "user"
            if not waits:
                follow.setdefault(name, []).append(edge.target)
    for group in cycles(free, follow):
        yield error(
            "unbounded_loop",
            graph.where(group[0]),
            f"the cycle {' → '.join([*group, group[0]])} may run for ever; give a node of it max_visits, or a wait",
        )


def _transitions(node: NodeBase, at: str) -> Iterator[Finding]:
    """Yield triggers that can't be pulled and what stands after a default."""
    automatic = [(index, way) for index, way in enumerate(node.next) if way.trigger == "auto"]
    for (index, way), _ in itertools.pairwise(automatic):
        if way.when is None:
            yield error(
                "default_not_last",
                f"{at}/next/{index}",
                f"it has no guard, so the transitions after it are never taken; move {way.to!r} to the end",
            )
    for index, way in enumerate(node.next):
        if way.trigger == "agent" and node.type not in ("agent", "supervisor"):
            yield error(
                "trigger_without_agent",
                f"{at}/next/{index}/trigger",
                f"a node of type {node.type} has no agent that could choose; use auto or user",
            )
    taken = False
    for index, failure in enumerate(node.on_error):
        if taken:
            yield warning("never_taken", f"{at}/on_error/{index}", "an earlier one takes every failure; move it up")
        taken = taken or (not failure.match and failure.when is None)
