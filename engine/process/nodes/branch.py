"""`branch`: one of several bodies, or several in parallel."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from engine.process.findings import Finding, error, warning
from engine.process.nodes.base import Body, Expression, Nested, NodeBase, NodeId, Part
from engine.values import Value


class Arm(Value):
    """A body and its guard; without `when` it is always taken."""

    name: NodeId
    when: Expression = None
    body: Body


class AtLeast(Value):
    """A join that waits for so many arms."""

    at_least: int = Field(ge=1)


class BranchNode(NodeBase, frozen=True):
    """`take: first` is a choice, `every` runs all arms whose guard holds; losers of a race are cancelled."""

    type: Literal["branch"]
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=100)
    take: Literal["first", "every"] = "first"
    join: Literal["all", "any"] | AtLeast = "all"

    def expressions(self) -> Iterator[Part]:
        """Yield the guards of the arms."""
        for index, arm in enumerate(self.arms):
            if arm.when is not None:
                yield Part(f"/arms/{index}/when", arm.when)

    def bodies(self) -> Iterator[Nested]:
        """Yield the body of each arm."""
        for index, arm in enumerate(self.arms):
            yield Nested(f"/arms/{index}/body", arm.body)

    def check(self, at: str) -> Iterator[Finding]:
        """Check names, defaults and whether the join can complete."""
        names = [arm.name for arm in self.arms]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield error("duplicate_arm", f"{at}/arms/{index}/name", f"another arm is named {name!r}; rename it")
        if self.take == "first":
            for index, arm in enumerate(self.arms[:-1]):
                if arm.when is None:
                    yield error(
                        "default_not_last",
                        f"{at}/arms/{index}",
                        f"arm {arm.name!r} has no guard, so the arms after it are never taken; move it to the end",
                    )
            if self.join != "all":
                yield warning(
                    "join_of_one", f"{at}/join", "one arm is taken, so there is nothing to join; leave it out"
                )
        elif isinstance(self.join, AtLeast):
            yield from self._check_join(self.join.at_least, at)

    def _check_join(self, needed: int, at: str) -> Iterator[Finding]:
        certain = sum(arm.when is None for arm in self.arms)
        if needed > len(self.arms):
            yield error(
                "join_never", f"{at}/join", f"the join waits for {needed} of {len(self.arms)} arms; ask for fewer"
            )
        elif needed > certain:
            yield warning(
                "join_may_never",
                f"{at}/join",
                f"the join waits for {needed} arms but only {certain} are always taken; with fewer the node fails",
            )
