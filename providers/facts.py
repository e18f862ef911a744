"""What is known of a model before it is called: window, prices and capabilities, for the choice of a candidate."""

from functools import lru_cache
from typing import cast, get_args

from engine.routes import Capability
from providers.prices import rates
from providers.profiles import Profile, profile
from providers.routing import Facts

ALL = cast("tuple[Capability, ...]", get_args(Capability))


@lru_cache(maxsize=4096)
def _profile(provider: str, model: str) -> Profile:
    return profile(provider, model)


def facts_of(provider: str, model: str) -> Facts:
    """Return what is known of the model; what nothing says is left open, and no guess stands in for it."""
    if provider == "scripted":
        return Facts(known=True, usd_input=0.0, usd_output=0.0, capabilities=dict.fromkeys(ALL, True))
    found, prices = _profile(provider, model), rates(provider, model)
    return Facts(
        known=found.known or prices.input is not None,
        context_tokens=found.context_window if found.knows("context_window") else None,
        max_output_tokens=found.max_output if found.knows("max_output") else None,
        capabilities=found.capabilities,
        usd_input=prices.input,
        usd_output=prices.output,
    )
