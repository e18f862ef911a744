"""The quotas of an account, read from the headers of an answer, in one shape for every provider.

Sources: the documented rate-limit headers of Anthropic (`anthropic-ratelimit-input-tokens-remaining`, times as RFC
3339), OpenAI and those who copy it (`x-ratelimit-remaining-tokens`, times as `6m0.5s`), Mistral and Cerebras (the same
with a window: `x-ratelimit-limit-req-minute`) and Fireworks (`-tokens-prompt`, `-tokens-generated`).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, cast

from engine.transcript import Quota, RateFacts

Field = Literal["limit", "remaining", "reset"]

_ANTHROPIC = re.compile(r"anthropic-ratelimit-([a-z-]+)-(limit|remaining|reset)")
_COMMON = re.compile(r"(?:x-)?ratelimit-(limit|remaining|reset)-([a-z-]+)")
_WINDOW = re.compile(r"-(second|minute|hour|day|month)$")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_EPOCH = 1_000_000_000

KINDS = {
    "requests": "requests",
    "req": "requests",
    "input-tokens": "input_tokens",
    "tokens-prompt": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens-generated": "output_tokens",
    "tokens": "tokens",
}
"""The providers' words for what is counted → the field of `RateFacts`; a quota of another kind is left out."""


def rate_facts(headers: Mapping[str, str], now: datetime | None = None) -> RateFacts | None:
    """Return what the headers tell, or None if they tell nothing; `now` is the moment of the answer.

    Where one thing is counted in several windows (minute, day), the window with the least left speaks.
    """
    now = now or datetime.now(UTC)
    windows: dict[tuple[str, str], dict[Field, float]] = {}
    for kind, window, field, text in _told(headers):
        value = seconds(text, now) if field == "reset" else _count(text)
        if value is not None:
            windows.setdefault((kind, window), {})[field] = value
    quotas: dict[str, Quota] = {}
    for (kind, _), told in windows.items():
        quota = Quota(
            limit=int(told["limit"]) if "limit" in told else None,
            remaining=int(told["remaining"]) if "remaining" in told else None,
            resets_in_s=told.get("reset"),
        )
        if kind not in quotas or _left(quota) < _left(quotas[kind]):
            quotas[kind] = quota
    return RateFacts.model_validate(quotas) if quotas else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds that `retry-after-ms` or `retry-after` (seconds or an HTTP date) ask for, or None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = _count(headers.get(name, ""))
        if value is not None:
            return max(0.0, value * scale)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds()) if date.tzinfo else None


def seconds(text: str, now: datetime) -> float | None:
    """Return how far ahead a reset lies: `6m0s`, `20ms`, `1.5`, an RFC 3339 time or seconds since 1970; else None."""
    number = _count(text)
    if number is not None:
        return max(0.0, number - now.timestamp() if number > _EPOCH else number)
    duration = _DURATION.fullmatch(text.strip())
    if duration and any(duration.groups()):
        return sum(float(piece) * unit for piece, unit in zip(duration.groups(), _UNITS_S, strict=True) if piece)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (moment - now).total_seconds()) if moment.tzinfo else None


def _told(headers: Mapping[str, str]) -> Iterator[tuple[str, str, Field, str]]:
    """Yield kind, window, field and text of each header that speaks of a quota we know."""
    for name, text in headers.items():
        own, common = _ANTHROPIC.fullmatch(name.lower()), _COMMON.fullmatch(name.lower())
        if own:
            word, field = own.groups()
        elif common:
            field, word = common.groups()
        else:
            continue
        window = _WINDOW.search(word)
        kind = KINDS.get(_WINDOW.sub("", word))
        if kind is not None:
            yield kind, window.group(1) if window else "", cast(Field, field), text


def _count(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None


def _left(quota: Quota) -> float:
    """Sort key: the part of a quota that is left; one that does not say counts as full."""
    if quota.remaining is None:
        return 1.0
    return quota.remaining / quota.limit if quota.limit else float(quota.remaining > 0)
