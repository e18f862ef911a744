"""`agent`: a bounded agent run that returns one object."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue

from engine.phases import Phase
from engine.process.findings import Finding, error
from engine.process.nodes.base import NodeBase, Part, Template, listed, mapping
from engine.values import Budget


class AgentNode(NodeBase, frozen=True):
    """The agent sees `reads` and `input`, and can change nothing but `writes`; `policy` orders its tools."""

    type: Literal["agent"]
    instructions: Template = Field(min_length=1)
    input: dict[str, JsonValue] = {}
    skills: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    exclude_tools: tuple[str, ...] = ()
    model: str | None = None
    budget: Budget | None = None
    policy: tuple[Phase, ...] = ()

    def expressions(self) -> Iterator[Part]:
        """Yield the inputs."""
        yield from mapping("/input", self.input)

    def templates(self) -> Iterator[Part]:
        """Yield the instructions."""
        yield Part("/instructions", self.instructions)

    def names(self) -> Iterator[tuple[str, Part]]:
        """Yield skills and tools."""
        for part in listed("/skills", self.skills):
            yield "skill", part
        for part in (*listed("/tools", self.tools), *listed("/exclude_tools", self.exclude_tools)):
            yield "tool", part
        for index, phase in enumerate(self.policy):
            for part in listed(f"/policy/{index}/tools", phase.tools):
                yield "tool", part

    def check(self, at: str) -> Iterator[Finding]:
        """Check that the tools of each phase are allowed and its counts fit."""
        for index, phase in enumerate(self.policy):
            where = f"{at}/policy/{index}"
            if phase.max_calls is not None and phase.max_calls < phase.min_calls:
                yield error("policy_counts", where, f"max_calls {phase.max_calls} is below min_calls {phase.min_calls}")
            barred = [
                tool
                for tool in phase.tools
                if tool in self.exclude_tools or (self.tools is not None and tool not in self.tools)
            ]
            if barred:
                yield error("policy_tool", where, f"the agent may not use {', '.join(barred)}; list them in tools")
