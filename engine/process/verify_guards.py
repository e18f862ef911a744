"""Totality of guards: whether the ways on cover every case, and which of them can never be taken.

The proof enumerates: where guards only compare variables with constants, the constants divide the values of each
variable into finitely many cases, and one sample of each case decides all of it. Guards that do more are not proved.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.errors import Problem
from engine.process.findings import Finding, error, warning
from engine.process.logic import Path, Rule, compile_rule, truthy
from engine.process.logic_tree import Call, Items, Literal, Node
from engine.process.verify_schema import ANY, look_up, types_of, values_of
from engine.process.verify_types import Values, variable

MAX_CASES = 5000
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!=", "===", "!=="})
_CONNECTIVES = frozenset({"and", "or", "!", "!!", "if", "?:"})


@dataclass(frozen=True, slots=True)
class Way:
    """One guarded way: its pointer, where it leads in words, and its guard; None is the default.

    One that `offers` waits for a person: it is open beside those after it that do.
    """

    at: str
    label: str
    guard: Any
    offers: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """What a node may have chosen itself: which ways are open then, what is known then, and whether it must go on."""

    ways: tuple[int, ...]
    cases: "Cases"
    chosen: str = ""
    needed: bool = True


class _Unprovable(Exception):
    """A guard does more than comparing variables with constants."""


class Cases:
    """The finite cases that guards tell apart, as samples of the context."""

    def __init__(self, schema: dict[str, Any], decisions: Values, local: frozenset[str]) -> None:
        self.schema = schema
        self.decisions = decisions
        self.local = local
        self.constants: dict[Path, list[Any]] = {}

    def read(self, node: Node) -> None:
        """Collect the constants each variable is compared with."""
        if isinstance(node, Literal):
            return
        if isinstance(node, Items):
            raise _Unprovable
        path = variable(node)
        if path is not None:
            self.constants.setdefault(path, [])
        elif node.op in _CONNECTIVES:
            for arg in node.args:
                self.read(arg)
        elif node.op in _COMPARISONS and len(node.args) == 2:
            self._compared(node.args[0], node.args[1])
        elif node.op == "in" and len(node.args) == 2:
            self._member(node)
        else:
            raise _Unprovable

    def _compared(self, left: Node, right: Node) -> None:
        for one, other in ((left, right), (right, left)):
            path = variable(one)
            if path is not None and isinstance(other, Literal) and not isinstance(other.value, (list, dict)):
                self.constants.setdefault(path, []).append(other.value)
                return
        if not (isinstance(left, Literal) and isinstance(right, Literal)):
            raise _Unprovable

    def _member(self, node: Call) -> None:
        path, options = variable(node.args[0]), node.args[1]
        if path is None or not isinstance(options, Literal) or not isinstance(options.value, list):
            raise _Unprovable
        self.constants.setdefault(path, []).extend(options.value)

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yield one context for each combination of cases."""
        paths = sorted(self.constants)
        if any(path != other and other[: len(path)] == path for path in paths for other in paths):
            raise _Unprovable
        domains = [self._domain(path) for path in paths]
        total = 1
        for domain in domains:
            total *= len(domain)
        if total > MAX_CASES:
            raise _Unprovable
        for values in itertools.product(*domains):
            context: dict[str, Any] = {}
            for path, value in zip(paths, values, strict=True):
                inner = context
                for key in path[:-1]:
                    inner = inner.setdefault(key, {})
                inner[path[-1]] = value
            yield context

    def _domain(self, path: Path) -> list[Any]:
        if path[0] in self.local:
            raise _Unprovable
        decided = self.decisions(path)
        if decided is not None:
            return decided
        schema = look_up(self.schema, path).schema
        finite = values_of(schema)
        if finite is not None:
            return finite
        types = types_of(schema)
        if types == ANY or types & {"array", "object"}:
            raise _Unprovable
        constants = self.constants[path]
        domain: list[Any] = [None] if "null" in types else []
        if "boolean" in types:
            domain += [True, False]
        if "string" in types:
            domain += _texts([value for value in constants if isinstance(value, str)])
        if "number" in types:
            numbers = [value for value in constants if isinstance(value, (int, float)) and not isinstance(value, bool)]
            domain += _numbers(numbers, schema)
        return domain


