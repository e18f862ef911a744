"""The operators of JSON Logic on values: data access, arithmetic, comparison, text and lists."""

import math
import operator
from collections.abc import Callable
from typing import Any

from engine.process.logic_compile import Builder, Closure, Compiler, climb, invalid, lookup, missing, refusal
from engine.process.logic_tree import Call, Literal, LogicError
from engine.process.logic_values import (
    MISSING,
    Scope,
    find,
    loosely_equal,
    number,
    ordered,
    path_of,
    same,
    shown,
    text,
    tidy,
    truthy,
)


def _var(compiler: Compiler, call: Call) -> Closure:
    """`var`: a dotted path and a default."""
    if not call.direct and not call.args:
        return lambda context, scope: context
    key = call.args[0]
    default = compiler.compile(call.args[1]) if len(call.args) > 1 else None
    strict, at = compiler.strict, call.at
    if isinstance(key, Literal) and not isinstance(key.value, (list, dict)):
        return lookup(path_of(key.value, at), default, strict, at)
    arguments = compiler.arguments(call)

    def computed(context: Any, scope: Any) -> Any:
        values = arguments(context, scope)
        path = path_of(values[0], at) if values else ()
        value = find(context, path)
        if value is not MISSING:
            return value
        if len(values) < 2 and strict:
            raise missing(".".join(path), at)
        return values[1] if len(values) > 1 else None

    return computed


def _reader(compiler: Compiler, call: Call) -> Closure:
    """Return a closure giving the value or MISSING at the list of keys that `val` and `exists` take."""
    literal = not call.direct and all(isinstance(arg, Literal) for arg in call.args)
    if literal or (call.direct and isinstance(call.args[0], Literal)):
        levels, path = _keys([arg.value for arg in call.args if isinstance(arg, Literal)], call)
        if not levels:
            return lambda context, scope: find(context, path)
        compiler.needs_budget()
        return lambda context, scope: climb(context, scope, levels, path)
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def computed(context: Any, scope: Scope) -> Any:
        levels, path = _keys(arguments(context, scope), call)
        return climb(context, scope, levels, path)

    return computed


def _keys(values: list[Any], call: Call) -> tuple[int, tuple[str, ...]]:
    """Return how many levels to climb and the keys from there; raises LogicError for keys that are no scalars."""
    levels = 0
    if values and isinstance(values[0], list):
        jump = values[0]
        if len(jump) > 1 or any(isinstance(value, bool) or not isinstance(value, int) for value in jump):
            raise invalid(call, "keys, after at most one jump such as [2]")
        levels = min(abs(jump[0]), 1_000_000) if jump else 0
        values = values[1:]
    if values == [None]:
        return levels, ()
    return levels, tuple(text(value, call.at) for value in values)


def _val(compiler: Compiler, call: Call) -> Closure:
    """`val`: a list of keys, after an optional jump to an outer scope."""
    literal = [arg.value for arg in call.args if isinstance(arg, Literal)]
    strict, at = compiler.strict, call.at
    if len(literal) == len(call.args) and not any(isinstance(value, (list, dict)) for value in literal):
        return lookup(_keys(literal, call)[1], None, strict, at)
    read = _reader(compiler, call)

    def value_of(context: Any, scope: Any) -> Any:
        value = read(context, scope)
        if value is MISSING:
            if strict:
                raise missing(shown(call.raw["val"]), at)
            return None
        return value

    return value_of


def _exists(compiler: Compiler, call: Call) -> Closure:
    """`exists`: whether there is a value, null included, at the list of keys."""
    read = _reader(compiler, call)
    return lambda context, scope: read(context, scope) is not MISSING


def _missing(compiler: Compiler, call: Call) -> Closure:
    """`missing`: the paths, of those given, at which there is nothing, null or an empty text."""
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def absent(context: Any, scope: Scope) -> Any:
        keys = arguments(context, scope)
        return _absent(keys[0] if keys and isinstance(keys[0], list) else keys, context, scope, call)

    return absent


def _absent(keys: list[Any], context: Any, scope: Scope, call: Call) -> list[Any]:
    scope.budget.spend(len(keys))
    return [key for key in keys if find(context, path_of(key, call.at)) in (MISSING, None, "")]


