"""The Mustache specification: all that Handlebars.js passes, and a fixed list of what it means differently."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from content.templates import parse
from engine.errors import Problem

SUITE = Path(os.environ.get("SUITES", Path(__file__).parents[3] / "shared" / "suites")) / "mustache"

# Handlebars has no other delimiters, looks nothing up in outer contexts by itself, refuses unknown partials, and
# indents the lines of values in an indented partial too.
DIFFERENT = {
    "delimiters: Indented Standalone Tag",
    "delimiters: Inverted Sections",
    "delimiters: Outlying Whitespace (Inline)",
    "delimiters: Pair Behavior",
    "delimiters: Pair with Padding",
    "delimiters: Partial Inheritence",
    "delimiters: Post-Partial Behavior",
    "delimiters: Sections",
    "delimiters: Special Characters",
    "delimiters: Standalone Line Endings",
    "delimiters: Standalone Tag",
    "delimiters: Standalone Without Newline",
    "delimiters: Standalone Without Previous Line",
    "delimiters: Surrounding Whitespace",
    "partials: Failed Lookup",
    "partials: Standalone Indentation",
    "sections: Deeply Nested Contexts",
    "sections: List Contexts",
    "sections: Parent contexts",
    "sections: Variable test",
}


def cases() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.stem}: {case['name']}", case)
        for path in sorted(SUITE.glob("*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))["tests"]
    ]


def outcome(case: dict[str, Any]) -> str | None:
    try:
        return parse(case["template"]).render(case["data"], partials=case.get("partials"), escape=True)
    except Problem:
        return None


@pytest.mark.skipif(not SUITE.is_dir(), reason="the Mustache suite is not here; set SUITES to the folder that has it")
def test_exactly_the_known_differences_remain() -> None:
    found = cases()
    assert len(found) == 136
    assert {name for name, case in found if outcome(case) != case["expected"]} == DIFFERENT
