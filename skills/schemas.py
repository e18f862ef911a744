"""JSON Schemas as tools carry them: shaped from pydantic's, and rendered short enough to be read in a lesson."""

import json
from typing import Any, cast

Schema = dict[str, Any]

_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SINGLE = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_DROPPED = frozenset({"title", "$defs", "discriminator"})


def shape(schema: Schema) -> Schema:
    """Return `schema` with its references resolved in place and without titles: what every client understands.

    Raises:
        TypeError: the schema refers to itself; such a tool needs flatter arguments.
    """
    return _shape(schema, cast(dict[str, Schema], schema.get("$defs", {})), ())


def _shape(node: Schema, definitions: dict[str, Schema], trail: tuple[str, ...]) -> Schema:
    found: Schema = {}
    for key, value in node.items():
        if key == "$ref":
            name = str(value).rpartition("/")[2]
            if name in trail:
                raise TypeError(f"the schema of {name} refers to itself; tools take and give flat objects")
            found = {**_shape(definitions[name], definitions, (*trail, name)), **found}
        elif key in _DROPPED:
            continue
        elif key in _MAPS:
            found[key] = {name: _shape(inner, definitions, trail) for name, inner in value.items()}
        elif key in _LISTS:
            found[key] = [_shape(inner, definitions, trail) for inner in value]
        elif key in _SINGLE and isinstance(value, dict):
            found[key] = _shape(cast(Schema, value), definitions, trail)
        else:
            found[key] = value
    return found


