"""`interaction`: one model call through a versioned interaction."""

from collections.abc import Iterator
from typing import Literal

from pydantic import JsonValue

from engine.process.nodes.base import NodeBase, Part, Reference, mapping
from engine.values import Budget


class InteractionNode(NodeBase, frozen=True):
    """The result has the schema of `writes` within the context's schema."""

    type: Literal["interaction"]
    interaction: Reference
    input: dict[str, JsonValue] = {}
    model: str | None = None
    budget: Budget | None = None

    def expressions(self) -> Iterator[Part]:
        """Yield the inputs."""
        yield from mapping("/input", self.input)

    def names(self) -> Iterator[tuple[str, Part]]:
        """Yield the interaction."""
        yield "interaction", Part("/interaction", self.interaction)
