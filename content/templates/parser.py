"""From chunks to the syntax tree: blocks are opened, continued and closed on an explicit stack."""

from dataclasses import dataclass, field

from content.templates.expressions import Expressions
from content.templates.limits import DEFAULT_LIMITS, Limits
from content.templates.nodes import (
    Block,
    Branch,
    Call,
    Comment,
    Expression,
    Inline,
    Literal,
    Mustache,
    Partial,
    Program,
    Span,
    Strip,
    Text,
)
from content.templates.scanner import Chunk, Scanner
from content.templates.whitespace import settle
from engine.errors import Exhausted


@dataclass(slots=True)
class _Open:
    """A block whose closing tag has not come yet; `current` collects the statements."""

    kind: str
    name: str
    span: Span
    current: Program
    tags: list[Strip]
    bodies: list[Program]
    branches: list[Branch] = field(default_factory=list[Branch])
    otherwise: Program | None = None
    last: bool = False
    partial: Partial | None = None
    inline: Expression | None = None


def parse_program(
    source: str, name: str, limits: Limits = DEFAULT_LIMITS, *, origin: tuple[int, int] = (1, 1)
) -> Program:
    """Return the tree of `source`, its whitespace already settled; `origin` is the place of its first character.

    Raises `Invalid` with `template`, `line` and `column` for a mistake, `Exhausted` for a source that is too long or
    nested too deep.
    """
    if len(source) > limits.template:
        message = (
            f"Template {name} has {len(source):,} characters; at most {limits.template:,} are allowed. Shorten it."
        )
        raise Exhausted(message, template=name, bound="template", limit=limits.template)
    return _Parser(Scanner(source, name, origin), limits).program()


