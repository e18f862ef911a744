"""Which model answers, as data: ordered candidates with what each must keep to, and the record of who was passed over.

People write a `ModelChoice`: `provider/model`, the name of a route in the settings, or a list of both. `resolve` makes
a `Route` of it, which travels with runs: the first candidate, and the others as its fallbacks in order. A route names
accounts and never holds a key.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, JsonValue, Tag

from engine.errors import Invalid
from engine.values import Spent, Value

Capability = Literal["tools", "images", "pdf", "audio", "structured_output", "reasoning"]
"""What a model can take or do."""

MAX_CANDIDATES = 20

Bound = TypeVar("Bound", int, float)


class RouteLimits(Value):
    """What a candidate must keep to; what is None or empty is left open.

    Prices are in US dollars, per million tokens or for one call at its largest; a model without a known price, window
    or region does not keep to a limit on it. `max_context`: a conversation is made smaller before it takes more tokens
    than this, however large the window is. `patience_s`: how long a rate limit is waited for before the next
    candidate is tried. `next_on`: failures that end a call by rule, after which the next candidate is tried all the
    same.
    """

    max_usd_input: float | None = Field(default=None, ge=0)
    max_usd_output: float | None = Field(default=None, ge=0)
    max_usd_call: float | None = Field(default=None, ge=0)
    min_context: int | None = Field(default=None, ge=1)
    max_context: int | None = Field(default=None, ge=1_000)
    needs: tuple[Capability, ...] = ()
    regions: tuple[str, ...] | None = None
    patience_s: float | None = Field(default=None, ge=0)
    next_on: tuple[Literal["refused", "invalid_request"], ...] = ()

    def both(self, other: "RouteLimits") -> "RouteLimits":
        """Return the limits that hold where these and the others do: of two bounds, the stricter."""
        return RouteLimits(
            max_usd_input=_least(self.max_usd_input, other.max_usd_input),
            max_usd_output=_least(self.max_usd_output, other.max_usd_output),
            max_usd_call=_least(self.max_usd_call, other.max_usd_call),
            min_context=max((one for one in (self.min_context, other.min_context) if one is not None), default=None),
            max_context=_least(self.max_context, other.max_context),
            needs=tuple(dict.fromkeys((*self.needs, *other.needs))),
            regions=_common(self.regions, other.regions),
            patience_s=_least(self.patience_s, other.patience_s),
            next_on=tuple(dict.fromkeys((*self.next_on, *other.next_on))),
        )


def _least(one: Bound | None, other: Bound | None) -> Bound | None:
    return min((bound for bound in (one, other) if bound is not None), default=None)


def _common(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(region for region in one if region in other)


class ModelEntry(RouteLimits):
    """A candidate as people write it: `model` is `provider/model` or the name of a route.

    `account` names an account of the settings; without it the provider's own key is used. `options` go to the wire.
    """

    model: str = Field(min_length=1, max_length=200)
    account: str | None = None
    options: dict[str, JsonValue] = {}


def _form(value: Any) -> str:
    return "name" if isinstance(value, str) else "entry"


Listed = Annotated[Annotated[str, Tag("name")] | Annotated[ModelEntry, Tag("entry")], Discriminator(_form)]
"""One of a list: `provider/model`, the name of a route, or either with limits of its own."""


class RouteList(RouteLimits):
    """A route of the settings: candidates in order, and limits that all of them keep to."""

    candidates: tuple[Listed, ...] = Field(min_length=1, max_length=MAX_CANDIDATES)


ModelChoice = str | tuple[Listed, ...]
"""What a call, a run or a node may name: `provider/model`, the name of a route, or a list of both."""


class Route(Value):
    """A model to call, by provider, model and account, with options for its wire; `fallbacks` are tried after it."""

    provider: str
    model: str
    options: dict[str, JsonValue] = {}
    account: str | None = None
    limits: RouteLimits = RouteLimits()
    fallbacks: tuple["Route", ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Route":
        """Read `provider/model`; the model's own name may hold further slashes."""
        provider, slash, model = text.partition("/")
        if not slash or not provider or not model:
            raise ValueError(f"{text!r} is not a route; write provider/model, as in openai/gpt-name")
        return cls(provider=provider, model=model)

    @property
    def candidates(self) -> tuple["Route", ...]:
        """This route and its fallbacks, each by itself, in the order in which they are tried."""
        alone = self.model_copy(update={"fallbacks": ()})
        return (alone, *(each for fallback in self.fallbacks for each in fallback.candidates))

    def with_defaults(self, options: Mapping[str, JsonValue]) -> "Route":
        """Return the route with `options` for all candidates; an option of a candidate's own wins."""
        fallbacks = tuple(fallback.with_defaults(options) for fallback in self.fallbacks)
        return self.model_copy(update={"options": {**options, **self.options}, "fallbacks": fallbacks})

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Passed(Value):
    """A candidate that did not answer: `rejected` without a call, or `failed` in one.

    `code` says by which rule (`price`, `context`, `capability`, `region`, `unusable`, `health`) or is the code of the
    failure. `spent` is what the failed call cost all the same.
    """

    model: str
    account: str | None = None
    how: Literal["rejected", "failed"]
    code: str
    reason: str = Field(max_length=500)
    spent: Spent = Spent()