def _texts(constants: list[str]) -> list[Any]:
    """Return the constants, the empty text, and a text before, between and after them."""
    ordered = sorted(set(constants))
    return sorted({"", *ordered, *(f"{text}\u0000" for text in ordered), *([] if ordered else ["a"])})


def _numbers(constants: list[int | float], schema: dict[str, Any]) -> list[Any]:
    """Return the constants and zero with a number on each side of them, within the bounds of the schema."""
    limits = [schema[word] for word in ("minimum", "maximum") if isinstance(schema.get(word), (int, float))]
    step: int | float = 1
    if schema.get("type") != "integer":
        ordered = sorted({*constants, *limits, 0})
        gaps = [second - first for first, second in itertools.pairwise(ordered)]
        step = min([1.0, *gaps]) / 4
    points = {point for value in (*constants, *limits, 0) for point in (value - step, value, value + step)}
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema.get("type") == "integer":
        points = {point for point in points if point == int(point)}
    return sorted(
        point
        for point in points
        if (low is None or point >= low)
        and (high is None or point <= high)
        and (above is None or point > above)
        and (below is None or point < below)
    )


def check_ways(ways: list[Way], rounds: list[Round], at: str, last: str) -> Iterator[Finding]:
    """Yield the ways that are never taken, and the first case in which there is none; `last` says the remedy."""
    taken: set[int] = set()
    proved, missed = True, False
    for one in rounds:
        try:
            found, uncovered = _cases_of(ways, one)
        except _Unprovable:
            proved = False
            if one.needed and not missed and all(ways[index].guard is not None for index in one.ways):
                missed = True
                yield error("no_default", at, f"it can't be shown that a guard always holds; {last}")
            continue
        except Problem:
            return
        taken |= found
        if one.needed and uncovered is not None and not missed:
            missed = True
            chosen = f"{one.chosen!r} with {_shown(uncovered)}" if one.chosen else _shown(uncovered)
            yield error("not_total", at, f"no guard holds for {chosen}; {last}")
    for index, way in enumerate(ways):
        if proved and index not in taken:
            yield warning(
                "never_taken", way.at, f"whenever its guard holds an earlier one does; {way.label} is never taken"
            )


def _cases_of(ways: list[Way], one: Round) -> tuple[set[int], dict[str, Any] | None]:
    """Return which ways are taken in some case, and a case in which none is."""
    rules: dict[int, Rule | None] = {}
    for index in one.ways:
        guard = ways[index].guard
        rule = rules[index] = None if guard is None else compile_rule(guard)
        if rule is not None:
            one.cases.read(rule.tree)
    taken: set[int] = set()
    uncovered: dict[str, Any] | None = None
    for sample in one.cases.samples():
        found = _taken(ways, rules, sample)
        taken |= found
        if not found and uncovered is None:
            uncovered = sample
    return taken, uncovered


def _taken(ways: list[Way], rules: dict[int, Rule | None], sample: dict[str, Any]) -> set[int]:
    """Return the first way that holds, or all that are offered where the first is."""
    offered: set[int] = set()
    for index, rule in rules.items():
        if offered and not ways[index].offers:
            continue
        if rule is not None and not _holds(rule, sample):
            continue
        if not ways[index].offers:
            return {index}
        offered.add(index)
    return offered


def _holds(rule: Rule, sample: dict[str, Any]) -> bool:
    """Tell whether a guard holds; one that fails takes no way either."""
    try:
        return truthy(rule(sample))
    except Problem:
        return False


def _shown(sample: dict[str, Any], prefix: str = "") -> str:
    parts: list[str] = []
    for key, value in sample.items():
        if isinstance(value, dict):
            parts.append(_shown(value, f"{prefix}{key}."))
        else:
            parts.append(f"{prefix}{key} = {value!r}")
    return ", ".join(parts) or "any context"
