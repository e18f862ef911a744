"""JSON Logic as published: classic operators and `val`, `exists`, `??`, `try`, `throw`, `length` and scopes.

Compiled once to closures, evaluated without clock, randomness or side effect, and bounded in operations, depth and in
what a rule may build. Source: jsonlogic.com and the compatibility suites of the json-logic organisation.
"""

from typing import Any

from engine.errors import Exhausted, Problem
from engine.process.logic_compile import Builder, Compiler
from engine.process.logic_control import CONTROL_OPERATORS
from engine.process.logic_operators import VALUE_OPERATORS
from engine.process.logic_reads import Path, Reference, references
from engine.process.logic_trace import TracingCompiler, clip
from engine.process.logic_tree import MAX_DEPTH, MAX_OPERATIONS, LogicError, Node, parse
from engine.process.logic_values import Budget, Scope, truthy

__all__ = ["LogicError", "Path", "Reference", "Rule", "compile_rule", "evaluate", "explain", "reads", "truthy"]

OPERATORS: dict[str, Builder] = {**VALUE_OPERATORS, **CONTROL_OPERATORS}
NAMES = frozenset(OPERATORS) | {"preserve"}


class Rule:
    """A compiled rule: `rule(data)` evaluates it.

    The result may share parts with the data and the rule: don't change it. Raises LogicError, whose `type` and `path`
    say what failed where, and Exhausted when a bound is reached, which `try` can't catch.
    """

    __slots__ = ("_max_operations", "_run", "_tree")

    def __init__(self, tree: Node, compiler: Compiler, max_operations: int) -> None:
        self._tree = tree
        self._run = compiler.compile(tree)
        self._max_operations = max_operations if compiler.bounded else 0

    def __call__(self, data: Any) -> Any:
        """Return the value of the rule over a JSON value."""
        try:
            if not self._max_operations:
                return self._run(data, None)
            return self._run(data, Scope(data, None, Budget(self._max_operations)))
        except RecursionError:
            raise Exhausted("the rule was evaluated too deep inside other calls; nest it less") from None

    @property
    def tree(self) -> Node:
        """The parsed rule, for what works on it: typing, reading sets."""
        return self._tree

    def explain(self, data: Any) -> dict[str, Any]:
        """Return how the rule comes to its value, as `explain` does; a missing variable is null."""
        return _explained(self._tree, data, False)

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every path of the context that the rule reads, and whether it must be there."""
        return references(self._tree)


def compile_rule(
    rule: Any, *, strict: bool = False, max_operations: int = MAX_OPERATIONS, max_depth: int = MAX_DEPTH
) -> Rule:
    """Compile a JSON value; with `strict` a missing variable is an error unless it has a default.

    Raises LogicError for an unknown operator, Exhausted for a rule that is too deep or too big.
    """
    tree = parse(rule, NAMES, max_operations, min(max_depth, MAX_DEPTH))
    return Rule(tree, Compiler(OPERATORS, strict), max_operations)


def evaluate(rule: Any, data: Any, strict: bool = False) -> Any:
    """Compile and evaluate once; see `compile_rule` and `Rule`."""
    return compile_rule(rule, strict=strict)(data)


def reads(rule: Any) -> frozenset[Path]:
    """Return the paths of the context that the rule reads: tuples of keys, "*" for any element, () for all of it."""
    return frozenset(reference.path for reference in compile_rule(rule).references)


def explain(rule: Any, data: Any, strict: bool = False) -> dict[str, Any]:
    """Return how the rule came to its value: `{value | error, clauses: [{at, clause, value | error, clauses}]}`.

    Values are shortened and at most 200 clauses are written down; a rule that fails is explained, not raised.
    """
    try:
        tree = parse(rule, NAMES, MAX_OPERATIONS, MAX_DEPTH)
    except LogicError as error:
        return {"error": {**clip(error.error), "message": error.message, "path": error.path}, "clauses": []}
    except Problem as problem:
        return {"error": {"type": problem.code, "message": problem.message}, "clauses": []}
    return _explained(tree, data, strict)


def _explained(tree: Node, data: Any, strict: bool) -> dict[str, Any]:
    clauses: list[dict[str, Any]] = []
    try:
        compiler = TracingCompiler(OPERATORS, strict)
        clauses = compiler.top
        return {"value": clip(Rule(tree, compiler, MAX_OPERATIONS)(data)), "clauses": clauses}
    except LogicError as error:
        return {"error": {**clip(error.error), "message": error.message, "path": error.path}, "clauses": clauses}
    except Problem as problem:
        return {"error": {"type": problem.code, "message": problem.message}, "clauses": clauses}
