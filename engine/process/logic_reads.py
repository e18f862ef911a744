"""What a rule reads: every path of its context, through iterations, jumps and defaults.

A path is a tuple of keys; "*" stands for any element of a list and () for the whole context, which is also what a
computed path may read.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from engine.process.logic_tree import Call, Literal, LogicError, Node, children
from engine.process.logic_values import path_of

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """One reading of a path; `required` says that nothing stands in when it is absent, `at` is the JSON pointer."""

    path: Path
    required: bool
    at: str


@dataclass(frozen=True, slots=True)
class _View:
    """Where the context of a clause comes from: its path in the root context, or None for values made by the rule."""

    base: Path | None
    members: tuple[tuple[str, "_View"], ...] = ()

    def resolve(self, path: Path) -> Path | None:
        if path:
            for name, view in self.members:
                if name == path[0]:
                    return view.resolve(path[1:])
        return None if self.base is None else self.base + path


_MADE = _View(None)


class _Reader:
    def __init__(self) -> None:
        self.found: dict[Reference, None] = {}

    def note(self, views: tuple[_View, ...], path: Path, required: bool, at: str, known: frozenset[Path]) -> None:
        resolved = views[-1].resolve(path)
        if resolved is not None:
            self.found[Reference(resolved, required and resolved not in known, at)] = None

    def read(self, node: Node, views: tuple[_View, ...], required: bool, known: frozenset[Path]) -> None:
        """Note what the node reads; `views` are the contexts from the root inwards, `known` the paths tested before."""
        if not isinstance(node, Call):
            for child in children(node):
                self.read(child, views, required, known)
            return
        if node.op in ("var", "val", "exists", "missing", "missing_some"):
            self._data(node, views, required, known)
        elif node.op in ("map", "filter", "all", "some", "none", "reduce") and not node.direct and len(node.args) > 1:
            self._iteration(node, views, required, known)
        elif node.op == "try":
            for index, arg in enumerate(node.args):
                last = index == len(node.args) - 1
                self.read(arg, views if index == 0 else (*views, _MADE), required and last, known)
        elif node.op == "??":
            for index, arg in enumerate(node.args):
                self.read(arg, views, required and index == len(node.args) - 1, known)
        elif node.op in ("and", "if", "?:"):
            self._guarded(node, views, required, known)
        else:
            for arg in node.args:
                self.read(arg, views, required, known)

    def _guarded(self, node: Call, views: tuple[_View, ...], required: bool, known: frozenset[Path]) -> None:
        """Read `and` or `if`: what `exists` has tested needs no default in what is evaluated only then."""
        for index, arg in enumerate(node.args):
            if node.op == "and":
                self.read(arg, views, required, known)
                known |= _tested(arg, views)
            else:
                tested = _tested(node.args[index - 1], views) if index % 2 else frozenset[Path]()
                self.read(arg, views, required, known | tested)

    def _iteration(self, node: Call, views: tuple[_View, ...], required: bool, known: frozenset[Path]) -> None:
        source, body = node.args[0], node.args[1]
        self.read(source, views, required, known)
        for start in node.args[2:]:
            self.read(start, views, required, known)
        path = _path_of_source(source, views)
        element = _MADE if path is None else _View((*path, "*"))
        if node.op == "reduce":
            element = _View(None, (("current", element), ("accumulator", _MADE)))
        self.read(body, (*views, element), required, known)

    def _data(self, node: Call, views: tuple[_View, ...], required: bool, known: frozenset[Path]) -> None:
        literal = [arg.value for arg in node.args if isinstance(arg, Literal)]
        computed = len(literal) != len(node.args)
        if node.op == "var":
            self._var(node, views, required, known)
        elif computed:
            for arg in node.args:
                self.read(arg, views, required, known)
            self.note(views, (), False, node.at, known)
        elif node.op in ("missing", "missing_some"):
            keys = literal[-1] if literal and isinstance(literal[-1], list) else literal
            for key in keys:
                self.note(views, _dotted(key, node), False, node.at, known)
        else:
            climbed, path = _climb(literal, views)
            if path is not None:
                self.note(climbed, path, required and node.op == "val", node.at, known)

    def _var(self, node: Call, views: tuple[_View, ...], required: bool, known: frozenset[Path]) -> None:
        for default in node.args[1:]:
            self.read(default, views, required, known)
        key = node.args[0] if node.args else Literal(None, node.at)
        if isinstance(key, Literal) and not isinstance(key.value, (list, dict)):
            self.note(views, _dotted(key.value, node), required and len(node.args) < 2, node.at, known)
        else:
            self.read(key, views, required, known)
            self.note(views, (), False, node.at, known)


def _dotted(key: Any, node: Call) -> Path:
    try:
        return path_of(key, node.at)
    except LogicError:
        return ()


def _climb(keys: list[Any], views: tuple[_View, ...]) -> tuple[tuple[_View, ...], Path | None]:
    """Return the contexts after a jump and the path from there; None for the index of an iteration."""
    levels = 0
    if keys and isinstance(keys[0], list):
        jump = keys[0]
        levels = abs(jump[0]) if jump and isinstance(jump[0], int) else 0
        keys = keys[1:]
    path = tuple(str(key) for key in keys if key is not None)
    if levels % 2 and path == ("index",) and len(views) > 1:
        return views, None
    return views[: max(1, len(views) - (levels + 1) // 2)], path


def _path_of_source(node: Node, views: tuple[_View, ...]) -> Path | None:
    """Return the path of the list that is iterated over, where the rule names it; a filtered list is the same list."""
    if isinstance(node, Call) and node.op == "filter" and node.args:
        return _path_of_source(node.args[0], views)
    if not isinstance(node, Call) or node.op not in ("var", "val"):
        return None
    literal = [arg.value for arg in node.args if isinstance(arg, Literal)]
    if len(literal) != len(node.args):
        return None
    if node.op == "var":
        return views[-1].resolve(_dotted(literal[0] if literal else None, node))
    climbed, path = _climb(literal, views)
    return None if path is None else climbed[-1].resolve(path)


def _tested(node: Node, views: tuple[_View, ...]) -> frozenset[Path]:
    """Return the paths that exist when the condition holds."""
    if not isinstance(node, Call):
        return frozenset()
    if node.op == "and":
        return frozenset().union(*(_tested(arg, views) for arg in node.args))
    literal = [arg.value for arg in node.args if isinstance(arg, Literal)]
    if node.op == "exists" and len(literal) == len(node.args):
        climbed, path = _climb(literal, views)
        resolved = None if path is None else climbed[-1].resolve(path)
        return frozenset() if resolved is None else frozenset({resolved})
    return frozenset()


def references(node: Node) -> tuple[Reference, ...]:
    """Return every reading of the root context in the order of the rule."""
    reader = _Reader()
    reader.read(node, (_View(()),), True, frozenset())
    return tuple(reader.found)
