"""A process as a Mermaid flowchart, for hosts that render it: nested bodies are boxes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.process.definition import ProcessDefinition
from engine.process.drawing.sketch import Shape, Sketch, State, Way, cut, sketch_of

MAX_LABEL = 60

_SHAPES = {
    "supervisor": ('{{"', '"}}'),
    "agent": ('[["', '"]]'),
    "branch": ('{"', '"}'),
    "wait": ('(["', '"])'),
    "end": ('(("', '"))'),
}


_LOOKS: Mapping[State, str] = {
    "done": "stroke:#14682f,stroke-width:2px",
    "running": "stroke:#1f5fa8,stroke-width:3px",
    "waiting": "stroke:#7d5100,stroke-width:3px",
    "failed": "stroke:#a11d1d,stroke-width:3px",
    "skipped": "stroke-dasharray:6 3",
    "undone": "stroke-dasharray:6 3",
    "stopped": "stroke-dasharray:6 3",
}
"""How nodes are outlined; their labels say the state in words."""


def mermaid(
    definition: ProcessDefinition,
    *,
    states: Mapping[str, State] | None = None,
    counts: Mapping[str, str] | None = None,
    taken: frozenset[tuple[str, str]] = frozenset(),
) -> str:
    """Return the flowchart of a definition: people's steps are hexagons, agents have double sides, ends are circles.

    `states` and `counts` are by path of a node, as for the SVG; the ways in `taken` are drawn thick.
    """
    drawn = _Drawn(states or {}, counts or {}, taken)
    lines = ["flowchart TD", "  start_((start))", f"  start_ --> {_id('', definition.start)}"]
    sketch = sketch_of(definition)
    lines += [*drawn.body(sketch, "", 1), *drawn.classes(sketch, "")]
    used = sorted(set(drawn.states.values()))
    lines += [f"  classDef {state} {_LOOKS[state]}" for state in used if state in _LOOKS]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Drawn:
    states: Mapping[str, State]
    counts: Mapping[str, str]
    taken: frozenset[tuple[str, str]]

    def body(self, sketch: Sketch, above: str, depth: int) -> list[str]:
        indent = "  " * depth
        lines: list[str] = []
        for shape in sketch.shapes:
            here = _id(above, shape.name)
            lines.append(f"{indent}{here}{self._vertex(shape)}")
            for box in shape.boxes:
                inner = _id(here, box.path)
                lines.append(f'{indent}subgraph {inner}["{_text(box.title)}"]')
                lines += self.body(box.sketch, inner, depth + 1)
                lines.append(f"{indent}end")
                lines.append(f"{indent}{here} -.-> {_id(inner, _name(box.sketch.start))}")
        return [*lines, *(f"{indent}{self._way(way, above)}" for way in sketch.ways)]

    def classes(self, sketch: Sketch, above: str) -> Iterator[str]:
        for shape in sketch.shapes:
            here = _id(above, shape.name)
            if shape.path in self.states:
                yield f"  class {here} {self.states[shape.path]}"
            for box in shape.boxes:
                yield from self.classes(box.sketch, _id(here, box.path))

    def _vertex(self, shape: Shape) -> str:
        opening, closing = _SHAPES.get(shape.type, ('["', '"]'))
        title = f"{shape.name}: {shape.title}" if shape.title else shape.name
        said = ", ".join(filter(None, (self.states.get(shape.path), self.counts.get(shape.path))))
        state = f"<br/>{_text(said)}" if said else ""
        return f"{opening}{_text(title)}<br/>{shape.type}{state}{closing}"

    def _way(self, way: Way, above: str) -> str:
        said = _text("; ".join(way.labels))
        opening, closing, bare = ("--", "-->", "-->") if way.kind == "way" else ("-.", ".->", "-.->")
        if (way.source, way.target) in self.taken:
            opening, closing, bare = "==", "==>", "==>"
        line = f'{opening} "{said}" {closing}' if said else bare
        return f"{_id(above, _name(way.source))} {line} {_id(above, _name(way.target))}"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _text(text: str) -> str:
    """Return a label that ends no quotation and opens no markup."""
    said = cut(text, MAX_LABEL)
    for character, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        said = said.replace(character, entity)
    return said


def _id(above: str, name: str) -> str:
    """Return an identifier of its own for a node: words such as `end` mean something to Mermaid."""
    own = name.replace("-", "_2d_")
    return f"{above}_{re.sub(r'[^A-Za-z0-9_]', '_', own)}".strip("_") + "_n"
