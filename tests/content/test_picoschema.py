"""Picoschema to JSON Schema, as the reference of Dotprompt describes it."""

from typing import Any

import pytest

from content.templates import to_json_schema
from engine.errors import Invalid


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


CASES: list[tuple[Any, Any]] = [
    (None, None),
    ("string", {"type": "string"}),
    ("number, how many", {"type": "number", "description": "how many"}),
    ("any", {}),
    ("any, whatever, really", {"description": "whatever, really"}),
    ({}, closed({})),
    ({"a": "integer"}, closed({"a": {"type": "integer"}}, "a")),
    ({"a?": "string, maybe"}, closed({"a": {"type": ["string", "null"], "description": "maybe"}})),
    ({"a?": "any"}, closed({"a": {}})),
    ({"a": {"b": "boolean"}}, closed({"a": closed({"b": {"type": "boolean"}}, "b")}, "a")),
    ({"a?": {"b": "null"}}, closed({"a": {**closed({"b": {"type": "null"}}, "b"), "type": ["object", "null"]}})),
    ({"a(array)": "string"}, closed({"a": {"type": "array", "items": {"type": "string"}}}, "a")),
    (
        {"a?(array, the (many) rows)": {"b": "string"}},
        closed(
            {
                "a": {
                    "type": ["array", "null"],
                    "items": closed({"b": {"type": "string"}}, "b"),
                    "description": "the (many) rows",
                }
            }
        ),
    ),
    (
        {"a(object, one)": {"b?": "string"}},
        closed({"a": {**closed({"b": {"type": ["string", "null"]}}), "description": "one"}}, "a"),
    ),
    ({"a?(object)": {}}, closed({"a": {**closed({}), "type": ["object", "null"]}})),
    ({"a(enum, which)": ["x", 1]}, closed({"a": {"enum": ["x", 1], "description": "which"}}, "a")),
    ({"a?(enum)": ["x"]}, closed({"a": {"enum": ["x", None]}})),
    ({"a?(enum)": ["x", None]}, closed({"a": {"enum": ["x", None]}})),
    ({"(*)": "number, any"}, {**closed({}), "additionalProperties": {"type": "number", "description": "any"}}),
    (
        {"a": "string", "(*)": "any"},
        {**closed({"a": {"type": "string"}}, "a"), "additionalProperties": {}},
    ),
    ({"type": "string", "minLength": 2}, {"type": "string", "minLength": 2}),
    ({"properties": {"a": {"type": "string"}}}, {"type": "object", "properties": {"a": {"type": "string"}}}),
    ("Person", {"type": "object", "description": "of ours"}),
    ("Person, someone", {"type": "object", "description": "someone"}),
    ({"a": "Person", "b?": "Person, b"}, closed(
        {"a": {"type": "object", "description": "of ours"}, "b": {"type": ["object", "null"], "description": "b"}}, "a"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("pico", "expected"), CASES)
def test_picoschema_becomes_json_schema(pico: Any, expected: Any) -> None:
    assert to_json_schema(pico, schemas={"Person": {"type": "object", "description": "of ours"}}) == expected


@pytest.mark.parametrize(
    ("pico", "message"),
    [
        ("strin", "s: `strin` is neither a type"),
        ({"a": {"b": "Strin, x"}}, "s/a/b: `Strin` is neither a type"),
        ({"a": 1}, "s/a: Picoschema has types and mappings only, not 1"),
        ({"a": None}, "s/a: .* not None"),
        ({"a": ["x"]}, r"s/a: .* not \['x'\]"),
        ({"a(list)": "string"}, r"s/a\(list\): in brackets stands array, object or enum, not `list`"),
        ({"a(array": "string"}, "is not closed"),
        ({"a(enum)": "x"}, "an enum has a list of values"),
        ({"?": "string"}, "has no name"),
        (7, "not 7"),
    ],
)
def test_a_mistake_is_named_with_its_path(pico: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        to_json_schema(pico, place="s")


def test_the_schema_that_was_passed_stays_as_it_is() -> None:
    pico = {"a?(enum)": ["x"], "b?": "Person"}
    named = {"Person": {"type": "object"}}
    to_json_schema(pico, schemas=named)
    assert pico == {"a?(enum)": ["x"], "b?": "Person"}
    assert named == {"Person": {"type": "object"}}