class _Parser:
    def __init__(self, scanner: Scanner, limits: Limits) -> None:
        self._scanner = scanner
        self._limits = limits
        root = Program([])
        self._stack = [_Open("root", "", self._scanner.span(0, 0), root, [], [root])]

    def program(self) -> Program:
        for chunk in self._scanner.chunks():
            self._take(chunk)
        top = self._stack.pop()
        if top.kind != "root":
            raise top.span.invalid(
                f"`{top.name}` is opened here and never closed; close it with `{{{{/{top.name}}}}}`."
            )
        settle(top.current, root=True)
        _hoist(top.current)
        return top.current

    def _take(self, chunk: Chunk) -> None:
        span = self._scanner.span(chunk.start, chunk.end)
        body = self._stack[-1].current.body
        match chunk.kind:
            case "text":
                body.append(Text(chunk.text, chunk.text, span))
            case "comment":
                body.append(Comment(chunk.strip, span))
            case "mustache" | "plain" | "unescaped":
                body.append(Mustache(self._call(chunk), chunk.kind == "mustache", chunk.strip, span))
            case "partial":
                body.append(self._partial(chunk, span))
            case "block" | "inverse" | "raw":
                self._open(chunk, span)
            case "partial_block" | "inline":
                self._open_partial(chunk, span)
            case "chain" | "otherwise":
                self._continue(chunk, span)
            case "decorator":
                raise span.invalid('decorators are not known, apart from the block `{{#*inline "name"}}`.')
            case _:
                self._close(chunk, span)

    def _expressions(self, chunk: Chunk) -> Expressions:
        return Expressions(chunk, self._scanner, self._limits.depth)

    def _call(self, chunk: Chunk) -> Call:
        reader = self._expressions(chunk)
        call = reader.head()
        reader.end()
        return call

    def _partial(self, chunk: Chunk, span: Span) -> Partial:
        reader = self._expressions(chunk)
        name, params, named = reader.partial()
        reader.end()
        if len(params) > 1:
            raise span.invalid(f"a partial takes one context, not {len(params)}; pass the others as `key=value`.")
        return Partial(name, params[0] if params else None, named, None, [chunk.strip], span)

    def _push(self, opened: _Open) -> None:
        if len(self._stack) > self._limits.depth:
            message = f"{opened.span}: blocks are nested deeper than {self._limits.depth}. Move some into partials."
            raise Exhausted(message, bound="depth", limit=self._limits.depth)
        self._stack.append(opened)

    def _open(self, chunk: Chunk, span: Span) -> None:
        reader = self._expressions(chunk)
        call, names = reader.head(), reader.names()
        reader.end()
        program = Program([])
        opened = _Open(chunk.kind, call.path.original, span, program, [chunk.strip], [program])
        if chunk.kind == "inverse":
            opened.branches.append(Branch(call, (), None))
            opened.otherwise = program
        else:
            opened.branches.append(Branch(call, names, program))
        self._push(opened)

    def _open_partial(self, chunk: Chunk, span: Span) -> None:
        program = Program([])
        if chunk.kind == "partial_block":
            partial = self._partial(chunk, span)
            partial.body = program
            name = _closing_name(partial.name)
            self._push(_Open("partial", name, span, program, [chunk.strip], [program], partial=partial))
            return
        call = self._call(chunk)
        if call.path.original != "inline" or len(call.params) != 1:
            raise span.invalid('the only decorator is `{{#*inline "name"}}`, with one name.')
        self._push(_Open("inline", "inline", span, program, [chunk.strip], [program], inline=call.params[0]))

    def _continue(self, chunk: Chunk, span: Span) -> None:
        top = self._stack[-1]
        if top.kind not in ("block", "inverse"):
            raise span.invalid("`else` stands outside of a block that can have one.")
        if top.last:
            raise span.invalid(f"`else` stands after the last `else` of `{top.name}`, which opens at {top.span}.")
        program = Program([])
        if chunk.kind == "otherwise":
            top.last = True
            if top.kind == "inverse":
                top.branches[0].program = program
            else:
                top.otherwise = program
        elif top.kind == "inverse":
            raise span.invalid("a block that opens with `{{^` has one plain `{{else}}`, not a chain.")
        else:
            reader = self._expressions(chunk)
            call, names = reader.head(), reader.names()
            reader.end()
            top.branches.append(Branch(call, names, program))
        top.tags.append(chunk.strip)
        top.bodies.append(program)
        top.current = program

    def _close(self, chunk: Chunk, span: Span) -> None:
        top = self._stack.pop()
        name = chunk.text if chunk.kind == "raw_end" else self._closing(chunk)
        if top.kind == "root":
            raise span.invalid(f"`{name}` is closed here, but no block is open.")
        if name != top.name:
            raise span.invalid(f"`{name}` is closed here, but `{top.name}`, opened at {top.span}, is still open.")
        whole = self._scanner.span(top.span.start, chunk.end)
        tags = [*top.tags, chunk.strip]
        body = self._stack[-1].current.body
        if top.partial is not None:
            top.partial.tags, top.partial.span = tags, whole
            body.append(top.partial)
        elif top.inline is not None:
            body.append(Inline(top.inline, top.current, tags, whole))
        else:
            raw = top.kind == "raw"
            body.append(Block(top.branches, top.otherwise, raw, top.bodies, tags, whole))

    def _closing(self, chunk: Chunk) -> str:
        call = self._call(chunk)
        if not call.bare:
            raise self._scanner.span(chunk.start, chunk.end).invalid("a closing tag has a name and nothing else.")
        return call.path.original


def _closing_name(name: Expression) -> str:
    if isinstance(name, Literal):
        return name.text
    return name.path.original if isinstance(name, Call) else name.original


def _hoist(program: Program) -> None:
    """List the inline partials of each program, which are known in all of it, and drop text that is empty now."""
    program.inlines = [node for node in program.body if isinstance(node, Inline)]
    kept = [node for node in program.body if not isinstance(node, Comment | Inline)]
    for node in program.body:
        if isinstance(node, Block):
            for body in node.bodies:
                _hoist(body)
        elif isinstance(node, Partial) and node.body is not None:
            _hoist(node.body)
        elif isinstance(node, Inline):
            _hoist(node.program)
    program.body = [node for node in kept if not isinstance(node, Text) or node.value]
