"""Walks a tree without data: which paths it reads, and which of them a schema does not know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from content.templates.helpers import BUILT_IN, Condition, Each, With
from content.templates.nodes import (
    Block,
    Branch,
    Call,
    Expression,
    Literal,
    Mustache,
    Partial,
    Path,
    Program,
    Span,
)
from content.templates.parser import parse_program
from content.templates.shapes import (
    ANYTHING,
    SCALAR,
    Nodes,
    alternatives,
    child,
    elements,
    is_array,
    is_boolean,
    is_object,
    is_open,
)
from engine.errors import Exhausted

_MOST_STEPS = 50_000
_DEEPEST = 64
_LOOP_VARIABLES = frozenset({"index", "key", "first", "last"})


class Reference(NamedTuple):
    """A path that a template reads, from the outermost context; `data` when it is an `@` variable."""

    path: tuple[str, ...]
    data: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a template that cannot work; `code` is one of unknown_path, not_a_list, unknown_helper,
    unknown_partial, outside_of_loop, shadowed."""

    code: str
    message: str
    path: str
    span: Span

    def as_json(self) -> dict[str, Any]:
        """Return `{code, message, path, template, line, column}`."""
        place = {"template": self.span.template, "line": self.span.line, "column": self.span.column}
        return {"code": self.code, "message": self.message, "path": self.path, **place}


@dataclass(frozen=True, slots=True)
class _Shape:
    """A value as far as it is known: where it comes from, what its schema says, keys laid over it."""

    path: tuple[str, ...] | None
    nodes: Nodes
    overlay: Mapping[str, "_Shape"] | None = None


_UNKNOWN = _Shape(None, ANYTHING)
_TEXT = _Shape(None, SCALAR)


@dataclass(frozen=True, slots=True)
class _View:
    """What a statement sees: the contexts from inside out, block parameters, loops around it, partials."""

    contexts: tuple[_Shape, ...]
    bindings: Mapping[str, _Shape]
    inlines: "Mapping[str, tuple[Program, _View]]"
    block: "tuple[Program, _View] | None" = None
    loops: int = 0
    calls: tuple[str, ...] = ()

    def within(self, shape: _Shape, names: tuple[str, ...] = (), *values: _Shape) -> "_View":
        bindings = {**self.bindings, **dict(zip(names, values, strict=False))} if names else self.bindings
        contexts = self.contexts if shape is self.contexts[0] else (shape, *self.contexts)
        return replace(self, contexts=contexts, bindings=bindings)


