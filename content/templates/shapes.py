"""What a JSON Schema says about the parts of a value: the static counterpart of looking a path up."""

from collections.abc import Iterable, Mapping
from typing import Any

from content.templates.schemas import matches, resolve

Nodes = tuple[Mapping[str, Any], ...]
"""The alternatives that a schema allows, each a schema without references and unions."""

ANYTHING: Nodes = ({},)
SCALAR: Nodes = ({"type": ["string", "number", "boolean", "null"]},)

_STRUCTURE = frozenset(
    {"type", "properties", "additionalProperties", "patternProperties", "items", "prefixItems", "enum", "const"}
)
_UNIONS = ("anyOf", "oneOf", "allOf")
_CONDITIONS = ("then", "else")
_MOST_ALTERNATIVES = 500


def alternatives(schemas: Iterable[Any], root: Any) -> Nodes:
    """Return the alternatives of all `schemas`: references followed, unions and conditions spread out."""
    result: list[Mapping[str, Any]] = []
    seen: set[int] = set()
    waiting = list(schemas)
    while waiting and len(seen) < _MOST_ALTERNATIVES:
        schema = waiting.pop(0)
        if schema is True:
            result.append({})
        if not isinstance(schema, Mapping) or id(schema) in seen:
            continue
        seen.add(id(schema))
        more: list[Any] = [resolve(root, schema["$ref"])] if isinstance(schema.get("$ref"), str) else []
        for key in _UNIONS:
            more.extend(schema.get(key) or ())
        more.extend(schema[key] for key in _CONDITIONS if key in schema)
        waiting.extend(more)
        if not more or _STRUCTURE & set(schema):
            result.append(schema)
    return tuple(result)


def child(nodes: Nodes, key: str, root: Any) -> Nodes | None:
    """Return what stands under `key`, None where no alternative has it."""
    found: list[Any] = []
    for node in nodes:
        found.extend(_child(node, key))
    return alternatives(found, root) if found else None


def elements(nodes: Nodes, root: Any) -> Nodes | None:
    """Return what a loop over the value goes through, None where no alternative can be looped over."""
    found: list[Any] = []
    possible = False
    for node in nodes:
        if _open(node):
            return ANYTHING
        if is_array(node):
            possible = True
            found.extend(node.get("prefixItems") or ())
            items = node.get("items", True)
            found.extend(items if isinstance(items, list) else [items])
        if is_object(node):
            possible = True
            found.extend((node.get("properties") or {}).values())
            found.extend((node.get("patternProperties") or {}).values())
            extra = node.get("additionalProperties", not found)
            found.extend([] if extra is False else [extra])
    return alternatives(found, root) if possible else None


def is_array(node: Mapping[str, Any]) -> bool:
    """Return whether a value of this alternative may be a list."""
    return _typed(node, "array", ("items", "prefixItems"))


def is_object(node: Mapping[str, Any]) -> bool:
    """Return whether a value of this alternative may be an object."""
    return _typed(node, "object", ("properties", "additionalProperties", "patternProperties"))


def is_open(nodes: Nodes) -> bool:
    """Return whether some alternative allows anything."""
    return any(_open(node) for node in nodes)


def is_boolean(nodes: Nodes) -> bool:
    """Return whether the value is true, false or null."""
    return all(set(_types(node)) <= {"boolean", "null"} and _types(node) for node in nodes)


def _child(node: Mapping[str, Any], key: str) -> list[Any]:
    if _open(node):
        return [{}]
    found: list[Any] = []
    if is_object(node):
        found.extend(_property(node, key))
    if is_array(node):
        if key == "length":
            found.append({"type": "integer"})
        elif key.isascii() and key.isdigit():
            prefix = node.get("prefixItems") or []
            items = node.get("items", True)
            listed = items if isinstance(items, list) else prefix
            rest = True if isinstance(items, list) else items
            found.append(listed[int(key)] if len(key) < 6 and int(key) < len(listed) else rest)
    return [item for item in found if item is not False]


def _property(node: Mapping[str, Any], key: str) -> list[Any]:
    properties = node.get("properties") or {}
    patterns = node.get("patternProperties") or {}
    if key in properties:
        return [properties[key]]
    matched = [schema for pattern, schema in patterns.items() if matches(pattern, key)]
    extra = node.get("additionalProperties", not properties and not patterns)
    return matched or ([] if extra is False else [extra])


def _types(node: Mapping[str, Any]) -> list[str]:
    kind = node.get("type")
    return [kind] if isinstance(kind, str) else list(kind or ())


def _typed(node: Mapping[str, Any], kind: str, hints: tuple[str, ...]) -> bool:
    types = _types(node)
    return kind in types if types else any(hint in node for hint in hints)


def _open(node: Mapping[str, Any]) -> bool:
    return not _STRUCTURE & set(node)