class Routing(Value):
    """How one call found its model: the candidate that answered, by its place in the list, and those passed over.

    `reluctant`: none was free of objections, and this one had the least.
    """

    model: str
    account: str | None = None
    index: int
    reluctant: bool = False
    passed: tuple[Passed, ...] = ()

    @property
    def spent(self) -> Spent:
        """What the calls that failed cost together."""
        total = Spent()
        for one in self.passed:
            total = total.plus(one.spent)
        return total


def resolve(choice: ModelChoice, named: Mapping[str, RouteList]) -> Route:
    """Return the route that `choice` means; names are looked up in `named`, and their candidates take their place.

    Raises:
        Invalid: a name is unknown or leads back to itself, a model is no `provider/model`, or the list is empty.
    """
    first, *others = _unique(_expanded(choice, named, RouteLimits(), ())) or (None,)
    if first is None:
        raise Invalid("a list of models needs at least one candidate", field="model")
    if len(others) >= MAX_CANDIDATES:
        raise Invalid(f"a route has at most {MAX_CANDIDATES} candidates, not {len(others) + 1}", field="model")
    return first.model_copy(update={"fallbacks": tuple(others)})


def _unique(routes: Iterator[Route]) -> tuple[Route, ...]:
    found: list[Route] = []
    for route in routes:
        if route not in found:
            found.append(route)
    return tuple(found)


def _expanded(
    choice: ModelChoice, named: Mapping[str, RouteList], limits: RouteLimits, trail: tuple[str, ...]
) -> Iterator[Route]:
    if not isinstance(choice, str):
        for entry in choice:
            yield from _entry(entry, named, limits, trail)
    elif "/" in choice:
        try:
            yield Route.parse(choice).model_copy(update={"limits": limits})
        except ValueError as error:
            raise Invalid(str(error), field="model") from error
    elif choice in trail:
        raise Invalid(f"the route {choice!r} leads back to itself: {' → '.join((*trail, choice))}", field="model")
    elif choice not in named:
        known = ", ".join(sorted(named)) or "none"
        raise Invalid(
            f"{choice!r} is not a route; write provider/model, or one of the routes of the settings: {known}",
            field="model",
            known=sorted(named),
        )
    else:
        listed = named[choice]
        yield from _expanded(listed.candidates, named, limits.both(listed), (*trail, choice))


def _entry(
    entry: str | ModelEntry, named: Mapping[str, RouteList], limits: RouteLimits, trail: tuple[str, ...]
) -> Iterator[Route]:
    if isinstance(entry, str):
        yield from _expanded(entry, named, limits, trail)
        return
    for route in _expanded(entry.model, named, limits.both(entry), trail):
        changed: dict[str, Any] = {"options": {**route.options, **entry.options}}
        yield route.model_copy(update=changed | ({"account": entry.account} if entry.account is not None else {}))
