"""Values of JSON Logic: truth, numbers, texts, equality and order as published, and the bounds of one evaluation.

Numbers are whole while they fit 64 bits and floats beyond; a float without a fraction is given back whole, as JSON
has one kind of number. What is not a finite number is an error of type "NaN".
"""

import math
import re
from decimal import Decimal
from typing import Any, Final

from engine.errors import Exhausted
from engine.process.logic_tree import LogicError

MAX_GROWTH = 1_000_000
_LARGEST = 2**63
_EXACT_FLOAT = 2.0**53
_LONGEST_NUMBER = 400
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+", re.ASCII)


class Missing:
    """The type of MISSING, which marks a variable that is not there, unlike one that is null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class Budget:
    """What one evaluation may still use: operations, and characters and elements it may still create."""

    __slots__ = ("operations", "room")

    def __init__(self, operations: int, room: int = MAX_GROWTH) -> None:
        self.operations = operations
        self.room = room

    def spend(self, operations: int) -> None:
        """Take operations; raises Exhausted when there are none left."""
        self.operations -= operations
        if self.operations < 0:
            raise Exhausted("the rule needs more operations than it may use; iterate over less", bound="operations")

    def grow(self, units: int) -> None:
        """Take room for new characters or elements; raises Exhausted when there is none left."""
        self.room -= units
        if self.room < 0:
            raise Exhausted(f"the rule builds more than {MAX_GROWTH} characters and elements", bound="growth")


class Scope:
    """One level of iteration: the context outside it, the index inside it, and the level above (None at the root)."""

    __slots__ = ("budget", "context", "index", "up")

    def __init__(self, context: Any, up: "Scope | None", budget: Budget) -> None:
        self.context = context
        self.index: int | Missing = MISSING
        self.up = up
        self.budget = budget


def not_a_number(value: Any, at: str) -> LogicError:
    """Return the error for a value that is no finite number."""
    return LogicError("NaN", f"{shown(value)} is not a finite number (at {at or 'the top'})", at)


def shown(value: Any) -> str:
    """Return a short description of a value for a message."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "a very large number"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def truthy(value: Any) -> bool:
    """Return the truth of a value: empty list, "", 0, null and false are false, every object is true."""
    if isinstance(value, dict):
        return True
    return bool(value) and value == value  # NaN is the one value unequal to itself


def number(value: Any, at: str) -> int | float:
    """Return the value as a number; raises LogicError of type NaN."""
    kind = type(value)
    if kind is int:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
    elif kind is bool:
        return int(value)
    elif value is None:
        return 0
    elif kind is str:
        return _parse_number(value, at)
    raise not_a_number(value, at)


def _parse_number(text: str, at: str) -> int | float:
    if len(text) > _LONGEST_NUMBER:
        raise not_a_number(text[:40], at)
    text = text.strip()
    if not text:
        return 0
    if _NUMBER.fullmatch(text):
        return tidy(int(text) if text.isdigit() else float(text), at)
    if _HEXADECIMAL.fullmatch(text):
        return tidy(int(text, 16), at)
    raise not_a_number(text, at)


def tidy(value: int | float, at: str) -> int | float:
    """Return a result in its one form; raises LogicError of type NaN when it is not finite."""
    if isinstance(value, int):
        if -_LARGEST <= value < _LARGEST:
            return value
        try:
            return float(value)
        except OverflowError:
            raise not_a_number(value, at) from None
    if not math.isfinite(value):
        raise not_a_number(value, at)
    return int(value) if -_EXACT_FLOAT < value < _EXACT_FLOAT and value.is_integer() else value


def text(value: Any, at: str) -> str:
    """Return the value as text: null is empty, lists are joined by commas; raises LogicError for an object."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number_text(value, at)
    if isinstance(value, list):
        return _joined(value, at)
    raise LogicError("Invalid Arguments", f"{shown(value)} has no text (at {at or 'the top'}); name a field of it", at)


def number_text(value: int | float, at: str) -> str:
    """Return a number as JavaScript writes it: digits up to 21 places, then an exponent."""
    value = tidy(value, at)
    if isinstance(value, int):
        return str(value)
    plain = Decimal(repr(value))
    if 1e-6 <= abs(value) < 1e21:
        return format(plain, "f").removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    sign = "-" if exponent.startswith("-") else "+"
    return f"{mantissa.removesuffix('.0')}e{sign}{exponent.lstrip('+-').lstrip('0')}"


def _joined(items: list[Any], at: str) -> str:
    parts: list[str] = []
    pending: list[Any] = list(reversed(items))
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            if item:
                pending.extend(reversed(item))
            else:
                parts.append("")
        else:
            parts.append(text(item, at))
        if len(parts) + len(pending) > MAX_GROWTH:
            raise Exhausted(f"a list of more than {MAX_GROWTH} elements is too long for a text", bound="growth")
    return ",".join(parts)


def same(left: Any, right: Any, scope: Scope | None) -> bool:
    """Return strict equality: same type, same value; 1 and 1.0 are one number; lists and objects by their content."""
    if not isinstance(left, (list, dict)):
        return left == right and isinstance(left, bool) == isinstance(right, bool)
    pending: list[tuple[Any, Any]] = [(left, right)]
    visited = 0
    equal = True
    while pending and equal:
        x, y = pending.pop()
        visited += 1
        if isinstance(x, list):
            equal = isinstance(y, list) and len(x) == len(y)
            pending.extend(zip(x, y, strict=True) if equal else ())
        elif isinstance(x, dict):
            equal = isinstance(y, dict) and x.keys() == y.keys()
            pending.extend([(x[key], y[key]) for key in x] if equal else ())
        else:
            equal = x == y and isinstance(x, bool) == isinstance(y, bool)
        if visited + len(pending) > MAX_GROWTH:
            raise Exhausted(f"values of more than {MAX_GROWTH} parts are too big to compare", bound="growth")
    if scope is not None:
        scope.budget.spend(visited + len(pending))
    return equal


def loosely_equal(left: Any, right: Any, at: str) -> bool:
    """Return soft equality: texts as texts, null only like null and 0, all else as numbers.

    Raises LogicError of type NaN when one of them is no number.
    """
    if left is None or right is None:
        other = right if left is None else left
        return other is None or (isinstance(other, (int, float)) and other == 0)
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return number(left, at) == number(right, at)


def ordered(left: Any, right: Any, at: str) -> tuple[Any, Any]:
    """Return the two in a form that Python orders: texts as they are, all else as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    return number(left, at), number(right, at)


def step(value: Any, key: str) -> Any:
    """Return the member of an object or list, or MISSING."""
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 10:
        index = int(key)
        if index < len(value) and str(index) == key:
            return value[index]
    return MISSING


def find(value: Any, path: tuple[str, ...]) -> Any:
    """Return what lies at the path, or MISSING."""
    for key in path:
        value = step(value, key)
        if value is MISSING:
            return MISSING
    return value


def path_of(key: Any, at: str) -> tuple[str, ...]:
    """Return the keys of a dotted path as `var` writes it: null and "" are the whole context."""
    if key is None or key == "":
        return ()
    return tuple(text(key, at).split("."))
