"""Fallbacks: after which failures the next candidate is called, what is recorded, and how long an account is left."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.routes import Passed, Route, RouteLimits
from engine.transcript import ModelReply, ModelRequest, user
from engine.values import Spent
from providers.errors import (
    ContextFull,
    InvalidRequest,
    MalformedReply,
    Overloaded,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Refused,
    SpendLimit,
    Unauthorized,
)
from providers.health import Breaker, Endpoint
from providers.routing import Answered, Candidate, Facts, Need, NoCandidate, first_answer
from providers.scripted import Line, Scripted, ScriptedReply

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def told(kind: type[ProviderError], **about: Any) -> ProviderError:
    return kind("It says no.", provider="p", model="m", **about)


@dataclass
class House:
    """Candidates whose providers follow scripts; `calls` are the candidates that were called, in order."""

    candidates: list[Candidate]
    scripts: dict[str, Scripted]
    clock: Clock = field(default_factory=Clock)
    calls: list[str] = field(default_factory=list[str])
    passed: list[Passed] = field(default_factory=list[Passed])
    complaint: ProviderError | None = None

    def __post_init__(self) -> None:
        self.health = Breaker(self.clock, threshold=3, cool_s=15, longest_s=600)

    async def ask(self, need: Need | None = None) -> tuple[str, Any]:
        reply, routing = await first_answer(
            self.candidates, need or Need(), self.health, self.call, on_failed=self.note
        )
        return reply.message.text, routing

    async def call(self, candidate: Candidate) -> Answered[ModelReply]:
        name = candidate.route.account or str(candidate.route)
        self.calls.append(name)
        request = ModelRequest(route=candidate.route, messages=(user("Hello"),))
        reply = await self.scripts[name].generate(request)
        complaint = self.complaint if reply.finish.unified == "refusal" else None
        return Answered(reply, complaint, Spent(turns=1, usd=0.5))

    async def note(self, passed: Passed) -> None:
        self.passed.append(passed)


def house(*lines: Line | Sequence[Line], limits: RouteLimits | None = None, **first: Any) -> House:
    """Give candidates p0/m, p1/m, …, each saying its own lines."""
    candidates = [
        Candidate(
            route=Route(provider=f"p{index}", model="m", limits=limits or RouteLimits()),
            facts=Facts(**(first if index == 0 else {})),
        )
        for index in range(len(lines))
    ]
    scripts = {
        f"p{index}/m": Scripted(list(said) if isinstance(said, list | tuple) else [said])  # type: ignore[arg-type]
        for index, said in enumerate(lines)
    }
    return House(candidates, scripts)


GOES_ON = [
    told(RateLimited, retry_after_s=11.0),
    told(RateLimited),
    told(Overloaded),
    told(ProviderUnavailable),
    told(MalformedReply),
    told(SpendLimit),
    told(Unauthorized),
    told(ContextFull),
    told(InvalidRequest, status=404),
]
STOPS = [
    told(RateLimited, retry_after_s=10.0),
    told(Refused),
    told(InvalidRequest, status=400),
    told(InvalidRequest),
]


@pytest.mark.parametrize("error", GOES_ON, ids=lambda error: f"{error.code}-{error.retry_after_s}")
async def test_the_next_candidate_answers_and_the_reason_is_on_the_record(error: ProviderError) -> None:
    made = house(error, "second")
    text, routing = await made.ask()
    assert (text, made.calls) == ("second", ["p0/m", "p1/m"])
    assert (routing.model, routing.index, routing.reluctant) == ("p1/m", 1, False)
    (passed,) = routing.passed
    assert (passed.model, passed.how, passed.code) == ("p0/m", "failed", error.code)
    assert passed.reason == error.message
    assert made.passed == [passed]


@pytest.mark.parametrize("error", STOPS, ids=lambda error: f"{error.code}-{error.details.get('status')}")
async def test_a_wait_within_patience_and_a_fault_of_the_request_end_the_call(error: ProviderError) -> None:
    made = house(error, "second")
    with pytest.raises(type(error)) as raised:
        await made.ask()
    assert raised.value is error
    assert (made.calls, made.passed) == (["p0/m"], [])
    assert [one["model"] for one in error.details["passed"]] == ["p0/m"]


async def test_a_route_may_say_otherwise() -> None:
    anyway = RouteLimits(next_on=("refused", "invalid_request"), patience_s=5.0)
    for error in STOPS:
        text, _ = await house(error, "second", limits=anyway).ask()
        assert text == "second"


async def test_when_all_fail_the_failure_that_passes_soonest_is_raised_with_all_reasons() -> None:
    later, sooner = told(RateLimited, retry_after_s=90.0), told(Overloaded, retry_after_s=30.0)
    made = house(told(Unauthorized), later, sooner)
    with pytest.raises(Overloaded) as raised:
        await made.ask()
    assert raised.value.retryable
    assert raised.value.retry_after_s == 30.0
    assert [(one["model"], one["code"]) for one in raised.value.details["passed"]] == [
        ("p0/m", "unauthorized"),
        ("p1/m", "rate_limited"),
        ("p2/m", "overloaded"),
    ]
    # What failed last has no next one, so nobody is told to drop what it said.
    assert [one.model for one in made.passed] == ["p0/m", "p1/m"]


async def test_where_no_candidate_may_be_called_each_reason_is_told_and_none_is_called() -> None:
    made = house("first", "second", limits=RouteLimits(max_usd_input=1.0), usd_input=2.0)
    with pytest.raises(NoCandidate, match=r"p0/m: .*more than 1; p1/m: it is unpriced") as raised:
        await made.ask()
    assert made.calls == []
    assert not raised.value.retryable
    assert [one["how"] for one in raised.value.details["passed"]] == ["rejected", "rejected"]


async def test_a_full_window_goes_on_to_a_larger_one_only() -> None:
    made = house(told(ContextFull), "as small", "larger", context_tokens=8_000)
    made.candidates[1] = made.candidates[1].model_copy(update={"facts": Facts(context_tokens=8_000)})
    made.candidates[2] = made.candidates[2].model_copy(update={"facts": Facts(context_tokens=9_000)})
    text, routing = await made.ask()
    assert (text, made.calls) == ("larger", ["p0/m", "p2/m"])
    assert [(one.model, one.how, one.code) for one in routing.passed] == [
        ("p0/m", "failed", "context_full"),
        ("p1/m", "rejected", "context"),
    ]
    alone = house(told(ContextFull), "as small", context_tokens=8_000)
    alone.candidates[1] = alone.candidates[1].model_copy(update={"facts": Facts(context_tokens=8_000)})
    with pytest.raises(ContextFull):
        await alone.ask()
    assert alone.calls == ["p0/m"]


async def test_a_wrong_key_is_followed_by_another_account_of_the_same_provider() -> None:
    first = Route(provider="p", model="m", account="one")
    same, other = first.model_copy(update={"model": "n"}), first.model_copy(update={"account": "two"})
    made = House(
        [Candidate(route=route) for route in (first, same, other)],
        {"one": Scripted([told(Unauthorized)]), "two": Scripted(["second account"])},
    )
    text, routing = await made.ask()
    # Another model on the account whose key is wrong is not tried.
    assert (text, made.calls) == ("second account", ["one", "two"])
    assert [(one.model, one.account, one.code) for one in routing.passed] == [
        ("p/m", "one", "unauthorized"),
        ("p/n", "one", "health"),
    ]
    assert routing.account == "two"


async def test_an_answer_with_a_complaint_is_paid_for_and_kept_where_no_other_comes() -> None:
    said = ScriptedReply(text="I decline", finish="refusal")
    anyway = RouteLimits(next_on=("refused",))
    made = house(said, "second", limits=anyway)
    made.complaint = told(Refused)
    text, routing = await made.ask()
    assert (text, routing.spent) == ("second", Spent(turns=1, usd=0.5))
    alone = house(said, told(Overloaded), limits=anyway)
    alone.complaint = told(Refused)
    text, routing = await alone.ask()
    assert (text, routing.index, [one.code for one in routing.passed]) == ("I decline", 0, ["overloaded"])
    assert routing.spent == Spent()
    by_rule = house(said, "second")
    by_rule.complaint = told(Refused)
    assert (await by_rule.ask())[0] == "I decline"


async def test_an_account_that_said_wait_is_left_alone_for_that_long_and_no_longer() -> None:
    made = house([told(RateLimited, retry_after_s=60.0), "first"], ["second", "second"])
    assert (await made.ask())[0] == "second"
    made.clock.now += 59
    text, routing = await made.ask()
    assert (text, [(one.how, one.code) for one in routing.passed]) == ("second", [("rejected", "health")])
    assert "left alone for 1 s after rate_limited" in routing.passed[0].reason
    made.clock.now += 2
    assert (await made.ask())[0] == "first"
    assert made.calls == ["p0/m", "p1/m", "p1/m", "p0/m"]


async def test_a_route_of_one_is_called_whatever_its_health_says() -> None:
    made = house([told(SpendLimit), "first"])
    with pytest.raises(SpendLimit):
        await made.ask()
    text, routing = await made.ask()
    assert (text, routing.reluctant, routing.passed) == ("first", True, ())


AT = Endpoint("t", "p", "one", "m")
NEXT = Endpoint("t", "p", "one", "n")
FOREIGN = Endpoint("u", "p", "one", "m")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, threshold=3, cool_s=15, longest_s=600)


async def seconds(breaker: Breaker, endpoint: Endpoint) -> float:
    down = await breaker.down([endpoint])
    return down[endpoint].for_s if endpoint in down else 0.0


async def test_key_and_money_concern_the_account_and_load_the_model(breaker: Breaker) -> None:
    await breaker.failed(AT, told(Overloaded))
    assert (await seconds(breaker, AT), await seconds(breaker, NEXT), await seconds(breaker, AT.whole)) == (15, 0, 0)
    await breaker.failed(AT, told(SpendLimit))
    assert await seconds(breaker, AT.whole) == 15
    assert await seconds(breaker, FOREIGN) == await seconds(breaker, FOREIGN.whole) == 0
    await breaker.failed(NEXT, told(Refused))
    await breaker.failed(NEXT, told(InvalidRequest))
    assert await seconds(breaker, NEXT) == 0


async def test_an_account_counts_as_away_after_three_silent_calls_and_longer_each_time(
    breaker: Breaker, clock: Clock
) -> None:
    pauses: list[float] = []
    for _ in range(9):
        await breaker.failed(AT, told(ProviderUnavailable))
        pauses.append(await seconds(breaker, AT.whole))
        clock.now += 10_000
        assert await seconds(breaker, AT.whole) == 0
    assert pauses == [0, 0, 15, 30, 60, 120, 240, 480, 600]
    await breaker.answered(NEXT)
    await breaker.failed(AT, told(ProviderUnavailable))
    assert await seconds(breaker, AT.whole) == 0


async def test_a_short_wait_asked_for_again_and_again_becomes_a_long_one(breaker: Breaker) -> None:
    pauses: list[float] = []
    for _ in range(5):
        await breaker.failed(AT, told(RateLimited, retry_after_s=1.0))
        pauses.append(await seconds(breaker, AT))
    assert pauses == [1, 1, 1, 120, 240]


async def test_a_renewed_key_ends_the_pause_of_its_account(breaker: Breaker) -> None:
    await breaker.failed(AT, told(Unauthorized))
    await breaker.renewed(AT)
    assert await seconds(breaker, AT.whole) == 0
