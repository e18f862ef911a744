"""Estimates start from a ratio per provider, learn from what was reported, and count the additions only."""

import pytest

from engine.transcript import Media, Message, ModelRequest, Route, ToolResult, ToolSpec, Usage, user
from providers.tokens import MEDIA_TOKENS, TokenEstimator

TEXT = "word " * 400
HIDDEN = ToolSpec(name="hidden", description="d" * 5000, input_schema={}, deferred=True)


def ask(*messages: Message, provider: str = "openai", tools: tuple[ToolSpec, ...] = (), key: str | None = "run_1"):
    route = Route(provider=provider, model="any-model")
    return ModelRequest(route=route, messages=messages, tools=tools, cache_key=key)


def reported(tokens: int) -> Usage:
    return Usage(input_total=tokens, input_uncached=tokens)


def test_the_start_errs_towards_too_many_tokens():
    estimator = TokenEstimator()
    assert estimator.estimate(ask(user(TEXT), provider="anthropic")) > len(TEXT) / 2.4
    assert estimator.estimate(ask(user(TEXT))) > len(TEXT) / 3.9


def test_a_known_conversation_is_its_last_report_and_the_addition():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT)), reported(1234))
    assert estimator.estimate(ask(user(TEXT))) == 1234
    more = estimator.estimate(ask(user(TEXT), user(TEXT)))
    assert 1234 + 300 < more < 1234 * 2.5


def test_other_conversations_of_the_model_learn_the_ratio_and_other_models_do_not():
    estimator = TokenEstimator()
    before = estimator.estimate(ask(user(TEXT), key="other"))
    for _ in range(20):
        estimator.learn(ask(user(TEXT)), reported(1000))
    after = estimator.estimate(ask(user(TEXT), key="other"))
    assert after > before
    assert after == pytest.approx(1000 * 1.15, rel=0.02)
    assert estimator.estimate(ask(user(TEXT), provider="third", key="other")) == before


def test_what_was_learned_can_be_stored_and_handed_in_again():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT)), reported(1000))
    again = TokenEstimator(estimator.ratios)
    assert again.ratio(ask().route) == estimator.ratio(ask().route) != TokenEstimator().ratio(ask().route)


def test_a_conversation_that_shrank_is_estimated_anew():
    estimator = TokenEstimator()
    estimator.learn(ask(user(TEXT), user(TEXT)), reported(9000))
    assert estimator.estimate(ask(user("short"))) < 100


def test_a_hidden_tool_counts_once_it_is_revealed():
    estimator = TokenEstimator()
    hidden = estimator.estimate(ask(user("Hi"), tools=(HIDDEN,)))
    answer = Message(role="tool", parts=(ToolResult(call_id="c", name="learn", text="", reveals=(HIDDEN,)),))
    assert estimator.estimate(ask(user("Hi"), answer, tools=(HIDDEN,))) > hidden + 1000


def test_attachments_count_as_a_round_figure():
    estimator = TokenEstimator()
    picture = Message(role="user", parts=(Media(ref="d1", mime="image/png"),))
    assert estimator.estimate(ask(picture)) >= MEDIA_TOKENS
    estimator.learn(ask(user(TEXT)), reported(1234))
    assert estimator.estimate(ask(user(TEXT), picture)) >= 1234 + MEDIA_TOKENS
