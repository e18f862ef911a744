"""The nodes that are under way in a run, and the orders that people give for them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from engine.errors import Conflict, Invalid
from engine.ports import Control
from engine.process.nodes.base import NodeBase
from engine.values import Principal

Phase = Literal["held", "running", "leaving", "failed", "choosing", "over"]
"""Before its node while the run is paused; at it; done, while that is written down; parked on its failure; behind it
until a person chooses the way."""


class NotYet(Conflict):
    """The run is in a moment in which an order can't be judged; `soon` among the details says to give it once more."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; try again in a moment", soon=True)


class Ordered(Exception):  # how an order reaches the step that it is for
    """A person has ordered what becomes of the node."""

    def __init__(self, order: "Order") -> None:
        super().__init__(order.action)
        self.order = order


@dataclass(frozen=True)
class Order:
    """What is to become of a node: done again, taken as done with these writes, or left for the node `to`."""

    action: Literal["retry", "skip", "advance"]
    by: Principal
    reason: str = ""
    to: str | None = None
    values: dict[str, JsonValue] = field(default_factory=lambda: {})


@dataclass
class Post:
    """A node under way. `check` raises the `Problem` for which an order for it is refused.

    `to` is the node that it leads on to, once that is known. `followed` is the order that was carried out.
    """

    step: str
    node_id: str
    node: NodeBase
    check: Callable[[Order], None]
    phase: Phase = "held"
    order: Order | None = None
    task_id: str = ""
    to: str | None = None
    followed: Order | None = None

    def leads_to(self, to: str | None) -> None:
        """Note that its work is over: an order is for what comes now, as soon as that is under way."""
        self.phase, self.to = "leaving", to

    @property
    def nested(self) -> bool:
        """Whether it stands in a graph inside another node."""
        return "/" in self.step


@dataclass
class Posts:
    """The nodes under way by step.

    `parks`: failures may be put to the seat over the run. `ended_by` is who ended the run from a task, and how.
    `by_agent` counts the orders of an agent in that seat per node.
    """

    parks: bool = False
    ended_by: Control | None = None
    by_agent: dict[str, int] = field(default_factory=lambda: {})
    _posts: dict[str, Post] = field(default_factory=lambda: {})

    def enter(self, post: Post) -> None:
        """Take up a node."""
        self._posts[post.step] = post

    def leave(self, post: Post) -> None:
        """Let go of a node."""
        post.phase = "over"
        self._posts.pop(post.step, None)

    def all(self) -> list[Post]:
        """Return the nodes under way."""
        return list(self._posts.values())

    def inside(self, post: Post) -> Iterator[Post]:
        """Yield the nodes under way in the graphs inside another one."""
        for other in self._posts.values():
            if other is not post and other.step.startswith((f"{post.step}/", f"{post.step}[")):
                yield other

    def find(self, target: str | None) -> Post:
        """Return the node that an order is for: by its step, its id, or the only one that can be meant.

        Raises:
            NotYet: the node, or whatever is meant, is about to be under way.
            Invalid: no such node is under way, or several could be meant.
        """
        if not self._posts:
            raise NotYet("the run is between two nodes")
        posts = list(self._posts.values())
        if target is None:
            parked = [post for post in posts if post.phase == "failed"]
            meant = parked or [post for post in posts if not post.nested]
        else:
            meant = [post for post in posts if target in (post.step, post.node_id)]
        if len(meant) == 1:
            return meant[0]
        if not meant and any(post.phase == "leaving" and post.to == target for post in posts):
            raise NotYet(f"the run is just coming to {target}")
        steps = [post.step for post in (meant or posts)][:20]
        if meant:
            raise Invalid(f"several steps could be meant: {', '.join(steps)}; say which", field="target", steps=steps)
        raise Invalid(f"{target!r} is not under way; what is: {', '.join(steps)}", field="target", steps=steps)
