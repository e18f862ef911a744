"""Where each node of a sketch stands and how its ways run: layers from the start downwards, the same every time.

The usual four steps: turn back the ways that close a cycle, give each node the layer of its longest way from the
start, order each layer by the middle of its neighbours, and let the nodes of a layer move towards them. A way over
several layers takes a place in each, so it runs around what stands between; one with a label crosses at least one
layer, where the label has its room. A graph inside a node is laid out first
and the node is drawn around it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from engine.process.drawing.sketch import Box, Shape, Sketch, Way, cut

CHARACTER = 7.0
"""About the width of a character of the labels, in pixels."""

HEIGHT, HEADER, PADDING = 44.0, 40.0, 16.0
GAP_X, GAP_Y, LANE = 28.0, 36.0, 12.0
MAX_TITLE, MAX_WAY = 34, 30
SWEEPS = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class PlacedBox:
    """A graph inside a node: the box's corner within the node's graph, its size, and what is in it."""

    title: str
    x: float
    y: float
    width: float
    height: float
    inside: "Layout"


@dataclass(frozen=True)
class Placed:
    """A node with its corner and size in pixels."""

    shape: Shape
    x: float
    y: float
    width: float
    height: float
    boxes: tuple[PlacedBox, ...] = ()


@dataclass(frozen=True)
class Line:
    """A way as the points it runs through, from the source's edge to the target's, and where its label stands."""

    way: Way
    points: tuple[Point, ...]
    label: Point


@dataclass(frozen=True)
class Layout:
    """A graph with everything in its place, its corner at 0, 0."""

    width: float
    height: float
    nodes: tuple[Placed, ...]
    lines: tuple[Line, ...]


def lay_out(sketch: Sketch) -> Layout:
    """Return the layout of a sketch; positions that the designer gave to all nodes of a graph are kept."""
    sized = {shape.path: _sized(shape) for shape in sketch.shapes}
    if sketch.shapes and all(shape.position is not None for shape in sketch.shapes):
        return _as_designed(sketch, sized)
    return _layered(sketch, sized)


def _sized(shape: Shape) -> Placed:
    longest = max(len(cut(shape.title or shape.name, MAX_TITLE)), len(f"{shape.name} · {shape.type}"[:MAX_TITLE]))
    width = max(110.0, longest * CHARACTER + 2 * PADDING)
    if not shape.boxes:
        return Placed(shape, 0, 0, width, HEIGHT)
    boxes: list[PlacedBox] = []
    x = PADDING
    for box in shape.boxes:
        placed = _boxed(box, x)
        boxes.append(placed)
        x += placed.width + PADDING
    height = HEADER + max(box.height for box in boxes) + PADDING
    return Placed(shape, 0, 0, max(width, x), height, tuple(boxes))


def _boxed(box: Box, x: float) -> PlacedBox:
    inside = lay_out(box.sketch)
    width = max(inside.width + 2 * PADDING, len(cut(box.title, MAX_TITLE)) * CHARACTER + 2 * PADDING)
    return PlacedBox(box.title, x, HEADER, width, inside.height + HEADER, inside)


def _as_designed(sketch: Sketch, sized: dict[str, Placed]) -> Layout:
    spots = {shape.path: shape.position or (0.0, 0.0) for shape in sketch.shapes}
    left, top = min(x for x, _ in spots.values()), min(y for _, y in spots.values())
    placed = {path: replace(node, x=spots[path][0] - left, y=spots[path][1] - top) for path, node in sized.items()}
    lines = tuple(_line(way, placed, ()) for way in sketch.ways)
    return _whole(tuple(placed.values()), lines)


def _layered(sketch: Sketch, sized: dict[str, Placed]) -> Layout:
    order = [sketch.start, *(shape.path for shape in sketch.shapes if shape.path != sketch.start)]
    ways = [way for way in sketch.ways if way.source != way.target]
    back = _closing(order, ways)
    steps = [(way.target, way.source) if way in back else (way.source, way.target) for way in ways]
    rank = _ranks(order, steps, [2 if way.labels else 1 for way in ways])
    layers, chains = _with_bends(order, rank, steps)
    links = [link for chain in chains for link in pairwise(chain)]
    _reduce_crossings(layers, links)
    width_of = {name: sized[name].width if name in sized else LANE for layer in layers for name in layer}
    width_of |= {chain[1]: _label_width(way) for way, chain in zip(ways, chains, strict=True) if way.labels}
    x_of = _columns(layers, links, width_of)
    placed, middle = _rows(layers, sized, x_of, width_of)
    lines: list[Line] = []
    for way, chain in zip(ways, chains, strict=True):
        bends = tuple((x_of[name] + width_of[name] / 2, middle[name]) for name in chain if name not in sized)
        line = _line(way, placed, bends[::-1] if way in back else bends)
        lines.append(replace(line, label=bends[0]) if way.labels else line)
    lines += [_loop(way, placed[way.source]) for way in sketch.ways if way.source == way.target]
    return _whole(tuple(placed[shape.path] for shape in sketch.shapes), tuple(lines))


def _closing(order: Sequence[str], ways: Sequence[Way]) -> list[Way]:
    """Return the ways that lead back to a node on the way to them, in a walk from the start."""
    out: defaultdict[str, list[Way]] = defaultdict(list)
    for way in ways:
        out[way.source].append(way)
    state: dict[str, int] = {}
    back: list[Way] = []
    for root in order:
        # By hand, not by recursion: a graph may be deeper than Python's stack.
        stack: list[tuple[str, int]] = [(root, 0)] if root not in state else []
        while stack:
            name, at = stack.pop()
            state[name] = 1
            if at == len(out[name]):
                state[name] = 2
                continue
            stack.append((name, at + 1))
            way = out[name][at]
            if state.get(way.target) == 1:
                back.append(way)
            elif way.target not in state:
                stack.append((way.target, 0))
    return back


def _label_width(way: Way) -> float:
    return max(LANE, max(len(cut(label, MAX_WAY)) for label in way.labels) * CHARACTER)


def _ranks(order: Sequence[str], steps: Sequence[tuple[str, str]], spans: Sequence[int]) -> dict[str, int]:
    """Return the layer of each node: below every node that leads to it, by as many layers as the step spans."""
    out: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    missing = dict.fromkeys(order, 0)
    for (source, target), span in zip(steps, spans, strict=True):
        out[source].append((target, span))
        missing[target] += 1
    rank = dict.fromkeys(order, 0)
    ready = [name for name in order if missing[name] == 0]
    while ready:
        name = ready.pop(0)
        for target, span in out[name]:
            rank[target] = max(rank[target], rank[name] + span)
            missing[target] -= 1
            if missing[target] == 0:
                ready.append(target)
    return rank


def _with_bends(
    order: Sequence[str], rank: dict[str, int], steps: Sequence[tuple[str, str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the layers, with a bend in each layer that a step crosses, and each step as a chain of names."""
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=0) + 1)]
    for name in order:
        layers[rank[name]].append(name)
    chains: list[list[str]] = []
    for number, (source, target) in enumerate(steps):
        bends = [f"\0{number}/{level}" for level in range(rank[source] + 1, rank[target])]
        for level, bend in enumerate(bends, start=rank[source] + 1):
            layers[level].append(bend)
        chains.append([source, *bends, target])
    return layers, chains


