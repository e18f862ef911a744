"""A process as a Mermaid flowchart: what a person or a model sees of its graph, nested bodies as boxes."""

import json
import re

from engine.process.definition import ProcessDefinition
from engine.process.nodes.base import Body, NodeBase

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
    lines += _body(definition, "", 1)
    return "\n".join(lines) + "\n"


def _body(body: Body, above: str, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for name, node in body.nodes.items():
        here = _id(above, name)
        opening, closing = _SHAPES.get(node.type, ('["', '"]'))
        lines.append(f"{indent}{here}{opening}{_label(name, node)}{closing}")
        for nested in node.bodies():
            box = _id(here, nested.path)
            lines.append(f'{indent}subgraph {box}["{_text(_box_title(node, nested.path))}"]')
            lines += _body(nested.body, box, depth + 1)
            lines.append(f"{indent}end")
            lines.append(f"{indent}{here} -.-> {_id(box, nested.body.start)}")
        lines += [f"{indent}{line}" for line in _ways(here, above, node)]
    return lines


def _ways(here: str, above: str, node: NodeBase) -> list[str]:
    lines: list[str] = []
    for way in node.next:
        said = way.label or (_shown(way.when) if way.when is not None else "")
        if way.trigger != "auto":
            said = f"{way.trigger}: {said}" if said else way.trigger
        lines.append(f"{here} --{_arrow(said)}> {_id(above, way.to)}")
    for way in node.on_error:
        said = way.label or f"error {', '.join(way.match)}".strip()
        lines.append(f"{here} -.{_dotted(said)}-> {_id(above, way.to)}")
    if node.on_timeout is not None:
        lines.append(f"{here} -.{_dotted(node.on_timeout.label or 'time is up')}-> {_id(above, node.on_timeout.to)}")
    return lines


def _arrow(said: str) -> str:
    return f' "{_text(said)}" --' if said else ""


def _dotted(said: str) -> str:
    return f' "{_text(said)}" .' if said else ""


def _label(name: str, node: NodeBase) -> str:
    title = f"{name}: {node.title}" if node.title else name
    return f"{_text(title)}<br/>{node.type}"


def _box_title(node: NodeBase, path: str) -> str:
    arm = re.fullmatch(r"/arms/(\d+)/body", path)
    arms = getattr(node, "arms", ())
    return f"arm {arms[int(arm.group(1))].name}" if arm and arms else "for each item"


def _shown(rule: object) -> str:
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


def _text(text: str) -> str:
    """Return a label that ends no quotation and opens no markup."""
    one_line = " ".join(text.split())
    cut = one_line if len(one_line) <= MAX_LABEL else one_line[: MAX_LABEL - 1] + "…"
    for character, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        cut = cut.replace(character, entity)
    return cut


def _id(above: str, name: str) -> str:
    """Return an identifier of its own for a node: words such as `end` mean something to Mermaid."""
    own = name.replace("-", "_2d_")
    return f"{above}_{re.sub(r'[^A-Za-z0-9_]', '_', own)}".strip("_") + "_n"
