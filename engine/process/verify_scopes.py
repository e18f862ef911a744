"""The graphs of a definition: the process itself and every body inside it, each with its edges."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.process.findings import pointer
from engine.process.nodes.base import Body, ErrorTransition, NodeBase, TimeoutTransition, Transition


@dataclass(frozen=True, slots=True)
class Edge:
    """One way from a node to another: `kind` is next, on_error or on_timeout; `at` its pointer."""

    source: str
    target: str
    kind: str
    at: str
    transition: Transition | ErrorTransition | TimeoutTransition


@dataclass(frozen=True, slots=True)
class Graph:
    """A body with its pointer; `nested` says that it is inside a node, `local` which names only it sees."""

    body: Body
    at: str
    nested: bool
    local: tuple[str, ...] = ()

    def where(self, node: str) -> str:
        """Return the pointer of a node."""
        return f"{self.at}/nodes{pointer(node)}"

    def edges(self, node: str) -> tuple[Edge, ...]:
        """Return the edges out of a node whose targets exist, in the order of the definition."""
        return tuple(edge for edge in edges_of(node, self.body.nodes[node], self.where(node)) if self.has(edge.target))

    def has(self, node: str) -> bool:
        """Tell whether there is a node of that name."""
        return node in self.body.nodes

    def is_exit(self, node: str) -> bool:
        """Tell whether the graph is done after the node."""
        found = self.body.nodes[node]
        return found.type == "end" or (self.nested and not found.next)


def edges_of(name: str, node: NodeBase, at: str) -> Iterator[Edge]:
    """Yield all edges out of a node, whether or not their targets exist."""
    for index, transition in enumerate(node.next):
        yield Edge(name, transition.to, "next", f"{at}/next/{index}", transition)
    for index, failure in enumerate(node.on_error):
        yield Edge(name, failure.to, "on_error", f"{at}/on_error/{index}", failure)
    if node.on_timeout is not None:
        yield Edge(name, node.on_timeout.to, "on_timeout", f"{at}/on_timeout", node.on_timeout)


def graphs(body: Body, at: str = "", nested: bool = False, local: tuple[str, ...] = ()) -> Iterator[Graph]:
    """Yield the graph of a body and those of all bodies inside it, outer ones first."""
    graph = Graph(body, at, nested, local)
    yield graph
    for name, node in body.nodes.items():
        for inner in node.bodies():
            yield from graphs(inner.body, graph.where(name) + inner.path, True, (*local, *inner.local))


def reachable(graph: Graph, starts: list[str]) -> set[str]:
    """Return the nodes that can be reached from any of `starts`, these included, and what undoes them."""
    found: set[str] = set()
    pending = [name for name in starts if graph.has(name)]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        pending.extend(edge.target for edge in graph.edges(name))
        undo = graph.body.nodes[name].compensate
        if undo is not None and graph.has(undo):
            pending.append(undo)
    return found


def cycles(names: set[str], follow: dict[str, list[str]]) -> list[list[str]]:
    """Return the groups of nodes that lie on common cycles, each sorted, in the order of their first names.

    Source: Tarjan, Depth-first search and linear graph algorithms, 1972; without recursion.
    """
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    groups: list[list[str]] = []
    for root in sorted(names):
        if root in number:
            continue
        pending: list[tuple[str, list[str]]] = []
        _enter(root, names, follow, number, lowest, path, on_path, pending)
        while pending:
            name, ahead = pending[-1]
            if ahead:
                other = ahead.pop()
                if other not in number:
                    _enter(other, names, follow, number, lowest, path, on_path, pending)
                elif other in on_path:
                    lowest[name] = min(lowest[name], number[other])
                continue
            pending.pop()
            if pending:
                above = pending[-1][0]
                lowest[above] = min(lowest[above], lowest[name])
            if lowest[name] == number[name]:
                group = path[path.index(name) :]
                del path[path.index(name) :]
                on_path.difference_update(group)
                if len(group) > 1 or name in follow.get(name, ()):
                    groups.append(sorted(group))
    return sorted(groups)


def _enter(
    name: str,
    names: set[str],
    follow: dict[str, list[str]],
    number: dict[str, int],
    lowest: dict[str, int],
    path: list[str],
    on_path: set[str],
    pending: list[tuple[str, list[str]]],
) -> None:
    number[name] = lowest[name] = len(number)
    path.append(name)
    on_path.add(name)
    pending.append((name, [other for other in follow.get(name, ()) if other in names]))
