"""Quotas are read from the headers of every provider into one shape."""

from datetime import UTC, datetime

import pytest

from engine.transcript import Quota, RateFacts
from providers.rates import rate_facts, retry_after

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

HEADERS = {
    "anthropic": (
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:30Z",
            "Anthropic-RateLimit-Input-Tokens-Remaining": "9000",
            "anthropic-ratelimit-output-tokens-limit": "800",
            "anthropic-ratelimit-tokens-reset": "2026-11-22T11:59:00Z",
        },
        RateFacts(
            requests=Quota(limit=50, remaining=49, resets_in_s=30.0),
            input_tokens=Quota(remaining=9000),
            output_tokens=Quota(limit=800),
            tokens=Quota(resets_in_s=0.0),
        ),
    ),
    "openai": (
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-tokens": "6m0.5s",
        },
        RateFacts(
            requests=Quota(limit=60, remaining=59, resets_in_s=1.0), tokens=Quota(remaining=149984, resets_in_s=360.5)
        ),
    ),
    "windows: the one with the least left speaks": (
        {
            "x-ratelimit-limit-req-minute": "60",
            "x-ratelimit-remaining-req-minute": "30",
            "x-ratelimit-limit-requests-day": "1000",
            "x-ratelimit-remaining-requests-day": "10",
        },
        RateFacts(requests=Quota(limit=1000, remaining=10)),
    ),
    "prompt and generated": (
        {"x-ratelimit-remaining-tokens-prompt": "5", "x-ratelimit-remaining-tokens-generated": "0"},
        RateFacts(input_tokens=Quota(remaining=5), output_tokens=Quota(remaining=0)),
    ),
    "what is no number is left out": (
        {"x-ratelimit-limit-requests": "unlimited", "x-ratelimit-limit-images": "5"},
        None,
    ),
    "nothing": ({"content-type": "text/event-stream"}, None),
}


@pytest.mark.parametrize(("headers", "facts"), HEADERS.values(), ids=list(HEADERS))
def test_headers_become_one_shape(headers: dict[str, str], facts: RateFacts | None):
    assert rate_facts(headers, NOW) == facts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1m30s", 90.0), ("2h", 7200.0), ("1d1h", 90000.0), ("4.5", 4.5), ("1795348860", 60.0)],
)
def test_a_reset_is_seconds_from_now(text: str, seconds: float):
    facts = rate_facts({"x-ratelimit-reset-requests": text}, NOW)
    assert facts is not None
    assert facts.requests is not None
    assert facts.requests.resets_in_s == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "m", "-", "nan", "inf"])
def test_a_reset_that_is_no_time_is_left_out(text: str):
    assert rate_facts({"x-ratelimit-reset-requests": text}, NOW) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 13:00:00 GMT"}, 3600.0),
        ({}, None),
    ],
)
def test_a_wait_is_seconds_whatever_form_it_has(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers, NOW) == seconds
