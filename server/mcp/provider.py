"""What an MCP server is made of: providers, each with some tools, resources and prompts."""

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, TypeAlias

import mcp_types as types

from server.mcp.house import Call

Listed: TypeAlias = Literal["tools", "prompts", "resources"]
"""The lists that a client can ask to be told about."""

Changes: TypeAlias = AsyncGenerator[None]
"""Yields after each change of what is watched; several close together may be one. It ends when no more can come."""


class Provider:
    """Offers nothing by itself; a subclass overrides what it has.

    The `get`-like methods return None for a name or URI that is not theirs: the next provider is asked.
    """

    async def tools(self, call: Call) -> Sequence[types.Tool]:
        """Return the tools this caller sees, always in the same order."""
        return ()

    async def call_tool(
        self, call: Call, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Run a tool."""
        return None

    async def resources(self, call: Call) -> Sequence[types.Resource]:
        """Return the resources worth listing for this caller."""
        return ()

    async def templates(self, call: Call) -> Sequence[types.ResourceTemplate]:
        """Return the templates of the URIs that `read_resource` knows."""
        return ()

    async def read_resource(
        self, call: Call, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult | None:
        """Read a resource."""
        return None

    async def prompts(self, call: Call) -> Sequence[types.Prompt]:
        """Return the prompts this caller sees."""
        return ()

    async def get_prompt(
        self, call: Call, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult | None:
        """Render a prompt."""
        return None

    async def complete(self, call: Call, params: types.CompleteRequestParams) -> types.CompleteResult | None:
        """Complete an argument of a prompt or of a template."""
        return None

    async def changes(self, call: Call, uri: str) -> Changes | None:
        """Return the changes of a resource from now on; None for one that is not this provider's or never changes."""
        return None

    async def list_changes(self, call: Call, listed: Listed) -> Changes | None:
        """Return the changes of a list as this caller sees it; None when this provider's part never changes."""
        return None