def _reduce_crossings(layers: list[list[str]], links: Iterable[tuple[str, str]]) -> None:
    above: defaultdict[str, list[str]] = defaultdict(list)
    below: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in links:
        below[source].append(target)
        above[target].append(source)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        numbers = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for number in numbers:
            other = {name: index for index, name in enumerate(layers[number - 1 if down else number + 1])}
            own = {name: float(index) for index, name in enumerate(layers[number])}
            layers[number].sort(key=lambda name: _middle([other[one] for one in near[name]], own[name]))


def _middle(places: Sequence[int], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise


def _columns(
    layers: Sequence[Sequence[str]], links: Sequence[tuple[str, str]], width_of: dict[str, float]
) -> dict[str, float]:
    """Return the left edge of each name: layers keep their order, and names move under the middle of what they meet."""
    near: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in links:
        near[source].append(target)
        near[target].append(source)
    x_of: dict[str, float] = {}
    for layer in layers:
        x = 0.0
        for name in layer:
            x_of[name] = x
            x += width_of[name] + GAP_X
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [
                sum(x_of[one] + width_of[one] / 2 for one in near[name]) / len(near[name]) - width_of[name] / 2
                if near[name]
                else x_of[name]
                for name in layer
            ]
            x_of |= dict(zip(layer, _apart(wanted, [width_of[name] for name in layer]), strict=True))
    left = min(x_of.values(), default=0.0)
    return {name: x - left for name, x in x_of.items()}


def _apart(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Return places as near to the wanted ones as order and widths allow: between those pushed right and left."""
    right = list(wanted)
    for index in range(1, len(right)):
        right[index] = max(right[index], right[index - 1] + widths[index - 1] + GAP_X)
    left = list(wanted)
    for index in range(len(left) - 2, -1, -1):
        left[index] = min(left[index], left[index + 1] - widths[index] - GAP_X)
    return [(one + other) / 2 for one, other in zip(left, right, strict=True)]


def _rows(
    layers: Sequence[Sequence[str]], sized: dict[str, Placed], x_of: dict[str, float], width_of: dict[str, float]
) -> tuple[dict[str, Placed], dict[str, float]]:
    """Return the nodes in their places, and the height at which each bend stands."""
    placed: dict[str, Placed] = {}
    middle: dict[str, float] = {}
    y = 0.0
    for layer in layers:
        height = max((sized[name].height for name in layer if name in sized), default=0.0)
        for name in layer:
            middle[name] = y + height / 2
            if name in sized:
                node = sized[name]
                placed[name] = replace(node, x=x_of[name], y=y + (height - node.height) / 2)
        y += height + GAP_Y
    return placed, middle


def _line(way: Way, placed: dict[str, Placed], bends: tuple[Point, ...]) -> Line:
    source, target = placed[way.source], placed[way.target]
    toward = bends[0] if bends else _centre(target)
    come_from = bends[-1] if bends else _centre(source)
    points = (_edge(source, toward), *bends, _edge(target, come_from))
    return Line(way, points, _half_way(points))


def _loop(way: Way, node: Placed) -> Line:
    right, top = node.x + node.width, node.y
    points = ((right, top + 12), (right + 24, top + 12), (right + 24, top + 30), (right, top + 30))
    return Line(way, points, (right + 28, top + 21))


def _centre(node: Placed) -> Point:
    return node.x + node.width / 2, node.y + node.height / 2


def _edge(node: Placed, toward: Point) -> Point:
    """Return the point of a node's border on the line from its centre."""
    x, y = _centre(node)
    dx, dy = toward[0] - x, toward[1] - y
    if dx == 0 and dy == 0:
        return x, node.y + node.height
    scale = min(
        node.width / 2 / abs(dx) if dx else float("inf"),
        node.height / 2 / abs(dy) if dy else float("inf"),
    )
    return x + dx * scale, y + dy * scale


def _half_way(points: Sequence[Point]) -> Point:
    if len(points) % 2:
        return points[len(points) // 2]
    (x1, y1), (x2, y2) = points[len(points) // 2 - 1], points[len(points) // 2]
    return (x1 + x2) / 2, (y1 + y2) / 2


def _whole(nodes: tuple[Placed, ...], lines: tuple[Line, ...]) -> Layout:
    ends = [point for line in lines for point in line.points]
    labels = [line.label[0] + _label_width(line.way) / 2 for line in lines if line.way.labels]
    right = max([*(node.x + node.width for node in nodes), *(x for x, _ in ends), *labels], default=0.0)
    bottom = max([*(node.y + node.height for node in nodes), *(y for _, y in ends)], default=0.0)
    return Layout(right, bottom, nodes, lines)
