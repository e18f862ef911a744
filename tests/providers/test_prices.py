"""Prices come from the table in the package; what it does not know is unpriced."""

import pytest
from genai_prices import data_snapshot
from genai_prices.types import ModelPrice

from engine.transcript import Usage
from providers.prices import SOURCE, is_priced, price

USAGE = Usage(input_total=1_000_000, input_uncached=1_000_000, output_total=1_000_000)


def priced_model(provider: str) -> tuple[str, ModelPrice]:
    """Return a model of the table whose price is plain, with reads, writes and both lifetimes."""
    for known in data_snapshot.get_snapshot().providers:
        for model in known.models if known.id == provider else ():
            prices = model.prices
            if isinstance(prices, ModelPrice) and getattr(prices, "cache_write_mtok", None) is not None:
                return model.id, prices
    raise AssertionError(f"no model of {provider} in the table")


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_known_model_has_its_price_with_the_table_named(provider: str):
    model, _ = priced_model(provider)
    found = price(provider, model, USAGE)
    assert found.usd is not None
    assert found.input_per_million is not None
    assert found.output_per_million is not None
    assert found.source == SOURCE
    small = price(provider, model, Usage(input_total=1000, input_uncached=1000, output_total=1000))
    assert small.usd == pytest.approx((found.input_per_million + found.output_per_million) / 1000)


def test_cache_reads_are_cheaper_and_long_writes_dearer():
    model, _ = priced_model("anthropic")

    def cost(usage: Usage) -> float:
        found = price("anthropic", model, usage.model_copy(update={"input_total": 100_000})).usd
        assert found is not None
        return found

    fresh, read = cost(Usage(input_uncached=100_000)), cost(Usage(cache_read=100_000))
    short, long = cost(Usage(cache_write_short=100_000)), cost(Usage(cache_write_long=100_000))
    assert read < fresh < short < long


def test_an_unknown_model_is_unpriced_and_not_free():
    assert not is_priced("anthropic", "no-such-model")
    assert price("anthropic", "no-such-model", USAGE).usd is None
    assert price("no-such-provider", "no-such-model", USAGE).source == "unpriced"


def test_the_scripted_model_is_free():
    assert price("scripted", "anything", USAGE).usd == 0
    assert price("scripted", "anything", USAGE).source == "scripted"