def _missing_some(compiler: Compiler, call: Call) -> Closure:
    """`missing_some`: [] when at least so many of the paths are there, else those that are not."""
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def absent(context: Any, scope: Scope) -> Any:
        values = arguments(context, scope)
        if len(values) != 2 or not isinstance(values[1], list):
            raise invalid(call, "a number and a list of paths")
        found = _absent(values[1], context, scope, call)
        return [] if len(values[1]) - len(found) >= number(values[0], call.at) else found

    return absent


def _remainder(left: int | float, right: int | float) -> int | float:
    if isinstance(left, int) and isinstance(right, int):
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.fmod(left, right)


def _quotient(left: int | float, right: int | float) -> int | float:
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _arithmetic(apply: Callable[[Any, Any], Any], unary: Callable[[Any], Any] | None, empty: int | None) -> Builder:
    """Return the builder of an operator folded over numbers; None for `unary` or `empty` refuses that many."""

    def build(compiler: Compiler, call: Call) -> Closure:
        at = call.at
        arguments = compiler.arguments(call)

        def fold(context: Any, scope: Any) -> Any:
            values = arguments(context, scope)
            if not values:
                if empty is None:
                    raise invalid(call, "at least one number")
                return empty
            total = number(values[0], at)
            try:
                if len(values) == 1:
                    if unary is None:
                        raise invalid(call, "at least two numbers")
                    return tidy(unary(total), at)
                for value in values[1:]:
                    total = tidy(apply(total, number(value, at)), at)
            except ArithmeticError:
                raise LogicError("NaN", f"{call.op!r} at {at or 'the top'} gives no finite number", at) from None
            return tidy(total, at)

        if call.direct or len(call.args) != 2:
            return fold
        left, right = compiler.compile(call.args[0]), compiler.compile(call.args[1])

        def pair(context: Any, scope: Any) -> Any:
            x, y = left(context, scope), right(context, scope)
            try:
                return tidy(apply(number(x, at), number(y, at)), at)
            except ArithmeticError:
                raise LogicError("NaN", f"{call.op!r} at {at or 'the top'} gives no finite number", at) from None

        return pair

    return build


def _extreme(pick: Callable[[Any], Any]) -> Builder:
    """Return the builder of `max` or `min`: of numbers only."""

    def build(compiler: Compiler, call: Call) -> Closure:
        arguments = compiler.arguments(call)

        def extreme(context: Any, scope: Any) -> Any:
            values = arguments(context, scope)
            if not values or any(type(value) is not int and type(value) is not float for value in values):
                raise invalid(call, "one or more numbers")
            return pick([number(value, call.at) for value in values])

        return extreme

    return build


def _comparison(fast: Callable[[Any, Any], bool], slow: Callable[[Any, Any, str, Any], bool]) -> Builder:
    """Return the builder of a comparison of each argument with the next, until one does not hold.

    `fast` decides two texts or two numbers of one type, `slow` everything else.
    """

    def build(compiler: Compiler, call: Call) -> Closure:
        at = call.at
        if call.direct or len(call.args) < 2:
            return refusal(call, "a list of two or more values")
        parts = [compiler.compile(arg) for arg in call.args]
        left, right = parts[0], parts[1]
        constant = call.args[1]
        if len(parts) == 2 and isinstance(constant, Literal) and type(constant.value) in (str, int):
            fixed = constant.value
            kind = type(fixed)

            def against(context: Any, scope: Any) -> Any:
                x = left(context, scope)
                return fast(x, fixed) if type(x) is kind else slow(x, fixed, at, scope)

            return against

        def holds(x: Any, y: Any, scope: Any) -> bool:
            kind = type(x)
            if kind is type(y) and (kind is str or kind is int):
                return fast(x, y)
            return slow(x, y, at, scope)

        if len(parts) == 2:
            return lambda context, scope: holds(left(context, scope), right(context, scope), scope)

        def chain(context: Any, scope: Any) -> Any:
            x = left(context, scope)
            for part in parts[1:]:
                y = part(context, scope)
                if not holds(x, y, scope):
                    return False
                x = y
            return True

        return chain

    return build


def _order(relation: Callable[[Any, Any], bool]) -> Builder:
    return _comparison(relation, lambda x, y, at, scope: relation(*ordered(x, y, at)))


def _negation(negate: bool) -> Builder:
    """Return the builder of `!` or `!!`; a list given directly is the value itself, as in the classic library."""

    def build(compiler: Compiler, call: Call) -> Closure:
        if not call.args:
            return lambda context, scope: negate
        value = compiler.compile(call.args[0])
        if negate:
            return lambda context, scope: not truthy(value(context, scope))
        return lambda context, scope: truthy(value(context, scope))

    return build


