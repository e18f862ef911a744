"""From the tokens of one tag to its expressions: paths, literals, calls, hash arguments, block parameters."""

import re
from typing import Any

from content.templates.nodes import Call, Expression, Literal, Path
from content.templates.scanner import Chunk, Scanner, Token

_NAMES = ("name", "segment", "up", "here")
_KEYS = (*_NAMES, "number", "constant")  # after a dot: `rows.0`
_LITERALS = frozenset({"double", "single", "constant", "number"})
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}


class Missing:
    """The value of a path that leads nowhere: not null, but equally empty."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """Return false, as null does."""
        return False

    def __repr__(self) -> str:
        """Return the name that Handlebars gives it."""
        return "undefined"


MISSING = Missing()


class Expressions:
    """Reads the tokens of one tag from left to right."""

    def __init__(self, chunk: Chunk, scanner: Scanner, depth: int) -> None:
        self._tokens = chunk.tokens
        self._chunk = chunk
        self._scanner = scanner
        self._depth = depth
        self._index = 0

    def head(self) -> Call:
        """Read a callee with its arguments; a literal in its place is the name of a value."""
        start = self._start()
        callee = self._simple()
        if isinstance(callee, Literal):
            callee = Path((callee.text,), 0, False, False, callee.text, callee.span)
        params, named = self._arguments()
        return Call(callee, params, named, self._scanner.span(start, self._last_end()))

    def partial(self) -> tuple[Expression, tuple[Expression, ...], tuple[tuple[str, Expression], ...]]:
        """Read the name of a partial, which may be a sub-expression, and its arguments."""
        name = self._parameter()
        return (name, *self._arguments())

    def names(self) -> tuple[str, ...]:
        """Read `as |a b|`, or nothing."""
        if not self._at("names"):
            return ()
        self._index += 1
        names: list[str] = []
        while self._at("name") or self._at("segment"):
            names.append(_identifier(self._next()))
        if not names or not self._at("bar"):
            raise self._unexpected("names and a closing `|`")
        self._index += 1
        return tuple(names)

    def end(self) -> None:
        """Refuse whatever is left."""
        if self._index < len(self._tokens):
            raise self._unexpected("the end of the tag")

    def _arguments(self) -> tuple[tuple[Expression, ...], tuple[tuple[str, Expression], ...]]:
        params: list[Expression] = []
        named: dict[str, Expression] = {}
        while self._index < len(self._tokens) and not (self._at("close_call") or self._at("names")):
            if (self._at("name") or self._at("segment")) and self._at("equals", 1):
                key = _identifier(self._next())
                self._index += 1
                named[key] = self._parameter()
            elif named:
                raise self._unexpected("`key=value`, since arguments without a key stand first")
            else:
                params.append(self._parameter())
        return tuple(params), tuple(named.items())

    def _parameter(self) -> Expression:
        if not self._at("open_call"):
            return self._simple()
        start = self._start()
        self._index += 1
        self._depth -= 1
        if self._depth < 0:
            raise self._scanner.span(start, start + 1).invalid("sub-expressions are nested too deep; simplify them.")
        call = self.head()
        if not self._at("close_call"):
            raise self._unexpected("`)`")
        self._index += 1
        self._depth += 1
        call.span = self._scanner.span(start, self._last_end())
        return call

    def _simple(self) -> Literal | Path:
        if self._index >= len(self._tokens):
            raise self._unexpected("a name")
        if self._tokens[self._index].kind in _LITERALS:
            return self._literal(self._next())
        return self._path()

    def _literal(self, token: Token) -> Literal:
        span = self._scanner.span(token.start, token.end)
        if token.kind == "constant":
            return Literal(_CONSTANTS.get(token.text, MISSING), token.text, span)
        if token.kind == "number":
            if len(token.text) > 40:
                raise span.invalid("a number may have at most 40 digits.")
            return Literal(float(token.text) if "." in token.text else int(token.text), token.text, span)
        quote = token.text[0]
        text = token.text[1:-1].replace("\\" + quote, quote)
        return Literal(text, text, span)

    def _path(self) -> Path:
        start, first = self._start(), self._index
        data = self._at("at")
        if data:
            self._index += 1
        parts: list[str] = []
        depth = 0
        original = "@" if data else ""
        while True:
            if not any(self._at(kind) for kind in (_KEYS if self._index > first + data else _NAMES)):
                raise self._unexpected("a name")
            token = self._next()
            name = _identifier(token)
            original += name
            if token.kind != "segment" and name in ("..", ".", "this"):
                if parts:
                    place = self._scanner.span(token.start, token.end)
                    raise place.invalid(f"`{original}`: `{name}` can only stand at the beginning of a path.")
                depth += name == ".."
            else:
                parts.extend(name.split(".") if token.kind == "number" else [name])
            if not self._at("separator"):
                break
            original += self._next().text
        scoped = not data and self._tokens[first].text in (".", "this")
        return Path(tuple(parts), depth, data, scoped, original, self._scanner.span(start, self._last_end()))

    def _at(self, kind: str, ahead: int = 0) -> bool:
        index = self._index + ahead
        return index < len(self._tokens) and self._tokens[index].kind == kind

    def _next(self) -> Token:
        self._index += 1
        return self._tokens[self._index - 1]

    def _start(self) -> int:
        return self._tokens[self._index].start if self._index < len(self._tokens) else self._chunk.end - 2

    def _last_end(self) -> int:
        return self._tokens[self._index - 1].end

    def _unexpected(self, expected: str) -> Exception:
        if self._index < len(self._tokens):
            token = self._tokens[self._index]
            place = self._scanner.span(token.start, token.end)
            return place.invalid(f"expected {expected}, found `{token.text}`.")
        place = self._scanner.span(self._chunk.start, self._chunk.end)
        return place.invalid(f"expected {expected}, but the tag ends.")


def _identifier(token: Token) -> str:
    """Return the name in a token, without the brackets and escapes of a literal segment."""
    if token.kind == "segment":
        return re.sub(r"\\([\\\]])", r"\1", token.text[1:-1])
    return token.text
