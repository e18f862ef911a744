"""What a definition may say that this engine does not carry out yet: refused before a start, never passed over."""

from collections.abc import Iterator
from typing import Any

from engine.process.definition import ProcessDefinition
from engine.process.nodes.base import NodeBase
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.nodes.wait import WaitNode
from engine.process.run import nesting, people_node, work
from engine.process.run.flow import EXECUTORS

CARRIED_OUT = (work, people_node, nesting)
"""The modules that carry out nodes: naming them is what enters them."""


def not_carried_out(definition: ProcessDefinition) -> list[str]:
    """Return each thing in the definition that would not happen, with where it stands; empty if all is carried out."""
    found = list(_of_nodes(definition.nodes, ""))
    if definition.supervision is not None:
        found.append("/supervision: a supervisor over the whole run")
    return found


def _of_nodes(nodes: "dict[str, Any]", above: str) -> Iterator[str]:
    for node_id, node in nodes.items():
        yield from _of_node(node, f"{above}/nodes/{node_id}")


def _of_node(node: NodeBase, at: str) -> Iterator[str]:
    if node.type not in EXECUTORS:
        yield f"{at}: nodes of type {node.type}"
    if node.compensate is not None:
        yield f"{at}/compensate: compensation"
    if any(transition.trigger == "user" for transition in node.next):
        yield f"{at}/next: transitions taken by a person"
    if isinstance(node, SupervisorNode):
        if node.quorum > 1:
            yield f"{at}/quorum: more than one decision"
        if node.remind_every is not None:
            yield f"{at}/remind_every: reminders"
        if node.seat.agent is not None or any(step.to.agent is not None for step in node.escalate):
            yield f"{at}/seat/agent: an agent in the seat"
    if isinstance(node, WaitNode) and node.event is not None:
        yield f"{at}/event: waiting for an event"
    if getattr(node, "policy", ()):
        yield f"{at}/policy: phases of tools"
    for nested in node.bodies():
        yield from _of_nodes(dict(nested.body.nodes), f"{at}{nested.path}")