def _cat(compiler: Compiler, call: Call) -> Closure:
    """`cat`: all arguments as one text."""
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def join(context: Any, scope: Scope) -> Any:
        parts = [text(value, call.at) for value in arguments(context, scope)]
        scope.budget.grow(sum(map(len, parts)))
        return "".join(parts)

    return join


def _substr(compiler: Compiler, call: Call) -> Closure:
    """`substr`: from a position, counted from the end when negative; a negative length leaves off that many."""
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def cut(context: Any, scope: Scope) -> Any:
        values = arguments(context, scope)
        if not 1 <= len(values) <= 3:
            raise invalid(call, "a text, a position and a length")
        source = text(values[0], call.at)
        start = int(number(values[1], call.at)) if len(values) > 1 else 0
        scope.budget.grow(len(source))
        rest = source[max(0, len(source) + start) :] if start < 0 else source[start:]
        return rest if len(values) < 3 or values[2] is None else rest[: int(number(values[2], call.at))]

    return cut


def _in(compiler: Compiler, call: Call) -> Closure:
    """`in`: an element of a list by strict equality, or a part of a text."""
    if not call.direct and len(call.args) == 2:
        options = call.args[1]
        if isinstance(options, Literal) and isinstance(options.value, list):
            texts = frozenset(value for value in options.value if isinstance(value, str))
            if len(texts) == len(options.value):
                needle = compiler.compile(call.args[0])
                return lambda context, scope: isinstance(value := needle(context, scope), str) and value in texts
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def contains(context: Any, scope: Scope) -> Any:
        values = arguments(context, scope)
        if len(values) < 2:
            return False
        item, where = values[0], values[1]
        if isinstance(where, str):
            scope.budget.spend(1 + len(where) // 64)
            wanted = item is not None and not isinstance(item, (list, dict))
            return wanted and text(item, call.at) in where
        if not isinstance(where, list):
            return False
        scope.budget.spend(1 + len(where))
        return any(same(item, value, scope) for value in where)

    return contains


def _merge(compiler: Compiler, call: Call) -> Closure:
    """`merge`: one list of all arguments, lists among them by their elements."""
    compiler.needs_budget()
    arguments = compiler.arguments(call)

    def join(context: Any, scope: Scope) -> Any:
        merged: list[Any] = []
        for value in arguments(context, scope):
            scope.budget.grow(1 + (len(value) if isinstance(value, list) else 0))
            if isinstance(value, list):
                merged.extend(value)
            else:
                merged.append(value)
        return merged

    return join


def _length(compiler: Compiler, call: Call) -> Closure:
    """`length`: of a text or a list."""
    if len(call.args) != 1:
        return refusal(call, "one text or list")
    value = compiler.compile(call.args[0])

    def length(context: Any, scope: Any) -> Any:
        measured = value(context, scope)
        if not isinstance(measured, (str, list)):
            raise invalid(call, "one text or list")
        return len(measured)

    return length


VALUE_OPERATORS: dict[str, Builder] = {
    "var": _var,
    "val": _val,
    "exists": _exists,
    "missing": _missing,
    "missing_some": _missing_some,
    "+": _arithmetic(operator.add, lambda x: x, 0),
    "*": _arithmetic(operator.mul, lambda x: x, 1),
    "-": _arithmetic(operator.sub, operator.neg, None),
    "/": _arithmetic(_quotient, lambda x: _quotient(1, x), None),
    "%": _arithmetic(_remainder, None, None),
    "max": _extreme(max),
    "min": _extreme(min),
    "==": _comparison(operator.eq, lambda x, y, at, scope: loosely_equal(x, y, at)),
    "!=": _comparison(operator.ne, lambda x, y, at, scope: not loosely_equal(x, y, at)),
    "===": _comparison(operator.eq, lambda x, y, at, scope: same(x, y, scope)),
    "!==": _comparison(operator.ne, lambda x, y, at, scope: not same(x, y, scope)),
    "<": _order(operator.lt),
    "<=": _order(operator.le),
    ">": _order(operator.gt),
    ">=": _order(operator.ge),
    "!": _negation(True),
    "!!": _negation(False),
    "cat": _cat,
    "substr": _substr,
    "in": _in,
    "merge": _merge,
    "length": _length,
}
