"""What differs between two versions of a process."""

from typing import Any
from xml.etree import ElementTree

from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.difference import difference_svg, difference_text, differences, unfit_for_running

OLD: dict[str, Any] = {
    "format": 1,
    "process": "pay",
    "context": {"schema": {"type": "object", "properties": {"sum": {"type": "number"}, "note": {"type": "string"}}}},
    "start": "wait",
    "nodes": {
        "wait": {"type": "wait", "for": "PT5M", "next": [{"to": "check"}]},
        "check": {"type": "wait", "for": "PT1S", "next": [{"to": "done"}]},
        "done": {"type": "end", "outcome": "paid"},
    },
}
NEW: dict[str, Any] = {
    **OLD,
    "context": {
        "schema": {
            "type": "object",
            "properties": {"sum": {"type": "integer"}, "by": {"type": "string"}},
            "required": ["by"],
        }
    },
    "nodes": {
        "wait": {"type": "wait", "for": "PT10M", "next": [{"to": "sign"}]},
        "sign": {"type": "wait", "for": "PT1S", "next": [{"to": "done"}]},
        "done": {"type": "end", "outcome": "paid"},
    },
}


def both() -> tuple[ProcessDefinition, ProcessDefinition]:
    return parse_definition(OLD), parse_definition(NEW)


def test_every_place_that_differs_is_named_once_with_what_stood_and_stands_there() -> None:
    found = {one.path: (one.kind, one.before, one.after) for one in differences(*both())}
    assert found["/nodes/wait/for"] == ("changed", "PT5M", "PT10M")
    assert found["/nodes/wait/next/0/to"] == ("changed", "check", "sign")
    assert found["/nodes/check"][0] == "removed"
    assert found["/nodes/sign"][0] == "added"
    assert found["/context/schema/properties/sum/type"] == ("changed", "number", "integer")
    assert not any(path.startswith("/nodes/done") for path in found)
    assert differences(both()[0], both()[0]) == ()


def test_what_runs_under_way_may_not_fit_is_said() -> None:
    assert unfit_for_running(*both()) == (
        "the node 'check' is gone: a run that stands there can't be moved",
        "the context has no 'note' any more",
        "the context's 'sum' has another schema",
        "the context requires 'by' now",
    )
    assert unfit_for_running(both()[0], both()[0]) == ()


def test_the_text_has_a_line_for_each_and_the_picture_a_mark() -> None:
    lines = difference_text(*both()).splitlines()
    assert '~ /nodes/wait/for: "PT5M" → "PT10M"' in lines
    assert "! the context requires 'by' now" in lines
    assert difference_text(both()[0], both()[0]) == "no difference"
    root = ElementTree.fromstring(difference_svg(*both()))
    groups = [group for group in root.iter("{http://www.w3.org/2000/svg}g") if group.get("data-node")]
    assert {group.get("data-node"): group.get("data-state") for group in groups} == {
        "nodes/wait": "changed",
        "nodes/sign": "added",
        "nodes/done": None,
        "nodes/check": "removed",
    }
