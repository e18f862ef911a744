"""Reading JSON Schemas: what lies at a path of the context, of which types, and with which values."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from engine.process.logic import Path

Types: TypeAlias = frozenset[str]
ANY: Types = frozenset({"null", "boolean", "number", "string", "array", "object"})
_LEVELS = 32
_COMBINED = ("anyOf", "oneOf", "allOf", "not", "if", "patternProperties")


@dataclass(frozen=True, slots=True)
class Found:
    """What a schema says of a path: `unknown` it forbids it, `optional` it may be absent, `present` otherwise."""

    state: Literal["present", "optional", "unknown"]
    schema: dict[str, Any]


def resolve(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """Return the schema after its local references; {} where they lead nowhere."""
    for _ in range(_LEVELS):
        if not isinstance(schema, dict):
            return {}
        target = schema.get("$ref")
        if not isinstance(target, str) or not target.startswith("#"):
            return schema
        found: Any = root
        for part in target.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) else None
        schema = found
    return {}


def look_up(root: dict[str, Any], path: Path) -> Found:
    """Return what the schema says of a path; "*" is any element."""
    here = resolve(root, root)
    optional = False
    for index, key in enumerate(path):
        if any(word in here for word in _COMBINED):
            return Found("present", {})
        properties = here.get("properties")
        if isinstance(properties, dict) and key in properties:
            required = here.get("required")
            optional = optional or (index > 0 and isinstance(required, list) and key not in required)
            here = resolve(properties[key], root)
            continue
        types = types_of(here)
        if key == "*" or (key.isdigit() and "array" in types):
            if "array" not in types:
                return Found("unknown", {})
            here = resolve(here.get("items", {}), root)
        elif "object" not in types or here.get("additionalProperties") is False or index == 0:
            return Found("unknown", {})
        else:
            extra = here.get("additionalProperties")
            return Found("present", resolve(extra, root) if isinstance(extra, dict) else {})
    return Found("optional" if optional else "present", here)


def misfit(inner: Any, outer: Any, inside: dict[str, Any], outside: dict[str, Any], levels: int = 8) -> str | None:
    """Return why a value that fits `inner` need not fit `outer`, or None if nothing says so.

    `inside` and `outside` are the roots that references lead into. Types, listed values, properties and items are
    compared; bounds and patterns are not.
    """
    inner, outer = resolve(inner, inside), resolve(outer, outside)
    given, taken = types_of(inner), types_of(outer)
    if not levels or any(word in schema for schema in (inner, outer) for word in _COMBINED) or taken == ANY:
        return None
    if not given <= taken:
        return f"it may be {' or '.join(sorted(given - taken))}, not only {' or '.join(sorted(taken))}"
    if outer.get("type") == "integer" and inner.get("type") == "number":
        return "it may be a number with a fraction, not only an integer"
    allowed, listed = values_of(outer), values_of(inner)
    if allowed is not None and (listed is None or any(value not in allowed for value in listed)):
        return f"it may be something other than {', '.join(map(str, allowed[:10]))}"
    if "array" in given and isinstance(outer.get("items"), dict):
        why = misfit(inner.get("items", {}), outer["items"], inside, outside, levels - 1)
        return f"an item: {why}" if why else None
    return _object_misfit(inner, outer, inside, outside, levels) if "object" in given else None


def _object_misfit(
    inner: dict[str, Any], outer: dict[str, Any], inside: dict[str, Any], outside: dict[str, Any], levels: int
) -> str | None:
    needed = [key for key in outer.get("required") or () if key not in (inner.get("required") or ())]
    if needed:
        return f"it may lack {needed[0]!r}"
    properties: dict[str, Any] = inner.get("properties") or {}
    known: dict[str, Any] = outer.get("properties") or {}
    if outer.get("additionalProperties") is False and any(key not in known for key in properties):
        return f"it may hold {next(key for key in properties if key not in known)!r}"
    for key, schema in known.items():
        why = misfit(properties[key], schema, inside, outside, levels - 1) if key in properties else None
        if why:
            return f"{key!r}: {why}"
    return None


def types_of(schema: dict[str, Any]) -> Types:
    """Return the JSON types a schema allows; "integer" is a number."""
    if "const" in schema:
        return frozenset({type_of(schema["const"])})
    if isinstance(schema.get("enum"), list):
        return frozenset(type_of(value) for value in schema["enum"])
    named = schema.get("type")
    if isinstance(named, str):
        named = [named]
    if isinstance(named, list):
        return frozenset("number" if name == "integer" else str(name) for name in named)
    return ANY


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def values_of(schema: dict[str, Any]) -> list[Any] | None:
    """Return the finite list of values a schema allows, or None."""
    if "const" in schema:
        return [schema["const"]]
    if isinstance(schema.get("enum"), list):
        return list(schema["enum"])
    types = types_of(schema)
    if types <= {"boolean", "null"}:
        return [*([False, True] if "boolean" in types else []), *([None] if "null" in types else [])]
    return None
