"""How large a request is, in tokens, without asking the provider: the last reported usage and a learned ratio.

Four characters per token is 22 to 52 % short for recent Claude models, so the ratio is learned per model from what
the provider reported, and starts low enough to err towards too many tokens.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from engine.transcript import Media, Message, ModelRequest, Reasoning, Route, Text, ToolCall, ToolSpec, Usage
from providers.wire import Recent, revealed_tools

START_RATIOS = {"anthropic": 2.4}
"""Characters per token before anything is learned, by provider."""

OTHER_RATIO = 3.9
SAFETY = 1.15
"""Factor on every estimated token; reported ones are taken as they are."""

WEIGHT = 0.3
"""Weight of the newest observation in the moving average."""

LEAST_CHARS = 400
"""Shorter requests teach nothing: the wire's own framing outweighs their text."""

MEDIA_TOKENS = 1600
MESSAGE_CHARS = 12


def message_chars(message: Message) -> int:
    """Return the characters of a message as models are shown it; signatures and encrypted reasoning do not count."""
    total = MESSAGE_CHARS
    for part in message.parts:
        if isinstance(part, Text | Reasoning):
            total += len(part.text)
        elif isinstance(part, ToolCall):
            total += len(part.name) + len(part.malformed or json.dumps(part.arguments, ensure_ascii=False))
        elif not isinstance(part, Media):
            total += len(part.text)
    return total


def tool_chars(tool: ToolSpec) -> int:
    """Return the characters of a tool's declaration."""
    return len(tool.name) + len(tool.description) + len(json.dumps(tool.input_schema, ensure_ascii=False))


def request_chars(request: ModelRequest) -> int:
    """Return the characters of everything the model reads: messages, visible tools and those revealed on the way."""
    tools = {tool.name: tool for tool in request.tools if not tool.deferred}
    tools.update((tool.name, tool) for tool in revealed_tools(request.messages))
    schema = len(json.dumps(request.output_schema)) if request.output_schema else 0
    return sum(map(message_chars, request.messages)) + sum(map(tool_chars, tools.values())) + schema


def media_tokens(request: ModelRequest) -> int:
    """Return the tokens reserved for attachments, a round figure for each."""
    return MEDIA_TOKENS * sum(isinstance(part, Media) for message in request.messages for part in message.parts)


class _Known(NamedTuple):
    """What a conversation measured at its last call, and what the provider reported for it."""

    chars: int
    media: int
    tokens: int


class TokenEstimator:
    """Estimates input tokens per model; `ratios` (route → characters per token) can be stored and handed in again."""

    def __init__(self, ratios: Mapping[str, float] | None = None) -> None:
        self.ratios: dict[str, float] = dict(ratios or {})
        self._known: Recent[_Known] = Recent()

    def ratio(self, route: Route) -> float:
        """Return characters per token for the model of `route`, learned or to start with."""
        return self.ratios.get(str(route), START_RATIOS.get(route.provider, OTHER_RATIO))

    def estimate(self, request: ModelRequest) -> int:
        """Return the input tokens of `request`: what its conversation last reported and an estimate of the rest."""
        size = request_chars(request)
        known = self._known.get(_conversation(request)) if request.cache_key is not None else None
        if known is not None and known.chars <= size:
            added = self._guess(size - known.chars, request.route)
            return known.tokens + added + media_tokens(request) - known.media
        return self._guess(size, request.route) + media_tokens(request)

    def learn(self, request: ModelRequest, usage: Usage) -> None:
        """Take in what the provider reported for `request`."""
        size = request_chars(request)
        text_tokens = usage.input_total - media_tokens(request)
        if usage.input_total > 0 and request.cache_key is not None:
            self._known.put(_conversation(request), _Known(size, media_tokens(request), usage.input_total))
        if size >= LEAST_CHARS and text_tokens > 0:
            before = self.ratio(request.route)
            self.ratios[str(request.route)] = before + WEIGHT * (size / text_tokens - before)

    def _guess(self, chars: int, route: Route) -> int:
        return round(chars / self.ratio(route) * SAFETY)


def _conversation(request: ModelRequest) -> str:
    return f"{request.route} {request.cache_key}"
