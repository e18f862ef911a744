"""The parsed form of a JSON Logic rule: one small tree that compiling, reading sets, tracing and typing share.

A rule is JSON: an object with exactly one key is a call of that operator, a list is a list of rules, `{}` and
scalars stand for themselves. `{"preserve": x}` stands for `x`, untouched.
Source: jsonlogic.com and the compatibility suites of the json-logic organisation.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from engine.errors import Exhausted, Problem

MAX_DEPTH = 128
MAX_OPERATIONS = 100_000


class LogicError(Problem):
    """A rule could not be evaluated: `type` is the kind that `try` sees, `path` the JSON pointer of the clause.

    `error` is the error object of the published semantics, `{"type": ...}` or whatever object was thrown.
    """

    code = "logic"

    def __init__(self, type: str, message: str, path: str = "", error: dict[str, Any] | None = None) -> None:
        super().__init__(message, type=type, path=path)
        self.type = type
        self.path = path
        self.error: dict[str, Any] = {"type": type} if error is None else error


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands for itself; `at` is the JSON pointer inside the rule."""

    value: Any
    at: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list in which at least one element is a call."""

    items: tuple["Node", ...]
    at: str


@dataclass(frozen=True, slots=True)
class Call:
    """One clause: operator, arguments, JSON pointer, the clause as written, and the number of clauses in it.

    `direct` says that the argument was written without a list, `{"!": x}`. A direct argument that is itself a
    call may give a list, which then is the list of arguments.
    """

    op: str
    args: tuple["Node", ...]
    direct: bool
    at: str
    raw: dict[str, Any]
    size: int


Node: TypeAlias = Literal | Items | Call


def size_of(node: Node) -> int:
    """Return how many clauses the node holds, itself included: its cost for one evaluation."""
    if isinstance(node, Call):
        return node.size
    return sum(size_of(item) for item in node.items) if isinstance(node, Items) else 0


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct sub-nodes, in the order of the rule."""
    if isinstance(node, Call):
        return node.args
    return node.items if isinstance(node, Items) else ()


class _Parser:
    """Reads one rule, counting nodes so that a rule that is too big is refused before it costs anything."""

    def __init__(self, operators: frozenset[str], max_operations: int, max_depth: int) -> None:
        self.operators = operators
        self.max_operations = max_operations
        self.max_depth = max_depth
        self.count = 0

    def read(self, rule: Any, at: str, depth: int) -> Node:
        self.count += 1
        if depth > self.max_depth:
            raise Exhausted(f"the rule is nested deeper than {self.max_depth} levels; split it", bound=self.max_depth)
        if self.count > self.max_operations:
            raise Exhausted(f"the rule has more than {self.max_operations} parts; split it", bound=self.max_operations)
        if isinstance(rule, dict):
            return self._call(rule, at, depth)
        if isinstance(rule, list):
            items = tuple(self.read(item, f"{at}/{index}", depth + 1) for index, item in enumerate(rule))
            if all(isinstance(item, Literal) for item in items):
                return Literal([item.value for item in items if isinstance(item, Literal)], at)
            return Items(items, at)
        if rule is None or isinstance(rule, (str, int, float)):
            return Literal(rule, at)
        raise LogicError("Invalid Rule", f"a rule is JSON, but {at or 'the rule'} holds a {type(rule).__name__}", at)

    def _call(self, rule: dict[Any, Any], at: str, depth: int) -> Node:
        if not rule:
            return Literal({}, at)
        op = next(iter(rule))
        if len(rule) != 1:
            names = ", ".join(str(key)[:40] for key in list(rule)[:5])
            raise LogicError(
                "Unknown Operator",
                f"an object in a rule has one key, its operator, but {at or 'the rule'} has {len(rule)} ({names}); "
                'write {"preserve": {...}} for an object that is data',
                at,
            )
        if op == "preserve":
            return Literal(rule[op], at)
        if not isinstance(op, str) or op not in self.operators:
            raise LogicError("Unknown Operator", f"there is no operator {str(op)[:80]!r} (at {at or 'the top'})", at)
        here = f"{at}/{op.replace('~', '~0').replace('/', '~1')}"
        value = rule[op]
        direct = not isinstance(value, list)
        if isinstance(value, list):
            args = tuple(self.read(item, f"{here}/{index}", depth + 1) for index, item in enumerate(value))
        else:
            args = (self.read(value, here, depth + 1),)
        return Call(op, args, direct, at, rule, 1 + sum(size_of(arg) for arg in args))


def parse(rule: Any, operators: frozenset[str], max_operations: int, max_depth: int) -> Node:
    """Parse a JSON value into a tree.

    Raises LogicError for an unknown operator or a value that is not JSON, Exhausted for one too deep or too big.
    """
    return _Parser(operators, max_operations, max_depth).read(rule, "", 0)
