"""`end`: the run is over."""

from collections.abc import Iterator
from typing import Literal

from engine.process.findings import Finding, error
from engine.process.nodes.base import Expression, NodeBase, NodeId, Part


class EndNode(NodeBase, frozen=True):
    """`outcome` names how it ended, `output` is what the run gives back."""

    type: Literal["end"]
    outcome: NodeId = "done"
    output: Expression = None

    def expressions(self) -> Iterator[Part]:
        """Yield the output."""
        if self.output is not None:
            yield Part("/output", self.output)

    def check(self, at: str) -> Iterator[Finding]:
        """Check that nothing comes after the end."""
        for name, given in (("next", self.next), ("on_error", self.on_error), ("on_timeout", self.on_timeout)):
            if given:
                yield error("after_end", f"{at}/{name}", f"nothing comes after an end; remove {name}")
        if self.writes:
            yield error("after_end", f"{at}/writes", "an end writes nothing; remove writes")
