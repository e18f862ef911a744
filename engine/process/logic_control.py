"""The operators of JSON Logic that decide what is evaluated: conditions, errors and iteration."""

from collections.abc import Callable
from typing import Any

from engine.process.logic_compile import Builder, Closure, Compiler, invalid, refusal
from engine.process.logic_tree import Call, Literal, LogicError, size_of
from engine.process.logic_values import Scope, shown, truthy


def _if(compiler: Compiler, call: Call) -> Closure:
    """`if`: condition and value in turn, then the value for none of them."""
    if call.direct:
        return refusal(call, "a list of conditions and values")
    parts = [compiler.compile(arg) for arg in call.args]
    pairs = list(zip(parts[0::2], parts[1::2], strict=False))
    otherwise = parts[-1] if len(parts) % 2 else None

    def choose(context: Any, scope: Any) -> Any:
        for condition, value in pairs:
            if truthy(condition(context, scope)):
                return value(context, scope)
        return None if otherwise is None else otherwise(context, scope)

    return choose


def _first(stop_at: bool) -> Builder:
    """Return the builder of `and` (stops at a false value) or `or` (stops at a true one)."""

    def build(compiler: Compiler, call: Call) -> Closure:
        if call.direct:
            return refusal(call, "a list of values")
        parts = [compiler.compile(arg) for arg in call.args]

        def decide(context: Any, scope: Any) -> Any:
            value: Any = False
            for part in parts:
                value = part(context, scope)
                if truthy(value) is stop_at:
                    return value
            return value

        return decide

    return build


def _coalesce(compiler: Compiler, call: Call) -> Closure:
    """`??`: the first value that is not null; a missing variable counts as null while another value follows."""
    parts = [compiler.lenient(arg) for arg in call.args[:-1]] + [compiler.compile(arg) for arg in call.args[-1:]]

    def first(context: Any, scope: Any) -> Any:
        for part in parts:
            value = part(context, scope)
            if value is not None:
                return value
        return None

    return first


def _try(compiler: Compiler, call: Call) -> Closure:
    """`try`: the first argument that gives no error; later ones have the error before them as their context."""
    compiler.needs_budget()
    parts = [compiler.compile(arg) for arg in call.args]

    def attempt(context: Any, scope: Scope) -> Any:
        if not parts:
            return None
        try:
            return parts[0](context, scope)
        except LogicError as error:
            failure = error
        inner = Scope(context, scope, scope.budget)
        for part in parts[1:]:
            try:
                return part(failure.error, inner)
            except LogicError as error:
                failure = error
        raise failure

    return attempt


def _throw(compiler: Compiler, call: Call) -> Closure:
    """`throw`: an error of this type, or this error object."""
    value = compiler.compile(call.args[0] if call.args else Literal(None, call.at))

    def throw(context: Any, scope: Any) -> Any:
        thrown: Any = value(context, scope)
        if isinstance(thrown, dict):
            kind = thrown.get("type")
            name = kind if isinstance(kind, str) else "Error"
            raise LogicError(name, f"the rule threw {name!r} at {call.at or 'the top'}", call.at, thrown)
        kind = thrown if isinstance(thrown, str) else shown(thrown)
        raise LogicError(kind, f"the rule threw {kind!r} at {call.at or 'the top'}", call.at)

    return throw


def _iteration(
    compiler: Compiler, call: Call, sizes: tuple[int, ...], null_refused: bool
) -> tuple[Closure, Closure, int] | None:
    """Return the closures of the list and of the body and what one round costs, or None for wrong arguments."""
    compiler.needs_budget()
    if call.direct or len(call.args) not in sizes:
        return None
    nulls = [isinstance(arg, Literal) and arg.value is None for arg in call.args[:2]]
    if null_refused and any(nulls):
        return None
    body = call.args[1]
    return compiler.compile(call.args[0]), compiler.compile(body), 1 + size_of(body)


def _each(collect: Callable[[list[Any], Closure, int, Scope], Any], null_is_empty: bool) -> Builder:
    """Return the builder of an operator over a list with a body evaluated for each element.

    `null_is_empty` says that a missing list gives [], while a null written in the rule is refused.
    """

    def build(compiler: Compiler, call: Call) -> Closure:
        compiled = _iteration(compiler, call, (2,), null_is_empty)
        if compiled is None:
            return refusal(call, "a list and what to do with each element")
        source, body, cost = compiled

        def run(context: Any, scope: Scope) -> Any:
            items = source(context, scope)
            if items is None and null_is_empty:
                return []
            if not isinstance(items, list):
                raise invalid(call, f"a list, not {shown(items)}")
            return collect(items, body, cost, Scope(context, scope, scope.budget))

        return run

    return build


def _map(items: list[Any], body: Closure, cost: int, inner: Scope) -> Any:
    result: list[Any] = []
    for inner.index, item in enumerate(items):
        inner.budget.spend(cost)
        inner.budget.grow(1)
        result.append(body(item, inner))
    return result


def _filter(items: list[Any], body: Closure, cost: int, inner: Scope) -> Any:
    result: list[Any] = []
    for inner.index, item in enumerate(items):
        inner.budget.spend(cost)
        if truthy(body(item, inner)):
            inner.budget.grow(1)
            result.append(item)
    return result


def _some(items: list[Any], body: Closure, cost: int, inner: Scope) -> Any:
    for inner.index, item in enumerate(items):
        inner.budget.spend(cost)
        if truthy(body(item, inner)):
            return True
    return False


def _none(items: list[Any], body: Closure, cost: int, inner: Scope) -> Any:
    return not _some(items, body, cost, inner)


def _all(items: list[Any], body: Closure, cost: int, inner: Scope) -> Any:
    for inner.index, item in enumerate(items):
        inner.budget.spend(cost)
        if not truthy(body(item, inner)):
            return False
    return bool(items)


def _reduce(compiler: Compiler, call: Call) -> Closure:
    """`reduce`: the body sees `current` and `accumulator`; without a start the first element is the start."""
    compiled = _iteration(compiler, call, (2, 3), False)
    if compiled is None:
        return refusal(call, "a list, what to do with each element, and a start")
    source, body, cost = compiled
    start = compiler.compile(call.args[2]) if len(call.args) > 2 else None

    def run(context: Any, scope: Scope) -> Any:
        items = source(context, scope)
        if items is not None and not isinstance(items, list):
            raise invalid(call, f"a list, not {shown(items)}")
        items = items or []
        total = None if start is None else start(context, scope)
        first = 0
        if start is None and items:
            total, first = items[0], 1
        inner = Scope(context, scope, scope.budget)
        for index in range(first, len(items)):
            scope.budget.spend(cost)
            inner.index = index
            total = body({"current": items[index], "accumulator": total}, inner)
        return total

    return run


CONTROL_OPERATORS: dict[str, Builder] = {
    "if": _if,
    "?:": _if,
    "and": _first(stop_at=False),
    "or": _first(stop_at=True),
    "??": _coalesce,
    "try": _try,
    "throw": _throw,
    "map": _each(_map, null_is_empty=True),
    "filter": _each(_filter, null_is_empty=True),
    "some": _each(_some, null_is_empty=False),
    "none": _each(_none, null_is_empty=False),
    "all": _each(_all, null_is_empty=False),
    "reduce": _reduce,
}
