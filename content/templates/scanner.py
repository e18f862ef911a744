"""From a template's source to text, comments and tags, each with its place; tags are split into tokens."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from content.templates.nodes import Span, Strip

SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""The white space of ECMAScript, by which Handlebars is defined; Python's own set differs in a few characters."""

_AFTER_NAME = rf"(?=[=~}}{SPACE}/.)|\]])"
_AFTER_LITERAL = rf"(?=[~}}{SPACE})\]])"

_TOKEN = re.compile(
    rf"""
    (?P<space>[{SPACE}]+)
  | (?P<close_raw>\}}\}}\}}\}})
  | (?P<close_unescaped>\}}~?\}}\}})
  | (?P<close>~?\}}\}})
  | (?P<open_call>\()
  | (?P<close_call>\))
  | (?P<equals>=)
  | (?P<up>\.\.)
  | (?P<here>\.{_AFTER_NAME})
  | (?P<separator>[/.])
  | (?P<double>"(?:[^"\\]++|\\"?+)*+")
  | (?P<single>'(?:[^'\\]++|\\'?+)*+')
  | (?P<at>@)
  | (?P<constant>(?:true|false|null|undefined){_AFTER_LITERAL})
  | (?P<number>-?[0-9]+(?:\.[0-9]+)?{_AFTER_LITERAL})
  | (?P<names>as[{SPACE}]+\|)
  | (?P<bar>\|)
  | (?P<name>[^{SPACE}!"#%-,./;->@\[-^`{{-~]++{_AFTER_NAME})
  | (?P<segment>\[(?:[^\]\\]++|\\\]?+)*+\])
    """,
    re.VERBOSE,
)

_OPENING = re.compile(
    rf"""
    \{{\{{(?P<tilde>~?)
    (?: (?P<partial>>) | (?P<partial_block>\#>) | (?P<inline>\#\*) | (?P<block>\#) | (?P<end>/)
      | (?P<otherwise>\^[{SPACE}]*(?=~?\}}\}})) | (?P<otherwise_word>[{SPACE}]*else[{SPACE}]*(?=~?\}}\}}))
      | (?P<inverse>\^) | (?P<chain>[{SPACE}]*else(?=[{SPACE}]))
      | (?P<unescaped>\{{) | (?P<ampersand>&) | (?P<decorator>\*) | (?P<mustache>)
    )
    """,
    re.VERBOSE,
)

_COMMENT_END = re.compile(r"\}\}")
_LONG_COMMENT_END = re.compile(r"--~?\}\}")
_CLOSING = {"unescaped": "close_unescaped", "raw": "close_raw"}
_RAW_EDGE = re.compile(rf"\{{\{{\{{\{{(?:(?=[^/])|/(?P<name>[^{SPACE}!\"#%-,;->@\[-^`{{-~]++)\}}\}}\}}\}})")


