"""The syntax tree of a Handlebars template: what the parser builds and renderer, checker and diff read.

Nodes are written by the parser and by the whitespace pass only; afterwards nobody changes them.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.errors import Invalid


class Span(NamedTuple):
    """A place in a template: its name, line and column (from 1) and the offsets of the first and past the last
    character."""

    template: str
    line: int
    column: int
    start: int
    end: int

    def __str__(self) -> str:
        """Return `template:line:column`."""
        return f"{self.template}:{self.line}:{self.column}"

    def invalid(self, message: str, **details: Any) -> Invalid:
        """Return an `Invalid` that names this place in its message and details."""
        return Invalid(f"{self}: {message}", template=self.template, line=self.line, column=self.column, **details)


class Strip(NamedTuple):
    """Whether a tag has `~` at its opening and at its closing side."""

    open: bool = False
    close: bool = False


@dataclass(slots=True)
class Literal:
    """A string, number, boolean, null or `undefined` written in the template; `text` is what it is as a name."""

    value: Any
    text: str
    span: Span


@dataclass(slots=True)
class Path:
    """`a.b`, `../a`, `this`, `@data`: steps up, then keys; `scoped` when it starts with `this` or a dot."""

    parts: tuple[str, ...]
    depth: int
    data: bool
    scoped: bool
    original: str
    span: Span

    @property
    def simple(self) -> bool:
        """Whether this may be the name of a helper: one key, nothing before it."""
        return len(self.parts) == 1 and not (self.data or self.scoped or self.depth)


@dataclass(slots=True)
class Call:
    """A path with its arguments: an expression, a block's head or a sub-expression in parentheses."""

    path: Path
    params: tuple["Expression", ...]
    hash: tuple[tuple[str, "Expression"], ...]
    span: Span

    @property
    def bare(self) -> bool:
        """Whether there are no arguments, so that the name may be a value as well as a helper."""
        return not self.params and not self.hash


Expression = Literal | Path | Call


@dataclass(slots=True)
class Text:
    """Literal text; `original` keeps what stood there before whitespace control."""

    value: str
    original: str
    span: Span
    left_stripped: bool = False
    right_stripped: bool = False


@dataclass(slots=True)
class Comment:
    """`{{! … }}`: renders to nothing, but may take its line along."""

    strip: Strip
    span: Span


@dataclass(slots=True)
class Mustache:
    """`{{ … }}`, escaped, or `{{{ … }}}` and `{{& … }}`, as they are."""

    call: Call
    escaped: bool
    strip: Strip
    span: Span


@dataclass(slots=True)
class Program:
    """A sequence of statements: a template or the body of a block; `inlines` are the inline partials among them."""

    body: list["Statement"]
    inlines: list["Inline"] = field(default_factory=list["Inline"])


@dataclass(slots=True)
class Branch:
    """One head of a block with its body: the first, or one of a chain of `{{else if …}}`."""

    call: Call
    names: tuple[str, ...]
    program: Program | None


@dataclass(slots=True)
class Block:
    """`{{#a}}…{{else b}}…{{else}}…{{/a}}`: branches in order, then the body if none of them is taken.

    `bodies` are the same programs in the order of the source, `tags` the strip flags of the tags around them.
    """

    branches: list[Branch]
    otherwise: Program | None
    raw: bool
    bodies: list[Program]
    tags: list[Strip]
    span: Span


@dataclass(slots=True)
class Partial:
    """`{{> name context key=value}}`, or with a body `{{#> name}}…{{/name}}`; `indent` is that of its own line."""

    name: Expression
    context: Expression | None
    hash: tuple[tuple[str, Expression], ...]
    body: Program | None
    tags: list[Strip]
    span: Span
    indent: str = ""


@dataclass(slots=True)
class Inline:
    """`{{#*inline "name"}}…{{/inline}}`: a partial that lives in the block where it is written."""

    name: Expression
    program: Program
    tags: list[Strip]
    span: Span


Statement = Text | Comment | Mustache | Block | Partial | Inline
