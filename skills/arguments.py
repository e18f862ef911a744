"""Checking what a caller sent against a JSON Schema, with answers that name the place and how to mend it."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from engine.errors import Exhausted, Invalid
from skills.schemas import facets, type_words

MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MAX_ERRORS = 8
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Violation:
    """One broken rule: `path` as `$.filters.kind[0]`, what is wrong there, and names that were perhaps meant."""

    path: str
    problem: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        meant = f" (did you mean {' or '.join(self.near)}?)" if self.near else ""
        return f"{self.path} {self.problem}{meant}"

    def as_json(self) -> dict[str, Any]:
        """Return the violation for a program."""
        return {"path": self.path, "problem": self.problem, **({"near": list(self.near)} if self.near else {})}


def near_names(wanted: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """Return the names in `known` that look most like `wanted`, best first; short parts of a name count too."""
    names = sorted(known)
    close = difflib.get_close_matches(wanted, names, n=count, cutoff=0.6)
    parts = [name for name in names if len(wanted) > 2 and (wanted in name or name in wanted)]
    return tuple(dict.fromkeys([*close, *parts]))[:count]


def json_path(parts: Iterable[str | int]) -> str:
    """Return `$.a[0].b` for the way to a value."""
    path = "$"
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if _PLAIN_KEY.fullmatch(part) else f"[{json.dumps(part, ensure_ascii=False)}]"
    return path


def check_bounds(value: Any) -> None:
    """Refuse a value that is no JSON, nested too deeply or too large, before anything walks it.

    Raises:
        Exhausted: it is deeper than `MAX_DEPTH` or longer than `MAX_BYTES` as JSON.
        Invalid: it holds something that JSON has no form for, such as NaN.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            break
    else:
        raise Exhausted(f"the arguments are nested more than {MAX_DEPTH} levels deep; flatten them", limit=MAX_DEPTH)
    try:
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise Invalid("the arguments are not JSON: numbers must be finite, keys and texts proper strings") from error
    if size > MAX_BYTES:
        raise Exhausted(
            f"the arguments are {size:,} bytes and the limit is {MAX_BYTES:,}; "
            "hand large values over as documents or artifacts and name them",
            limit=MAX_BYTES,
        )


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return cast(Mapping[Any, Any], value).values()
    return cast(Sequence[Any], value) if isinstance(value, list | tuple) else ()


class Checker:
    """A JSON Schema ready to check values with. References to other documents are never fetched."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Check the schema itself.

        Raises:
            Invalid: it is no JSON Schema.
        """
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise _broken(error.message) from error
        # An empty registry: the default one would fetch a foreign reference from the network.
        self._validator = Draft202012Validator(schema, registry=cast(Any, Registry()))

    def violations(self, value: Any) -> tuple[Violation, ...]:
        """Return what breaks the schema in `value`, in the order of the paths, at most `MAX_ERRORS`.

        Raises:
            Invalid: the schema has a pattern or a reference that leads nowhere.
        """
        try:
            errors = sorted(
                cast(Iterable[ValidationError], self._validator.iter_errors(value)),
                key=lambda error: [str(part) for part in error.absolute_path],
            )
        except (Unresolvable, re.error) as error:
            raise _broken(str(error)) from error
        found: dict[tuple[str, str], Violation] = {}
        for error in errors:
            for violation in _explain(error):
                found.setdefault((violation.path, violation.problem), violation)
        return tuple(found.values())[:MAX_ERRORS]

    def check(self, value: Any, *, what: str) -> None:
        """Raise `Invalid` with every violation when `value` breaks the schema; `what` opens the sentence."""
        found = self.violations(value)
        if found:
            raise invalid(what, found)


def _broken(reason: str) -> Invalid:
    return Invalid(f"the schema to check against is broken: {reason[:300]}")


def invalid(what: str, found: Sequence[Violation], **details: Any) -> Invalid:
    """Return the error that lists `found`, for people in its message and for programs in its details."""
    message = f"{what}: " + "; ".join(str(violation) for violation in found)
    return Invalid(message, errors=[violation.as_json() for violation in found], **details)


def _explain(error: ValidationError) -> list[Violation]:
    way = list(error.absolute_path)
    path, rule = json_path(way), str(error.validator)
    schema = cast(dict[str, Any], error.schema)
    if rule == "additionalProperties" and error.validator_value is False:
        return _unknown_keys(way, schema, cast(dict[str, Any], error.instance))
    if rule == "required":
        return _missing_keys(way, schema, cast(dict[str, Any], error.instance))
    if rule == "enum":
        near = near_names(str(error.instance), [value for value in schema["enum"] if isinstance(value, str)])
        return [Violation(path, f"must be one of {type_words(schema)}, not {_short(error.instance)}", near)]
    if rule in ("type", "anyOf", "oneOf"):
        return [Violation(path, f"must be {_expected(schema)}, not {_kind(error.instance)}{_json_hint(schema, error)}")]
    if rule in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const", "pattern"):
        return [Violation(path, f"must be {_expected(schema)}, not {_short(error.instance)}")]
    if rule in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        length = len(cast(Sequence[Any], error.instance))
        return [Violation(path, f"must be {_expected(schema)}, and has {length}")]
    return [Violation(path, f"breaks the rule {rule}: {error.message[:300]}")]


def _unknown_keys(way: list[str | int], schema: Mapping[str, Any], value: Mapping[str, Any]) -> list[Violation]:
    known: list[str] = list(schema.get("properties", {}))
    patterns: list[str] = list(schema.get("patternProperties", {}))
    extra = [key for key in value if key not in known and not any(re.search(pattern, key) for pattern in patterns)]
    allowed = f"known here: {', '.join(known)}" if known else "nothing is taken here"
    return [Violation(json_path([*way, key]), f"is not known; {allowed}", near_names(key, known)) for key in extra]


def _missing_keys(way: list[str | int], schema: Mapping[str, Any], value: Mapping[str, Any]) -> list[Violation]:
    properties = cast(dict[str, dict[str, Any]], schema.get("properties", {}))
    missing = [key for key in schema["required"] if key not in value]
    return [
        Violation(json_path([*way, key]), f"is missing; it must be {_expected(properties.get(key, {}))}")
        for key in missing
    ]


def _expected(schema: Mapping[str, Any]) -> str:
    node = {key: value for key, value in schema.items() if key != "default"}
    return ", ".join([type_words(node), *facets(node)])


def _json_hint(schema: Mapping[str, Any], error: ValidationError) -> str:
    """Return the advice for the commonest slip of models: an object or a list written as a text of JSON."""
    if not isinstance(error.instance, str) or not {"object", "array"} & set(type_words(dict(schema)).split()):
        return ""
    try:
        inner = json.loads(error.instance)
    except ValueError:
        return ""
    return " holding JSON; send the value itself, without quotes around it" if isinstance(inner, dict | list) else ""


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return f"the text {_short(value)}" if len(value) <= 40 else "a text"
    return _short(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
