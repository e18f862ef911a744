"""What the prompt cache gave to a call, and if it gave nothing, why: the provider's word first, else our own.

Each turn keeps digests of the request behind it (`Native.sent`). The next request of the same wire compares itself
with them, so that a miss has a named cause on every wire, in any process and after any restart.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.routes import Route
from engine.transcript import CacheFacts, Message, ModelRequest, Native, Sent, Usage
from engine.values import digest

MIN_CACHED_TOKENS = 1024
"""Below this no provider caches a prefix, so that nothing read is no miss that could be mended."""

TOLERATED_TOKENS = 2048
TOLERATED_PART = 0.05
"""Caches hold whole blocks: what is missing counts as missed only if it is more than both of these."""

LIFETIMES = {"anthropic": "5m", "openai": "30m"}
"""How long a prefix is kept unless the request says otherwise, by wire."""

_LIFETIME = re.compile(r"(\d{1,6})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

FIRST_TURN = "first_turn"
TOO_SHORT = "too_short"
NOT_KEPT = "not_kept"
"""Causes that are nobody's change: nothing was sent before; the prefix is too short to be cached; the provider
kept it no longer, or on another machine."""


def lifetime_s(route: Route) -> float | None:
    """Return how long the provider keeps what it has cached for the route, in seconds; None where nobody knows.

    The route's options say it (`cache_ttl`, `prompt_cache_options.ttl`), else the wire's default.
    """
    given = route.options.get("prompt_cache_options")
    ttl = route.options.get("cache_ttl") or (given.get("ttl") if isinstance(given, dict) else None)
    found = _LIFETIME.fullmatch(str(ttl or LIFETIMES.get(route.provider, "")))
    return int(found[1]) * _SECONDS[found[2]] if found else None


def last_own(messages: Sequence[Message], provider: str, api: str) -> Native | None:
    """Return the native form of the latest turn that this wire made, or None."""
    for message in reversed(messages):
        native = message.native
        if native is not None and native.provider == provider and native.api == api:
            return native
    return None


@dataclass(frozen=True)
class Told:
    """What the provider itself says about the cache. `reason` is None after a hit, or if it can't tell."""

    hit: bool = False
    reason: str | None = None
    missed_tokens: int | None = None


@dataclass(frozen=True)
class Outgoing:
    """A request as it leaves: the digests of its parts, and what it has changed since the turn before."""

    now: Sent
    before: Sent | None
    changed: str | None

    @classmethod
    def of(
        cls, request: ModelRequest, before: Native | None, *, tools: Any, system: Any, entries: Sequence[Any]
    ) -> "Outgoing":
        """Digest a rendered request; `entries` are its messages without cache markers, `before` as `last_own` gives.

        `tools` are those the model sees from the start: what is declared but not shown is no part of the prefix.
        """
        sent = before.sent if before is not None else None
        # Two encodings instead of one for each entry: the encoder's start costs more than most entries.
        count = sent.count if sent is not None and 0 < sent.count <= len(entries) else len(entries)
        running = hashlib.sha256(_encoded(entries[:count]))
        prefix = running.hexdigest()[:32]
        if count < len(entries):
            running.update(b", " + _encoded(entries[count:]))
        settings = [request.route.options, request.tool_choice, request.output_schema]
        now = Sent(
            model=request.route.model,
            tools=digest(tools)[:32],
            system=digest(system)[:32],
            settings=digest(settings)[:32],
            messages=running.hexdigest()[:32],
            count=len(entries),
        )
        return cls(now=now, before=sent, changed=_changed(now, sent, prefix) if sent is not None else None)

    def sent(self, usage: Usage) -> Sent:
        """Return what the turn keeps for the one after it."""
        return self.now.model_copy(update={"reusable": usage.input_total})

    def facts(self, usage: Usage, told: Told | None = None) -> CacheFacts:
        """Return what the cache gave, by what the provider told and else by comparison with the turn before."""
        read = usage.cache_read
        if told is not None and told.hit:
            return CacheFacts(hit=True, read=read)
        if told is not None and told.reason is not None:
            return CacheFacts(hit=False, read=read, missed_tokens=told.missed_tokens, reason=told.reason)
        if self.before is None:
            return CacheFacts(hit=read > 0, read=read, reason=None if read else FIRST_TURN)
        missed = max(0, self.before.reusable - read)
        if read and not (missed > TOLERATED_TOKENS and missed > TOLERATED_PART * self.before.reusable):
            return CacheFacts(hit=True, read=read)
        unchanged = TOO_SHORT if self.before.reusable < MIN_CACHED_TOKENS else NOT_KEPT
        return CacheFacts(hit=False, read=read, missed_tokens=missed, reason=self.changed or unchanged)


def _encoded(entries: Sequence[Any]) -> bytes:
    """Return the entries as JSON without the brackets around them, so that what follows can be appended."""
    return json.dumps(list(entries), ensure_ascii=False)[1:-1].encode(errors="surrogatepass")


def _changed(now: Sent, before: Sent, prefix: str) -> str | None:
    """Return the first difference in the order in which providers compare, or None if `now` only appends."""
    pairs = [
        ("model_changed", now.model, before.model),
        ("tools_changed", now.tools, before.tools),
        ("system_changed", now.system, before.system),
        ("messages_changed", prefix, before.messages),
        ("settings_changed", now.settings, before.settings),
    ]
    return next((name for name, new, old in pairs if new != old), None)
