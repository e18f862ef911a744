"""Routes as people write them: names, lists and limits become one list of candidates, or are refused with a reason."""

import pytest
from pydantic import TypeAdapter

from engine.errors import Invalid
from engine.routes import ModelChoice, ModelEntry, Route, RouteLimits, RouteList, resolve

NAMED = {
    "fast": RouteList(candidates=("groq/small", ModelEntry(model="openai/mini", account="eu")), max_usd_input=1.0),
    "careful": RouteList(candidates=("anthropic/large", "fast"), needs=("images",), max_usd_input=3.0),
    "loop": RouteList(candidates=("again",)),
    "again": RouteList(candidates=("openai/mini", "loop")),
}


def listed(choice: ModelChoice) -> list[tuple[str, str | None]]:
    return [(str(one), one.account) for one in resolve(choice, NAMED).candidates]


def test_a_model_a_name_and_a_list_of_both_become_candidates_in_order() -> None:
    assert listed("openai/org/model") == [("openai/org/model", None)]
    assert listed("fast") == [("groq/small", None), ("openai/mini", "eu")]
    assert listed(("anthropic/x", "fast", "groq/small")) == [
        ("anthropic/x", None),
        ("groq/small", None),
        ("openai/mini", "eu"),
        # The same model again counts as another candidate only where its limits differ.
        ("groq/small", None),
    ]
    assert listed(("a/b", "a/b")) == [("a/b", None)]


def test_all_limits_that_are_stated_hold_at_once() -> None:
    large, small, mini = resolve("careful", NAMED).candidates
    assert large.limits == RouteLimits(max_usd_input=3.0, needs=("images",))
    assert small.limits == mini.limits == RouteLimits(max_usd_input=1.0, needs=("images",))
    entry = ModelEntry(model="fast", max_usd_input=2.0, min_context=5, regions=("eu", "us"), patience_s=3)
    (first, _) = resolve((entry,), NAMED).candidates
    assert (first.limits.max_usd_input, first.limits.min_context, first.limits.regions) == (1.0, 5, ("eu", "us"))
    both = RouteLimits(regions=("eu", "us"), min_context=9).both(RouteLimits(regions=("us", "asia"), min_context=3))
    assert (both.regions, both.min_context) == (("us",), 9)
    # Regions without a common one admit nobody, which is not the same as being open.
    assert RouteLimits(regions=("eu",)).both(RouteLimits(regions=("us",))).regions == ()


def test_an_entry_gives_its_account_and_its_options_to_what_it_names() -> None:
    entry = ModelEntry(model="fast", account="two", options={"effort": "low"})
    candidates = resolve((entry,), NAMED).candidates
    assert [(one.account, one.options) for one in candidates] == [("two", {"effort": "low"})] * 2
    route = resolve(("a/b", entry), NAMED).with_defaults({"effort": "high", "seed": 1})
    assert [one.options for one in route.candidates] == [
        {"effort": "high", "seed": 1},
        {"effort": "low", "seed": 1},
        {"effort": "low", "seed": 1},
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            "slow",
            "'slow' is not a route; write provider/model, or one of the routes of the settings: again, careful",
        ),
        ("loop", "leads back to itself: loop → again → loop"),
        ("/model", "is not a route"),
        ((), "at least one candidate"),
        (tuple(f"a/{number}" for number in range(21)), "at most 20"),
    ],
)
def test_what_means_nothing_is_refused(choice: ModelChoice, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        resolve(choice, NAMED)


def test_a_choice_travels_as_json_and_a_misspelt_limit_is_refused() -> None:
    adapter: TypeAdapter[ModelChoice] = TypeAdapter(ModelChoice)
    read = adapter.validate_python(["fast", {"model": "a/b", "max_usd_call": 0.1}])
    assert read == ("fast", ModelEntry(model="a/b", max_usd_call=0.1))
    assert adapter.validate_json(adapter.dump_json(read)) == read
    with pytest.raises(ValueError, match="max_usd_cal"):
        adapter.validate_python([{"model": "a/b", "max_usd_cal": 0.1}])
    route = resolve(("a/b", "c/d"), {})
    assert Route.model_validate_json(route.model_dump_json()) == route
    # A route as an earlier release has written it.
    assert Route.model_validate({"provider": "a", "model": "b", "options": {}, "fallbacks": []}) == Route.parse("a/b")
