"""One defect seeded into a sound definition: what it is, and where it can be put.

Each fault changes a definition in place at a place drawn from those it fits, and returns whether there was one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.engine.generated_values import Node

Seed = Callable[[Node, Random], bool]


@dataclass(frozen=True)
class Fault:
    """A defect by its name, what seeds it, and the codes of which one must be found."""

    name: str
    codes: frozenset[str]
    seed: Seed


def into(faults: list[Fault]) -> Callable[..., Callable[[Seed], Seed]]:
    """Return what enters a fault with its codes into a list."""

    def fault(*codes: str) -> Callable[[Seed], Seed]:
        def enter(seed: Seed) -> Seed:
            faults.append(Fault(seed.__name__, frozenset(codes), seed))
            return seed

        return enter

    return fault


@dataclass(frozen=True)
class Place:
    """A node with the graph it stands in; `nested` graphs are bodies."""

    graph: Node
    name: str
    node: Node
    nested: bool


def places(graph: Node, nested: bool = False) -> Iterator[Place]:
    """Yield every node of a graph and of those inside it."""
    for name, node in list(graph["nodes"].items()):
        yield Place(graph, name, node, nested)
        bodies = [arm["body"] for arm in node.get("arms", ())]
        for body in [*bodies, *([node["body"]] if "body" in node else [])]:
            yield from places(body, True)


def edges(node: Node) -> list[Node]:
    """Return every way that leads on from a node."""
    more = [node["on_timeout"]] if "on_timeout" in node else []
    return [*node.get("next", ()), *node.get("on_error", ()), *more]


def one(found: list[Any], random: Random) -> Any:
    """Return one of what was found, or None."""
    return random.choice(found) if found else None


def of_type(definition: Node, *types: str) -> list[Place]:
    """Return the nodes of some types."""
    return [place for place in places(definition) if place.node["type"] in types]


def plain(definition: Node) -> list[Place]:
    """Return the nodes with one way on that is always taken."""
    return [
        place
        for place in places(definition)
        if len(place.node.get("next", ())) == 1 and set(place.node["next"][0]) == {"to"}
    ]


def inserted(definition: Node, random: Random, nodes: dict[str, Node]) -> bool:
    """Put nodes, of which `seeded` is the first and `THERE` where they lead, into a way that is always taken."""
    place = one(plain(definition), random)
    if place is None:
        return False
    way = place.node["next"][0]
    there, way["to"] = way["to"], "seeded"
    for node in nodes.values():
        for edge in edges(node):
            edge["to"] = there if edge["to"] == "THERE" else edge["to"]
    place.graph["nodes"] |= nodes
    return True


def script(**fields: Any) -> Node:
    return {"type": "script", "code": "{}", **fields}


def guards_of(definition: Node) -> list[Node]:
    """Return the guards of transitions and arms."""
    ways = [way for place in places(definition) for way in (*place.node.get("next", ()), *place.node.get("arms", ()))]
    return [way["when"] for way in ways if isinstance(way.get("when"), dict)]


def ways_of(definition: Node) -> list[list[Node]]:
    """Return the ways among which one must hold: transitions, and the arms of a choice."""
    found = [place.node["next"] for place in places(definition) if len(place.node.get("next", ())) > 1]
    choices = [place.node for place in of_type(definition, "branch") if place.node.get("take") != "every"]
    return [ways for ways in (*found, *(node["arms"] for node in choices)) if len(ways) > 1 and "when" in ways[0]]
