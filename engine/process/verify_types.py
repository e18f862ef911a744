"""Typing of guards and inputs against the context's schema: what can't be compared, added or ever be equal."""

from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import Problem
from engine.process.findings import Finding, error, warning
from engine.process.logic import compile_rule
from engine.process.logic_tree import Call, Items, Literal, Node
from engine.process.logic_values import path_of
from engine.process.verify_schema import ANY, Types, look_up, type_of, types_of, values_of

_ORDER = frozenset({"<", "<=", ">", ">="})
_EQUALITY = frozenset({"==", "!=", "===", "!=="})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "max", "min"})
_BOOLEAN = frozenset({"!", "!!", "all", "some", "none", "in", "exists"}) | _ORDER | _EQUALITY
_LISTS = frozenset({"map", "filter", "merge", "missing", "missing_some"})
_SCOPED = frozenset({"map", "filter", "all", "some", "none", "reduce", "try"})
_NUMBERS: Types = frozenset({"number"})
_OBJECTS: Types = frozenset({"object"})
_TEXTS: Types = frozenset({"string"})

Values = Callable[[tuple[str, ...]], list[Any] | None]


class Typing:
    """Types the clauses of one expression; `decisions` gives the values a path has beyond what its schema says."""

    def __init__(self, schema: dict[str, Any], local: frozenset[str], decisions: Values) -> None:
        self.schema = schema
        self.local = local
        self.decisions = decisions

    def check(self, rule: Any, at: str) -> Iterator[Finding]:
        """Yield the clauses whose operands can't go together; expressions that do not compile are found elsewhere."""
        try:
            tree = compile_rule(rule).tree
        except Problem:
            return
        yield from self._check(tree, at)

    def _check(self, node: Node, at: str) -> Iterator[Finding]:
        if isinstance(node, Items):
            for item in node.items:
                yield from self._check(item, at)
        if not isinstance(node, Call):
            return
        if node.op in _SCOPED:
            # The bodies of iterations see other contexts; only what they iterate over is typed here.
            if node.args:
                yield from self._check(node.args[0], at)
            return
        for arg in node.args:
            yield from self._check(arg, at)
        if node.op in _ORDER:
            yield from self._order(node, at)
        elif node.op in _EQUALITY:
            yield from self._equality(node, at)
        elif node.op in (*_ARITHMETIC, "cat") and not node.direct:
            yield from self._operands(node, at)

    def _operands(self, node: Call, at: str) -> Iterator[Finding]:
        for arg in node.args:
            types = self.types(arg)
            if node.op == "cat":
                if types == _OBJECTS:
                    yield error("guard_type", at + arg.at, "'cat' takes texts, and an object has none; name a field")
            elif not types & {"number", "boolean", "null"} and (types != _TEXTS or node.op in ("max", "min")):
                yield error("guard_type", at + arg.at, f"{node.op!r} takes numbers, not {_named(types)}")

    def _order(self, node: Call, at: str) -> Iterator[Finding]:
        for left, right in zip(node.args, node.args[1:], strict=False):
            first, second = self.types(left), self.types(right)
            if first == ANY or second == ANY:
                continue
            bare = (first - {"null"}, second - {"null"})
            if not bare[0] & bare[1] & {"number", "string"} and not (bare[0] <= {"null"} or bare[1] <= {"null"}):
                yield error(
                    "guard_type",
                    at + node.at,
                    f"{node.op!r} compares {_named(first)} with {_named(second)}; compare numbers with numbers and "
                    "texts with texts",
                )
            elif "null" in first | second:
                yield warning(
                    "nullable_comparison",
                    at + node.at,
                    f"null counts as 0 for {node.op!r}; test the value for null first",
                )

    def _equality(self, node: Call, at: str) -> Iterator[Finding]:
        for left, right in zip(node.args, node.args[1:], strict=False):
            first, second = self.types(left), self.types(right)
            if first != ANY and second != ANY and not first & second and "null" not in first | second:
                yield error(
                    "guard_type",
                    at + node.at,
                    f"{node.op!r} compares {_named(first)} with {_named(second)}, never equal",
                )
                continue
            for one, other in ((left, right), (right, left)):
                allowed = self.values(one)
                if allowed is not None and isinstance(other, Literal) and other.value not in [*allowed, None]:
                    listed = ", ".join(str(value) for value in allowed[:10])
                    yield error(
                        "never_equal", at + node.at, f"{other.value!r} is not one of its values; it has {listed}"
                    )

    def values(self, node: Node) -> list[Any] | None:
        """Return the finite list of values of a variable, or None."""
        path = variable(node)
        if path is None or path[0] in self.local:
            return None
        decided = self.decisions(path)
        return decided if decided is not None else values_of(look_up(self.schema, path).schema)

    def types(self, node: Node) -> Types:
        """Return the types a clause may give."""
        if isinstance(node, Literal):
            return frozenset({type_of(node.value)})
        if isinstance(node, Items):
            return frozenset({"array"})
        if node.op in ("var", "val"):
            path = variable(node)
            if path is None or path[0] in self.local:
                return ANY
            if self.decisions(path) is not None:
                return frozenset({"string"})
            return types_of(look_up(self.schema, path).schema)
        if node.op in _BOOLEAN:
            return frozenset({"boolean"})
        if node.op in _ARITHMETIC or node.op == "length":
            return _NUMBERS
        if node.op in ("cat", "substr"):
            return frozenset({"string"})
        if node.op in _LISTS:
            return frozenset({"array"})
        return ANY


def variable(node: Node) -> tuple[str, ...] | None:
    """Return the path of a clause that reads a fixed path without a default, or None."""
    if not isinstance(node, Call) or node.op not in ("var", "val"):
        return None
    keys = [arg.value for arg in node.args if isinstance(arg, Literal)]
    if len(keys) != len(node.args) or not keys or any(isinstance(key, (list, dict)) for key in keys):
        return None
    if node.op == "var":
        path = path_of(keys[0], node.at) if len(keys) == 1 else ()
    else:
        path = tuple(str(key) for key in keys if key is not None)
    return path or None


def _named(types: Types) -> str:
    return " or ".join(sorted(types))
