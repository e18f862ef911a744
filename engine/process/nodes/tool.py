"""`tool`: one tool call, ours or that of a connected server."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import JsonValue, StringConstraints

from engine.process.nodes.base import NodeBase, Part, mapping

ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./:-]{0,127}$")]


class ToolNode(NodeBase, frozen=True):
    """The value of the tool goes to the one key of `writes`; with several keys it is an object that has them."""

    type: Literal["tool"]
    tool: ToolName
    input: dict[str, JsonValue] = {}

    def expressions(self) -> Iterator[Part]:
        """Yield the arguments."""
        yield from mapping("/input", self.input)

    def names(self) -> Iterator[tuple[str, Part]]:
        """Yield the tool."""
        yield "tool", Part("/tool", self.tool)