def tidy(node: Schema) -> Schema:
    """Return an arguments' schema without `null` and empty defaults for what may be left out: leaving out says both."""
    if "default" in node and node["default"] in (None, [], {}, ""):
        rest = {key: value for key, value in node.items() if key not in ("default", "anyOf")}
        forms = [form for form in node.get("anyOf", ()) if node["default"] is not None or form != {"type": "null"}]
        node = {**forms[0], **rest} if len(forms) == 1 else {**rest, **({"anyOf": forms} if forms else {})}
    # Objects are open unless they are closed: saying so costs every reader of a list.
    found = {key: value for key, value in node.items() if key != "additionalProperties" or value not in ({}, True)}
    if "properties" in node:
        found["properties"] = {name: tidy(inner) for name, inner in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = tidy(found[key])
    return found


def without_nulls(schema: Schema, value: Any) -> Any:
    """Return `value` without the nulls that stand where a property may be left out."""
    if isinstance(value, dict) and "properties" in schema:
        given = cast(dict[str, Any], value)
        properties, required = schema["properties"], schema.get("required", ())
        return {
            name: without_nulls(properties.get(name, {}), inner)
            for name, inner in given.items()
            if inner is not None or name not in properties or name in required
        }
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [without_nulls(schema["items"], inner) for inner in cast(list[Any], value)]
    return value


def outline(schema: Schema) -> Schema:
    """Return only the names and the types of an answer's properties: enough for a short list of many tools."""
    properties = {name: _kind_of(node) for name, node in schema.get("properties", {}).items()}
    return {"type": "object", "properties": properties}


def _kind_of(node: Schema) -> Schema:
    kinds = [form.get("type") for form in node.get("anyOf", [node])]
    named = [kind for kind in kinds if isinstance(kind, str)]
    # An empty schema says the same, but some clients warn of it; it is left where a value may be anything.
    if not named or len(named) < len(kinds):
        return {}
    return {"type": named[0] if len(named) == 1 else named}


UNLISTED = frozenset(
    {"minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxItems", "minItems"}
)


def brief(schema: Schema) -> Schema:
    """Return a schema of arguments for a short list: without bounds, which are told when they are broken."""
    closed = {CLOSED[0]: CLOSED[1]} if schema.get(CLOSED[0]) is CLOSED[1] else {}
    return {**cast(Schema, _brief(schema)), **closed}


def _brief(node: Any) -> Any:
    if isinstance(node, list):
        return [_brief(one) for one in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    given = cast(Schema, node)
    kept = {key: value for key, value in given.items() if key not in UNLISTED and (key, value) != CLOSED}
    # What stands under `properties` are names, not keywords: an argument may be called `maximum`.
    named = {key: {name: _brief(one) for name, one in kept[key].items()} for key in ("properties",) if key in kept}
    return {key: named.get(key, _brief(value)) for key, value in kept.items()}


CLOSED = ("additionalProperties", False)


def type_words(node: Schema) -> str:
    """Return the type of a value in words, as in `array of string`, `"a" or "b"`, `integer or null`."""
    if "const" in node:
        return _json(node["const"])
    if "enum" in node:
        return " | ".join(_json(value) for value in node["enum"])
    for key in ("anyOf", "oneOf"):
        if key in node:
            return " or ".join(dict.fromkeys(type_words(form) for form in node[key]))
    kind = node.get("type")
    if isinstance(kind, list):
        return " or ".join(str(one) for one in cast(list[Any], kind))
    if kind == "array":
        return f"array of {type_words(node['items'])}" if node.get("items") else "array"
    if kind == "object" and isinstance(node.get("additionalProperties"), dict) and not node.get("properties"):
        return f"object of {type_words(node['additionalProperties'])}"
    return str(kind) if kind else "any JSON"


_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching {}",
    "format": "as {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}
_NOT_EMPTY = ("at least 1 characters", "at least 1 items", "at least 1 keys")
_RENDERED = frozenset(_BOUNDS) | {
    "type", "enum", "const", "anyOf", "oneOf", "items", "additionalProperties", "properties", "required", "default",
    "description", "examples", "uniqueItems", "$schema",
}  # fmt: skip


def facets(node: Schema) -> list[str]:
    """Return the bounds of a value in words, its default last."""
    said = [words.format(node[key]) for key, words in _BOUNDS.items() if key in node]
    said = ["not empty" if words in _NOT_EMPTY else words for words in said]
    if node.get("uniqueItems"):
        said.append("no doubles")
    for key in ("items", "additionalProperties"):
        inner = node.get(key)
        if isinstance(inner, dict):
            said += [f"each {words}" for words in facets(cast(Schema, inner))]
    if "default" in node and node["default"] not in (None, [], {}):
        said.append(f"default {_json(node['default'])}")
    return said


def render(schema: Schema, *, answers: bool = False, indent: str = "") -> list[str]:
    """Return the properties of an object schema as lines, one per property, nested ones below their parent.

    Nothing of the schema is left out: a keyword without words of its own is written as JSON. With `answers` it is not
    said which properties are required: an answer has what it has.
    """
    lines: list[str] = []
    required = set(() if answers else schema.get("required", ()))
    for name, node in schema.get("properties", {}).items():
        lines += _render_property(name, node, name in required, answers, indent)
    rest = {key: value for key, value in schema.items() if key not in _RENDERED}
    if rest:
        lines.append(f"{indent}- further rules: {_json(rest)}")
    return lines


def _render_property(name: str, node: Schema, required: bool, answers: bool, indent: str) -> list[str]:
    said = [type_words(node), *(["required"] if required else []), *facets(node)]
    about = " ".join(str(node.get("description", "")).split())
    line = f"{indent}- {name} ({', '.join(said)})" + (f": {about}" if about else "")
    if node.get("examples"):
        line += " e.g. " + ", ".join(_json(example) for example in node["examples"])
    lines = [line]
    for inner in _inner_objects(node):
        lines += render(inner, answers=answers, indent=indent + "  ")
    return lines


def _inner_objects(node: Schema) -> list[Schema]:
    """Return the object schemas directly inside a property: itself, its items, its values or its forms."""
    if node.get("properties"):
        return [node]
    found: list[Schema] = []
    for key in ("items", "additionalProperties"):
        inner = node.get(key)
        if isinstance(inner, dict):
            found += _inner_objects(cast(Schema, inner))
    for form in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        found += _inner_objects(form)
    rest = {key: value for key, value in node.items() if key not in _RENDERED}
    return [*found, rest] if rest else found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
