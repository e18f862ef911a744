"""Refusing JSON that parsers disagree about or choke on, before any of them sees it.

Duplicate keys let two readers of one message see two messages; deep nesting exhausts a recursive reader. Both are
found without building the value: depth by one linear scan, duplicates with each object dropped as soon as it is read.
Half surrogate pairs are no text that can be stored.
"""

import json
import re
from typing import Any, cast

MAX_DEPTH = 100
"""How deep arrays and objects may nest; the deepest JSON Schemas in use stay below 30."""

# A string that never ends runs to the end of the text, so that no position is scanned twice.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


class BadJson(ValueError):
    """The text is not JSON, or JSON of a shape that is refused; the message says which."""

    def __init__(self, message: str, *, syntax: bool) -> None:
        super().__init__(message)
        self.syntax = syntax


def check_json(text: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return when `text` is UTF-8 JSON with unique keys, nested at most `max_depth` deep and without NaN.

    What is returned is the value with each object reduced to its members `id` and `method`.

    Raises:
        BadJson: `syntax` tells a text that is no JSON from one that is JSON and refused.
    """
    if b"\\u" in text and any(match.group(1) is not None for match in _ESCAPE.finditer(text)):
        raise BadJson("a \\u escape is half of a surrogate pair; send both halves or the character", syntax=True)
    if text.count(b"[") + text.count(b"{") > max_depth:
        _check_depth(text, max_depth)
    try:
        return json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except BadJson:
        raise
    except UnicodeDecodeError as error:
        raise BadJson(f"the text is not UTF-8 at byte {error.start}; send JSON in UTF-8", syntax=True) from None
    except ValueError as error:
        raise BadJson(f"the text is not JSON: {error}", syntax=True) from None


def check_message(text: bytes) -> None:
    """Return when `text` is one JSON object that may be a JSON-RPC message.

    Raises:
        BadJson: it is none, a batch, or a request whose id is neither text nor a whole number.
    """
    found = check_json(text)
    if not isinstance(found, dict):
        raise BadJson("send one JSON-RPC object; batches are not part of this protocol", syntax=False)
    message = cast("dict[str, Any]", found)
    number = message.get("id")
    # Without this check a request with a malformed id passes for a notification and waits for ever.
    if "id" in message and "method" in message and (isinstance(number, bool) or not isinstance(number, str | int)):
        raise BadJson("the id of a request must be text or a whole number", syntax=False)


def _check_depth(text: bytes, max_depth: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = text[match.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise BadJson(f"arrays and objects nest deeper than {max_depth}; send flatter data", syntax=False)
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise BadJson(f"the key {twice[:80]!r} stands twice in one object; send it once", syntax=False)
    return {name: value for name, value in pairs if name in ("id", "method")}


def _no_constant(name: str) -> None:
    raise BadJson(f"{name} is not JSON; send a number or null", syntax=True)
