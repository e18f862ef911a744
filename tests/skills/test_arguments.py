"""Values are checked against schemas from anywhere: none reaches the network, and a broken one is said to be broken."""

from typing import Any

import pytest

from engine.errors import Invalid
from skills.arguments import Checker, json_path, near_names


def test_a_reference_to_another_document_is_never_fetched() -> None:
    # Sockets are off in tests, so a fetch would fail in another way than by saying what is wrong.
    checker = Checker({"type": "object", "properties": {"a": {"$ref": "https://127.0.0.1:9/schema.json"}}})
    with pytest.raises(Invalid, match="the schema to check against is broken"):
        checker.violations({"a": 1})


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"properties": []}, {"required": "a"}, {"pattern": "("}])
def test_a_broken_schema_is_a_problem_of_the_schema(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="the schema to check against is broken"):
        Checker(schema).violations("text")


def test_at_most_eight_errors_are_listed() -> None:
    found = Checker({"items": {"type": "integer"}}).violations(["x"] * 100)
    assert len(found) == 8


def test_a_path_is_written_as_json_path() -> None:
    assert json_path(["a", 0, "b-c", "d e", 'f"']) == '$.a[0].b-c["d e"]["f\\""]'


def test_near_names_are_the_most_alike_first() -> None:
    assert near_names("fech", ["fetch", "search_content", "list_runs"]) == ("fetch",)
    assert near_names("search", ["fetch", "search_content"]) == ("search_content",)
    assert near_names("zzz", ["fetch"]) == ()


def test_the_forms_of_a_choice_are_named() -> None:
    (found,) = Checker({"properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}).violations({"a": "x"})
    assert str(found) == '$.a must be integer or null, not the text "x"'
