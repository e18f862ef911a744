"""What is refused before any parser of ours sees it."""

import pytest

from server.strict_json import BadJson, check_json, check_message


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": [1, 2.5, true, null, "x"]}',
        b'"' + b"[{" * 5000 + b'"',
        b'["\\ud83d\\ude00", "\\\\ud800", "\\"[[["]',
        b"[[]," * 99 + b"[]" + b"]" * 99,
        b'[{"a": 1}, {"a": 2}]',
    ],
)
def test_ordinary_json_passes_however_its_strings_look(text: bytes) -> None:
    check_json(text)


@pytest.mark.parametrize(
    ("text", "syntax", "says"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', False, "'c' stands twice"),
        (b"[" * 10_000 + b"]" * 10_000, False, "deeper than 100"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, False, "deeper than 100"),
        (b'["' + b'\\"' * 200_000, True, "not JSON"),
        (b'["\\ud800"]', True, "surrogate"),
        (b'["\\udc00\\ud800"]', True, "surrogate"),
        (b"[NaN]", True, "NaN"),
        (b"[1e5, -Infinity]", True, "Infinity"),
        (b'{"a": "\xff"}', True, "UTF-8"),
        (b"", True, "not JSON"),
        (b"1" * 5000, True, "not JSON"),
        (b"{} {}", True, "not JSON"),
    ],
)
def test_json_that_readers_disagree_about_or_choke_on_is_refused(text: bytes, syntax: bool, says: str) -> None:
    with pytest.raises(BadJson, match=says) as caught:
        check_json(text)
    assert caught.value.syntax is syntax


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc": "2.0", "id": "a", "method": "ping", "params": {"id": null, "method": {}}}',
        b'{"jsonrpc": "2.0", "id": 0, "method": "ping"}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled"}',
        b'{"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "x"}}',
    ],
)
def test_a_message_is_one_object(text: bytes) -> None:
    check_message(text)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'"ping"',
        b'{"id": null, "method": "ping"}',
        b'{"id": {}, "method": "ping"}',
        b'{"id": true, "method": "ping"}',
        b'{"id": 1.5, "method": "ping"}',
    ],
)
def test_a_batch_and_a_request_that_cannot_be_answered_are_refused(text: bytes) -> None:
    with pytest.raises(BadJson) as caught:
        check_message(text)
    assert caught.value.syntax is False