class Walk:
    """One walk over a template and the partials that it calls."""

    def __init__(
        self,
        name: str,
        partials: Mapping[str, str | Program],
        helpers: Mapping[str, Any],
        *,
        schema: Mapping[str, Any] | None,
        data_schema: Mapping[str, Any] | None,
    ) -> None:
        self.findings: list[Finding] = []
        self.references: set[Reference] = set()
        self._name = name
        self._partials = dict(partials)
        self._helpers: Mapping[str, Any] = {**BUILT_IN, **helpers}
        self._schema = schema
        self._data_schema = data_schema
        self._root = _Shape((), ANYTHING if schema is None else alternatives([schema], schema))
        self._steps = 0
        self._depth = 0

    def run(self, program: Program) -> None:
        """Fill `findings` and `references`; `Exhausted` where partials call each other without end."""
        self._program(program, _View((self._root,), {}, {}))
        unique = dict.fromkeys(self.findings)
        self.findings = sorted(unique, key=lambda finding: (finding.span.template != self._name, finding.span))

    def _program(self, program: Program, view: _View) -> None:
        self._depth += 1
        if self._depth <= _DEEPEST:
            if program.inlines:
                local = {_static_name(node.name): (node.program, view) for node in program.inlines}
                view = replace(view, inlines={**view.inlines, **local})
            for node in program.body:
                self._steps += 1
                if self._steps > _MOST_STEPS:
                    message = f"Template {self._name} and its partials are too large to check. Split them up."
                    raise Exhausted(message, template=self._name, bound="steps", limit=_MOST_STEPS)
                if isinstance(node, Mustache):
                    self._call(node.call, view)
                elif isinstance(node, Block):
                    self._block(node, view)
                elif isinstance(node, Partial):
                    self._partial(node, view)
        self._depth -= 1

    def _find(self, code: str, message: str, path: str, span: Span) -> None:
        self.findings.append(Finding(code, message, path, span))

    # expressions

    def _value(self, expression: Expression, view: _View) -> _Shape:
        if isinstance(expression, Literal):
            return _TEXT
        return self._call(expression, view) if isinstance(expression, Call) else self._read(expression, view)

    def _call(self, call: Call, view: _View) -> _Shape:
        helper = self._helper(call, view)
        if helper is None:
            return self._read(call.path, view)
        shapes = self._arguments(call, view)
        if call.path.original == "lookup" and len(shapes) == 2:
            key = call.params[1]
            if isinstance(key, Literal):
                return self._step(shapes[0], key.text) or _UNKNOWN
            return self._elements(shapes[0]) or _UNKNOWN
        return _UNKNOWN

    def _arguments(self, call: Call, view: _View) -> list[_Shape]:
        shapes = [self._value(param, view) for param in call.params]
        for _, value in call.hash:
            self._value(value, view)
        return shapes

    def _helper(self, call: Call, view: _View) -> Any:
        path = call.path
        if path.simple and path.parts[0] in view.bindings:
            return None
        helper = self._helpers.get(path.parts[0]) if path.simple else None
        if helper is None and not call.bare:
            known = ", ".join(sorted(self._helpers))
            self._find("unknown_helper", f"There is no helper `{path.original}`; known are: {known}.", "", path.span)
            return Condition(bool)
        if helper is not None and call.bare and self._declared(view.contexts[0], path.parts[0]):
            name = path.parts[0]
            message = f"`{name}` is a helper here; the value of that name is `this.{name}`."
            self._find("shadowed", message, name, path.span)
        return helper

    def _declared(self, shape: _Shape, key: str) -> bool:
        return any(key in (node.get("properties") or {}) for node in shape.nodes)

    def _read(self, path: Path, view: _View) -> _Shape:
        if path.data:
            return self._read_data(path, view)
        parts = path.parts
        shape: _Shape | None
        if parts and not path.depth and not path.scoped and parts[0] in view.bindings:
            shape, parts = view.bindings[parts[0]], parts[1:]
        elif path.depth < len(view.contexts):
            shape = view.contexts[path.depth]
        else:
            message = f"`{path.original}` goes above the outermost context."
            self._find("unknown_path", message, path.original, path.span)
            return _UNKNOWN
        return self._follow(shape, parts, path)

    def _follow(self, shape: _Shape, parts: tuple[str, ...], path: Path) -> _Shape:
        for index, part in enumerate(parts):
            following = self._step(shape, part)
            if following is None:
                whole = ".".join((*(shape.path or ()), part))
                message = f"`{path.original}`: the schema knows no `{whole}`."
                self._find("unknown_path", message, whole, path.span)
                if shape.path is not None:
                    self.references.add(Reference((*shape.path, *parts[index:]), False, path.span))
                return _UNKNOWN
            shape = following
        if shape.path is not None:
            self.references.add(Reference(shape.path, False, path.span))
        return shape

    def _step(self, shape: _Shape, key: str) -> _Shape | None:
        if shape.overlay is not None and key in shape.overlay:
            return shape.overlay[key]
        nodes = child(shape.nodes, key, self._schema)
        path = None if shape.path is None else (*shape.path, key)
        return None if nodes is None else _Shape(path, nodes)

    def _elements(self, shape: _Shape) -> _Shape | None:
        nodes = elements(shape.nodes, self._schema)
        path = None if shape.path is None else (*shape.path, "*")
        return None if nodes is None else _Shape(path, nodes)

    def _read_data(self, path: Path, view: _View) -> _Shape:
        if not path.parts:
            return _UNKNOWN
        name = path.parts[0]
        if name == "root":
            return self._follow(self._root, path.parts[1:], path)
        if name == "partial-block":
            return _TEXT
        if name in _LOOP_VARIABLES:
            if view.loops <= path.depth:
                message = f"`{path.original}` stands outside of a loop."
                self._find("outside_of_loop", message, path.original, path.span)
            return _TEXT
        self.references.add(Reference(path.parts, True, path.span))
        if self._data_schema is None:
            return _UNKNOWN
        nodes: Nodes | None = alternatives([self._data_schema], self._data_schema)
        for part in path.parts:
            nodes = child(nodes, part, self._data_schema)
            if nodes is None:
                message = f"`{path.original}`: no `@` variable of that path is declared."
                self._find("unknown_path", message, path.original, path.span)
                return _UNKNOWN
        return _Shape(None, nodes)

    # blocks

    def _block(self, node: Block, view: _View) -> None:
        for branch in node.branches:
            inner = self._branch(branch, node, view)
            if branch.program is not None:
                self._program(branch.program, inner)
        if node.otherwise is not None:
            self._program(node.otherwise, view)

    def _branch(self, branch: Branch, node: Block, view: _View) -> _View:
        call = branch.call
        if node.raw and call.path.original == "raw" and call.bare:
            return view
        helper = self._helper(call, view)
        if helper is None:
            return self._section(self._read(call.path, view), branch, view)
        shapes = self._arguments(call, view)
        if isinstance(helper, Each) and shapes:
            return self._loop(shapes[0], branch, view)
        if isinstance(helper, With) and shapes:
            return view.within(shapes[0], branch.names, shapes[0])
        if isinstance(helper, Condition):
            return view
        return replace(view, bindings={**view.bindings, **dict.fromkeys(branch.names, _UNKNOWN)})

    def _loop(self, shape: _Shape, branch: Branch, view: _View) -> _View:
        element = self._elements(shape)
        if element is None:
            name = ".".join(shape.path or ())
            message = f"`{branch.call.path.original}` loops over `{name}`, which is neither a list nor an object."
            self._find("not_a_list", message, name, branch.call.span)
            element = _UNKNOWN
        inner = view.within(element, branch.names, element, _TEXT)
        return replace(inner, loops=view.loops + 1)

    def _section(self, shape: _Shape, branch: Branch, view: _View) -> _View:
        """Return what the body of `{{#value}}` sees: an item, the object itself, or what stood around it."""
        if not is_open(shape.nodes):
            if any(is_array(node) for node in shape.nodes):
                return self._loop(shape, branch, view)
            if is_boolean(shape.nodes):
                return view
            if not any(is_object(node) for node in shape.nodes):
                return view.within(_Shape(shape.path, SCALAR), branch.names, shape)
        return view.within(shape, branch.names, shape)

    # partials

    def _partial(self, node: Partial, view: _View) -> None:
        shape = view.contexts[0] if node.context is None else self._value(node.context, view)
        if node.hash:
            overlay = {**(shape.overlay or {}), **{key: self._value(value, view) for key, value in node.hash}}
            shape = replace(shape, overlay=overlay)
        block = view.block if node.body is None else (node.body, view)
        if isinstance(node.name, Path) and node.name.data:
            if view.block is not None:
                self._enter(view.block, shape, view, view.block[1].block)
            elif node.body is not None:
                self._program(node.body, view)
            return
        if isinstance(node.name, Call):
            self._value(node.name, view)
            return
        name = _static_name(node.name)
        target = view.inlines.get(name) or self._named(name)
        if view.calls.count(name) > 1:
            return
        if target is None and node.body is not None:
            self._program(node.body, view)
        elif target is None:
            known = ", ".join(sorted(self._partials)) or "none"
            self._find("unknown_partial", f"There is no partial `{name}`; known are: {known}.", "", node.span)
        else:
            called = replace(view, calls=(*view.calls, name))
            if node.body is not None and node.body.inlines:
                local = {_static_name(item.name): (item.program, view) for item in node.body.inlines}
                called = replace(called, inlines={**view.inlines, **local})
            self._enter(target, shape, called, block)

    def _enter(
        self,
        target: "Program | tuple[Program, _View]",
        shape: _Shape,
        view: _View,
        block: "tuple[Program, _View] | None",
    ) -> None:
        program, home = (target, view) if isinstance(target, Program) else target
        bindings: Mapping[str, _Shape] = {} if isinstance(target, Program) else home.bindings
        inner = replace(home, bindings=bindings, inlines=view.inlines, block=block, loops=view.loops, calls=view.calls)
        self._program(program, inner.within(shape))

    def _named(self, name: str) -> Program | None:
        source = self._partials.get(name)
        if isinstance(source, str):
            source = parse_program(source, name)
            self._partials[name] = source
        return source


def partial_names(program: Program) -> Iterator[str]:
    """Yield the names of the partials that `program` calls by a written name and does not define itself."""
    inside = {_static_name(node.name) for node in program.inlines}
    for node in program.body:
        for body in _bodies(node):
            yield from (name for name in partial_names(body) if name not in inside)
        if isinstance(node, Partial) and not isinstance(node.name, Call):
            name = _static_name(node.name)
            if name not in inside and name != "@partial-block":
                yield name
    for inline in program.inlines:
        yield from (name for name in partial_names(inline.program) if name not in inside)


def _bodies(node: object) -> list[Program]:
    if isinstance(node, Block):
        return node.bodies
    return [node.body] if isinstance(node, Partial) and node.body is not None else []


def _static_name(name: Expression) -> str:
    if isinstance(name, Literal):
        return name.text
    return name.path.original if isinstance(name, Call) else name.original
