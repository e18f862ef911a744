"""What a call costs, by the price table that `genai-prices` ships; never fetched from the network.

Prices depend on the size of the prompt (beyond a threshold all tokens cost more), on the time of day or a date, on the
service tier, and on how long a cache write is kept. What the table doesn't know is unpriced, which is not zero.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import NamedTuple

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from engine.transcript import Price, Usage
from providers.chat_vendors import VENDORS

SOURCE = f"genai-prices {version('genai-prices')}"
MILLION = 1_000_000

PRICED_AS: dict[str, str | None] = {
    "gemini": "google",
    **{name: vendor.priced_as for name, vendor in VENDORS.items()},
}
"""Our providers whose name in the table differs, or who have no prices; all others have the same name there."""

SEARCHES = ("web_search_requests", "web_searches", "web_search")
"""Names under which providers count searches on the web that they bill."""


class Rates(NamedTuple):
    """What a million tokens cost in dollars, for a prompt of a certain size; None is unknown."""

    input: float | None
    output: float | None


@lru_cache(maxsize=4096)
def listed(provider: str, model: str) -> ModelInfo | None:
    """Return the table's entry for the model of our `provider`, or None."""
    known_as = PRICED_AS.get(provider, provider)
    if known_as is None:
        return None
    try:
        return data_snapshot.get_snapshot().find_provider_model(model, None, known_as, None)[1]
    except LookupError:
        return None


def rates(provider: str, model: str, input_total: int = 0, at: datetime | None = None) -> Rates:
    """Return what a million tokens cost in a call of `input_total` tokens of input, at the time `at` or now."""
    entry = listed(provider, model)
    if entry is None:
        return Rates(None, None)
    prices = entry.get_prices(at or datetime.now().astimezone())
    return Rates(_rate(prices, "input_mtok", input_total), _rate(prices, "output_mtok", input_total))


def price(
    provider: str,
    model: str,
    usage: Usage,
    context: Mapping[str, str] | None = None,
    at: datetime | None = None,
) -> Price:
    """Return what the call cost in dollars. `context` tells variants apart, such as `service_tier`.

    A call is unpriced if the model is unknown, or if the table lacks the price of something that was used.
    """
    if provider == "scripted":
        return Price(usd=0.0, source="scripted")
    entry = listed(provider, model)
    if entry is None:
        return Price()
    when = at or datetime.now().astimezone()
    prices = entry.get_prices(when, dict(context) if context else None)
    told = _rate(prices, "input_mtok", usage.input_total), _rate(prices, "output_mtok", usage.input_total)
    if (usage.input_total and told[0] is None) or (usage.output_total and told[1] is None) or told == (None, None):
        return Price()
    try:
        usd = prices.calc_price(_counted(provider, usage))["total_price"]
    except (LookupError, ValueError):
        return Price()
    source = f"{SOURCE}, usage estimated" if usage.raw.get("estimated") else SOURCE
    return Price(usd=float(usd), source=source, input_per_million=told[0], output_per_million=told[1])


def _counted(provider: str, usage: Usage) -> genai_prices.Usage:
    searches = max(usage.server_tools.get(name, 0) for name in SEARCHES)
    return genai_prices.Usage(
        input_tokens=usage.input_total,
        output_tokens=usage.output_total,
        cache_read_tokens=usage.cache_read or None,
        cache_write_tokens=(usage.cache_write_short + usage.cache_write_long) or None,
        cache_write_1h_tokens=(usage.cache_write_long or None) if provider == "anthropic" else None,
        output_reasoning_tokens=usage.reasoning or None,
        web_searches=searches or None,
    )


def _rate(prices: ModelPrice, name: str, input_total: int) -> float | None:
    """Return the rate that holds for all tokens of a call with so much input."""
    rate = getattr(prices, name, None)
    if isinstance(rate, TieredPrices):
        reached = [tier.price for tier in rate.tiers if input_total > tier.start]
        rate = reached[-1] if reached else rate.base
    return float(rate) if isinstance(rate, Decimal | int | float) else None
