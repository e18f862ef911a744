"""What every node has, and what nodes are made of: transitions, retries, seats, bodies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from engine.process.durations import Duration
from engine.process.findings import Finding
from engine.values import Value

NodeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}(?:@[A-Za-z0-9._-]{1,64})?$")]
Text = Annotated[str, StringConstraints(max_length=100_000)]
Expression: TypeAlias = JsonValue
"""JSON Logic, evaluated inside the workflow."""

Template: TypeAlias = Text
"""Handlebars, rendered outside the workflow."""


class Retry(Value):
    """How a failed attempt is repeated; kinds of error in `not_on` are not."""

    max_attempts: int = Field(default=3, ge=1, le=100)
    initial_interval: Duration = "PT1S"
    backoff: float = Field(default=2.0, ge=1, le=100)
    max_interval: Duration | None = None
    not_on: tuple[str, ...] = ()


class Transition(Value):
    """The way to another node: taken when its guard holds; without `when` it is the default."""

    to: NodeId
    when: Expression = None
    trigger: Literal["auto", "agent", "user"] = "auto"
    label: str = Field(default="", max_length=200)


class ErrorTransition(Value):
    """The way taken when a node fails with one of the kinds in `match`; without any it takes every failure."""

    to: NodeId
    match: tuple[str, ...] = ()
    when: Expression = None
    label: str = Field(default="", max_length=200)


class TimeoutTransition(Value):
    """The way taken when time is up."""

    to: NodeId
    label: str = Field(default="", max_length=200)


class Position(Value):
    """Where the designer draws a node."""

    x: float
    y: float


class AgentSeat(Value):
    """A seat filled by an agent instead of a person."""

    instructions: Template = ""
    model: str | None = None
    skills: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None


class Seat(Value):
    """Who may answer: any of these people, or an agent."""

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    agent: AgentSeat | None = None

    def is_empty(self) -> bool:
        """Tell whether nobody can sit here."""
        return not (self.users or self.roles or self.groups or self.agent)


@dataclass(frozen=True, slots=True)
class Part:
    """A place inside a node that names something: its pointer below the node, and the expression, template or name."""

    path: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Nested:
    """A body inside a node: its pointer below the node and the names that only it sees."""

    path: str
    body: "Body"
    local: tuple[str, ...] = ()


class NodeBase(BaseModel, frozen=True, extra="forbid"):
    """The fields and the questions that all nodes share; a node type adds its own in its own file."""

    type: str
    title: str = Field(default="", max_length=200)
    about: str = Field(default="", max_length=4000)
    reads: tuple[Key, ...] | None = None
    writes: tuple[Key, ...] = ()
    timeout: Duration | None = None
    retry: Retry | None = None
    next: tuple[Transition, ...] = ()
    on_error: tuple[ErrorTransition, ...] = ()
    on_timeout: TimeoutTransition | None = None
    compensate: NodeId | None = None
    max_visits: int | None = Field(default=None, ge=1, le=100_000)
    position: Position | None = None

    def expressions(self) -> Iterator[Part]:
        """Yield the expressions evaluated before the node runs; guards are not among them."""
        yield from ()

    def templates(self) -> Iterator[Part]:
        """Yield the templates."""
        yield from ()

    def bodies(self) -> Iterator[Nested]:
        """Yield the graphs inside the node."""
        yield from ()

    def names(self) -> Iterator[tuple[str, Part]]:
        """Yield what the node names outside the definition: ("interaction" | "tool" | "skill" | "process", where)."""
        yield from ()

    def decisions_of(self) -> tuple[str, ...]:
        """Return the values that `decision` of the node's result can have; () where it has none."""
        return ()

    def waits(self) -> bool:
        """Tell whether a cycle through the node stands still in it, waiting for time or for somebody."""
        return False

    def check(self, at: str) -> Iterator[Finding]:
        """Yield what is wrong with the node by itself; `at` is its pointer."""
        yield from ()


if TYPE_CHECKING:
    AnyNode: TypeAlias = NodeBase


class Body(Value):
    """A graph inside a node. It is done when a node without `next` is; an `end` in it ends the whole run."""

    start: NodeId
    nodes: dict[NodeId, "AnyNode"] = Field(min_length=1)


def mapping(path: str, expressions: dict[str, JsonValue]) -> Iterator[Part]:
    """Yield the parts of a mapping of expressions."""
    for name, expression in expressions.items():
        yield Part(f"{path}/{name.replace('~', '~0').replace('/', '~1')}", expression)


def listed(path: str, names: tuple[str, ...] | None) -> Iterator[Part]:
    """Yield the parts of a list of names."""
    for index, name in enumerate(names or ()):
        yield Part(f"{path}/{index}", name)
