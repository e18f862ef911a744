"""Turning a parsed rule into closures, once, so that evaluating it is only calling them.

A closure takes the context and the scope and returns the value. The scope is None for rules that neither iterate nor
build anything: those can't exceed a bound, so they carry no budget.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from engine.process.logic_tree import Call, Literal, LogicError, Node
from engine.process.logic_values import MISSING, Scope, find

Closure: TypeAlias = Callable[[Any, Any], Any]
Builder: TypeAlias = Callable[["Compiler", Call], Closure]


class Compiler:
    """Compiles nodes with the given operators; `strict` makes a missing variable an error."""

    def __init__(self, operators: dict[str, Builder], strict: bool) -> None:
        self.operators = operators
        self.strict = strict
        self.bounded = False

    def compile(self, node: Node) -> Closure:
        """Return the closure of a node."""
        if isinstance(node, Literal):
            value = node.value
            return lambda context, scope: value
        if isinstance(node, Call):
            return self.operators[node.op](self, node)
        parts = [self.compile(item) for item in node.items]
        return lambda context, scope: [part(context, scope) for part in parts]

    def lenient(self, node: Node) -> Closure:
        """Return the closure of a node in which a missing variable is null, as something stands in for it."""
        strict, self.strict = self.strict, False
        try:
            return self.compile(node)
        finally:
            self.strict = strict

    def needs_budget(self) -> None:
        """Say that the rule iterates or builds values, so that its evaluation carries a scope with a budget."""
        self.bounded = True

    def arguments(self, call: Call) -> Closure:
        """Return a closure giving the list of all arguments; a direct argument that gives a list is spread."""
        if not call.direct:
            parts = [self.compile(arg) for arg in call.args]
            return lambda context, scope: [part(context, scope) for part in parts]
        only = self.compile(call.args[0])

        def spread(context: Any, scope: Any) -> Any:
            value = only(context, scope)
            return value if isinstance(value, list) else [value]

        return spread


def refusal(call: Call, expected: str) -> Closure:
    """Return a closure that raises LogicError of type Invalid Arguments: wrong arguments fail when they are reached."""

    def refuse(context: Any, scope: Any) -> Any:
        raise invalid(call, expected)

    return refuse


def invalid(call: Call, expected: str) -> LogicError:
    """Return the error for arguments that the operator does not take."""
    return LogicError("Invalid Arguments", f"{call.op!r} at {call.at or 'the top'} takes {expected}", call.at)


def missing(name: str, at: str) -> LogicError:
    """Return the error for a variable that is not there, in strict evaluation."""
    return LogicError(
        "Missing Variable",
        f"there is no value {name!r} (at {at or 'the top'}); give a default, or ask for it with exists or ??",
        at,
    )


def lookup(path: tuple[str, ...], default: Closure | None, strict: bool, at: str) -> Closure:
    """Return a closure that reads a fixed path of the context."""

    def absent(context: Any, scope: Any) -> Any:
        value = find(context, path)
        if value is not MISSING:
            return value
        if default is not None:
            return default(context, scope)
        if strict:
            raise missing(".".join(path), at)
        return None

    if len(path) == 1:
        (key,) = path

        def one(context: Any, scope: Any) -> Any:
            try:
                return context[key]
            except (KeyError, TypeError):
                return absent(context, scope)

        return one
    if len(path) == 2:
        first, second = path

        def two(context: Any, scope: Any) -> Any:
            try:
                return context[first][second]
            except (KeyError, TypeError):
                return absent(context, scope)

        return two
    return absent if path else lambda context, scope: context


def climb(context: Any, scope: Scope, levels: int, path: tuple[str, ...]) -> Any:
    """Return what lies at the path `levels` up: odd levels hold the iteration (`index`), even ones the contexts."""
    if levels == 0 or scope.up is None:
        return find(context, path)
    for _ in range((levels - 1) // 2):
        if scope.up is not None:
            scope = scope.up
    if levels % 2 and path == ("index",) and scope.up is not None:
        return scope.index
    return find(scope.context, path)
