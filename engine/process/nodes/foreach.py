"""`foreach`: a body for each item, in batches, several at a time."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from engine.process.findings import Finding, error
from engine.process.nodes.base import Body, Expression, Key, Nested, NodeBase, Part
from engine.values import Value


class Collect(Value):
    """What is kept of each item: these names of its scope, as one list under `into`."""

    into: Key
    fields: tuple[Key, ...] = Field(min_length=1)


def _made(body: Body) -> set[str]:
    """Return what the nodes of an item's scope write; a foreach in it has scopes of its own."""
    made: set[str] = set()
    for node in body.nodes.values():
        made.update(node.writes)
        if not isinstance(node, ForeachNode):
            made.update(*(_made(nested.body) for nested in node.bodies()))
    return made


class ForeachNode(NodeBase, frozen=True):
    """Each item has a scope of its own over the context: the item under `as`, and what its body writes.

    `on_error: fail` or `collect` says what a failed item does; as a list it holds transitions, as in every node, and
    `on_item_error` says the former.
    """

    type: Literal["foreach"]
    items: Expression
    as_: Key = Field(alias="as")
    key: Expression = None
    body: Body
    max_concurrency: int = Field(default=10, ge=1, le=1000)
    on_item_error: Literal["fail", "collect"] = "fail"
    collect: Collect | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("on_error"), str):
            return {**{name: data[name] for name in data if name != "on_error"}, "on_item_error": data["on_error"]}
        return data

    def expressions(self) -> Iterator[Part]:
        """Yield the list of items; the key is evaluated for each item."""
        yield Part("/items", self.items)

    def bodies(self) -> Iterator[Nested]:
        """Yield the body, which sees the item."""
        yield Nested("/body", self.body, (self.as_,))

    def check(self, at: str) -> Iterator[Finding]:
        """Check that what is collected is declared and made."""
        if self.collect is None:
            return
        if self.collect.into not in self.writes:
            yield error(
                "undeclared_write",
                f"{at}/collect/into",
                f"the node writes {self.collect.into!r}; add it to writes",
            )
        made = {self.as_, *_made(self.body)}
        for index, field in enumerate(self.collect.fields):
            if field not in made:
                yield error(
                    "collect_unknown",
                    f"{at}/collect/fields/{index}",
                    f"no node of the body writes {field!r}; collect one of {', '.join(sorted(made))}",
                )
