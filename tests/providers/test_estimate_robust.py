"""What is learned of a model stays right when requests are uneven: odd reports, attachments, caches, others' tools."""

import random
from collections import deque
from itertools import pairwise

import pytest

from engine.transcript import Media, Message, ModelRequest, Native, Route, Text, Usage, user
from providers.tokens import LEAST_FACTOR, MOST_FACTOR, TokenEstimator

ROUTE = Route(provider="openai", model="any-model")
TRUTH = 1.3
"""Tokens that the model of these tests makes of a word."""


def words(count: int) -> str:
    return "word " * count


def ask(*messages: Message, key: str = "run") -> ModelRequest:
    return ModelRequest(route=ROUTE, messages=messages, cache_key=key)


def reported(tokens: float, **fields: object) -> Usage:
    return Usage.model_validate({"input_total": round(tokens), "input_uncached": round(tokens), **fields})


def learned(estimator: TokenEstimator) -> float:
    return estimator.factor(ROUTE)


def taught(*counts: int) -> TokenEstimator:
    """Return an estimator that has had a true report of a conversation for each count of words."""
    estimator = TokenEstimator()
    for number, count in enumerate(counts):
        estimator.learn(ask(user(words(count)), key=f"run_{number}"), reported(count * TRUTH))
    return estimator


@pytest.mark.parametrize("seed", range(8))
def test_odd_reports_among_uneven_requests_do_not_bend_what_is_learned(seed: int) -> None:
    chance, estimator = random.Random(seed), taught(500, 900, 700)
    lately = deque([False], maxlen=4)
    for number in range(100):
        count = round(10 ** chance.uniform(2.2, 4.2))
        strange = sum(lately) < 2 and chance.random() < 0.25
        lately.append(strange)
        told = count * TRUTH * (chance.choice([0.05, 0.3, 3.0, 20.0]) if strange else chance.uniform(0.9, 1.1))
        estimator.learn(ask(user(words(count)), key=f"uneven_{number}"), reported(told))
        assert learned(estimator) == pytest.approx(TRUTH, rel=0.12), f"after report {number}, odd: {strange}"


def test_one_long_odd_report_weighs_no_more_than_a_short_one() -> None:
    estimator = taught(500, 500, 500)
    before = learned(estimator)
    estimator.learn(ask(user(words(100_000)), key="long"), reported(500_000))
    assert learned(estimator) == pytest.approx(before, rel=0.01)


def test_a_model_that_counts_otherwise_from_now_on_is_believed_after_some_reports() -> None:
    estimator = taught(*[1_000] * 12)
    for number in range(5):
        estimator.learn(ask(user(words(1_000)), key=f"new_{number}"), reported(2_600))
    assert learned(estimator) == pytest.approx(2.6, rel=0.02)


@pytest.mark.parametrize(("tokens", "bound"), [(10_000_000, MOST_FACTOR), (1, LEAST_FACTOR)])
def test_a_first_report_that_can_not_be_true_is_bounded(tokens: int, bound: float) -> None:
    estimator = TokenEstimator()
    estimator.learn(ask(user(words(1_000))), reported(tokens))
    assert learned(estimator) == bound


@pytest.mark.parametrize("true_size", [85, 1_500, 30_000])
def test_attachments_of_unknown_size_teach_nothing_of_texts(true_size: int) -> None:
    picture = Message(role="user", parts=(Text(text=words(300)), Media(ref="a" * 64, mime="image/png")))
    estimator = taught(1_000, 1_000)
    before = learned(estimator)
    estimator.learn(ask(picture, key="whole"), reported(300 * TRUTH + true_size))
    estimator.learn(ask(user(words(1_000)), key="added"), reported(1_000 * TRUTH))
    estimator.learn(ask(user(words(1_000)), picture, key="added"), reported(1_300 * TRUTH + true_size))
    assert learned(estimator) == pytest.approx(before, rel=0.001)


@pytest.mark.parametrize("tools", [{"server_tools": {"web_search_requests": 2}}, {"tool_prompt": 40_000}])
def test_what_tools_of_the_provider_have_read_teaches_nothing(tools: dict[str, object]) -> None:
    estimator = taught(1_000)
    before = learned(estimator)
    for number in range(6):
        estimator.learn(ask(user(words(1_000)), key=f"searched_{number}"), reported(1_300 + 40_000, **tools))
    assert learned(estimator) == before


def test_reasoning_that_may_or_may_not_go_back_teaches_nothing() -> None:
    estimator = taught(1_000)
    before = learned(estimator)
    native = Native(provider="openai", api="responses", model="any-model", blocks=())
    thought = Message(role="assistant", parts=(Text(text="Yes."),), native=native)
    for number in range(6):
        key, first = f"thinks_{number}", user(words(1_000))
        estimator.learn(ask(first, key=key), reported(1_300, reasoning=900))
        estimator.learn(ask(first, thought, user(words(1_000)), key=key), reported(2_600))
    assert learned(estimator) == pytest.approx(before, rel=0.001)


def test_a_server_that_reports_nothing_of_its_cache_never_makes_a_conversation_look_small() -> None:
    estimator = taught(1_000, 1_000, 1_000)
    messages = [user(words(2_000))]
    estimator.learn(ask(*messages), reported(2_000 * TRUTH))
    estimates: list[int] = []
    for turn in range(1, 12):
        messages.append(user(words(400)))
        true = (2_000 + 400 * turn) * TRUTH
        estimates.append(estimator.estimate(ask(*messages)))
        assert 0.5 * true <= estimates[-1] <= 1.2 * true
        # Only what was added since the last turn: the rest was in the cache.
        estimator.learn(ask(*messages), reported(400 * TRUTH))
    assert learned(estimator) == pytest.approx(TRUTH, rel=0.02)
    assert all(before < after for before, after in pairwise(estimates[1:]))
