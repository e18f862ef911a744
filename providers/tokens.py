"""How large a request is, in tokens, without asking the provider: the last reported usage and a learned factor.

Four characters per token is 22 to 52 % short for recent Claude models, and the characters of a token differ by more
than two between prose and JSON. So texts are measured in units that follow how tokenizers cut (words, groups of three
digits, punctuation, line breaks, characters beyond ASCII), and only the tokens per unit are learned for each model.
Near a threshold the provider's own counter has the last word.
"""

import json
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from engine.remembered import Folded, Remembered
from engine.transcript import (
    Media,
    Message,
    ModelRequest,
    Part,
    Reasoning,
    Route,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from providers.chat_vendors import VENDORS
from providers.media_tokens import UNKNOWN, MediaSize, media_tokens
from providers.wire import Recent, revealed_tools

START_FACTORS = {"anthropic": 1.5}
"""Tokens per unit before anything is learned, by provider; the units fit OpenAI's vocabularies as they are."""

OTHER_FACTOR = 1.05
SAFETY_AT_FIRST = 1.15
SAFETY = 1.03
"""Factors on every estimated token, before and after the model's own was learned; reported tokens are exact."""

DECAY = 0.85
"""What each observation weighs against the next newer one."""

OBSERVED = 16
"""How many observations of a model are kept."""

LEAST_UNITS, MOST_UNITS = 100, 4_000.0
"""Shorter texts teach nothing: the wire's own framing outweighs them. Longer ones count for no more than that."""

LEAST_FACTOR, MOST_FACTOR = 0.25, 8.0
"""Tokens per unit of any model; a report beyond that says something else than how it cuts its texts."""

BAND = 1.35
"""Observations that differ from the median by more than this factor don't count."""

UNSURE = 0.10
"""Where more than this part of what was reported is itself a guess (attachments, reasoning), it teaches nothing."""

LEAST_REPORT = 0.5
"""A conversation is never taken to be smaller than this part of what its texts say: there are servers that leave out
of a report what they had in their cache."""

REMEMBERED_UNITS = 2_000.0
"""The length that a factor from the store stands for."""

MESSAGE_UNITS = 4
TOOL_UNITS = 12
NEAR = 0.10
"""Within this part of a threshold the provider's counter is asked."""

SAMPLED_CHARS = 16_384
_SLICES, _SLICE = 16, 1_024
"""Of longer texts only so many slices are measured, spread evenly: a megabyte must not block the event loop."""

REPLAYING = frozenset({"anthropic", "openai"}) | {name for name, vendor in VENDORS.items() if vendor.replay_reasoning}
"""Providers to which the reasoning of their own turns goes back, and counts again."""

Sizes = Mapping[str, MediaSize]
Counter = Callable[[ModelRequest], Awaitable[int]]
"""The provider's own count of a request's input tokens."""

_WEIGHED = [
    (1.0, re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")),
    (1.3, re.compile(r"[a-z]{12,}")),
    (1.25, re.compile(r"\d{1,3}")),
    (0.25, re.compile(r"[^\w\s]+|_")),
    (0.45, re.compile(r"[^\w\s]")),
    (1.4, re.compile(r"\n\s*|  +")),
    (0.77, re.compile(r"[^\x00-\x7f]")),
]
"""What a piece of each kind weighs. Fitted to the o200k vocabulary over code, Markdown, JSON, schemas, prose, tables
and Chinese, where a text's units come within a fifth of its tokens."""

_seen: Recent[float] = Recent(16_384)


def text_units(text: str) -> float:
    """Return the units of a text: about its tokens in OpenAI's vocabularies."""
    if len(text) < 64:
        return _measure(text)
    key = f"{len(text)}:{hash(text)}"
    known = _seen.get(key)
    if known is None:
        known = _measure(text) if len(text) <= SAMPLED_CHARS else _sample(text)
        _seen.put(key, known)
    return known


def text_tokens(text: str) -> int:
    """Return the estimated tokens of a text for a model of which nothing is known."""
    return round(text_units(text) * OTHER_FACTOR)


def _measure(text: str) -> float:
    return sum(weight * len(pattern.findall(text)) for weight, pattern in _WEIGHED)


def _sample(text: str) -> float:
    step = (len(text) - _SLICE) / (_SLICES - 1)
    slices = [text[int(place * step) : int(place * step) + _SLICE] for place in range(_SLICES)]
    return sum(map(_measure, slices)) * len(text) / (_SLICES * _SLICE)


def message_units(message: Message, provider: str) -> float:
    """Return the units of a message as the models of `provider` are sent it; attachments are counted by themselves."""
    replayed = message.native is not None and message.native.provider == provider and provider in REPLAYING
    read = (part for part in message.parts if replayed or not isinstance(part, Reasoning))
    return MESSAGE_UNITS + sum(map(_part_units, read))


def _measured(part: Part) -> float:
    if isinstance(part, ToolCall):
        given = part.malformed or json.dumps(part.arguments, ensure_ascii=False)
        return TOOL_UNITS + text_units(part.name) + text_units(given)
    if isinstance(part, ToolResult):
        return TOOL_UNITS + text_units(part.text)
    return 0.0 if isinstance(part, Media) else text_units(part.text)


def _more_units(before: float, messages: Sequence[Message], provider: str) -> float:
    return before + sum(message_units(message, provider) for message in messages)


def _more_media(before: tuple[Media, ...], messages: Sequence[Message], _: None) -> tuple[Media, ...]:
    return (*before, *(part for message in messages for part in message.parts if isinstance(part, Media)))


_part_units = Remembered(_measured)
# Each request is measured several times on its way, and the next one begins with all that it was.
_said_units = Folded(lambda _: 0.0, _more_units)
_media = Folded(lambda _: tuple[Media, ...](), _more_media)


def attachments(request: ModelRequest) -> tuple[Media, ...]:
    """Return the attachments of all messages, in order."""
    return _media(request.messages, None)


def tool_units(tool: ToolSpec) -> float:
    """Return the units of a tool's declaration."""
    schema = json.dumps(tool.input_schema, ensure_ascii=False)
    return TOOL_UNITS + text_units(tool.name) + text_units(tool.description) + text_units(schema)


def request_units(request: ModelRequest) -> float:
    """Return the units of everything the model reads: messages, visible tools and those revealed on the way.

    Chat Completions tells a revealed tool in its lesson, which is a message like any other.
    """
    tools = {tool.name: tool for tool in request.tools if not tool.deferred}
    if request.route.provider not in VENDORS:
        tools.update((tool.name, tool) for tool in revealed_tools(request.messages))
    schema = text_units(json.dumps(request.output_schema)) if request.output_schema else 0.0
    return _said_units(request.messages, request.route.provider) + sum(map(tool_units, tools.values())) + schema


def request_media_tokens(request: ModelRequest, sizes: Sizes) -> int:
    """Return the tokens of the attachments; `sizes` by digest of the blob, as far as they are known."""
    return sum(
        media_tokens(request.route.provider, part.mime, sizes.get(part.ref, UNKNOWN)) for part in attachments(request)
    )


class _Known(NamedTuple):
    """What a conversation measured at its last call, and what the provider reported for it."""

    units: float
    messages: int
    media: int
    tokens: int
    reasoning: int


class _Observed(NamedTuple):
    """What one report said of a model: its tokens per unit, and over how many units, `MOST_UNITS` at the most."""

    factor: float
    units: float


def settled(observed: Sequence[_Observed]) -> float:
    """Return the tokens per unit that observations agree on, the newest last.

    The median, whatever their lengths, says which of them agree, however far off the others are; of those the mean by
    length says how texts are as a rule. So two odd reports in a row change nothing, and a model that counts otherwise
    from now on is believed after some.
    """
    weighed = sorted((one.factor, DECAY**age, one.units) for age, one in enumerate(reversed(observed)))
    passed = list(accumulate(weight for _, weight, _ in weighed))
    median = weighed[bisect_right(passed, passed[-1] / 2)][0]
    near = [(factor, weight * units) for factor, weight, units in weighed if 1 / BAND <= factor / median <= BAND]
    return sum(factor * weight for factor, weight in near) / sum(weight for _, weight in near)


class TokenEstimator:
    """Estimates input tokens per model; `factors` (route → tokens per unit) can be stored and handed in again."""

    def __init__(self, factors: Mapping[str, float] | None = None) -> None:
        self.factors: dict[str, float] = dict(factors or {})
        self._known: Recent[_Known] = Recent()
        self._observed = {
            name: deque([_Observed(factor, REMEMBERED_UNITS)], OBSERVED) for name, factor in self.factors.items()
        }

    def factor(self, route: Route) -> float:
        """Return tokens per unit for the model of `route`, learned or to start with."""
        return self.factors.get(str(route), START_FACTORS.get(route.provider, OTHER_FACTOR))

    def estimate(self, request: ModelRequest, sizes: Sizes | None = None) -> int:
        """Return the input tokens of `request`: what its conversation last reported and an estimate of the rest."""
        units, media = request_units(request), request_media_tokens(request, sizes or {})
        known = self._known.get(_conversation(request)) if request.cache_key is not None else None
        if known is None or known.units > units or known.messages > len(request.messages):
            return self._guess(units, request.route) + media
        added = self._guess(units - known.units, request.route) + self._hidden(request, known)
        least = round(LEAST_REPORT * units * self.factor(request.route))
        return max(known.tokens + added, least) + max(0, media - known.media)

    def learn(self, request: ModelRequest, usage: Usage, sizes: Sizes | None = None) -> None:
        """Take in what the provider reported for `request`; an estimate in place of a report teaches nothing.

        In a known conversation what was added teaches: a preamble that the provider counts is no part of it. Nothing
        is learned of a factor from what the provider's own tools have read, nor where too much of it is a guess.
        """
        if usage.input_total <= 0 or usage.raw.get("estimated"):
            return
        units, media = request_units(request), request_media_tokens(request, sizes or {})
        known = self._known.get(_conversation(request)) if request.cache_key is not None else None
        if known is not None and known.units <= units and known.messages <= len(request.messages):
            before, guessed = known, abs(media - known.media) + self._hidden(request, known)
        else:
            before, guessed = _Known(0.0, 0, 0, 0, 0), media
        tokens = usage.input_total - before.tokens - guessed
        if guessed <= UNSURE * tokens and not usage.server_tools and not usage.tool_prompt:
            self._observe(str(request.route), tokens, units - before.units)
        if request.cache_key is not None:
            now = _Known(units, len(request.messages), media, usage.input_total, usage.reasoning)
            self._known.put(_conversation(request), now)

    def _observe(self, name: str, tokens: int, units: float) -> None:
        if units < LEAST_UNITS or tokens <= 0:
            return
        factor = min(MOST_FACTOR, max(LEAST_FACTOR, tokens / units))
        observed = self._observed.setdefault(name, deque(maxlen=OBSERVED))
        observed.append(_Observed(factor, min(units, MOST_UNITS)))
        self.factors[name] = settled(observed)

    def _guess(self, units: float, route: Route) -> int:
        safety = SAFETY if str(route) in self.factors else SAFETY_AT_FIRST
        return round(units * self.factor(route) * safety)

    def _hidden(self, request: ModelRequest, known: _Known) -> int:
        """Return the reasoning that goes back with the last turn beyond what is shown of it."""
        own = [message for message in request.messages[known.messages :] if message.native is not None][:1]
        if not own or own[0].native is None or own[0].native.provider != request.route.provider:
            return 0
        if request.route.provider not in REPLAYING:
            return 0
        shown = sum(text_units(part.text) for part in own[0].parts if isinstance(part, Reasoning))
        return max(0, known.reasoning - round(shown * self.factor(request.route)))


class Counted(NamedTuple):
    """The input tokens of a request, and whether they are an estimate or the provider's count."""

    tokens: int
    origin: Literal["estimate", "provider"]


async def count_against(
    estimator: TokenEstimator,
    request: ModelRequest,
    threshold: int,
    counter: Counter | None = None,
    sizes: Sizes | None = None,
) -> Counted:
    """Return how large `request` is, exactly where that decides: the provider's `counter` is asked only when the
    estimate lies within a tenth of `threshold`. What the counter raises is raised."""
    estimate = estimator.estimate(request, sizes)
    if counter is None or abs(estimate - threshold) > NEAR * threshold:
        return Counted(estimate, "estimate")
    return Counted(await counter(request), "provider")


def _conversation(request: ModelRequest) -> str:
    return f"{request.route} {request.cache_key}"
