"""Picoschema, Dotprompt's short form of JSON Schema: `name?: type, description` and `name(array, …): type`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.errors import Invalid

_SCALARS = ("any", "boolean", "integer", "null", "number", "string")
_WILDCARD = "(*)"


class _Key(NamedTuple):
    name: str
    optional: bool
    kind: str | None
    description: str | None


def to_json_schema(
    schema: Any, *, schemas: Mapping[str, Any] | None = None, place: str = "schema"
) -> dict[str, Any] | None:
    """Return `schema` as JSON Schema: as it is where it already is one, None where there is none.

    A schema with a `type` of JSON Schema, or with `properties`, is JSON Schema; everything else is Picoschema. A name
    that is no type is looked up in `schemas`. Raises `Invalid` with `place` and the path inside.
    """
    if schema is None or schema == "":
        return None
    if isinstance(schema, str):
        return _text(schema, schemas or {}, place)
    if not isinstance(schema, dict):
        raise Invalid(f"{place}: a schema is a mapping or the name of a type, not {_show(schema)}.", place=place)
    if schema.get("type") in (*_SCALARS, "object", "array"):
        return schema
    if isinstance(schema.get("properties"), dict):
        return {**schema, "type": "object"}
    return _object(schema, schemas or {}, place)


def _any(value: Any, schemas: Mapping[str, Any], place: str) -> dict[str, Any]:
    if isinstance(value, str):
        return _text(value, schemas, place)
    if isinstance(value, dict):
        return _object(value, schemas, place)
    raise Invalid(f"{place}: Picoschema has types and mappings only, not {_show(value)}.", place=place)


def _text(value: str, schemas: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the schema of `type, description`."""
    kind, description = _described(value)
    if kind in _SCALARS:
        result: dict[str, Any] = {} if kind == "any" else {"type": kind}
    elif kind in schemas:
        result = dict(schemas[kind])
    else:
        named = f" or a schema: {', '.join(sorted(schemas))}" if schemas else ""
        known = ", ".join(_SCALARS)
        raise Invalid(f"{place}: `{kind[:100]}` is neither a type ({known}){named}.", place=place, type=kind)
    return {**result, "description": description} if description else result


def _object(value: Mapping[str, Any], schemas: Mapping[str, Any], place: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    extra: Any = False
    for text, inner in value.items():
        where = f"{place}/{text}"
        if text == _WILDCARD:
            extra = _any(inner, schemas, where)
            continue
        key = _key(text, where)
        if not key.optional:
            required.append(key.name)
        properties[key.name] = _property(key, inner, schemas, where)
    result: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": extra}
    return {**result, "required": required} if required else result


def _property(key: _Key, value: Any, schemas: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the schema of one property; an optional one may also be null."""
    if key.kind == "enum":
        if not isinstance(value, list):
            raise Invalid(f"{place}: an enum has a list of values, not {_show(value)}.", place=place)
        result: dict[str, Any] = {"enum": [*value, None] if key.optional and None not in value else list(value)}
    elif key.kind == "array":
        result = {"type": "array", "items": _any(value, schemas, place)}
    else:
        result = dict(_any(value, schemas, place))
    if key.optional and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return {**result, "description": key.description} if key.description else result


def _key(text: str, place: str) -> _Key:
    """Read `name`, `name?`, `name(kind)` or `name?(kind, description)`."""
    name, bracket, rest = text.partition("(")
    name = name.strip()
    optional = name.endswith("?")
    name = name[:-1] if optional else name
    if not name:
        raise Invalid(f"{place}: the property has no name.", place=place)
    if not bracket:
        return _Key(name, optional, None, None)
    if not rest.rstrip().endswith(")"):
        raise Invalid(f"{place}: the bracket after `{name}` is not closed.", place=place)
    kind, description = _described(rest.rstrip()[:-1])
    if kind not in ("array", "object", "enum"):
        raise Invalid(f"{place}: in brackets stands array, object or enum, not `{kind[:100]}`.", place=place)
    return _Key(name, optional, kind, description)


def _described(text: str) -> tuple[str, str | None]:
    kind, comma, description = text.partition(",")
    return kind.strip(), description.lstrip(" ") if comma else None


def _show(value: Any) -> str:
    return repr(value)[:100]
