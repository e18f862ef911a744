"""What a call costs, by the price table that `genai-prices` ships; never fetched from the network."""

from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import PriceCalculation

from engine.transcript import Price, Usage

SOURCE = f"genai-prices {version('genai-prices')}"
MILLION = 1_000_000


@lru_cache(maxsize=4096)
def is_priced(provider: str, model: str) -> bool:
    """Tell whether the table knows the model of this provider."""
    try:
        data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return False
    return True


def price(provider: str, model: str, usage: Usage) -> Price:
    """Return what the call cost in dollars; a model the table does not know is unpriced, which is not zero."""
    if provider == "scripted":
        return Price(usd=0.0, source="scripted")
    if not is_priced(provider, model):
        return Price()
    counted = genai_prices.Usage(
        input_tokens=usage.input_total,
        output_tokens=usage.output_total,
        cache_read_tokens=usage.cache_read or None,
        cache_write_tokens=(usage.cache_write_short + usage.cache_write_long) or None,
        cache_write_1h_tokens=(usage.cache_write_long or None) if provider == "anthropic" else None,
    )
    try:
        found = genai_prices.calc_price(counted, model, provider_id=provider)
    except (LookupError, ValueError):
        return Price()
    return Price(
        usd=float(found.total_price),
        source=SOURCE,
        input_per_million=_rate(found, "input"),
        output_per_million=_rate(found, "output"),
    )


def _rate(found: PriceCalculation, side: str) -> float | None:
    rate = getattr(found.model_price, f"{side}_mtok", None)
    base = getattr(rate, "base", rate)
    return float(base) if isinstance(base, Decimal | int | float) else None
