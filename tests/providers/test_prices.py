"""Prices come from the table in the package, for the size, time and tier of the call; unknown is unpriced."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from genai_prices import data_snapshot
from genai_prices.types import ModelPrice, StartDateConstraint, TieredPrices

from engine.transcript import Usage
from providers.chat_vendors import VENDORS
from providers.prices import PRICED_AS, SOURCE, listed, price, rates

M = 1_000_000
USAGE = Usage(input_total=M, input_uncached=M, output_total=M)


def models(table: str) -> Iterator[Any]:
    """Return the models that the table has of one of its own providers."""
    for known in data_snapshot.get_snapshot().providers:
        if known.id == table:
            yield from known.models


def find(table: str, fits: Callable[[Any], bool]) -> str:
    """Return the name of the first model that fits."""
    return next(model.id for model in models(table) if fits(model))


def plain(model: Any) -> bool:
    prices = model.prices
    return isinstance(prices, ModelPrice) and getattr(prices, "cache_write_mtok", None) is not None


def cost(provider: str, model: str, usage: Usage, **fields: Any) -> float:
    found = price(provider, model, usage, **fields).usd
    assert found is not None
    return found


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_known_model_has_its_price_with_the_table_named(provider: str):
    model = find(provider, plain)
    small = price(provider, model, Usage(input_total=1000, input_uncached=1000, output_total=1000))
    assert small.input_per_million is not None
    assert small.output_per_million is not None
    assert small.usd == pytest.approx((small.input_per_million + small.output_per_million) / 1000)
    assert small.source == SOURCE


def tiered(model: Any) -> bool:
    prices = model.prices
    return isinstance(prices, ModelPrice) and isinstance(getattr(prices, "input_mtok", None), TieredPrices)


@pytest.mark.parametrize(
    ("provider", "table"), [("anthropic", "anthropic"), ("gemini", "google"), ("openai", "openai")]
)
def test_a_prompt_beyond_the_threshold_costs_more_for_every_token(provider: str, table: str):
    model = find(table, tiered)
    known = next(one for one in models(table) if one.id == model).prices
    tier = known.input_mtok.tiers[0]
    below = price(provider, model, Usage(input_total=tier.start))
    above = price(provider, model, Usage(input_total=tier.start + 1))
    assert below.usd == pytest.approx(tier.start * float(known.input_mtok.base) / M)
    assert above.usd == pytest.approx((tier.start + 1) * float(tier.price) / M)
    assert (below.input_per_million, above.input_per_million) == (float(known.input_mtok.base), float(tier.price))
    assert rates(provider, model, tier.start + 1).input == float(tier.price)


def test_cache_reads_are_cheaper_and_long_writes_dearer():
    model = find("anthropic", plain)

    def of(usage: Usage) -> float:
        return cost("anthropic", model, usage.model_copy(update={"input_total": 100_000}))

    fresh, read = of(Usage(input_uncached=100_000)), of(Usage(cache_read=100_000))
    short, long = of(Usage(cache_write_short=100_000)), of(Usage(cache_write_long=100_000))
    assert read < fresh < short < long
    both = of(Usage(cache_write_short=50_000, cache_write_long=50_000))
    assert both == pytest.approx((short + long) / 2)


def test_a_service_tier_has_its_own_price():
    model = find("openai", lambda one: any("flex" in variant.when.values() for variant in one.price_variants or ()))
    small = Usage(input_total=1000, output_total=1000)
    flex = price("openai", model, small, {"service_tier": "flex"})
    assert flex.usd is not None
    assert flex.usd < cost("openai", model, small)
    assert flex.input_per_million is not None
    assert flex.output_per_million is not None
    assert flex.usd == pytest.approx((flex.input_per_million + flex.output_per_million) / 1000)
    assert price("openai", model, small, {"service_tier": "no such tier"}).usd == cost("openai", model, small)


def test_a_price_that_changes_on_a_day_is_that_of_the_call():
    def changing(one: Any) -> bool:
        if not isinstance(one.prices, list) or len(one.prices) != 2:
            return False
        first, second = one.prices
        inputs = [getattr(each.prices, "input_mtok", None) for each in one.prices]
        return (
            first.constraint is None
            and isinstance(second.constraint, StartDateConstraint)
            and None not in inputs
            and not isinstance(inputs[0], TieredPrices)
            and inputs[0] != inputs[1]
        )

    table, provider = next(
        (entry, name)
        for name, entry in (("openai", "openai"), ("together", "together"), ("openrouter", "openrouter"))
        if any(map(changing, models(entry)))
    )
    model = find(table, changing)
    first, second = next(one for one in models(table) if one.id == model).prices
    day = datetime.combine(second.constraint.start_date, datetime.min.time(), UTC)
    before = price(provider, model, USAGE, at=day - timedelta(days=2))
    after = price(provider, model, USAGE, at=day + timedelta(days=2))
    assert before.input_per_million == float(first.prices.input_mtok)
    assert after.input_per_million != before.input_per_million
    assert before.usd != after.usd


def test_searches_on_the_web_are_paid_for():
    model = find("anthropic", lambda one: plain(one) and one.prices.web_searches_kcount is not None)
    small = Usage(input_total=1000, output_total=10)
    searched = small.model_copy(update={"server_tools": {"web_search_requests": 3}})
    known = next(one for one in models("anthropic") if one.id == model).prices.web_searches_kcount
    assert cost("anthropic", model, searched) - cost("anthropic", model, small) == pytest.approx(float(known) * 0.003)


def test_every_name_leads_to_a_provider_of_the_table():
    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert {name for name in PRICED_AS.values() if name is not None} <= known
    assert PRICED_AS["gemini"] == "google"
    for name in ("xai", "mistral", "groq", "deepseek", "together", "openrouter", "openai_chat", "azure"):
        table = VENDORS[name].priced_as
        assert table is not None
        priced = [one.id for one in models(table) if None not in rates(name, one.id)]
        assert len(priced) > 4
        assert cost(name, priced[0], USAGE) == cost(table, priced[0], USAGE)


def test_an_unknown_model_is_unpriced_and_not_free():
    assert price("anthropic", "no-such-model", USAGE).usd is None
    assert price("no-such-provider", "no-such-model", USAGE).source == "unpriced"
    assert rates("anthropic", "no-such-model") == (None, None)


def test_a_server_of_ones_own_is_unpriced_whatever_its_models_are_called():
    model = find("openai", plain)
    assert listed("openai", model) is not None
    for name in ("vllm", "ollama", "llamacpp", "chat"):
        assert price(name, model, USAGE).usd is None


def test_a_model_without_a_price_for_what_was_used_is_unpriced():
    def bare(one: Any) -> bool:
        return isinstance(one.prices, ModelPrice) and not any(vars(one.prices).values())

    assert price("openrouter", find("openrouter", bare), USAGE).usd is None

    def only_input(one: Any) -> bool:
        prices = one.prices
        return isinstance(prices, ModelPrice) and prices.input_mtok is not None and prices.output_mtok is None

    model = find("openai", only_input)
    assert price("openai", model, USAGE).usd is None
    assert cost("openai", model, Usage(input_total=1000)) > 0


def test_an_estimated_usage_is_told_with_the_price():
    model = find("openai", plain)
    estimated = Usage(input_total=1000, output_total=10, raw={"estimated": True})
    assert price("openai", model, estimated).source == f"{SOURCE}, usage estimated"


def test_the_scripted_model_is_free():
    assert price("scripted", "anything", USAGE).usd == 0
    assert price("scripted", "anything", USAGE).source == "scripted"
