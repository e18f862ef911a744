"""The node types: one file each with its model and its own checks, and the table that names them all.

A new type is a new file here and one entry in `NODE_TYPES`; parsing, the schema of definitions and the verifier work
from the table.
"""

from typing import Annotated, Union

from pydantic import Discriminator

from engine.process.nodes import base
from engine.process.nodes.agent import AgentNode
from engine.process.nodes.base import Body, NodeBase
from engine.process.nodes.branch import Arm, BranchNode
from engine.process.nodes.end import EndNode
from engine.process.nodes.foreach import ForeachNode
from engine.process.nodes.interaction import InteractionNode
from engine.process.nodes.process import ProcessNode
from engine.process.nodes.script import ScriptNode
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.nodes.tool import ToolNode
from engine.process.nodes.wait import WaitNode

NODE_TYPES: dict[str, type[NodeBase]] = {
    "interaction": InteractionNode,
    "agent": AgentNode,
    "tool": ToolNode,
    "branch": BranchNode,
    "foreach": ForeachNode,
    "supervisor": SupervisorNode,
    "script": ScriptNode,
    "process": ProcessNode,
    "wait": WaitNode,
    "end": EndNode,
}

# Bodies hold nodes and some nodes hold bodies: the union is only known here, so it is put where `Body` looks it up.
base.__dict__["AnyNode"] = Annotated[Union[tuple(NODE_TYPES.values())], Discriminator("type")]  # noqa: UP007
for _model in (Body, Arm, BranchNode, ForeachNode):
    _model.model_rebuild(force=True)
