"""JSON Logic against cases that nobody of this project wrote, and against another engine."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datalogic_py
import pytest

from engine.process.logic import LogicError, evaluate


def cases(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return every case of every file with a name; the classic file has lists, the others objects."""
    found: list[tuple[str, dict[str, Any]]] = []
    for file in sorted(folder.glob("*.json")):
        for number, case in enumerate(json.loads(file.read_text("utf-8"))):
            if isinstance(case, list):
                found.append((f"{file.name} {number}", {"rule": case[0], "data": case[1], "result": case[2]}))
            elif isinstance(case, dict):
                found.append((f"{file.name} {number} {case.get('description')}", case))
    return found


def alike(left: Any, right: Any) -> bool:
    """Return equality of JSON: true is not 1, 1.0 is 1, fractions to 12 digits."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return abs(left - right) <= 1e-12 * max(1, abs(left))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


def test_every_case_of_the_suite_gives_its_result_or_its_error(suites: Path) -> None:
    found = cases(suites / "json-logic")
    assert len(found) >= 1252, "the suite is not complete"
    wrong: list[str] = []
    for name, case in found:
        expected = ("error", case["error"]) if "error" in case else ("result", case["result"])
        try:
            given = ("result", evaluate(case["rule"], case.get("data")))
        except LogicError as error:
            given = ("error", error.error)
        if given[0] != expected[0] or not alike(given[1], expected[1]):
            wrong.append(f"{name}: {json.dumps(case['rule'])} gave {given}, expected {expected}")
    assert not wrong, "\n".join(wrong[:20])


# Where datalogic-py differs from the published suites: `{}` is false, `and []` and `or []` are null, iterators take
# null, `merge` drops null.
DISAGREEMENTS = {"array": 11, "control": 6, "truthiness": 2}


def outcome(evaluation: Callable[[], Any], expected: type[Exception]) -> Any:
    """Return the value, or the text "an error" for an expected exception."""
    try:
        return evaluation()
    except expected:
        return "an error"


def test_another_engine_agrees_wherever_it_follows_the_suite(suites: Path) -> None:
    differing: dict[str, int] = {}
    for name, case in cases(suites / "json-logic"):
        rule, data = case["rule"], case.get("data")
        if "preserve" in json.dumps(rule):
            continue
        ours = outcome(partial(evaluate, rule, data), LogicError)
        theirs = outcome(partial(datalogic_py.apply, json.dumps(rule), json.dumps(data)), datalogic_py.DataLogicError)
        if not alike(ours, theirs):
            area = name.partition(".")[0]
            differing[area] = differing.get(area, 0) + 1
    assert differing == DISAGREEMENTS


@pytest.mark.parametrize("left", [0, 1, -3, 2.5, 1000])
@pytest.mark.parametrize("right", [1, 2, -3, 0.5, 7])
@pytest.mark.parametrize("op", ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "===", "!==", "max", "min"])
def test_another_engine_agrees_on_numbers(op: str, left: float, right: float) -> None:
    rule = {op: [{"var": "x"}, {"var": "y"}]}
    data = {"x": left, "y": right}
    assert alike(evaluate(rule, data), datalogic_py.apply(rule, data))
