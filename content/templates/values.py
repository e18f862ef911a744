"""What values mean in a template: keys, truth, text. JSON values only; no attribute of a Python object is ever read."""

import json
import math
from typing import Any

from content.templates.expressions import MISSING, Missing
from engine.errors import Invalid

_HTML = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;", "`": "&#x60;", "=": "&#x3D;"}
)
_LARGEST_BITS = 4_096


def member(value: Any, name: str) -> Any:
    """Return the entry `name` of a dict, the item of a list at that index, a list's `length`, else `MISSING`."""
    if isinstance(value, dict):
        return value.get(name, MISSING)
    if isinstance(value, list | tuple):
        if name == "length":
            return len(value)
        if name.isascii() and name.isdigit() and len(name) < 10 and (name == "0" or name[0] != "0"):
            index = int(name)
            return value[index] if index < len(value) else MISSING
    return MISSING


def truthy(value: Any) -> bool:
    """Return what `#if` sees: null, false, 0, NaN, empty text and empty lists are false, everything else is true."""
    if isinstance(value, dict):
        return True
    if isinstance(value, float) and math.isnan(value):
        return False
    return bool(value)


def empty(value: Any) -> bool:
    """Return whether `#with` has nothing to work on: as `not truthy`, but 0 is something."""
    return not truthy(value) and (isinstance(value, bool) or not isinstance(value, int | float) or value != value)


def identical(left: Any, right: Any) -> bool:
    """Return ECMAScript's `===` for JSON values: no conversion between types, lists and objects only to themselves."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return left is right


def text(value: Any) -> str:
    """Return a value as text: nothing for null and missing, lists joined by commas, objects as compact JSON.

    Handlebars writes `[object Object]` for an object, which nobody wants; that is the one difference.
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, Missing):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return ",".join(text(item) for item in value)
    if isinstance(value, dict):
        return as_json(value)
    raise Invalid(
        f"A template was given a value of the Python type {type(value).__name__}; only JSON values can be rendered.",
        type=type(value).__name__,
    )


def html(value: str) -> str:
    """Return `value` with the seven characters that Handlebars escapes replaced by HTML entities."""
    return value.translate(_HTML)


def as_json(value: Any, indent: int | str | None = None) -> str:
    """Return `value` as JSON the way `JSON.stringify` writes it: compact, or indented by at most ten characters."""
    if isinstance(indent, str):
        indent = indent[:10] or None
    elif indent is not None:
        indent = min(indent, 10) if indent > 0 else None
    separators = (",", ": ") if indent else (",", ":")
    try:
        return json.dumps(_jsonable(value), ensure_ascii=False, indent=indent, separators=separators)
    except (TypeError, ValueError) as problem:
        raise Invalid(f"A value cannot be written as JSON: {problem}. Pass JSON values only.") from problem


def _jsonable(value: Any) -> Any:
    """Return `value` with what JSON has no word for made null, and whole floats without their `.0`."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items() if not isinstance(item, Missing)}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Missing):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e21 else value
    return value


def _integer(value: int) -> str:
    if value.bit_length() > _LARGEST_BITS:
        raise Invalid(f"A whole number has more than {_LARGEST_BITS} bits. Pass it as text.")
    return str(value)


def _number(value: float) -> str:
    """Return a float as ECMAScript writes it: no `.0`, plain digits from 1e-6 up to 1e21, a short exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    digits = repr(value)
    if "e" not in digits:
        return digits
    mantissa, exponent = digits.split("e")
    if -7 < int(exponent) < 0:
        whole = mantissa.lstrip("-").replace(".", "")
        return f"{'-' if value < 0 else ''}0.{'0' * (-int(exponent) - 1)}{whole}"
    return f"{mantissa}e{'+' if int(exponent) > 0 else '-'}{abs(int(exponent))}"
