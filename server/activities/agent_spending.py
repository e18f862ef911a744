"""A request that can't cost more than is left of the budget: its answer is bounded before the call is made."""

from typing import Literal

from engine.errors import Exhausted
from engine.ports import Left
from engine.routes import Route, RouteLimits
from engine.transcript import ModelRequest
from engine.values import Spent
from providers.facts import facts_of
from providers.routing import MILLION
from server.models import Models

LEAST_OUTPUT = 256
"""An answer that could not even be so long, in tokens, is not asked for."""


def within(models: Models, request: ModelRequest, left: Left) -> ModelRequest:
    """Return the request with no more room for its answer than `left` has beside what it reads, by estimate.

    In dollars each candidate is bound as well: one that costs more, or whose price nobody knows, is not called.

    Raises:
        Exhausted: there is no room for any answer; `details["bound"]` is `tokens` or `usd`.
    """
    if left.tokens is None and left.usd is None:
        return request
    alone = [request.model_copy(update={"route": one}) for one in request.route.candidates]
    reads = max(map(models.estimate, alone))
    room = request.max_output_tokens
    if left.tokens is not None:
        room = min(room, left.tokens - reads)
        if room < LEAST_OUTPUT:
            raise _short("tokens", f"{max(0, left.tokens)} tokens", f"the next call reads about {reads}")
    if left.usd is not None:
        room = min(room, _affordable(request.route, reads, left.usd, room))
        if room < LEAST_OUTPUT:
            raise _short("usd", f"{max(0.0, left.usd):.6g} USD", f"the next call reads about {reads} tokens")
        request = request.model_copy(update={"route": _bound(request.route, left.usd)})
    return request.model_copy(update={"max_output_tokens": room})


def less(left: Left, spent: Spent) -> Left:
    """Return what is left of `left` once `spent` is taken."""
    return Left(
        tokens=None if left.tokens is None else left.tokens - spent.input_tokens - spent.output_tokens,
        usd=None if left.usd is None else left.usd - spent.usd,
    )


def _affordable(route: Route, reads: int, usd: float, room: int) -> int:
    """Return how many tokens of output the first candidate gives for `usd`; `room` where it is free or unpriced."""
    facts = facts_of(route.provider, route.model)
    if facts.usd_input is None or facts.usd_output is None:
        return room
    rest = usd - reads * facts.usd_input / MILLION
    if rest < 0:
        return 0
    return int(rest / facts.usd_output * MILLION) - 1 if facts.usd_output else room


def _bound(route: Route, usd: float) -> Route:
    limits = route.limits.both(RouteLimits(max_usd_call=usd))
    fallbacks = tuple(_bound(one, usd) for one in route.fallbacks)
    return route.model_copy(update={"limits": limits, "fallbacks": fallbacks})


def _short(bound: Literal["tokens", "usd"], there: str, needs: str) -> Exhausted:
    return Exhausted(f"the budget of {bound} is used up: {there} are left, and {needs}", bound=bound)
