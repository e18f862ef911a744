"""What a read resource becomes on the wire: text or bytes, at most a stated size, with a link to what follows."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.shared.uri_template import UriTemplate
from pydantic import JsonValue

from engine.errors import Invalid
from engine.values import canonical_json

JSON = "application/json"
WINDOW = "{?offset}"
"""Ends the templates of whatever may be long: `offset` counts bytes from 0."""

_TEXTUAL = ("application/json", "application/yaml", "application/xml", "application/javascript", "application/x-ndjson")


@dataclass(frozen=True)
class Body:
    """The whole of a resource; `following` is the URI of the next page of something that comes in pages."""

    content: bytes
    mime: str
    following: str | None = None

    @classmethod
    def of_json(cls, value: JsonValue | dict[str, Any], *, following: str | None = None) -> "Body":
        """Return a value as canonical JSON."""
        return cls(canonical_json(value).encode(), JSON, following)

    @classmethod
    def of_text(cls, text: str, mime: str = "text/plain") -> "Body":
        """Return a text."""
        return cls(text.encode(), mime)

    @property
    def textual(self) -> bool:
        """Whether it travels as text; everything else travels as base64."""
        mime = self.mime.partition(";")[0].strip().lower()
        return mime.startswith("text/") or mime in _TEXTUAL or mime.endswith(("+json", "+xml"))


def number(values: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Return the whole number that a URI gives for `name`.

    Raises:
        Invalid: it is none.
    """
    text = str(values.get(name) or default)
    if not text.isdecimal() or not text.isascii() or len(text) > 12:
        raise Invalid(f"{name}={text[:40]} in the URI must be a whole number from 0 on", field=name)
    return int(text)


def as_result(
    uri: str, template: UriTemplate, values: Mapping[str, Any], body: Body, limit: int
) -> types.ReadResourceResult:
    """Return `body` from the offset that the URI names, cut at `limit` bytes, then where to read on."""
    offset = number(values, "offset")
    size = len(body.content)
    if offset > size:
        raise Invalid(f"the resource has {size} bytes; offset {offset} lies behind them", field="offset", size=size)
    piece = body.content[offset : offset + limit]
    textual = body.textual
    if textual and (text := _text(piece, offset + limit < size)) is not None:
        piece = text.encode()
        contents: types.TextResourceContents | types.BlobResourceContents = types.TextResourceContents(
            uri=uri, mime_type=body.mime, text=text, _meta=_place(offset, size)
        )
    else:
        contents = types.BlobResourceContents(
            uri=uri, mime_type=body.mime, blob=_base64(piece), _meta=_place(offset, size)
        )
    found: list[types.TextResourceContents | types.BlobResourceContents] = [contents]
    end = offset + len(piece)
    following = template.expand({**values, "offset": str(end)}) if end < size else body.following
    if following is not None:
        what = f"bytes {offset:,} to {end:,} of {size:,}" if end < size else "a page"
        found.append(
            types.TextResourceContents(uri=following, mime_type="text/plain", text=f"[{what}; read on at {following}]")
        )
    return types.ReadResourceResult(contents=found)


def _place(offset: int, size: int) -> dict[str, Any]:
    return {"upstairs/offset": offset, "upstairs/size": size}


def _base64(piece: bytes) -> str:
    return base64.b64encode(piece).decode()


def _text(piece: bytes, cut: bool) -> str | None:
    """Return the bytes as text, without a character that the cut went through; None when they are no UTF-8."""
    for dropped in range(4 if cut else 1):
        try:
            return piece[: len(piece) - dropped].decode()
        except UnicodeDecodeError:
            continue
    return None
