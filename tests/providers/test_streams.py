"""Server-sent events are read the same however the network cuts them, and errors are named by what providers say."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.streams import EventDecoder, error_kind
from providers.wire import ToolNames, parse_arguments

EVENTS = [{"type": "a", "text": "grüße 🌊"}, {"type": "b"}, {"type": "c", "text": "line\nline"}]


@given(cuts=st.lists(st.integers(0, 400)), end=st.sampled_from(["\n", "\r\n"]))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts: list[int], end: str):
    stream = "".join(
        f": comment{end}event: {item['type']}{end}data: {json.dumps(item, ensure_ascii=False)}{end}{end}"
        for item in EVENTS
    ).encode()
    decoder = EventDecoder()
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(places)]
    assert [json.loads(data) for chunk in chunks for data in decoder.feed(chunk)] == EVENTS


def test_an_event_without_its_blank_line_is_not_given_out():
    assert list(EventDecoder().feed(b'data: {"type": "a"}\n')) == []


def test_data_over_several_lines_is_one_event():
    assert list(EventDecoder().feed(b"data: {\ndata: }\n\n")) == ["{\n}"]


@pytest.mark.parametrize(
    ("status", "words", "name"),
    [
        (429, ["insufficient_quota", "insufficient_quota"], "SpendLimit"),
        (429, [], "RateLimited"),
        (503, ["service_unavailable", "server_error"], "Overloaded"),
        (500, ["server_error"], "ProviderUnavailable"),
        (418, [], "InvalidRequest"),
        (504, [], "ProviderUnavailable"),
        (None, ["invalid_request_error"], "InvalidRequest"),
        (None, [], "ProviderUnavailable"),
    ],
)
def test_errors_are_named_by_word_then_by_status(status: int | None, words: list[str], name: str):
    assert error_kind(status, words, "").__name__ == name


@given(st.text(max_size=30))
def test_arguments_are_an_object_or_nothing(text: str):
    parsed = parse_arguments(text)
    assert parsed is None or isinstance(parsed, dict)
    assert parse_arguments(json.dumps({"a": text})) == {"a": text}
    assert parse_arguments(json.dumps({"a": text})[:-1]) is None


def test_half_a_character_in_arguments_is_malformed():
    assert parse_arguments('{"a": "\\ud83d"}') is None
    assert parse_arguments('{"a": "\\ud83c\\udf0a"}') == {"a": "🌊"}


def test_tool_names_go_there_and_back():
    names = ToolNames([], "any", "any")
    assert names.to_wire("plain-name_1") == "plain-name_1"
    assert names.to_wire("files.read") == "files__read"
    assert names.from_wire("unknown") == "unknown"
