"""`script`: sandboxed Python over its input."""

import ast
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue

from engine.process.findings import Finding, error
from engine.process.nodes.base import NodeBase, Part, Text, mapping


class ScriptNode(NodeBase, frozen=True):
    """The last value of `code` is the result: an object that has the keys of `writes`."""

    type: Literal["script"]
    code: Text = Field(min_length=1)
    input: dict[str, JsonValue] = {}

    def expressions(self) -> Iterator[Part]:
        """Yield the inputs."""
        yield from mapping("/input", self.input)

    def check(self, at: str) -> Iterator[Finding]:
        """Check that the code is Python, that it has a last value, and that its variables can be named."""
        for name in self.input:
            if not name.isidentifier():
                where = f"{at}/input/{name.replace('~', '~0').replace('/', '~1')}"
                yield error("script_name", where, f"{name!r} is no name of a variable; use letters, digits and _")
        try:
            body = ast.parse(self.code).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
            line = getattr(problem, "lineno", None)
            place = f"line {line}: " if line else ""
            yield error("script_syntax", f"{at}/code", f"{place}it is not Python: {getattr(problem, 'msg', problem)}")
            return
        if self.writes and not (body and isinstance(body[-1], ast.Expr)):
            yield error(
                "script_value",
                f"{at}/code",
                f"the last line is no expression; end with the object to write, such as {{{self.writes[0]!r}: ...}}",
            )
