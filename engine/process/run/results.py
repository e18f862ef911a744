"""What a node comes to: how the value of its work becomes its writes, and the way on that was taken."""

from dataclasses import dataclass, field

from pydantic import JsonValue

from engine.process.definition import Transition
from engine.process.run.frame import NodeFailed
from engine.values import Spent


@dataclass
class NodeResult:
    """What a node came to: writes for the context, facts for the audit, and a route if the node may choose one."""

    writes: dict[str, JsonValue] = field(default_factory=lambda: {})
    facts: dict[str, JsonValue] = field(default_factory=lambda: {})
    spent: Spent = field(default_factory=Spent)
    chosen: str | None = None


@dataclass(frozen=True)
class Taken:
    """The transition that was taken, and every guard that was looked at with the values it saw.

    `offered` are transitions among which a person is to choose; none is taken then.
    """

    to: str | None
    guards: list[JsonValue]
    offered: tuple[Transition, ...] = ()


def object_of(value: JsonValue, node_id: str) -> dict[str, JsonValue]:
    """Return the value as an object.

    Raises:
        NodeFailed: of kind `invalid_output`, when it is none.
    """
    if not isinstance(value, dict):
        raise NodeFailed("invalid_output", f"{node_id} gave {type(value).__name__} where an object was expected")
    return dict(value)


def writes_of(declared: tuple[str, ...], value: JsonValue, node_id: str) -> dict[str, JsonValue]:
    """Give a single declared key the whole value; several keys are taken from it by name."""
    if not declared:
        return {}
    if len(declared) == 1:
        return {declared[0]: value}
    found = object_of(value, node_id)
    return {name: found[name] for name in declared if name in found}
