"""The bounds of templates: what is built to run for ever ends at a count, not at a clock."""

from contextlib import nullcontext
from typing import Any

import pytest

from content.templates import Limits, parse
from engine.errors import Exhausted, Invalid

TEN = list(range(10))


def exhausted(source: str, data: Any = None, partials: dict[str, str] | None = None, **limits: int) -> str:
    with pytest.raises(Exhausted) as caught:
        parse(source).render({} if data is None else data, partials=partials, limits=Limits(**limits))
    return caught.value.details["bound"]


def test_nested_loops_end_at_the_number_of_turns() -> None:
    bomb = "{{#each @root.l}}" * 12 + "x" + "{{/each}}" * 12
    assert exhausted(bomb, {"l": TEN}) == "iterations"
    assert exhausted(bomb.replace("x", ""), {"l": TEN}) == "iterations"
    assert exhausted("{{#l}}" + "{{#@root.l}}" * 12 + "{{/@root.l}}" * 12 + "{{/l}}", {"l": TEN}) == "iterations"


def test_turns_are_counted_to_the_last() -> None:
    template, data = parse("{{#each l}}.{{/each}}"), {"l": TEN}
    assert template.render(data, limits=Limits(iterations=10)) == "." * 10
    assert exhausted(template.source, data, iterations=9) == "iterations"


def test_partials_that_double_end_at_the_number_of_turns() -> None:
    partials = {f"p{n}": f"{{{{> p{n + 1}}}}}{{{{> p{n + 1}}}}}" for n in range(40)} | {"p40": ""}
    assert exhausted("{{> p0}}", partials=partials) == "iterations"
    with pytest.raises(Exhausted):
        parse("{{> p0}}").check({}, partials=partials)


def test_copying_large_objects_for_partials_counts_as_turns() -> None:
    rows = [{f"k{n}": n for n in range(6_400)}] * 200
    assert exhausted("{{#each l}}{{> p x=1}}{{/each}}", {"l": rows}, {"p": ""}, iterations=5_000) == "iterations"


@pytest.mark.parametrize(
    ("source", "partials"),
    [
        ("{{> a}}", {"a": "x{{> a}}"}),
        ("{{> a}}", {"a": "{{> b}}", "b": "{{> a}}"}),
        ("  {{> a}}\n", {"a": "x\n  {{> a}}\n"}),
        ("{{#> a}}x{{/a}}", {"a": "{{#> a}}{{> @partial-block}}{{/a}}"}),
        ("{{#*inline 'a'}}{{> a}}{{/inline}}{{> a}}", {}),
        ("{{> (lookup . 'n')}}", {"a": "{{> (lookup . 'n')}}"}),
    ],
)
def test_a_partial_that_calls_itself_for_ever_ends_at_the_depth(source: str, partials: dict[str, str]) -> None:
    assert exhausted(source, {"n": "a"}, partials) == "depth"


def test_output_ends_at_the_number_of_characters_also_inside_of_indented_partials() -> None:
    assert parse("{{#each l}}ab{{/each}}").render({"l": TEN}, limits=Limits(output=20)) == "ab" * 10
    assert exhausted("{{#each l}}ab{{/each}}", {"l": TEN}, output=19) == "output"
    assert exhausted("{{a}}", {"a": "x" * 21}, output=20) == "output"
    assert exhausted(" " * 1_000 + "{{> p}}\n", {}, {"p": "x\n" * 1_000}, output=100_000) == "output"
    assert exhausted(" " * 100_000 + "{{> p}}\n", {}, {"p": "x\n" * 100_000}) == "output"


def test_nesting_is_bounded_when_parsed_and_renders_up_to_the_bound() -> None:
    deep = "{{#if a}}" * 64 + "x" + "{{/if}}" * 64
    assert parse(deep).render({"a": 1}) == "x"
    with pytest.raises(Exhausted, match=r"^t:1:577: .*deeper than 64"):
        parse("{{#if a}}" * 50_000, name="t", limits=Limits(template=1_000_000))
    with pytest.raises(Invalid, match="nested too deep"):
        parse("{{a " + "(b " * 200 + "c" + ")" * 200 + "}}")


def test_a_long_chain_of_else_if_is_not_deep() -> None:
    chain = "{{#if a}}a" + "".join(f"{{{{else if b{n}}}}}{n}" for n in range(2_000)) + "{{else}}none{{/if}}"
    assert parse(chain).render({"b1999": True}) == "1999"
    assert parse(chain).render({}) == "none"


def test_the_source_is_bounded() -> None:
    with pytest.raises(Exhausted, match="300,000 characters"):
        parse("x" * 300_000)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{! c}}" + " " * 250_000 + "x{{! c}}", " " * 250_000 + "x"),
        ("\n" * 250_000 + "x{{! c}}", "\n" * 250_000 + "x"),
        ("{{!-- --}}" * 25_000, ""),
        ("\\{{" * 80_000, "{{" * 80_000),
        ("{{a" + ".a" * 120_000 + "}}", ""),
        ('{{"' + '\\"' * 120_000, None),
        ("{{[" + "\\]" * 120_000, None),
        ("{{a " + '"' * 250_000, None),
        ("{{#a as" + " " * 250_000 + "}}{{/a}}", None),
        ("{{" * 125_000, None),
        ("{{{{a}}}}" * 28_000, None),
    ],
)
def test_the_parser_never_goes_over_the_same_text_again_and_again(source: str, expected: str | None) -> None:
    refused = pytest.raises(Invalid, match=r"^template:\d+:\d+: ") if expected is None else nullcontext()
    with refused:
        assert parse(source).render({"a": ""}) == expected


def test_deep_and_circular_data_end_in_an_answer() -> None:
    deep: Any = "x"
    for _ in range(20_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["self"] = circle
    assert exhausted("{{this}}", deep) == "depth"
    assert exhausted("{{this}}", circle) == "depth"
    with pytest.raises(Invalid, match="4096 bits"):
        parse("{{this}}").render(1 << 100_000)
