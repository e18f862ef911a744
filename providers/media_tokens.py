"""What images and documents cost in tokens, by their dimensions and pages and the providers' published rules.

Where a provider's models differ, the rule is that of the dearest one: an estimate here errs towards too many tokens.
Sources: the vision and document pages of the Anthropic, OpenAI and Gemini documentation, November 2026.
"""

import math
import struct
from collections.abc import Callable

from engine.values import Value


class MediaSize(Value):
    """The size of an attachment: pixels of an image, pages of a document, seconds of a sound; 0 is unknown."""

    width: int = 0
    height: int = 0
    pages: int = 0
    seconds: float = 0.0


UNKNOWN = MediaSize()
IMAGE_TOKENS = 1600
"""For an image of unknown size."""

UNKNOWN_PAGES = 10
"""As many pages a document of unknown length is taken to have."""

PAGE_TOKENS = {"anthropic": 3000, "gemini": 560}
OTHER_PAGE_TOKENS = 2500
"""A page is read as text and, at most providers, as an image too."""

AUDIO_TOKENS_PER_S = 32


def media_tokens(provider: str, mime: str, size: MediaSize = UNKNOWN) -> int:
    """Return the estimated tokens of one attachment at `provider`."""
    if mime.startswith("image/"):
        return image_tokens(provider, size.width, size.height)
    if mime.startswith("audio/"):
        return math.ceil(AUDIO_TOKENS_PER_S * (size.seconds or 60.0))
    return (size.pages or UNKNOWN_PAGES) * PAGE_TOKENS.get(provider, OTHER_PAGE_TOKENS)


def image_tokens(provider: str, width: int, height: int) -> int:
    """Return the estimated tokens of an image of this size in pixels; 0 is unknown."""
    if width <= 0 or height <= 0:
        return IMAGE_TOKENS
    return RULES.get(provider, _patches_28)(width, height)


def _anthropic(width: int, height: int) -> int:
    """750 pixels a token after the long edge was brought down to 2,576 pixels; never above 4,784 tokens."""
    scale = min(1.0, 2576 / max(width, height))
    return min(4784, math.ceil(width * scale * height * scale / 750))


def _openai(width: int, height: int) -> int:
    """Patches of 32 by 32 pixels, 2,500 at most."""
    return min(2500, math.ceil(width / 32) * math.ceil(height / 32))


def _gemini(width: int, height: int) -> int:
    """1,120 tokens whatever the size, which is what recent models take by default."""
    return 1120


def _patches_28(width: int, height: int) -> int:
    """Patches of 28 by 28 pixels, 4,096 at most: what open vision models do."""
    return min(4096, math.ceil(width / 28) * math.ceil(height / 28))


RULES: dict[str, Callable[[int, int], int]] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "openai_chat": _openai,
    "azure": _openai,
    "gemini": _gemini,
}


def image_size(data: bytes) -> MediaSize:
    """Return the pixels of a PNG, GIF, JPEG or WebP image from its first bytes; unknown if they can't be read."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack("<HH", data[6:10])
        elif data.startswith(b"\xff\xd8"):
            width, height = _jpeg(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            width, height = _webp(data)
        else:
            return UNKNOWN
    except (struct.error, IndexError):
        return UNKNOWN
    return MediaSize(width=width, height=height)


def _jpeg(data: bytes) -> tuple[int, int]:
    """Walk the segments to the start of a frame, which holds height and width."""
    at = 2
    while True:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
