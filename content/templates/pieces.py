"""What rendering yields: text with marks between, so that no text can ever be taken for a mark."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoleMark:
    """A message of the role `name` begins here."""

    name: str
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """The conversation so far stands here."""


@dataclass(frozen=True, slots=True)
class MediaMark:
    """A picture, sound or file by address stands here."""

    url: str
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class SectionMark:
    """A section that the caller fills stands here."""

    name: str


@dataclass(frozen=True, slots=True)
class UnstableMark:
    """From here on the output depends on what was passed to the template."""


Mark = RoleMark | HistoryMark | MediaMark | SectionMark | UnstableMark
Piece = str | Mark

UNSTABLE = UnstableMark()


@dataclass(frozen=True, slots=True)
class Fragment:
    """Rendered output, held by a helper: written as it is, without escaping."""

    pieces: tuple[Piece, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Fragment":
        """Return `text` as output that is not escaped again."""
        return cls((text,))

    def __str__(self) -> str:
        """Return the text of the fragment, without its marks."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))


def indented(pieces: Iterable[Piece], indent: str) -> Iterator[Piece]:
    """Yield `pieces` with `indent` before each line of their text, apart from an empty last one."""
    pending = True
    for piece in pieces:
        if not isinstance(piece, str):
            yield piece
            continue
        for line in _lines(piece):
            yield indent + line if pending else line
            pending = line.endswith("\n")


def _lines(text: str) -> list[str]:
    """Split after each line feed only, which is where Handlebars indents."""
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines
