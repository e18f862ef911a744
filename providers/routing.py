"""Which candidate of a route answers: a pure choice over facts, and going on to the next one when a call fails.

A limit of the route is never broken. What a call seems to need by estimate, and what the health of an account says
now, are objections: a candidate without one comes first, and where all have one, the first of them is asked all the
same, because an estimate may be wrong and an account may be back.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from engine.routes import Capability, Passed, Route, Routing
from engine.values import Spent, Value
from providers.errors import (
    ContextFull,
    InvalidRequest,
    NotYet,
    ProviderError,
    RateLimited,
    Refused,
)
from providers.health import Down, Endpoint, Health

T = TypeVar("T")

MILLION = 1_000_000
PATIENCE_S = 10.0
"""A rate limit that asks for no longer is waited for, where the route says nothing else."""

MAX_REASON = 300


class Facts(Value):
    """What is known of a model on an account; None is unknown. Prices in US dollars per million tokens.

    `known` tells whether any table has the model at all.
    """

    known: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: dict[Capability, bool] = {}
    usd_input: float | None = None
    usd_output: float | None = None
    region: str | None = None


class Candidate(Value):
    """A route by itself with its facts; `problem` says why it can't be called at all, such as a missing key."""

    route: Route
    facts: Facts = Facts()
    tenant: str = ""
    problem: str | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where the candidate is called, as health is kept for it."""
        return Endpoint(self.tenant, self.route.provider, self.route.account or "", self.route.model)


class Need(Value):
    """What one call seems to take: tokens by estimate, and capabilities by what it holds."""

    input_tokens: int = 0
    output_tokens: int = 0
    capabilities: frozenset[Capability] = frozenset()


class Objection(Value):
    """Why a candidate is not taken; a `hard` one is a limit of the route or makes a call impossible."""

    code: str
    reason: str
    hard: bool


class Choice(Value):
    """The candidate to call, or None; `rejected` are the others that stand before it, or all, with the reason."""

    index: int | None
    route: Route | None
    reluctant: bool
    rejected: tuple[tuple[int, Objection], ...]


def choose(
    candidates: Sequence[Candidate],
    need: Need,
    down: Mapping[Endpoint, Down],
    *,
    without: Collection[int] = (),
    reluctantly: bool = True,
) -> Choice:
    """Return the first candidate without objection; else, if `reluctantly`, the first whose objections are soft.

    `down` are the endpoints that health advises against; the candidates of the indices in `without` are left out.
    The same arguments always give the same choice.
    """
    rejected: dict[int, Objection] = {}
    for index, candidate in enumerate(candidates):
        if index in without:
            continue
        found = sorted(_objections(candidate, need, down), key=lambda one: not one.hard)
        if not found:
            return Choice(index=index, route=candidate.route, reluctant=False, rejected=tuple(rejected.items()))
        rejected[index] = found[0]
    soft = next((index for index, objection in rejected.items() if not objection.hard), None) if reluctantly else None
    others = tuple((index, objection) for index, objection in rejected.items() if index != soft)
    route = None if soft is None else candidates[soft].route
    return Choice(index=soft, route=route, reluctant=soft is not None, rejected=others)


def _objections(candidate: Candidate, need: Need, down: Mapping[Endpoint, Down]) -> Iterator[Objection]:
    if candidate.problem is not None:
        yield Objection(code="unusable", reason=candidate.problem, hard=True)
    yield from _over_price(candidate, need)
    yield from _beside_limits(candidate)
    facts = candidate.facts
    lacking = sorted(what for what in need.capabilities if facts.capabilities.get(what) is False)
    if lacking:
        yield Objection(code="capability", reason=f"it can't take {', '.join(lacking)}", hard=False)
    wanted = need.input_tokens + min(need.output_tokens, facts.max_output_tokens or need.output_tokens)
    if facts.context_tokens is not None and wanted > facts.context_tokens:
        reason = f"the call takes about {wanted} tokens, its window has {facts.context_tokens}"
        yield Objection(code="context", reason=reason, hard=False)
    for endpoint in (candidate.endpoint, candidate.endpoint.whole):
        if endpoint in down:
            yield Objection(code="health", reason=down[endpoint].reason, hard=False)


def _over_price(candidate: Candidate, need: Need) -> Iterator[Objection]:
    limits, facts = candidate.route.limits, candidate.facts
    most = None
    if facts.usd_input is not None and (facts.usd_output is not None or not need.output_tokens):
        most = (need.input_tokens * facts.usd_input + need.output_tokens * (facts.usd_output or 0.0)) / MILLION
    for what, bound, price in (
        ("a million tokens of input", limits.max_usd_input, facts.usd_input),
        ("a million tokens of output", limits.max_usd_output, facts.usd_output),
        ("the call", limits.max_usd_call, most),
    ):
        if bound is None:
            continue
        if price is None:
            yield Objection(code="price", reason=f"it is unpriced, and {what} may cost {bound:g} USD", hard=True)
        elif price > bound:
            yield Objection(code="price", reason=f"{what} costs {price:.6g} USD, more than {bound:g}", hard=True)


def _beside_limits(candidate: Candidate) -> Iterator[Objection]:
    limits, facts = candidate.route.limits, candidate.facts
    window = facts.context_tokens
    if limits.min_context is not None and (window is None or window < limits.min_context):
        has = "unknown" if window is None else str(window)
        reason = f"its window is {has}, the route asks for {limits.min_context} tokens"
        yield Objection(code="context", reason=reason, hard=True)
    lacking = [what for what in limits.needs if not facts.capabilities.get(what)]
    if lacking:
        yield Objection(
            code="capability", reason=f"it is not known to have what the route needs: {', '.join(lacking)}", hard=True
        )
    if limits.regions is not None and facts.region not in limits.regions:
        allowed = ", ".join(limits.regions) or "none"
        yield Objection(
            code="region", reason=f"its region is {facts.region or 'unknown'}; allowed: {allowed}", hard=True
        )


class NoCandidate(ProviderError):
    """No candidate of the route may or can be called."""

    code = "no_candidate"
    advice = "`upstairs doctor` shows what each candidate lacks."


def is_unknown_model(error: ProviderError) -> bool:
    """Tell whether the provider says that it has no such model."""
    return isinstance(error, InvalidRequest) and error.details.get("status") == 404


def goes_on(error: ProviderError, route: Route) -> bool:
    """Tell whether the next candidate may be tried after `error`: not where the request itself is at fault."""
    limits = route.limits
    if isinstance(error, Refused):
        return "refused" in limits.next_on
    if isinstance(error, InvalidRequest):
        return is_unknown_model(error) or "invalid_request" in limits.next_on
    if isinstance(error, RateLimited | NotYet) and error.retry_after_s is not None:
        patience = PATIENCE_S if limits.patience_s is None else limits.patience_s
        waited = error.waited_s if isinstance(error, NotYet) else 0.0
        return waited + error.retry_after_s > patience
    return True


@dataclass(frozen=True)
class Answered(Generic[T]):
    """What a call gave. `complaint`: the answer is one, but another candidate might give a better one."""

    value: T
    complaint: ProviderError | None = None
    spent: Spent = field(default_factory=Spent)


OnFailed = Callable[[Passed], Awaitable[None]]
"""Told of each candidate that failed when the next one is about to be tried."""


async def first_answer(
    candidates: Sequence[Candidate],
    need: Need,
    health: Health,
    call: Callable[[Candidate], Awaitable[Answered[T]]],
    on_failed: OnFailed | None = None,
) -> tuple[T, Routing]:
    """Call candidates until one answers; return the answer and the record of the way to it.

    Raises:
        NoCandidate: none may be called.
        ProviderError: the most promising of the failures, with every candidate passed over under `details["passed"]`.
    """
    attempt = _Attempt(tuple(candidates), need)
    while True:
        endpoints = {each for one in candidates for each in (one.endpoint, one.endpoint.whole)}
        choice = attempt.choose(await health.down(endpoints))
        if choice.index is None:
            return attempt.settled(choice)
        if attempt.failed and on_failed is not None:
            await on_failed(attempt.latest)
        candidate = candidates[choice.index]
        try:
            answered = await call(candidate)
        except ProviderError as error:
            await health.failed(candidate.endpoint, error)
            attempt.note(choice, error, Spent())
            if not goes_on(error, candidate.route):
                raise attempt.explained(error, choice) from error.__cause__
            continue
        await health.answered(candidate.endpoint)
        if answered.complaint is None or not goes_on(answered.complaint, candidate.route):
            return answered.value, attempt.routing(choice, choice.index)
        attempt.note(choice, answered.complaint, answered.spent, (answered.value,))


class _Attempt(Generic[T]):
    """What one call has gone through so far; `failed` is in the order of the calls."""

    def __init__(self, candidates: tuple[Candidate, ...], need: Need) -> None:
        self._candidates = candidates
        self._need = need
        self._errors: list[ProviderError] = []
        self._kept: tuple[Choice, tuple[T]] | None = None
        self.failed: dict[int, Passed] = {}

    @property
    def latest(self) -> Passed:
        """The candidate that failed last."""
        return list(self.failed.values())[-1]

    def choose(self, down: Mapping[Endpoint, Down]) -> Choice:
        """Choose among what was not tried; after a failure nothing is called against an objection."""
        return choose(self._candidates, self._need, down, without=self.failed, reluctantly=not self.failed)

    def note(self, choice: Choice, error: ProviderError, spent: Spent, kept: tuple[T] | None = None) -> None:
        """Note that the chosen candidate failed, or that its answer is kept in case no other comes."""
        assert choice.index is not None
        candidate = self._candidates[choice.index]
        self.failed[choice.index] = _passed(candidate, "failed", error.code, error.message, spent)
        self._errors.append(error)
        if kept is not None and self._kept is None:
            self._kept = choice, kept
        window = candidate.facts.context_tokens
        if isinstance(error, ContextFull):
            # What did not fit here needs more than this window, whatever was estimated.
            seen = max(self._need.input_tokens, (window or 0) + 1)
            self._need = self._need.model_copy(update={"input_tokens": seen})

    def routing(self, choice: Choice, index: int) -> Routing:
        """Return the record, from the view of the candidate that answered."""
        candidate = self._candidates[index]
        rejected = {at: _passed(self._candidates[at], "rejected", one.code, one.reason) for at, one in choice.rejected}
        before = {at: one for at, one in rejected.items() if choice.reluctant or at < index}
        passed = {**before, **{at: one for at, one in self.failed.items() if at != index}}
        return Routing(
            model=str(candidate.route),
            account=candidate.route.account,
            index=index,
            reluctant=choice.reluctant,
            passed=tuple(one for _, one in sorted(passed.items())),
        )

    def settled(self, last: Choice) -> tuple[T, Routing]:
        """Return the answer that was kept, or raise what stands for all the failures."""
        if self._kept is not None:
            choice, (value,) = self._kept
            assert choice.index is not None
            return value, self.routing(choice, choice.index)
        if self._errors:
            # One that passes by itself is worth the wait of a durable timer; the shortest such wait is told.
            best = min(self._errors, key=lambda one: (not one.retryable, one.retry_after_s or 0.0))
            raise self.explained(best, last) from best.__cause__
        reasons = "; ".join(f"{self._candidates[at].route}: {one.reason}" for at, one in last.rejected)
        first = self._candidates[0].route if self._candidates else None
        error = NoCandidate(
            f"No model of the route can be called: {reasons or 'it is empty'}.",
            provider=first.provider if first else "",
            model=first.model if first else "",
        )
        raise self.explained(error, last)

    def explained(self, error: ProviderError, choice: Choice) -> ProviderError:
        """Return the error with every candidate that was passed over in its details."""
        rejected = [_passed(self._candidates[at], "rejected", one.code, one.reason) for at, one in choice.rejected]
        shown: list[dict[str, Any]] = [one.model_dump(mode="json") for one in (*rejected, *self.failed.values())]
        error.details["passed"] = shown
        return error


def _passed(candidate: Candidate, how: Any, code: str, reason: str, spent: Spent | None = None) -> Passed:
    return Passed(
        model=str(candidate.route),
        account=candidate.route.account,
        how=how,
        code=code,
        reason=reason[:MAX_REASON],
        spent=spent or Spent(),
    )