class Token(NamedTuple):
    """One token of a tag: its kind (a group of the token pattern), its text, its offsets."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(slots=True)
class Chunk:
    """A piece of the source: `text`, `comment`, or a tag of the kind that its opening tells, with its tokens."""

    kind: str
    start: int
    end: int
    text: str = ""
    strip: Strip = field(default_factory=Strip)
    tokens: list[Token] = field(default_factory=list[Token])


class Scanner:
    """Splits one source; `span` turns offsets into places for messages."""

    def __init__(self, source: str, name: str, origin: tuple[int, int] = (1, 1)) -> None:
        self._source = source
        self._name = name
        self._before, self._indent = origin[0] - 1, origin[1] - 1
        self._lines = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", source))]

    def span(self, start: int, end: int) -> Span:
        """Return the place of the characters `start` to `end`."""
        line = bisect_right(self._lines, start)
        column = start - self._lines[line - 1] + 1 + (self._indent if line == 1 else 0)
        return Span(self._name, self._before + line, column, start, end)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks of the source in order; neighbouring texts are joined."""
        source, position, size = self._source, 0, len(self._source)
        text: list[str] = []
        text_start = 0
        while position < size:
            brace = source.find("{{", position)
            if brace < 0:
                text.append(source[position:])
                break
            slashes = self._backslashes(position, brace)
            text.append(source[position : brace - (1 if slashes else 0)])
            if slashes == 1:
                position = self._after_escaped(brace)
                text.append(source[brace:position])
                continue
            if any(text):
                yield Chunk("text", text_start, brace, "".join(text))
            for chunk in self._tag(brace):
                yield chunk
                position = chunk.end
            text, text_start = [], position
        if any(text):
            yield Chunk("text", text_start, size, "".join(text))

    def _backslashes(self, start: int, brace: int) -> int:
        """Count the backslashes right before `brace`: 0, 1 (the tag is text) or 2 (the second is text)."""
        if brace - 1 < start or self._source[brace - 1] != "\\":
            return 0
        return 2 if brace - 2 >= start and self._source[brace - 2] == "\\" else 1

    def _after_escaped(self, brace: int) -> int:
        """Return where the text of an escaped tag ends: before the next tag with its backslashes."""
        following = self._source.find("{{", brace + 2)
        if following < 0:
            return len(self._source)
        return following - self._backslashes(brace + 2, following)

    def _tag(self, start: int) -> Iterator[Chunk]:
        if self._source.startswith("{{{{", start) and not self._source.startswith("/", start + 4):
            opening = self._tokenize("raw", start, start + 4, tilde=False)
            yield opening
            yield from self._raw_body(opening)
            return
        comment = self._comment(start)
        if comment:
            yield comment
            return
        match = _OPENING.match(self._source, start)
        if match is None or match.lastgroup is None:  # the last alternative is empty: this is a tag in any case
            raise self.span(start, start + 2).invalid("this is not a tag.")
        kinds = {"otherwise_word": "otherwise", "ampersand": "plain"}
        kind = kinds.get(match.lastgroup, match.lastgroup)
        yield self._tokenize(kind, start, match.end(), tilde=bool(match["tilde"]))

    def _comment(self, start: int) -> Chunk | None:
        source = self._source
        tilde = source.startswith("~", start + 2)
        mark = start + (3 if tilde else 2)
        if not source.startswith("!", mark):
            return None
        long = source.startswith("!--", mark)
        closing = (_LONG_COMMENT_END if long else _COMMENT_END).search(source, mark + 1)
        if closing is None:
            wanted = "--}}" if long else "}}"
            raise self.span(start, start + 2).invalid(f"the comment that starts here is never closed with `{wanted}`.")
        return Chunk("comment", start, closing.end(), strip=Strip(tilde, source[closing.end() - 3] == "~"))

    def _tokenize(self, kind: str, start: int, position: int, *, tilde: bool) -> Chunk:
        closing = _CLOSING.get(kind, "close")
        tokens: list[Token] = []
        while True:
            match = _TOKEN.match(self._source, position)
            if match is None or match.lastgroup is None:
                raise self._unexpected(start, position)
            token = Token(match.lastgroup, match.group(), position, match.end())
            position = match.end()
            if token.kind == "space":
                continue
            if token.kind.startswith("close") and token.kind != "close_call":
                if token.kind != closing:
                    raise self._wrong_closing(kind, token)
                strip = Strip(tilde, "~" in token.text)
                return Chunk(kind, start, position, strip=strip, tokens=tokens)
            tokens.append(token)

    def _unexpected(self, start: int, position: int) -> Exception:
        if self._source.find("}}", position) < 0:
            return self.span(start, start + 2).invalid("the tag that starts here is never closed with `}}`.")
        character = self._source[position]
        if character in "\"'[":
            return self.span(position, position + 1).invalid(f"`{character}` opens here and is never closed.")
        hint = f"`{character}` cannot stand here; names with special characters are written `[in brackets]`."
        return self.span(position, position + 1).invalid(hint)

    def _wrong_closing(self, kind: str, token: Token) -> Exception:
        expected = {"unescaped": "}}}", "raw": "}}}}"}.get(kind, "}}")
        hint = "; put a space after `}}` where a brace of the text follows" if expected == "}}" else ""
        place = self.span(token.start, token.end)
        return place.invalid(f"this tag closes with `{expected}`, not with `{token.text}`{hint}.")

    def _raw_body(self, opening: Chunk) -> Iterator[Chunk]:
        """Yield the text of a raw block and its closing; raw blocks inside are text, but must be closed too."""
        depth, position = 1, opening.end
        while True:
            edge = _RAW_EDGE.search(self._source, position)
            if edge is None:
                raise self.span(opening.start, opening.end).invalid("this raw block is never closed.")
            position = edge.end()
            depth += -1 if edge["name"] else 1
            if depth == 0:
                break
        if edge.start() > opening.end:
            yield Chunk("text", opening.end, edge.start(), self._source[opening.end : edge.start()])
        yield Chunk("raw_end", edge.start(), edge.end(), edge["name"])
