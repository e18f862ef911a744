"""Renders a tree: statements write pieces, expressions yield values, every turn and character is metered."""

from collections.abc import Callable, Mapping
from typing import Any

from content.templates.expressions import MISSING, Missing
from content.templates.helpers import BUILT_IN, REPEATABLE, Condition, Each, Invocation, With
from content.templates.limits import Limits, Meter
from content.templates.nodes import (
    Block,
    Branch,
    Call,
    Expression,
    Literal,
    Mustache,
    Partial,
    Path,
    Program,
    Span,
    Text,
)
from content.templates.parser import parse_program
from content.templates.pieces import UNSTABLE, Fragment, Mark, Piece, indented
from content.templates.scope import Body, Data, Frame, Inlines, Scope
from content.templates.values import html, member, text
from engine.errors import Exhausted, Problem

PartialSource = str | Program


class Renderer:
    """One rendering of one template; `pieces` collects the output."""

    def __init__(
        self,
        name: str,
        partials: Mapping[str, PartialSource],
        helpers: Mapping[str, Any],
        limits: Limits,
        *,
        escape: bool,
    ) -> None:
        self.pieces: list[Piece] = []
        self._name = name
        self._partials = partials
        self._programs: dict[str, Program] = {}
        self._helpers: dict[str, Any] = {**BUILT_IN, **helpers}
        self._limits = limits
        self._meter = Meter(limits, name)
        self._escape = escape
        self._stable = True

    def run(self, program: Program, data: Any, variables: Mapping[str, Any]) -> list[Piece]:
        """Return the pieces of `program` on the context `data` with the `@` variables; may raise any `Problem`."""
        scope = Scope(Frame(data), Data({**variables, "root": data}))
        try:
            self._program(program, scope)
        except RecursionError as problem:
            message = f"Template {self._name}: the data or the template is nested too deep to render."
            raise Exhausted(message, template=self._name, bound="depth") from problem
        return self.pieces

    def _program(self, program: Program, scope: Scope) -> None:
        self._meter.descend()
        try:
            self._statements(program, scope)
        finally:
            self._meter.ascend()

    def _statements(self, program: Program, scope: Scope) -> None:
        if program.inlines:
            local = {text(self._value(node.name, scope)): Body(node.program, scope) for node in program.inlines}
            inlines = Inlines(local, scope.inlines)
            scope = Scope(scope.frame, scope.data, scope.bindings, inlines, scope.block)
        for node in program.body:
            if isinstance(node, Text):
                self._write(node.value)
            elif isinstance(node, Mustache):
                self._emit(self._call(node.call, scope), node.escaped, node.span)
            elif isinstance(node, Block):
                self._block(node, scope)
            elif isinstance(node, Partial):
                self._partial(node, scope)

    def _write(self, value: str) -> None:
        self._meter.write(len(value))
        self.pieces.append(value)

    def _emit(self, value: Any, escaped: bool, span: Span) -> None:
        if isinstance(value, Fragment):
            self.pieces.extend(value.pieces)
        elif isinstance(value, Mark):
            self.pieces.append(value)
        else:
            try:
                result = text(value)
            except Problem as problem:
                raise span.invalid(problem.message, **problem.details) from problem
            self._write(html(result) if escaped and self._escape else result)

    def _unstable(self) -> None:
        if self._stable:
            self._stable = False
            self.pieces.append(UNSTABLE)

    def _capture(self, render: Callable[[], None]) -> Fragment:
        outer, self.pieces = self.pieces, []
        try:
            render()
            return Fragment(tuple(self.pieces))
        finally:
            self.pieces = outer

    # expressions

    def _value(self, expression: Expression, scope: Scope) -> Any:
        if isinstance(expression, Literal):
            return expression.value
        if isinstance(expression, Path):
            return self._read(expression, scope)
        value = self._call(expression, scope)
        if isinstance(value, Mark):
            raise expression.span.invalid("this helper marks a place in the output and yields no value to pass on.")
        return str(value) if isinstance(value, Fragment) else value

    def _read(self, path: Path, scope: Scope) -> Any:
        parts = path.parts
        if path.data:
            return self._read_data(path, scope)
        if parts and scope.bindings is not None and not path.depth and not path.scoped:
            bound, value = scope.bindings.find(parts[0])
            if bound:
                self._unstable()
                return _walk(value, parts[1:])
        frame = scope.frame.up(path.depth)
        if frame is None:
            return MISSING
        if not parts or parts[0] not in frame.constants:
            self._unstable()
        return _walk(frame.value, parts)

    def _read_data(self, path: Path, scope: Scope) -> Any:
        if path.parts == ("partial-block",):
            return True if scope.block is not None else MISSING
        self._unstable()
        data: Data | None = scope.data
        for _ in range(path.depth):
            data = data.parent if data is not None else None
        return _walk(data.values, path.parts) if data is not None and path.parts else MISSING

    def _helper(self, call: Call, scope: Scope) -> Any:
        """Return the helper that a call means, None where it means a value; a call with arguments means a helper."""
        path = call.path
        if path.simple:
            name = path.parts[0]
            if scope.bindings is not None and scope.bindings.find(name)[0]:
                return None
            helper = self._helpers.get(name)
            if helper is not None:
                return helper
        if not call.bare:
            raise path.span.invalid(
                f"there is no helper `{path.original}`. Known are: {', '.join(sorted(self._helpers))}.",
                helper=path.original,
            )
        return None

    def _call(self, call: Call, scope: Scope) -> Any:
        helper = self._helper(call, scope)
        if helper is None:
            return self._read(call.path, scope)
        if isinstance(helper, Condition | Each | With):
            raise call.span.invalid(f"`{call.path.original}` is a block; write `{{{{#{call.path.original} …}}}}`.")
        return self._invoke(helper, self._invocation(call, scope))

    def _invocation(self, call: Call, scope: Scope) -> Invocation:
        args = tuple(self._value(param, scope) for param in call.params)
        named = {key: self._value(value, scope) for key, value in call.hash}
        constant = all(isinstance(param, Literal) for param in call.params)
        return Invocation(call.path.original, args, named, scope.frame.value, scope.data.values, call.span, constant)

    def _invoke(self, helper: Any, invocation: Invocation) -> Any:
        try:
            value = helper(invocation)
        except Problem as problem:
            if "line" in problem.details or isinstance(problem, Exhausted):
                raise
            raise invocation.span.invalid(problem.message, **problem.details) from problem
        if helper not in REPEATABLE:
            self._unstable()
        return value

    # blocks

    def _block(self, node: Block, scope: Scope, index: int = 0) -> None:
        while index < len(node.branches):
            branch = node.branches[index]
            helper = self._helper(branch.call, scope)
            if helper is None:
                value = self._read(branch.call.path, scope)
                if node.raw and isinstance(value, Missing) and branch.call.path.original == "raw":
                    value = True
                taken = self._section(value, branch, scope)
            elif isinstance(helper, Condition):
                taken = helper.test(self._invocation(branch.call, scope))
                if taken:
                    self._body(branch, scope)
            elif isinstance(helper, Each):
                taken = self._each(helper.subject(self._invocation(branch.call, scope)), branch, scope)
            elif isinstance(helper, With):
                value = helper.subject(self._invocation(branch.call, scope))
                taken = not isinstance(value, Missing)
                if taken:
                    self._body(branch, scope.within(value, scope.data, branch.names, (value,)))
            else:
                self._custom(helper, node, index, scope)
                return
            if taken:
                return
            index += 1
        if node.otherwise is not None:
            self._program(node.otherwise, scope)

    def _body(self, branch: Branch, scope: Scope) -> None:
        if branch.program is not None:
            self._program(branch.program, scope)

    def _section(self, value: Any, branch: Branch, scope: Scope) -> bool:
        """Render a block named by a value: once, per item, or not at all, as Mustache does."""
        if value is True:
            self._body(branch, scope)
            return True
        if value is False or value is None or isinstance(value, Missing):
            return False
        if isinstance(value, list | tuple):
            return self._each(value, branch, scope)
        self._body(branch, scope.within(value, scope.data, branch.names, (value,)))
        return True

    def _each(self, value: Any, branch: Branch, scope: Scope) -> bool:
        if isinstance(value, dict):
            items = list(value.items())
        elif isinstance(value, list | tuple):
            items = list(enumerate(value))
        else:
            return False
        if not items:
            return False
        data = scope.data.child()
        last = len(items) - 1
        for index, (key, item) in enumerate(items):
            self._meter.turn()
            data.values.update(key=key, index=index, first=index == 0, last=index == last)
            self._body(branch, scope.within(item, data, branch.names, (item, key)))
        return True

    def _custom(self, helper: Any, node: Block, index: int, scope: Scope) -> None:
        branch = node.branches[index]

        def body(context: Any = MISSING, *, data: Mapping[str, Any] | None = None, params: Any = ()) -> Fragment:
            self._meter.turn()
            frame = scope.data.child()
            frame.values.update(data or {})
            value = scope.frame.value if isinstance(context, Missing) else context
            inner = scope.within(value, frame, branch.names, tuple(params))
            return self._capture(lambda: self._body(branch, inner))

        def otherwise() -> Fragment:
            self._meter.turn()
            return self._capture(lambda: self._block(node, scope, index + 1))

        invocation = self._invocation(branch.call, scope)
        invocation.body, invocation.otherwise = body, otherwise
        self._emit(self._invoke(helper, invocation), False, node.span)

    # partials

    def _partial(self, node: Partial, scope: Scope) -> None:
        self._meter.turn()
        target, name = self._target(node, scope)
        own = name == "@partial-block"
        if target is None and node.body is not None:
            target, own = Body(node.body, scope), True
        if target is None:
            known = ", ".join(sorted(self._partials)) or "none"
            raise node.span.invalid(f"there is no partial `{name}`. Known are: {known}.", partial=name)
        frame = self._argument(node, scope)
        block = scope.block if node.body is None else Body(node.body, scope)
        if not node.indent:
            self._enter(target, frame, block, scope, own=own)
            return
        captured = self._capture(lambda: self._enter(target, frame, block, scope, own=own))
        for piece in indented(captured.pieces, node.indent):
            self._meter.write(len(piece) if isinstance(piece, str) else 0)
            self.pieces.append(piece)

    def _argument(self, node: Partial, scope: Scope) -> Frame:
        """Return the frame that a partial works on: the context passed or around, with the hash laid over it."""
        context = scope.frame.value if node.context is None else self._value(node.context, scope)
        if not node.hash:
            return scope.frame.push(context)
        named = {key: self._value(value, scope) for key, value in node.hash}
        written = {key for key, value in node.hash if isinstance(value, Literal)}
        if isinstance(context, dict):
            self._meter.turn(len(context) // 64)
            named = {**context, **named}
        if node.context is None:
            written |= scope.frame.constants - {key for key, _ in node.hash}
        return scope.frame.push(named, frozenset(written))

    def _target(self, node: Partial, scope: Scope) -> tuple[Body | Program | None, str]:
        if isinstance(node.name, Path) and node.name.data and node.name.parts == ("partial-block",):
            return scope.block, "@partial-block"
        if isinstance(node.name, Call):
            value = self._value(node.name, scope)
            if not isinstance(value, str):
                raise node.name.span.invalid(
                    "the name of a partial must be text; this expression yields something else."
                )
            name = value
        else:
            name = node.name.text if isinstance(node.name, Literal) else node.name.original
        inline = scope.inlines.find(name) if scope.inlines is not None else None
        return inline or self._named(name), name

    def _named(self, name: str) -> Program | None:
        source = self._partials.get(name)
        if isinstance(source, str):
            if name not in self._programs:
                self._programs[name] = parse_program(source, name, self._limits)
            return self._programs[name]
        return source

    def _enter(self, target: Body | Program, frame: Frame, block: Body | None, scope: Scope, *, own: bool) -> None:
        """Render a partial: a named one knows no block parameters, a body knows those of where it was written."""
        inlines = self._inlines(block, scope)
        if isinstance(target, Program):
            self._program(target, Scope(frame, scope.data, None, inlines, block))
            return
        home = target.scope
        inner = home.frame.push(frame.value, frame.constants)
        if own:
            self._program(target.program, Scope(inner, scope.data, home.bindings, home.inlines, home.block))
        else:
            self._program(target.program, Scope(inner, scope.data, home.bindings, inlines, block))

    def _inlines(self, block: Body | None, scope: Scope) -> Inlines | None:
        """Return the inline partials that a partial sees: those around its call and those in the call's body."""
        if block is None or block is scope.block or not block.program.inlines:
            return scope.inlines
        local = {
            text(self._value(node.name, block.scope)): Body(node.program, block.scope) for node in block.program.inlines
        }
        return Inlines(local, scope.inlines)


def _walk(value: Any, parts: tuple[str, ...]) -> Any:
    for part in parts:
        value = member(value, part)
    return value
