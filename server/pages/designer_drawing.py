"""What the designer draws: the layout of a definition as data, unfinished definitions too.

It is the sketch and the layout of every other picture. A node that is not complete yet is drawn with what it has; one
whose name no definition could have is left out, and the verifier names it.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from engine.process.definition import NODE_TYPES, ProcessDefinition
from engine.process.drawing.layout import Layout, lay_out
from engine.process.drawing.sketch import sketch_of
from engine.process.nodes.base import Body, ErrorTransition, NodeBase, Position, TimeoutTransition, Transition
from engine.process.nodes.branch import Arm, BranchNode
from engine.process.nodes.foreach import ForeachNode
from engine.values import Value

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)


class DrawnBox(Value):
    """A graph inside a node; `path` is where its nodes are, as `nodes/each/body`, its corner is in the node's graph."""

    path: str
    title: str
    x: float
    y: float
    width: float
    height: float
    inside: "Drawing"


class DrawnNode(Value):
    """A node with its corner and size in pixels; `path` is its place in the definition, as `nodes/pay`."""

    path: str
    name: str
    type: str
    title: str
    x: float
    y: float
    width: float
    height: float
    boxes: tuple[DrawnBox, ...] = ()


class DrawnLine(Value):
    """A way: the points it runs through, what is said on it, and where that stands."""

    source: str
    target: str
    kind: Literal["way", "error", "timeout"]
    labels: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    label: tuple[float, float]


class Drawing(Value):
    """A graph with everything in its place; `start` is the path of the node it starts at."""

    start: str
    width: float
    height: float
    nodes: tuple[DrawnNode, ...]
    lines: tuple[DrawnLine, ...]


def drawing_of(data: Any) -> Drawing | None:
    """Return the drawing of a definition as JSON, complete or not; None where there is no node to draw."""
    if not isinstance(data, Mapping):
        return None
    body = _body(cast("Mapping[str, Any]", data))
    if body is None:
        return None
    sketch = sketch_of(ProcessDefinition.model_construct(start=body.start, nodes=body.nodes, process=""))
    return _drawing(lay_out(sketch), sketch.start)


def _drawing(layout: Layout, start: str) -> Drawing:
    nodes = tuple(
        DrawnNode(
            path=one.shape.path,
            name=one.shape.name,
            type=one.shape.type,
            title=one.shape.title,
            x=one.x,
            y=one.y,
            width=one.width,
            height=one.height,
            boxes=tuple(
                DrawnBox(
                    path=f"{one.shape.path}{box.path}",
                    title=box.title,
                    x=placed.x,
                    y=placed.y,
                    width=placed.width,
                    height=placed.height,
                    inside=_drawing(placed.inside, box.sketch.start),
                )
                for box, placed in zip(one.shape.boxes, one.boxes, strict=True)
            ),
        )
        for one in layout.nodes
    )
    lines = tuple(
        DrawnLine(
            source=one.way.source,
            target=one.way.target,
            kind=one.way.kind,
            labels=one.way.labels,
            points=one.points,
            label=one.label,
        )
        for one in layout.lines
    )
    return Drawing(start=start, width=layout.width, height=layout.height, nodes=nodes, lines=lines)


def _body(data: Mapping[str, Any]) -> Body | None:
    """Return a graph with what can be drawn of it, unchecked."""
    nodes = {
        name: _node(node)
        for name, node in _mapping(data.get("nodes")).items()
        if NAME.fullmatch(name) and isinstance(node, Mapping)
    }
    if not nodes:
        return None
    start = data.get("start")
    return Body.model_construct(start=start if start in nodes else next(iter(nodes)), nodes=nodes)


def _node(data: Mapping[str, Any]) -> NodeBase:
    known = str(data.get("type", ""))[:40]
    common: dict[str, Any] = {
        "type": known if known in NODE_TYPES else f"{known or 'no type'}?",
        "title": _text(data.get("title"), 200),
        "about": _text(data.get("about"), 4000),
        "next": tuple(
            Transition.model_construct(
                to=str(way.get("to", "")),
                when=way.get("when"),
                trigger=way.get("trigger", "auto"),
                label=_text(way.get("label"), 200),
            )
            for way in _mappings(data.get("next"))
        ),
        "on_error": tuple(
            ErrorTransition.model_construct(
                to=str(way.get("to", "")),
                match=tuple(str(one) for one in _items(way.get("match"))),
                label=_text(way.get("label"), 200),
            )
            for way in _mappings(data.get("on_error"))
        ),
        "on_timeout": _timeout(data.get("on_timeout")),
        "position": _position(data.get("position")),
    }
    if known == "branch":
        arms = [(arm, _body(_mapping(arm.get("body")))) for arm in _mappings(data.get("arms"))]
        drawn = tuple(Arm.model_construct(name=_text(arm.get("name"), 64), body=body) for arm, body in arms if body)
        # A box has its place in the list of arms: where one is empty, none can be drawn.
        return BranchNode.model_construct(**common, arms=drawn if len(drawn) == len(arms) else ())
    body = _body(_mapping(data.get("body"))) if known == "foreach" else None
    if body is not None:
        return ForeachNode.model_construct(**common, as_=_text(data.get("as"), 64), body=body)
    return NodeBase.model_construct(**common)


def _timeout(data: Any) -> TimeoutTransition | None:
    found = _mapping(data)
    return (
        TimeoutTransition.model_construct(to=str(found["to"]), label=_text(found.get("label"), 200))
        if ("to" in found)
        else None
    )


def _position(data: Any) -> Position | None:
    found = _mapping(data)
    x, y = found.get("x"), found.get("y")
    if isinstance(x, (int, float)) and isinstance(y, (int, float)) and max(abs(x), abs(y)) < 1e6:
        return Position.model_construct(x=float(x), y=float(y))
    return None


def _text(value: Any, length: int) -> str:
    return value[:length] if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [cast("Mapping[str, Any]", one) for one in _items(value) if isinstance(one, Mapping)]
