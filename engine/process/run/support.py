"""What a definition may say that this engine does not carry out yet: refused before a start, never passed over."""

from collections.abc import Iterator
from typing import Any

from engine.process.definition import ProcessDefinition
from engine.process.nodes.base import NodeBase
from engine.process.run import child_process, nesting, people_node, scripts, work
from engine.process.run.flow import EXECUTORS

CARRIED_OUT = (work, child_process, scripts, people_node, nesting)
"""The modules that carry out nodes: naming them is what enters them."""


def not_carried_out(definition: ProcessDefinition) -> list[str]:
    """Return each thing in the definition that would not happen, with where it stands; empty if all is carried out."""
    return list(_of_nodes(definition.nodes, ""))


def _of_nodes(nodes: "dict[str, Any]", above: str) -> Iterator[str]:
    for node_id, node in nodes.items():
        yield from _of_node(node, f"{above}/nodes/{node_id}")


def _of_node(node: NodeBase, at: str) -> Iterator[str]:
    if node.type not in EXECUTORS:
        yield f"{at}: nodes of type {node.type}"
    if getattr(node, "policy", ()):
        yield f"{at}/policy: phases of tools"
    for nested in node.bodies():
        yield from _of_nodes(dict(nested.body.nodes), f"{at}{nested.path}")
