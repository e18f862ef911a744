"""Speech over HTTP with the official SDK: a multipart upload, segments with times, cost by length or by tokens."""

from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import pytest

from engine.errors import Invalid
from providers.errors import InvalidRequest, MalformedReply, Overloaded, ProviderUnavailable
from providers.transcription import Recording, Segment, TranscriptionWire, make_transcriber
from tests.providers.plain_server import Answer, Asked, PlainServer, plain_server

pytestmark = pytest.mark.anyio

SOUND = bytes(range(256)) * 4
VERBOSE: dict[str, Any] = {
    "task": "transcribe",
    "language": "english",
    "duration": 90.0,
    "text": "Good morning. Let us begin.",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " Good morning."},
        {"id": 1, "start": 1.5, "end": 3.25, "text": " Let us begin."},
    ],
    "usage": {"type": "duration", "seconds": 90},
}


def answers(asked: Asked) -> Answer:
    return 200, VERBOSE, {"x-request-id": "req_1"}


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with plain_server(answers) as opened:
        yield opened


@pytest.fixture
async def wire(server: PlainServer) -> Any:
    made = make_transcriber("openai", api_key="k1", base_url=f"{server.url}/v1", timeout_s=2.0)
    yield made
    await made.aclose()


def form(asked: Asked) -> dict[str, tuple[str | None, bytes]]:
    """Return the fields of a multipart body by name: the name of the file, if it is one, and the bytes."""
    head = f"content-type: {asked.headers['content-type']}\r\n\r\n".encode()
    parts: Any = message_from_bytes(head + asked.body).get_payload()
    found: dict[str, tuple[str | None, bytes]] = {}
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        found[name] = (part.get_filename(), part.get_payload(decode=True))
    return found


async def test_a_recording_goes_up_whole_and_comes_back_with_times_and_its_price(
    server: PlainServer, wire: TranscriptionWire
) -> None:
    recording = Recording(SOUND, "talk.wav", "audio/wav", language="en", prompt="Upstairs", options={"temperature": 0})
    made = await wire.transcribe("whisper-1", recording)
    assert made.text == "Good morning. Let us begin."
    assert made.segments == (
        Segment(start_s=0.0, end_s=1.5, text="Good morning."),
        Segment(start_s=1.5, end_s=3.25, text="Let us begin."),
    )
    assert (made.language, made.duration_s, made.request_id) == ("english", 90.0, "req_1")
    # 90 seconds at 0.36 dollars an hour, as the provider lists it.
    assert made.price.usd == pytest.approx(0.009)
    assert made.spent.usd == pytest.approx(0.009)
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/audio/transcriptions", "k1")
    sent = form(asked)
    assert sent["file"] == ("talk.wav", SOUND)
    texts = {name: value.decode() for name, (file, value) in sent.items() if file is None}
    assert texts == {
        "model": "whisper-1",
        "response_format": "verbose_json",
        "timestamp_granularities[]": "segment",
        "language": "en",
        "prompt": "Upstairs",
        "temperature": "0",
    }


async def test_a_model_without_times_is_priced_by_its_tokens(server: PlainServer, wire: TranscriptionWire) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "input_token_details": {"audio_tokens": 900, "text_tokens": 100},
    }
    server.answers = lambda asked: (200, {"text": "Hello.", "usage": usage})
    made = await wire.transcribe("gpt-4o-transcribe", Recording(SOUND, "a.mp3", options={"response_format": "json"}))
    assert (made.text, made.segments, made.duration_s) == ("Hello.", (), None)
    # 900 of sound at 6, 100 of text at 2.5 and 100 written at 10 dollars a million.
    assert made.price.usd == pytest.approx((900 * 6 + 100 * 2.5 + 100 * 10) / 1_000_000)
    assert made.spent.input_tokens == 1000
    assert form(server.asked[0])["response_format"] == (None, b"json")
    assert "timestamp_granularities[]" not in form(server.asked[0])
    unpriced = await wire.transcribe("own-whisper", Recording(SOUND, "a.mp3"))
    assert (unpriced.price.usd, unpriced.spent.unpriced_turns) == (None, 1)


async def test_what_can_not_be_taken_is_refused_before_it_is_sent(server: PlainServer, wire: TranscriptionWire) -> None:
    for data in (b"", bytes(25 * 1024 * 1024 + 1)):
        with pytest.raises(InvalidRequest, match="1 to 26214400 are taken"):
            await wire.transcribe("whisper-1", Recording(data, "a.wav"))
    with pytest.raises(InvalidRequest, match="response_format is 'srt'"):
        await wire.transcribe("whisper-1", Recording(SOUND, "a.wav", options={"response_format": "srt"}))
    with pytest.raises(Invalid, match="'anthropic' writes no speech down here"):
        make_transcriber("anthropic", api_key="k")
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((529, {"error": {"message": "busy"}}), Overloaded),
        ((500, b"<html>"), ProviderUnavailable),
        ((200, b"text"), MalformedReply),
        ((200, {"segments": []}), MalformedReply),
        ((200, {"text": "a", "segments": [{"start": "x"}]}), MalformedReply),
    ],
)
async def test_failures_are_those_of_every_wire(
    server: PlainServer, wire: TranscriptionWire, answer: Answer, kind: type[Exception]
) -> None:
    server.answers = lambda asked: answer
    with pytest.raises(kind):
        await wire.transcribe("whisper-1", Recording(SOUND, "a.wav"))
    assert len(server.asked) == 1
