"""Speech as text by a provider: a recording goes up, a transcript with times comes back.

`transcribe` on a wire takes one recording; nothing is cut, so that the times are those of the recording.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol, cast

import genai_prices
from pydantic import Field, JsonValue

from engine.errors import Invalid
from engine.transcript import Price, Usage
from engine.values import Spent, Value
from providers.base import DEFAULT_TIMEOUT_S
from providers.prices import SOURCE, listed

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Recording:
    """A sound file: its bytes, a name whose ending says the format, its type, and hints.

    `language` is an ISO 639-1 code where it is known. `prompt` holds names and words that occur.
    """

    data: bytes
    name: str
    mime: str = "application/octet-stream"
    language: str | None = None
    prompt: str | None = None
    options: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


class Segment(Value):
    """A stretch of speech; times in seconds from the beginning of the recording."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    text: str
    speaker: str | None = None


class Transcript(Value):
    """What was said. `segments` is empty where the model gives no times; `duration_s` is None where it isn't told."""

    text: str
    segments: tuple[Segment, ...] = ()
    language: str | None = None
    duration_s: float | None = None
    provider: str
    model: str
    usage: Usage = Usage()
    price: Price = Price()
    request_id: str | None = None

    @property
    def spent(self) -> Spent:
        """The call as it counts against a budget."""
        return Spent(
            turns=1,
            input_tokens=self.usage.input_total,
            output_tokens=self.usage.output_total,
            usd=self.price.usd or 0.0,
            unpriced_turns=0 if self.price.usd is not None else 1,
        )


class TranscriptionWire(Protocol):
    """One wire to models of speech. It never retries; every failure is one `ProviderError`."""

    name: str

    async def transcribe(self, model: str, recording: Recording) -> Transcript:
        """Return the transcript of one recording."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


TRANSCRIBERS = {"openai": "providers.transcription_openai:OpenAITranscription"}
"""The wires for speech: provider → `module:class`, imported when first asked for."""


def make_transcriber(
    name: str, *, api_key: str = "", base_url: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
) -> TranscriptionWire:
    """Return the wire of a provider for one account; `Invalid` lists those that know speech."""
    if name not in TRANSCRIBERS:
        known = ", ".join(sorted(TRANSCRIBERS))
        raise Invalid(f"{name!r} writes no speech down here; use one of: {known} (with a base_url for other servers)")
    module, _, attribute = TRANSCRIBERS[name].partition(":")
    made: Any = getattr(import_module(module), attribute)
    return cast(TranscriptionWire, made(api_key=api_key, base_url=base_url, timeout_s=timeout_s))


def speech_price(provider: str, model: str, usage: Usage, audio_tokens: int, seconds: float | None) -> Price:
    """Return what a transcript cost, by its length or by its tokens, whichever the table prices the model by."""
    entry = listed(provider, model)
    if entry is None:
        return Price()
    prices = entry.get_prices(datetime.now().astimezone())
    per_hour = getattr(prices, "input_audio_hours", None)
    if per_hour is not None:
        return Price() if seconds is None else Price(usd=float(per_hour) * seconds / SECONDS_PER_HOUR, source=SOURCE)
    if not usage.input_total:
        return Price()
    counted = genai_prices.Usage(
        input_tokens=usage.input_total,
        output_tokens=usage.output_total,
        input_audio_tokens=audio_tokens or None,
    )
    try:
        return Price(usd=float(prices.calc_price(counted)["total_price"]), source=SOURCE)
    except (LookupError, ValueError):
        return Price()
