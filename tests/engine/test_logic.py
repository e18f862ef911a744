"""JSON Logic: the newer operators, strict evaluation, bounds, reading sets and explanations."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Exhausted, Problem
from engine.process.logic import OPERATORS, LogicError, compile_rule, evaluate, explain, reads


def error_of(rule: Any, data: Any = None, strict: bool = False) -> dict[str, Any]:
    with pytest.raises(LogicError) as caught:
        evaluate(rule, data, strict)
    return caught.value.error


@pytest.mark.parametrize(
    ("rule", "data", "result"),
    [
        ({"val": ["a", "b"]}, {"a": {"b": 1}}, 1),
        ({"val": ["a", 1]}, {"a": [1, 2]}, 2),
        ({"val": "."}, {".": 20}, 20),
        ({"val": []}, {"": 21}, {"": 21}),
        ({"val": ["", ""]}, {"": {"": 2}}, 2),
        ({"val": {"cat": ["te", "st"]}}, {"test": 1}, 1),
        ({"val": {"?:": [True, ["a", "b"], []]}}, {"a": {"b": 7}}, 7),
        ({"exists": ["a", "b"]}, {"a": {"b": None}}, True),
        ({"exists": "a.b"}, {"a": {"b": None}}, False),
        ({"??": [None, {"val": ["a", "b"]}, 5]}, {}, 5),
        ({"??": [None, False, 5]}, None, False),
        ({"??": []}, None, None),
        ({"length": {"val": "list"}}, {"list": [1, 2, 3]}, 3),
        ({"length": "héllo"}, None, 5),
        ({"+": {"val": "list"}}, {"list": [1, 2, 3]}, 6),
        ({"-": {"merge": [[1], 5]}}, None, -4),
        ({"==": [None, "A"]}, None, False),
        ({"==": [None, ""]}, None, False),
        ({"==": [None, None, None]}, None, True),
        ({"preserve": {"+": [1, 2]}}, None, {"+": [1, 2]}),
        ([{}, {"var": "x"}], {"x": 1}, [{}, 1]),
    ],
)
def test_newer_operators_give_their_published_results(rule: Any, data: Any, result: Any) -> None:
    assert evaluate(rule, data) == result


@pytest.mark.parametrize(
    ("rule", "data", "result"),
    [
        ({"map": [{"val": "n"}, {"+": [{"val": [[1], "index"]}, {"val": []}]}]}, {"n": [1, 2, 3]}, [1, 3, 5]),
        ({"map": [{"val": "n"}, {"+": [{"val": [[2], "v"]}, {"val": []}]}]}, {"n": [1, 2], "v": 10}, [11, 12]),
        ({"map": [[1], {"map": [[2], {"+": [{"val": []}, {"val": [[-4], "v"]}]}]}]}, {"v": 10}, [[12]]),
        ({"map": [[7, 8], {"map": [[5], {"val": [[3], "index"]}]}]}, None, [[0], [1]]),
        ({"map": [[7], {"map": [[5], {"val": [[2]]}]}]}, None, [[7]]),
        (
            {"filter": [{"val": "p"}, {"===": [{"val": "d"}, {"val": [[2], "d"]}]}]},
            {"d": 1, "p": [{"d": 1}, {"d": 2}]},
            [{"d": 1}],
        ),
        ({"map": [[1], {"val": [[99], "v"]}]}, {"v": "root"}, ["root"]),
    ],
)
def test_jumps_reach_the_iteration_and_the_contexts_outside(rule: Any, data: Any, result: Any) -> None:
    assert evaluate(rule, data) == result


def test_try_gives_the_error_to_the_next_argument_and_the_last_error_to_the_caller() -> None:
    assert evaluate({"try": [{"throw": "A"}, {"/": [0, 0]}, {"val": "type"}]}, None) == "NaN"
    assert evaluate({"try": [{"throw": {"val": "x"}}, {"val": "type"}]}, {"x": {"type": "Odd"}}) == "Odd"
    assert evaluate({"try": [{"map": [[1], {"/": [0, 0]}]}, {"val": [[2], "fallback"]}]}, {"fallback": "F"}) == "F"
    assert error_of({"try": [{"throw": "A"}, {"throw": "B"}]}) == {"type": "B"}
    assert error_of({"map": [[1], {"try": [{"/": [0, 0]}]}]}) == {"type": "NaN"}
    assert error_of({"throw": {"val": "x"}}, {"x": {"type": "E", "why": 1}}) == {"type": "E", "why": 1}


@pytest.mark.parametrize("op", ["if", "or", "and", "map", "filter", "reduce", "some", "all", "none"])
@pytest.mark.parametrize("argument", [5, {"preserve": [[1], {"val": []}]}])
def test_operators_that_are_lazy_refuse_arguments_that_are_not_a_list(op: str, argument: Any) -> None:
    assert error_of({op: argument}) == {"type": "Invalid Arguments"}


@pytest.mark.parametrize("rule", [{"nope": 1}, {"+": 1, "-": 2}, {"if": [True, 1, {"nope": 1}]}])
def test_unknown_operators_are_refused_before_anything_is_evaluated(rule: Any) -> None:
    with pytest.raises(LogicError) as caught:
        compile_rule(rule)
    assert caught.value.type == "Unknown Operator"


@pytest.mark.parametrize("value", ["1", True, None, [1], {}])
def test_max_takes_numbers_only(value: Any) -> None:
    assert error_of({"max": [2, {"preserve": value}]}) == {"type": "Invalid Arguments"}


def test_an_absent_amount_passes_a_published_guard_but_not_a_strict_one() -> None:
    guard = {"<": [{"var": "amount"}, 1000]}
    assert evaluate(guard, {}) is True
    with pytest.raises(LogicError) as caught:
        evaluate({"and": [True, guard]}, {}, strict=True)
    assert (caught.value.type, caught.value.path) == ("Missing Variable", "/and/1/</0")
    assert "'amount'" in caught.value.message


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        ({"var": ["a.b", 3]}, 3),
        ({"??": [{"var": "a.b"}, {"val": ["a", "b"]}, 4]}, 4),
        ({"exists": ["a", "b"]}, False),
        ({"missing": ["a.b"]}, ["a.b"]),
        ({"try": [{"var": "a.b"}, {"val": "type"}]}, "Missing Variable"),
    ],
)
def test_strict_evaluation_accepts_a_default(rule: Any, result: Any) -> None:
    assert evaluate(rule, {}, strict=True) == result


@pytest.mark.parametrize(
    "rule",
    [
        {"var": "a"},
        {"val": ["a", "b"]},
        {"??": [{"var": "a"}]},
        {"map": [[{}], {"var": "a"}]},
        {"var": {"cat": ["a", "b"]}},
    ],
)
def test_strict_evaluation_refuses_what_nothing_stands_in_for(rule: Any) -> None:
    assert error_of(rule, {}, strict=True) == {"type": "Missing Variable"}


def test_numbers_are_exact_to_64_bits_and_whole_where_they_are_whole() -> None:
    assert repr(evaluate({"/": [4, 2]}, None)) == "2"
    assert repr(evaluate({"*": [0.5, 4]}, None)) == "2"
    assert evaluate({"+": [{"var": ""}, 1]}, 9007199254740993) == 9007199254740994
    assert isinstance(evaluate({"*": [{"var": ""}, 16]}, 2**62), float)
    assert evaluate({"%": [-8, 3]}, None) == -2
    assert error_of({"+": [{"var": ""}, 1]}, 10**5000) == {"type": "NaN"}
    assert error_of({"*": [1e308, 10]}) == {"type": "NaN"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (0.1, "0.1"),
        (123456789.5, "123456789.5"),
        ([1, [2, None]], "1,2,"),
        (True, "true"),
    ],
)
def test_texts_of_values_are_those_of_javascript(value: Any, text: str) -> None:
    assert evaluate({"cat": [{"var": ""}, ""]}, value) == text


GROWTH = {"reduce": [{"var": "rounds"}, {"cat": [{"var": "accumulator"}, {"var": "accumulator"}]}, "xxxxxxxx"]}
LISTS = {"reduce": [{"var": "rounds"}, {"merge": [{"var": "accumulator"}, {"var": "accumulator"}]}, [1, 2]]}
NESTED = {"map": [{"var": "rounds"}, {"map": [{"val": [[2], "rounds"]}, {"map": [{"val": [[4], "rounds"]}, 1]}]}]}
SEARCH = {"map": [{"var": "rounds"}, {"in": [-1, {"val": [[2], "rounds"]}]}]}


@pytest.mark.parametrize("rule", [GROWTH, LISTS, NESTED, SEARCH])
def test_rules_that_explode_are_refused_and_try_does_not_catch_that(rule: Any) -> None:
    data = {"rounds": list(range(1000))}
    with pytest.raises(Exhausted):
        evaluate(rule, data)
    with pytest.raises(Exhausted):
        evaluate({"try": [rule, 1]}, data)


def nested(levels: int, wrap: str) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if wrap == "list" else {wrap: value}
    return value


@pytest.mark.parametrize("wrap", ["list", "!", "preserve"])
def test_deep_rules_are_refused_or_harmless(wrap: str) -> None:
    rule = {"!": [nested(10_000, wrap)]}
    if wrap == "preserve":
        assert evaluate(rule, None) is False
    else:
        with pytest.raises(Exhausted, match="128"):
            evaluate(rule, None)


def test_deep_data_neither_breaks_reading_nor_comparing_nor_explaining() -> None:
    deep = nested(10_000, "list")
    data = {"a": deep, "b": nested(10_000, "list")}
    assert evaluate({"===": [{"var": "a"}, {"var": "b"}]}, data) is True
    assert evaluate({"in": [{"var": "a"}, [1, {"var": "b"}]]}, data) is True
    assert evaluate({"cat": [{"var": "a"}]}, data) == "1"
    assert len(json.dumps(explain({"cat": [{"var": "a"}, {"var": "b"}]}, data))) < 2000


def test_the_bounds_are_settings_of_the_rule() -> None:
    rule = {"map": [{"var": ""}, {"+": [{"var": ""}, 1]}]}
    assert compile_rule(rule, max_operations=100)(list(range(10))) == list(range(1, 11))
    with pytest.raises(Exhausted):
        compile_rule(rule, max_operations=100)(list(range(100)))
    with pytest.raises(Exhausted):
        compile_rule({"!": {"!": {"!": 1}}}, max_depth=2)


def test_operators_see_no_attributes_of_python_objects() -> None:
    for path in ("__class__", "a.__class__.__mro__", "a.upper", "b.append"):
        assert evaluate({"var": path}, {"a": "text", "b": []}) is None


SUM_OF_KEPT = {
    "reduce": [
        {"filter": [{"var": "x"}, {"var": "ok"}]},
        {"+": [{"var": "current.n"}, {"var": "accumulator"}]},
        {"var": "start"},
    ]
}
WITH_JUMPS = {"map": [{"var": "items"}, {"+": [{"var": "n"}, {"val": [[2], "base"]}, {"val": [[1], "index"]}]}]}


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        ({"<": [{"var": "a.b"}, {"val": ["c", "d.e"]}]}, {("a", "b"), ("c", "d.e")}),
        (WITH_JUMPS, {("items",), ("items", "*", "n"), ("base",)}),
        (SUM_OF_KEPT, {("x",), ("x", "*", "ok"), ("x", "*", "n"), ("start",)}),
        ({"var": {"var": "name"}}, {("name",), ()}),
        ({"missing": ["a", "b.c"]}, {("a",), ("b", "c")}),
        ({"try": [{"var": "a"}, {"val": "type"}, {"val": [[2], "b"]}]}, {("a",), ("b",)}),
        ({"preserve": {"var": "a"}}, set[tuple[str, ...]]()),
    ],
)
def test_the_reading_set_follows_iterations_jumps_and_errors(rule: Any, paths: set[tuple[str, ...]]) -> None:
    assert reads(rule) == paths


@pytest.mark.parametrize(
    "rule",
    [
        {"var": ["a", 1]},
        {"exists": "a"},
        {"??": [{"var": "a"}, 1]},
        {"try": [{"var": "a"}, 1]},
        {"and": [{"exists": "a"}, {"var": "a"}]},
        {"if": [{"exists": "a"}, {"var": "a"}, 0]},
    ],
)
def test_a_reference_with_something_standing_in_for_it_is_not_required(rule: Any) -> None:
    assert not any(reference.required for reference in compile_rule(rule).references)
    assert any(reference.required for reference in compile_rule({"and": [rule, {"var": "a"}, {"var": "b"}]}).references)


def test_an_explanation_has_each_clause_with_the_values_it_saw() -> None:
    rule = {"and": [{"<=": [{"var": "total"}, 10]}, {"==": [{"var": "who"}, "me"]}, {"var": "never"}]}
    told = explain(rule, {"total": 5, "who": "you"})
    (top,) = told["clauses"]
    assert told["value"] is False
    assert [(clause["clause"], clause["value"]) for clause in top["clauses"]] == [
        ({"<=": [{"var": "total"}, 10]}, True),
        ({"==": [{"var": "who"}, "me"]}, False),
    ]
    assert top["clauses"][0]["clauses"] == [{"at": "/and/0/<=/0", "clause": {"var": "total"}, "value": 5}]


def test_an_explanation_is_bounded_and_tells_errors() -> None:
    told = explain({"map": [{"var": ""}, {"cat": [{"var": ""}, "x"]}]}, ["y" * 500] * 1000)
    assert len(json.dumps(told)) < 200_000
    failed = explain({"+": [{"var": "a"}, 1]}, {}, strict=True)
    assert failed["error"]["type"] == "Missing Variable"
    assert failed["clauses"][0]["error"] == {"type": "Missing Variable"}
    assert explain({"nope": 1}, {})["error"]["type"] == "Unknown Operator"


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["a", "a.b", "0", "type"]),
)


def composite(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "", "0"]), inner, max_size=3)


def clause(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from([*OPERATORS, "preserve"])
    return st.lists(inner, max_size=4) | st.dictionaries(
        names, inner | st.lists(inner, max_size=4), min_size=1, max_size=1
    )


values = st.recursive(scalars, composite)
rules = st.recursive(scalars | st.lists(st.integers(0, 3), min_size=1, max_size=1), clause, max_leaves=20)


@settings(max_examples=400, deadline=None)
@given(rule=rules, data=values, strict=st.booleans())
def test_whatever_the_rule_and_the_data_only_problems_are_raised(rule: Any, data: Any, strict: bool) -> None:
    outcomes: list[str] = []
    for _ in range(2):
        try:
            outcomes.append(repr(evaluate(rule, data, strict)))
        except Problem as problem:
            outcomes.append(repr(problem.as_json()))
    assert outcomes[0] == outcomes[1]
    explain(rule, data, strict)
    try:
        reads(rule)
    except Problem:
        assert outcomes[0].startswith("{'code'")
