"""`script`: sandboxed Python over its input."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue

from engine.process.nodes.base import NodeBase, Part, Text, mapping


class ScriptNode(NodeBase, frozen=True):
    """The last value of `code` is the result: an object that has the keys of `writes`."""

    type: Literal["script"]
    code: Text = Field(min_length=1)
    input: dict[str, JsonValue] = {}

    def expressions(self) -> Iterator[Part]:
        """Yield the inputs."""
        yield from mapping("/input", self.input)
