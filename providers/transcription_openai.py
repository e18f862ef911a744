"""Transcriptions of OpenAI and of every server that has its endpoint: a multipart upload by the official SDK.

Source: the types of the `openai` SDK 3.54 and the API reference (25 MB in a request). Segments with times are asked for
by default (`verbose_json`); a model that gives none takes `response_format` among the options of its route.
"""

from typing import Any

import httpx2
import openai

from engine.transcript import Usage
from providers.base import DEFAULT_TIMEOUT_S
from providers.errors import InvalidRequest, MalformedReply
from providers.openai_plain import client
from providers.plain import read_object
from providers.streams import Attempt
from providers.transcription import Recording, Segment, Transcript, speech_price

PROVIDER = "openai"
MAX_BYTES = 25 * 1024 * 1024
FORMATS = ("verbose_json", "json", "diarized_json")


class OpenAITranscription:
    """The transcriptions endpoint for one account."""

    name = PROVIDER

    def __init__(self, api_key: str = "", base_url: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._client = client(api_key, base_url, timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def transcribe(self, model: str, recording: Recording) -> Transcript:
        """Return the transcript of one recording.

        Raises:
            InvalidRequest: it is empty or larger than 25 MB, or the options ask for a form that has no text.
            ProviderError: the call failed, or its answer breaks the wire's rules.
        """
        attempt = Attempt(PROVIDER, model)
        fields = _fields(attempt, recording)
        try:
            response = await self._client.audio.transcriptions.with_raw_response.create(
                file=(recording.name, recording.data, recording.mime), model=model, **fields
            )
        except openai.APIStatusError as error:
            raise attempt.refused(error.status_code, error.response.headers, error.body) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise attempt.cut(error) from error
        attempt.opened(response.headers, response.headers.get("x-request-id"))
        return _transcript(read_object(attempt, response.content), attempt, model)


def _fields(attempt: Attempt, recording: Recording) -> dict[str, Any]:
    size = len(recording.data)
    if not 0 < size <= MAX_BYTES:
        raise attempt.failure(
            InvalidRequest, f"The recording {recording.name} has {size} bytes; 1 to {MAX_BYTES} are taken. Cut it."
        )
    options = dict(recording.options)
    form = options.pop("response_format", FORMATS[0])
    if form not in FORMATS:
        raise attempt.failure(InvalidRequest, f"response_format is {form!r}; use one of: {', '.join(FORMATS)}.")
    fields: dict[str, Any] = {"response_format": form}
    if form == "verbose_json":
        fields["timestamp_granularities"] = ["segment"]
    hints = {"language": recording.language, "prompt": recording.prompt}
    fields.update({name: hint for name, hint in hints.items() if hint})
    return {**fields, "extra_body": options} if options else fields


def _transcript(body: dict[str, Any], attempt: Attempt, model: str) -> Transcript:
    try:
        raw: dict[str, Any] = body.get("usage") or {}
        inside: dict[str, Any] = raw.get("input_token_details") or {}
        total = int(raw.get("input_tokens") or 0)
        usage = Usage(
            input_total=total,
            input_uncached=total,
            output_total=int(raw.get("output_tokens") or 0),
            raw=raw,
        )
        duration = body.get("duration", raw.get("seconds"))
        seconds = None if duration is None else float(duration)
        return Transcript(
            text=str(body["text"]),
            segments=tuple(_segment(one) for one in body.get("segments") or ()),
            language=body.get("language"),
            duration_s=seconds,
            provider=PROVIDER,
            model=model,
            usage=usage,
            price=speech_price(PROVIDER, model, usage, int(inside.get("audio_tokens") or 0), seconds),
            request_id=attempt.request_id,
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        problem = f"{PROVIDER} sent a transcript that breaks the wire's rules ({what})."
        raise attempt.failure(MalformedReply, problem) from error


def _segment(one: dict[str, Any]) -> Segment:
    start, end = float(one["start"]), float(one["end"])
    return Segment(start_s=start, end_s=max(start, end), text=str(one["text"]).strip(), speaker=one.get("speaker"))
