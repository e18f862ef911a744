"""A process as a Mermaid flowchart, for hosts that render it: nested bodies are boxes."""

import re

from engine.process.definition import ProcessDefinition
from engine.process.drawing.sketch import Sketch, Way, cut, sketch_of

MAX_LABEL = 60

_SHAPES = {
    "supervisor": ('{{"', '"}}'),
    "agent": ('[["', '"]]'),
    "branch": ('{"', '"}'),
    "wait": ('(["', '"])'),
    "end": ('(("', '"))'),
}


def mermaid(definition: ProcessDefinition) -> str:
    """Return the flowchart of a definition: people's steps are hexagons, agents have double sides, ends are circles."""
    lines = ["flowchart TD", "  start_((start))", f"  start_ --> {_id('', definition.start)}"]
    return "\n".join([*lines, *_body(sketch_of(definition), "", 1)]) + "\n"


def _body(sketch: Sketch, above: str, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for shape in sketch.shapes:
        here = _id(above, shape.name)
        opening, closing = _SHAPES.get(shape.type, ('["', '"]'))
        title = f"{shape.name}: {shape.title}" if shape.title else shape.name
        lines.append(f"{indent}{here}{opening}{_text(title)}<br/>{shape.type}{closing}")
        for box in shape.boxes:
            inner = _id(here, box.path)
            lines.append(f'{indent}subgraph {inner}["{_text(box.title)}"]')
            lines += _body(box.sketch, inner, depth + 1)
            lines.append(f"{indent}end")
            lines.append(f"{indent}{here} -.-> {_id(inner, _name(box.sketch.start))}")
    return [*lines, *(f"{indent}{_way(way, above)}" for way in sketch.ways)]


def _way(way: Way, above: str) -> str:
    said = _text("; ".join(way.labels))
    opening, closing, bare = ("--", "-->", "-->") if way.kind == "way" else ("-.", ".->", "-.->")
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
