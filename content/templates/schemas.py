"""JSON Schema under bounds: no reference leaves the schema, no regular expression backtracks, no reference explodes.

Patterns run in the linear-time engine that pydantic carries; what it does not know (look-around, references to
groups) is refused when the schema is read.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from jsonschema import Draft7Validator, Draft202012Validator, exceptions, validators
from pydantic import StringConstraints, TypeAdapter, ValidationError

from engine.errors import Exhausted, Invalid

_LONGEST_PATTERN = 1_000
_DEEPEST = 64
_MOST_NODES = 10_000
_MOST_REFERENCES = 20_000
_MOST_VIOLATIONS = 20
_MOST_VALUES = 500_000

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLES = ("items", "additionalProperties", "additionalItems", "not", "if", "then", "else", "contains")
_SINGLES_MORE = ("propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema")
_REFUSED = ("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor")


class Violation(NamedTuple):
    """One way in which a value breaks a schema: a JSON pointer into the value, what is wrong, absent names."""

    path: str
    message: str
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class _Run:
    """The root that references start from, and how many may still be followed."""

    root: Any
    references: int = _MOST_REFERENCES


_run: ContextVar[_Run] = ContextVar("schema_run")


def check_schema(schema: Any, place: str) -> None:
    """Raise `Invalid`, naming `place` and the pointer inside, unless `schema` is JSON Schema within our bounds."""
    features: set[str] = set()
    count = 0
    for pointer, node in _subschemas(schema):
        count += 1
        if count > _MOST_NODES or pointer.count("/") > 2 * _DEEPEST:
            raise Exhausted(f"{place}: the schema is too large or too deep. Split it up.", bound="schema")
        if not isinstance(node, dict):
            continue
        where = place + pointer
        features.update(node)
        _check_node(schema, node, where)
    if features & {"unevaluatedProperties", "unevaluatedItems"} and features & {"$ref", "patternProperties"}:
        raise Invalid(
            f"{place}: `unevaluatedProperties` and `unevaluatedItems` do not go together with `$ref` or "
            "`patternProperties` here; use `additionalProperties`.",
            place=place,
        )
    try:
        _validator(schema).check_schema(schema)
    except exceptions.SchemaError as problem:
        pointer = _pointer(problem.absolute_path)
        raise Invalid(f"{place}{pointer}: this is not JSON Schema: {_short(problem.message)}", place=place) from problem


def violations(schema: Any, value: Any) -> list[Violation]:
    """Return how `value` breaks `schema`, at most 20 ways; `schema` has passed `check_schema`."""
    token = _run.set(_Run(schema))
    try:
        errors = itertools.islice(_validator(schema)(schema).iter_errors(value), _MOST_VIOLATIONS)
        return sorted({_violation(error) for error in errors})
    except RecursionError as problem:
        message = "The schema or the value is nested too deep to check; a `$ref` may lead back to itself."
        raise Exhausted(message, bound="depth") from problem
    finally:
        _run.reset(token)


def check_json(value: Any, place: str) -> None:
    """Raise `Invalid` unless `value` consists of JSON types, `Exhausted` where it is too large or too deep."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    count = 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if count > _MOST_VALUES or depth > _DEEPEST:
            bound = f"{_MOST_VALUES:,} values, {_DEEPEST} deep"
            raise Exhausted(f"{place}: this is more than {bound}. Pass less.", bound="value")
        if isinstance(item, dict):
            if any(not isinstance(key, str) for key in item):
                raise Invalid(f"{place}: every key must be text.", place=place)
            waiting.extend((entry, depth + 1) for entry in item.values())
        elif isinstance(item, list | tuple):
            waiting.extend((entry, depth + 1) for entry in item)
        elif item is not None and not isinstance(item, str | int | float | bool):
            raise Invalid(f"{place}: {type(item).__name__} is not a JSON type.", place=place)


def resolve(root: Any, reference: str) -> Any:
    """Return what the local reference `#` or `#/…` names in `root`; anything else is `Invalid`."""
    if reference == "#":
        return root
    node = root
    if not reference.startswith("#/"):
        raise Invalid(f"`$ref: {_short(reference)}` leaves the schema; only `#` and `#/…` are followed.", ref=reference)
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(node):
            node = node[int(key)]
        else:
            raise Invalid(f"`$ref: {_short(reference)}` names nothing in this schema.", ref=reference)
    return node


