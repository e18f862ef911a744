"""What every picture of a process shows: its nodes, the graphs inside them, and the ways between them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.process.definition import ProcessDefinition
from engine.process.nodes.base import Body, NodeBase

State = Literal["done", "running", "waiting", "failed", "skipped", "undone", "stopped", "added", "removed", "changed"]
"""What a picture may say of a node: how far a run is with it, or how a version differs from another.

`waiting` is for a person; `undone` says that the run went back or made up for it; `stopped` was left unfinished.
"""

SIGNS: Mapping[State, str] = {
    "done": "✓",
    "running": "▶",
    "waiting": "?",
    "failed": "✕",
    "skipped": "»",
    "undone": "↶",
    "stopped": "■",
    "added": "+",
    "removed": "−",
    "changed": "≠",
}
"""The same as a sign, so that no state is told by colour alone."""


@dataclass(frozen=True)
class Way:
    """A transition: `kind` error and timeout are drawn dotted. `labels` has one line per transition of the pair."""

    source: str
    target: str
    labels: tuple[str, ...] = ()
    kind: Literal["way", "error", "timeout"] = "way"


@dataclass(frozen=True)
class Shape:
    """A node; `path` is its place in the definition, as `nodes/pay` or `nodes/each/body/nodes/pay`."""

    path: str
    name: str
    type: str
    title: str = ""
    about: str = ""
    position: tuple[float, float] | None = None
    boxes: tuple["Box", ...] = ()


@dataclass(frozen=True)
class Box:
    """A graph inside a node; `path` is its place below the node, as `/body`."""

    path: str
    title: str
    sketch: "Sketch"


@dataclass(frozen=True)
class Sketch:
    """A graph: the path of the node it starts at, its nodes in the order of the definition, and their ways."""

    start: str
    shapes: tuple[Shape, ...] = ()
    ways: tuple[Way, ...] = ()
    title: str = field(default="")


def sketch_of(definition: ProcessDefinition) -> Sketch:
    """Return the sketch of a definition."""
    return _body(definition, "", definition.title or definition.process)


def _body(body: Body, above: str, title: str = "") -> Sketch:
    shapes: list[Shape] = []
    ways: dict[tuple[str, str, str], Way] = {}
    for name, node in body.nodes.items():
        path = f"{above}nodes/{name}"
        boxes = tuple(
            Box(nested.path, _box_title(node, nested.path), _body(nested.body, f"{path}{nested.path}/"))
            for nested in node.bodies()
        )
        position = None if node.position is None else (node.position.x, node.position.y)
        shapes.append(Shape(path, name, node.type, node.title, node.about, position, boxes))
        for way in _ways(path, above, node):
            # Two transitions between the same nodes are one line in the picture, with both labels.
            key = (way.source, way.target, way.kind)
            labels = (*ways[key].labels, *way.labels) if key in ways else way.labels
            ways[key] = Way(way.source, way.target, labels, way.kind)
    known = {shape.path for shape in shapes}
    return Sketch(
        f"{above}nodes/{body.start}", tuple(shapes), tuple(way for way in ways.values() if way.target in known), title
    )


def _ways(path: str, above: str, node: NodeBase) -> list[Way]:
    found: list[Way] = []
    for way in node.next:
        said = way.label or (guard_text(way.when) if way.when is not None else "")
        if way.trigger != "auto":
            said = f"{way.trigger}: {said}" if said else way.trigger
        found.append(Way(path, f"{above}nodes/{way.to}", (said,) if said else ()))
    for failed in node.on_error:
        said = failed.label or f"error {', '.join(failed.match)}".strip()
        found.append(Way(path, f"{above}nodes/{failed.to}", (said,), "error"))
    if node.on_timeout is not None:
        said = node.on_timeout.label or "time is up"
        found.append(Way(path, f"{above}nodes/{node.on_timeout.to}", (said,), "timeout"))
    return found


def _box_title(node: NodeBase, path: str) -> str:
    arm = re.fullmatch(r"/arms/(\d+)/body", path)
    arms = getattr(node, "arms", ())
    return f"arm {arms[int(arm.group(1))].name}" if arm and arms else "for each item"


def guard_text(rule: object) -> str:
    """Return a guard in few words: `a.b <= 5` where it is that simple, else its JSON."""
    if isinstance(rule, dict) and len(rule) == 1:
        [(operator, arguments)] = rule.items()
        if isinstance(arguments, list) and len(arguments) == 2:
            left, right = (_operand(argument) for argument in arguments)
            return f"{left} {operator} {right}"
    return json.dumps(rule, ensure_ascii=False)


def _operand(value: object) -> str:
    if isinstance(value, dict) and set(value) == {"var"} and isinstance(value["var"], str):
        return value["var"]
    return json.dumps(value, ensure_ascii=False)


def cut(text: str, length: int) -> str:
    """Return a text as one line of at most `length` characters."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= length else one_line[: length - 1] + "…"
