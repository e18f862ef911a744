"""`process`: a child process by name and version."""

from collections.abc import Iterator
from typing import Literal

from pydantic import JsonValue

from engine.process.findings import Finding, error
from engine.process.nodes.base import Key, NodeBase, Part, Reference, mapping


class ProcessNode(NodeBase, frozen=True):
    """`returns` gives each key of `writes` by an expression over the child's `{outcome, output}`.

    Without it the child's output is the value of the one key, or an object that has the keys.
    """

    type: Literal["process"]
    process: Reference
    input: dict[str, JsonValue] = {}
    returns: dict[Key, JsonValue] = {}

    def expressions(self) -> Iterator[Part]:
        """Yield the inputs; `returns` is evaluated over the child's result."""
        yield from mapping("/input", self.input)

    def names(self) -> Iterator[tuple[str, Part]]:
        """Yield the process."""
        yield "process", Part("/process", self.process)

    def check(self, at: str) -> Iterator[Finding]:
        """Check that what is returned is declared."""
        for key in self.returns:
            if key not in self.writes:
                yield error("undeclared_write", f"{at}/returns/{key}", f"the node writes {key!r}; add it to writes")