def matches(pattern: str, text: str) -> bool:
    """Return whether `pattern` is found in `text`, in time linear in the text; a bad pattern is `Invalid`."""
    try:
        _pattern(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


def _subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        pointer, node = waiting.pop()
        yield pointer, node
        if not isinstance(node, dict):
            continue
        for key in _MAPS:
            group = node.get(key)
            if isinstance(group, dict):
                waiting.extend((f"{pointer}/{key}/{name}", child) for name, child in group.items())
        for key in _LISTS:
            group = node.get(key)
            if isinstance(group, list):
                waiting.extend((f"{pointer}/{key}/{index}", child) for index, child in enumerate(group))
        waiting.extend(
            (f"{pointer}/{key}", node[key])
            for key in (*_SINGLES, *_SINGLES_MORE)
            if isinstance(node.get(key), dict | bool)
        )


def _check_node(root: Any, node: Mapping[str, Any], where: str) -> None:
    refused = [key for key in _REFUSED if key in node]
    if refused:
        raise Invalid(f"{where}: `{refused[0]}` is not followed here; use `$ref`.", place=where)
    reference = node.get("$ref")
    pattern = node.get("pattern")
    patterns = [pattern] if isinstance(pattern, str) else []
    named = node.get("patternProperties")
    patterns.extend(named if isinstance(named, dict) else ())
    try:
        if isinstance(reference, str):
            resolve(root, reference)
        for each in patterns:
            _pattern(each)
    except Invalid as problem:
        raise Invalid(f"{where}: {problem.message}", place=where, **problem.details) from problem


@lru_cache(maxsize=512)
def _pattern(pattern: str) -> TypeAdapter[str]:
    if len(pattern) > _LONGEST_PATTERN:
        raise Invalid(f"The pattern has {len(pattern):,} characters; at most {_LONGEST_PATTERN:,} are allowed.")
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)], config={"regex_engine": "rust-regex"})
    except Exception as problem:  # the error of the engine itself is not part of pydantic's interface
        raise Invalid(
            f"The pattern `{_short(pattern)}` cannot be used: it is no regular expression, is too large, or needs "
            "look-around or references to groups, which have no bound on their time.",
            pattern=pattern,
        ) from problem


def _ref(validator: Any, reference: Any, instance: Any, _: Any) -> Iterator[Any]:
    run = _run.get()
    run.references -= 1
    if run.references < 0:
        message = f"The schema follows more than {_MOST_REFERENCES:,} references on this value. Simplify the schema."
        raise Exhausted(message, bound="references", limit=_MOST_REFERENCES)
    yield from validator.descend(instance, resolve(run.root, reference))


def _match(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not matches(pattern, instance):
        yield exceptions.ValidationError(f"{_short(repr(instance))} does not match {_short(repr(pattern))}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for key, value in instance.items():
            if matches(pattern, key):
                yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _additional_properties(validator: Any, extra: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    patterns = list(schema.get("patternProperties", {}))
    others = [key for key in instance if key not in known and not any(matches(pattern, key) for pattern in patterns)]
    if isinstance(extra, dict):
        for key in others:
            yield from validator.descend(instance[key], extra, path=key)
    elif extra is False and others:
        names = ", ".join(f"`{_short(key)}`" for key in others[:10])
        yield exceptions.ValidationError(f"unknown: {names}; known are: {', '.join(known) or 'none'}")


def _unique(_: Any, unique: Any, instance: Any, __: Any) -> Iterator[Any]:
    if unique and isinstance(instance, list):
        texts = {json.dumps(_comparable(item), sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield exceptions.ValidationError("the items must differ from each other")


def _comparable(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    return value


_KEYWORDS: dict[str, Any] = {
    "$ref": _ref,
    "pattern": _match,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique,
}
_DRAFT_7 = validators.extend(Draft7Validator, _KEYWORDS)
_DRAFT_2020 = validators.extend(Draft202012Validator, _KEYWORDS)


def _validator(schema: Any) -> Any:
    dialect = schema.get("$schema") if isinstance(schema, dict) else None
    return _DRAFT_7 if isinstance(dialect, str) and "draft-07" in dialect else _DRAFT_2020


def _violation(error: Any) -> Violation:
    missing: tuple[str, ...] = ()
    if error.validator == "required" and isinstance(error.instance, dict):
        missing = tuple(name for name in error.validator_value if name not in error.instance)
        message = f"missing: {', '.join(missing)}"
    else:
        message = _short(error.message)
    return Violation(_pointer(error.absolute_path), message, missing)


def _pointer(path: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _short(value: str) -> str:
    """Return `value`, or its beginning and its end, where the reason stands."""
    return value if len(value) <= 200 else f"{value[:80]}…{value[-110:]}"
