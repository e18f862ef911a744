"""The choice of a candidate: always the same, never against a limit of its route, and explained."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.routes import Capability, Route, RouteLimits
from providers.health import Down, Endpoint
from providers.routing import Candidate, Facts, Need, choose

CAPABILITIES: list[Capability] = ["tools", "images", "pdf"]
AMOUNTS = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]))
TOKENS = st.one_of(st.none(), st.sampled_from([1_000, 8_000, 200_000]))
SOME = st.lists(st.sampled_from(CAPABILITIES), max_size=2, unique=True)

limits = st.builds(
    RouteLimits,
    max_usd_input=AMOUNTS,
    max_usd_output=AMOUNTS,
    max_usd_call=AMOUNTS,
    min_context=TOKENS,
    needs=SOME.map(tuple),
    regions=st.one_of(st.none(), st.sampled_from([(), ("eu",), ("eu", "us")])),
)
facts = st.builds(
    Facts,
    context_tokens=TOKENS,
    max_output_tokens=TOKENS,
    capabilities=st.dictionaries(st.sampled_from(CAPABILITIES), st.booleans()),
    usd_input=AMOUNTS,
    usd_output=AMOUNTS,
    region=st.sampled_from([None, "eu", "us"]),
)


@st.composite
def candidate(draw: st.DrawFn) -> Candidate:
    route = Route(
        provider=draw(st.sampled_from(["a", "b"])), model=draw(st.sampled_from(["m", "n"])), limits=draw(limits)
    )
    problem = draw(st.sampled_from([None, None, None, "no key"]))
    return Candidate(route=route, facts=draw(facts), problem=problem)


candidates = st.lists(candidate(), max_size=6)
needs = st.builds(
    Need,
    input_tokens=st.sampled_from([0, 900, 9_000, 300_000]),
    output_tokens=st.sampled_from([0, 4_000]),
    capabilities=SOME.map(frozenset),
)
downs = st.dictionaries(
    st.builds(Endpoint, st.just(""), st.sampled_from(["a", "b"]), st.just(""), st.sampled_from(["", "m"])),
    st.just(Down("overloaded", "it is left alone", 5.0)),
)


def keeps(one: Candidate, need: Need) -> bool:
    """Tell by the wording of the limits, read again, whether a candidate may be called."""
    limit, known = one.route.limits, one.facts
    prices = (known.usd_input, known.usd_output)
    parts = [(need.input_tokens, known.usd_input), (need.output_tokens, known.usd_output)]
    unknown = known.usd_input is None or (known.usd_output is None and need.output_tokens > 0)
    call = None if unknown else sum(tokens * (price or 0) for tokens, price in parts) / 1e6
    bounds = [(limit.max_usd_input, prices[0]), (limit.max_usd_output, prices[1]), (limit.max_usd_call, call)]
    return (
        one.problem is None
        and all(bound is None or (price is not None and price <= bound) for bound, price in bounds)
        and (limit.min_context is None or (known.context_tokens or 0) >= limit.min_context)
        and all(known.capabilities.get(what) is True for what in limit.needs)
        and (limit.regions is None or known.region in limit.regions)
    )


@given(candidates, needs, downs)
def test_a_choice_is_repeatable_keeps_all_limits_and_accounts_for_every_candidate_before_it(
    offered: list[Candidate], need: Need, down: dict[Endpoint, Down]
) -> None:
    made = choose(offered, need, down)
    assert made == choose(list(offered), need.model_copy(), dict(down))
    allowed = [index for index, one in enumerate(offered) if keeps(one, need)]
    assert (made.index is None) == (not allowed)
    rejected = {index: objection for index, objection in made.rejected}
    if made.index is not None:
        assert made.index in allowed
        assert made.route == offered[made.index].route
        assert made.index not in rejected
        before = set(range(made.index)) if not made.reluctant else set(range(len(offered))) - {made.index}
        assert set(rejected) == before
    for index, objection in rejected.items():
        assert objection.reason
        assert objection.hard == (not keeps(offered[index], need))


@given(candidates, candidate(), needs, downs)
def test_a_further_candidate_at_the_end_changes_no_choice_that_was_free_of_objections(
    offered: list[Candidate], further: Candidate, need: Need, down: dict[Endpoint, Down]
) -> None:
    made = choose(offered, need, down)
    if made.index is not None and not made.reluctant:
        assert choose([*offered, further], need, down) == made


@given(candidates, needs, downs)
def test_reluctance_is_for_the_case_that_nobody_is_free_of_objections(
    offered: list[Candidate], need: Need, down: dict[Endpoint, Down]
) -> None:
    made, firm = choose(offered, need, down), choose(offered, need, down, reluctantly=False)
    assert firm.index == (None if made.reluctant else made.index)
    if made.index is not None:
        assert choose(offered, need, down, without={made.index}).index != made.index


def one(text: str, limit: RouteLimits | None = None, **known: Any) -> Candidate:
    route = Route.parse(text).model_copy(update={"limits": limit or RouteLimits()})
    return Candidate(route=route, facts=Facts(**known))


@pytest.mark.parametrize(
    ("first", "need", "code", "said"),
    [
        (
            one("a/b", RouteLimits(max_usd_input=1)),
            Need(),
            "price",
            "it is unpriced, and a million tokens of input may",
        ),
        (one("a/b", RouteLimits(max_usd_input=1), usd_input=1.5), Need(), "price", "costs 1.5 USD, more than 1"),
        (
            one("a/b", RouteLimits(max_usd_call=0.01), usd_input=2.0, usd_output=10.0),
            Need(input_tokens=1_000, output_tokens=1_000),
            "price",
            "the call costs 0.012 USD, more than 0.01",
        ),
        (one("a/b", RouteLimits(min_context=9)), Need(), "context", "its window is unknown, the route asks for 9"),
        (one("a/b", RouteLimits(needs=("pdf",))), Need(), "capability", "not known to have what the route needs: pdf"),
        (one("a/b", RouteLimits(regions=("eu",))), Need(), "region", "its region is unknown; allowed: eu"),
        (
            one("a/b", context_tokens=100),
            Need(input_tokens=90, output_tokens=20),
            "context",
            "the call takes about 110 tokens, its window has 100",
        ),
        (
            one("a/b", capabilities={"images": False}),
            Need(capabilities=frozenset({"images"})),
            "capability",
            "it can't take images",
        ),
    ],
)
def test_each_objection_is_named(first: Candidate, need: Need, code: str, said: str) -> None:
    made = choose([first, one("c/d")], need, {})
    assert (made.index, made.reluctant) == (1, False)
    ((index, objection),) = made.rejected
    assert (index, objection.code) == (0, code)
    assert said in objection.reason


def test_an_estimate_alone_forbids_nothing_but_a_limit_does() -> None:
    need = Need(input_tokens=500, capabilities=frozenset({"images"}))
    small = one("a/b", context_tokens=100, capabilities={"images": False})
    made = choose([small], need, {})
    assert (made.index, made.reluctant, made.rejected) == (0, True, ())
    limited = one("a/b", RouteLimits(min_context=200), context_tokens=100)
    firm = choose([limited], Need(), {})
    assert (firm.index, firm.route, firm.reluctant) == (None, None, False)
    assert [(index, objection.code, objection.hard) for index, objection in firm.rejected] == [(0, "context", True)]
