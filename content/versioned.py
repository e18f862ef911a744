"""What is kept of named, versioned texts: addresses, drafts, published versions, labels and their moves."""

import hashlib
import re
from datetime import datetime
from typing import Self

from engine.errors import Exhausted, Invalid
from engine.values import Value

DEFAULT_LABEL = "production"
DRAFT = "draft"
LARGEST_TEXT = 1_000_000
"""The most characters that a text may have."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class Address(Value):
    """Which text is meant: `name` (the label production, else the newest), `name@12`, `name@label`, `name@draft`."""

    name: str
    selector: int | str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address; raises `Invalid` for anything else."""
        name, at, selector = text.partition("@")
        checked_name(name)
        if not at:
            return cls(name=name)
        if _NUMBER.fullmatch(selector):
            return cls(name=name, selector=int(selector))
        return cls(name=name, selector=checked_name(selector))

    def __str__(self) -> str:
        return self.name if self.selector is None else f"{self.name}@{self.selector}"


class Draft(Value):
    """The one draft of a name. `revision` counts its edits from 1; an edit names the revision it was made from."""

    name: str
    revision: int
    text: str
    digest: str
    author: str
    updated_at: datetime


class Version(Value):
    """A published version: `number` counts from 1 within the name; `digest` is the SHA-256 of the text."""

    name: str
    number: int
    text: str
    digest: str
    comment: str
    author: str
    publisher: str
    published_at: datetime

    @property
    def address(self) -> str:
        """The address that always means this version."""
        return f"{self.name}@{self.number}"


class Listed(Value):
    """A name: its labels with the numbers they stand at, its newest version, the revision of its draft."""

    name: str
    labels: dict[str, int]
    newest: int | None
    draft_revision: int | None


class LabelMove(Value):
    """One move of a label; `from_number` is None for the first."""

    seq: int
    label: str
    from_number: int | None
    to_number: int
    by: str
    at: datetime
    comment: str


def checked_name(name: str) -> str:
    """Return a name or a label, or raise `Invalid`."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:80]!r} is no name; use a small letter, then up to 63 small letters, digits, `_` or `-`",
            name=name[:80],
        )
    return name


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal.

    Raises:
        Exhausted: the text has more than `LARGEST_TEXT` characters.
        Invalid: it holds what no database keeps: half a character, or the character 0.
    """
    if len(text) > LARGEST_TEXT:
        raise Exhausted(f"{len(text)} characters are more than the {LARGEST_TEXT} a text may have", limit=LARGEST_TEXT)
    if "\0" in text:
        raise Invalid(f"the text holds the character 0 at position {text.index(chr(0))}; take it out")
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise Invalid(f"the text holds half a character at position {error.start}; save it as UTF-8") from error
