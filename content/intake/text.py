"""Plain text: paragraphs between blank lines, their line breaks kept."""

import re

from content.intake.detect import Limits, decode
from content.structure import Block, Structure

_BLANK_LINES = re.compile(r"\n[ \t\f\v]*\n\s*|\f\s*")


def extract(data: bytes, mime: str, limits: Limits) -> Structure:
    """Read plain text. A file that is not UTF-8 is read as Windows-1252 and marked for review."""
    text, encoding = decode(data)
    paragraphs = (paragraph.strip("\n").rstrip() for paragraph in _BLANK_LINES.split(text))
    blocks = [Block(kind="paragraph", text=paragraph) for paragraph in paragraphs if paragraph.strip()]
    return Structure.build(blocks, reasons=encoding_reasons(encoding))


def encoding_reasons(encoding: str) -> tuple[str, ...]:
    """Return why text in `encoding` needs a look: nothing for Unicode, one sentence for a guessed encoding."""
    if encoding.startswith("utf"):
        return ()
    return (f"The text is not UTF-8; it was read as {encoding}. Check names and special characters.",)
