"""Pictures of processes: everything has its place, nothing overlaps, no text gets out of its element."""

import itertools
import random
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.drawing import mermaid, sketch_of, svg
from engine.process.drawing.layout import Layout, Placed, lay_out

SVG = "{http://www.w3.org/2000/svg}"


def process(nodes: dict[str, Any], start: str = "a") -> ProcessDefinition:
    return parse_definition({"format": 1, "process": "drawn", "start": start, "nodes": nodes})


def wait(*targets: str, **fields: Any) -> dict[str, Any]:
    return {"type": "wait", "for": "PT1S", "next": [{"to": to} for to in targets], **fields}


def boxes_of(layout: Layout, x: float = 0, y: float = 0) -> list[tuple[str, float, float, float, float]]:
    """Return path and corners of the nodes of one graph."""
    return [
        (node.shape.path, x + node.x, y + node.y, x + node.x + node.width, y + node.y + node.height)
        for node in layout.nodes
    ]


def check(layout: Layout) -> None:
    """Check that nothing overlaps or sticks out, in this graph and in those inside its nodes."""
    for one, other in itertools.combinations(boxes_of(layout), 2):
        apart = one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] or other[4] <= one[2]
        assert apart, (one[0], other[0])
    for _, left, top, right, bottom in boxes_of(layout):
        assert left >= -0.01
        assert top >= -0.01
        assert right <= layout.width + 0.01
        assert bottom <= layout.height + 0.01
    placed = {node.shape.path: node for node in layout.nodes}
    for line in layout.lines:
        assert on_border(placed[line.way.source], line.points[0])
        assert on_border(placed[line.way.target], line.points[-1])
    for node in layout.nodes:
        for box in node.boxes:
            assert box.x + box.width <= node.width
            assert box.y + box.height <= node.height
            assert (box.inside.width, box.inside.height) <= (box.width, box.height)
            check(box.inside)


def on_border(node: Placed, point: tuple[float, float]) -> bool:
    x, y = point[0] - node.x, point[1] - node.y
    at_side = min(abs(x), abs(x - node.width)) < 0.01 and -0.01 <= y <= node.height + 0.01
    at_end = min(abs(y), abs(y - node.height)) < 0.01 and -0.01 <= x <= node.width + 0.01
    return at_side or at_end


def test_what_comes_later_stands_lower_and_a_way_back_does_not_change_that() -> None:
    drawn = lay_out(
        sketch_of(process({"a": wait("b", "c"), "b": wait("d"), "c": wait("d"), "d": wait("a", "e"), "e": wait()}))
    )
    check(drawn)
    y = {node.shape.name: node.y for node in drawn.nodes}
    assert y["a"] < y["b"] == y["c"] < y["d"] < y["e"]


def test_two_transitions_between_the_same_nodes_are_one_line_with_both_labels() -> None:
    nodes = {
        "a": {**wait(), "next": [{"to": "b", "when": {"==": [{"var": "x"}, 1]}}, {"to": "b", "label": "else"}]},
        "b": {"type": "end"},
    }
    sketch = sketch_of(process(nodes))
    (way,) = sketch.ways
    assert way.labels == ("x == 1", "else")
    check(lay_out(sketch))


def test_a_node_that_leads_to_itself_and_one_that_nothing_leads_to_are_drawn() -> None:
    drawn = lay_out(sketch_of(process({"a": wait("a", "b"), "b": {"type": "end"}, "alone": wait()})))
    assert len(drawn.nodes) == 3
    assert len(drawn.lines) == 2


def nested(depth: int) -> dict[str, Any]:
    body = {"start": "x", "nodes": {"x": nested(depth - 1) if depth else wait(), "y": wait()}}
    return {"type": "branch", "arms": [{"name": "one", "body": body}, {"name": "two", "body": body}]}


def test_graphs_inside_nodes_stand_inside_their_nodes() -> None:
    drawn = lay_out(sketch_of(process({"a": {**nested(2), "next": [{"to": "z"}]}, "z": {"type": "end"}})))
    check(drawn)
    assert [box.title for box in drawn.nodes[0].boxes] == ["arm one", "arm two"]
    assert drawn.nodes[0].boxes[1].inside.nodes[0].shape.path == "nodes/a/arms/1/body/nodes/x"


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_are_drawn_without_overlap_and_the_same_every_time(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(2, 40)
    nodes = {f"n{i}": wait(*(f"n{chance.randrange(count)}" for _ in range(chance.randint(0, 3)))) for i in range(count)}
    definition = process(nodes, "n0")
    first = lay_out(sketch_of(definition))
    check(first)
    assert lay_out(sketch_of(definition)) == first


def test_positions_of_the_designer_are_kept() -> None:
    nodes = {"a": wait("b", position={"x": 500, "y": 90}), "b": {"type": "end", "position": {"x": 100, "y": 40}}}
    drawn = lay_out(sketch_of(process(nodes)))
    assert [(node.x, node.y) for node in drawn.nodes] == [(400, 50), (0, 0)]


def test_the_picture_says_how_far_a_run_is_in_attributes_and_in_words() -> None:
    sketch = sketch_of(process({"a": wait("b", title="First"), "b": wait("c"), "c": {"type": "end"}}))
    drawn = svg(
        sketch,
        states={"nodes/a": "done", "nodes/b": "waiting"},
        counts={"nodes/b": "3 of 20"},
        taken=frozenset({("nodes/a", "nodes/b")}),
    )
    root = ElementTree.fromstring(drawn)
    groups = {group.get("data-node"): group for group in root.iter(f"{SVG}g") if group.get("data-node")}
    assert {path: group.get("data-state") for path, group in groups.items()} == {
        "nodes/a": "done",
        "nodes/b": "waiting",
        "nodes/c": None,
    }
    assert groups["nodes/b"].get("aria-label") == "b, wait, waiting, 3 of 20"
    taken = [(line.get("data-from"), line.get("data-taken")) for line in root.iter(f"{SVG}polyline")]
    assert taken == [("nodes/a", ""), ("nodes/b", None)]


def test_hostile_texts_stay_texts() -> None:
    evil = '"><script>alert(1)</script>&amp;<b onload="x">'
    nodes = {"a": {**wait(title=evil, about=evil), "next": [{"to": "b", "label": evil}]}, "b": {"type": "end"}}
    definition = process(nodes)
    root = ElementTree.fromstring(svg(sketch_of(definition)))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "desc", "style", "defs", "marker", "path", "g", "rect", "text", "polyline", "polygon")
    }
    assert [said.text for said in root.iter(f"{SVG}desc")] == [evil]
    assert "<script" not in mermaid(definition)
