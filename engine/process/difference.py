"""What differs between two versions of a process: as data, as text, and as one picture with marks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import JsonValue

from engine.process.definition import ProcessDefinition
from engine.process.drawing.sketch import Shape, Sketch, State, Way, cut, sketch_of
from engine.process.drawing.svg import svg
from engine.process.findings import pointer
from engine.values import Value, canonical_json

MAX_SHOWN = 120


class Difference(Value):
    """One place that differs: `path` is a JSON pointer into the definition; of what is added there is no `before`."""

    path: str
    kind: Literal["added", "removed", "changed"]
    before: JsonValue = None
    after: JsonValue = None

    @property
    def text(self) -> str:
        """The difference in one line, as `~ /nodes/pay/timeout: "PT5M" → "PT10M"`."""
        before, after = (cut(canonical_json(value), MAX_SHOWN) for value in (self.before, self.after))
        if self.kind == "added":
            return f"+ {self.path}: {after}"
        if self.kind == "removed":
            return f"- {self.path}: {before}"
        return f"~ {self.path}: {before} → {after}"


def differences(old: ProcessDefinition, new: ProcessDefinition) -> tuple[Difference, ...]:
    """Return every place in which two definitions differ, in the order of the paths; what is said by default is not."""
    return tuple(_compare(old.canonical(), new.canonical(), ()))


def _compare(old: Any, new: Any, at: tuple[str | int, ...]) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            here = (*at, name)
            if name not in old:
                yield Difference(path=pointer(*here), kind="added", after=new[name])
            elif name not in new:
                yield Difference(path=pointer(*here), kind="removed", before=old[name])
            else:
                yield from _compare(old[name], new[name], here)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _compare(one, other, (*at, index))
    elif canonical_json(old) != canonical_json(new):
        yield Difference(path=pointer(*at), kind="changed", before=old, after=new)


def unfit_for_running(old: ProcessDefinition, new: ProcessDefinition) -> tuple[str, ...]:
    """Return what of `new` a run on `old` might not fit, in words; empty if every run can be moved.

    Whether a given run fits is told by its own node and context when it is moved.
    """
    gone = sorted(set(old.nodes) - set(new.nodes))
    found = [f"the node {name!r} is gone: a run that stands there can't be moved" for name in gone]
    kept = sorted(set(old.nodes) & set(new.nodes))
    found += [
        f"the node {name!r} is a {new.nodes[name].type} now, not a {old.nodes[name].type}"
        for name in kept
        if old.nodes[name].type != new.nodes[name].type
    ]
    before, after = (_properties(one) for one in (old, new))
    found += [f"the context has no {name!r} any more" for name in sorted(set(before) - set(after))]
    found += [
        f"the context's {name!r} has another schema"
        for name in sorted(set(before) & set(after))
        if canonical_json(before[name]) != canonical_json(after[name])
    ]
    required = set(new.context.schema_.get("required", ())) - set(old.context.schema_.get("required", ()))
    found += [f"the context requires {name!r} now" for name in sorted(required)]
    return tuple(found)


def _properties(definition: ProcessDefinition) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definition.context.schema_.get("properties", {})
    return found


def difference_text(old: ProcessDefinition, new: ProcessDefinition) -> str:
    """Return the differences as lines, and what they mean for runs under way."""
    lines = [one.text for one in differences(old, new)] or ["no difference"]
    unfit = unfit_for_running(old, new)
    if unfit:
        lines += ["", "Runs under way:", *(f"! {one}" for one in unfit)]
    return "\n".join(lines)


def difference_svg(old: ProcessDefinition, new: ProcessDefinition) -> str:
    """Return one picture of both: nodes that were added, removed or changed are marked."""
    before, after = sketch_of(old), sketch_of(new)
    both, states = _union(before, after, old.canonical(), new.canonical())
    return svg(both, states=states)


def _union(before: Sketch, after: Sketch, old: Any, new: Any) -> tuple[Sketch, dict[str, State]]:
    states: dict[str, State] = {}
    shapes: list[Shape] = []
    known = {shape.path: shape for shape in before.shapes}
    for shape in after.shapes:
        # The picture has a layout of its own: half of the positions would be those of another version.
        drawn = replace(shape, position=None)
        if shape.path not in known:
            states[shape.path] = "added"
        elif canonical_json(_node(old, shape.path)) != canonical_json(_node(new, shape.path)):
            states[shape.path] = "changed"
        shapes.append(drawn)
    mine = {shape.path for shape in after.shapes}
    for path, shape in known.items():
        if path not in mine:
            states[path] = "removed"
            shapes.append(replace(shape, position=None, boxes=()))
    ways: dict[tuple[str, str, str], Way] = {}
    for way in (*after.ways, *before.ways):
        ways.setdefault((way.source, way.target, way.kind), way)
    return Sketch(after.start, tuple(shapes), tuple(ways.values()), after.title), states


def _node(definition: Any, path: str) -> Any:
    return definition["nodes"].get(path.removeprefix("nodes/"))
