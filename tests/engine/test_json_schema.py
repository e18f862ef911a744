"""Schemas inside the house: exact paths, and nothing is ever fetched."""

import socket

import pytest

from engine.json_schema import first_violation, violations


def test_a_violation_names_its_path() -> None:
    schema = {"type": "object", "properties": {"lines": {"items": {"properties": {"amount": {"type": "number"}}}}}}
    found = list(violations(schema, {"lines": [{"amount": 1}, {"amount": "two"}]}))
    assert [(one.path, one.message) for one in found] == [("$.lines[1].amount", "'two' is not of type 'number'")]


def test_a_reference_inside_the_schema_is_followed() -> None:
    schema = {"$defs": {"word": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/word"}}}
    assert first_violation(schema, {"a": "x"}) is None
    assert first_violation(schema, {"a": 1}) == "$.a: 1 is not of type 'string'"


def test_a_reference_that_leads_out_is_a_violation_and_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def look_up(host: object, *_: object) -> None:
        asked.append(host)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    schema = {"properties": {"a": {"$ref": "http://schemas.example.org/a.json"}}}
    found = first_violation(schema, {"a": 1})
    assert found is not None
    assert "schemas.example.org" in found
    assert asked == []
