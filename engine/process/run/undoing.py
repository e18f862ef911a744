"""What is written down of a step that can be undone: which node does it, in which graph, and what it needs to see."""

from collections.abc import Iterator

from pydantic import JsonValue

from engine.process.definition import Body, NodeBase, ProcessDefinition
from engine.process.logic import compile_rule
from engine.process.run.frame import Frame
from engine.process.verify_data import template_paths
from engine.process.verify_scopes import Graph, graphs


def undoing(frame: Frame, node_id: str, node: NodeBase) -> dict[str, JsonValue] | None:
    """Return how a completed step is undone, for its audit record; None where nothing undoes it.

    `seen` is what its compensation reads of the values that the step saw and wrote. A step of a compensation itself
    is not undone.
    """
    if node.compensate is None or frame.undoes:
        return None
    graph = graph_of(frame.conduct.definition, node_id, node)
    keys = keys_read(graph.body.nodes[node.compensate])
    visible = frame.visible()
    seen = visible if keys is None else {name: visible[name] for name in sorted(keys) if name in visible}
    return {"node": node.compensate, "at": graph.at, "seen": seen}


def graph_of(definition: ProcessDefinition, node_id: str, node: NodeBase) -> Graph:
    """Return the graph in which a node of the definition stands."""
    return next(graph for graph in graphs(definition) if graph.body.nodes.get(node_id) is node)


def compensates(definition: ProcessDefinition) -> bool:
    """Tell whether any node of the definition names another that undoes it."""
    return any(node.compensate for graph in graphs(definition) for node in graph.body.nodes.values())


def compensations(definition: ProcessDefinition, node: NodeBase) -> Iterator[tuple[str, str]]:
    """Yield what undoes anything inside a node: each such node with its graph."""
    inside = [id(nested.body) for one in _with_inner(node) for nested in one.bodies()]
    for graph in graphs(definition):
        if id(graph.body) in inside:
            yield from ((graph.at, one.compensate) for one in graph.body.nodes.values() if one.compensate)


def body_at(definition: ProcessDefinition, at: str) -> Body | None:
    """Return the graph that `at` points to; None where the definition has none there."""
    return next((graph.body for graph in graphs(definition) if graph.at == at), None)


def keys_read(node: NodeBase) -> frozenset[str] | None:
    """Return the keys of the context that a node and the nodes inside it read; None where it may read all of them."""
    found: set[str] = set()
    for inner in _with_inner(node):
        if inner.reads is not None:
            found.update(inner.reads)
        for rule in _expressions(inner):
            for reference in compile_rule(rule).references:
                if not reference.path:
                    return None
                found.add(reference.path[0])
        for part in inner.templates():
            found.update(path[0] for path, _ in template_paths(str(part.value)))
        if inner.type in ("agent", "supervisor") and inner.reads is None:
            return None
    return frozenset(found)


def _with_inner(node: NodeBase) -> Iterator[NodeBase]:
    yield node
    for nested in node.bodies():
        for inner in nested.body.nodes.values():
            yield from _with_inner(inner)


def _expressions(node: NodeBase) -> Iterator[JsonValue]:
    yield from (part.value for part in node.expressions())
    yield from (way.when for way in (*node.next, *node.on_error) if way.when is not None)
    if getattr(node, "key", None) is not None:
        yield node.key  # type: ignore[attr-defined]
