"""The driver of pydantic-ai's MCP client, run in an environment of its own: lines of JSON in, lines of JSON out."""

# pyright: basic, reportMissingImports=false

import asyncio
import json
import os
import sys
from importlib.metadata import version
from typing import Any

from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import McpError, ToolError
from pydantic_ai.mcp import MCPError, MCPToolset

CONNECT_S = 30
Answer = dict[str, Any]


class PydanticAiDriver:
    """Asks with an `MCPToolset`; what it gives to a model is put into the protocol's form again."""

    def __init__(self) -> None:
        """Know no server yet."""
        self.toolset: MCPToolset[None] | None = None
        self.reported = 0

    async def open(self, era: str, command: list[str] | None = None, url: str = "", headers: Any = None) -> Answer:
        """Connect; this client takes the newest era that the server speaks."""
        place = StdioTransport(command[0], command[1:], env=dict(os.environ)) if command else url
        toolset = self.toolset = MCPToolset(
            place,
            headers=headers,
            init_timeout=CONNECT_S,
            cache_tools=False,
            tool_error_behavior="error",
            progress_handler=self._count,
        )
        await toolset.__aenter__()
        about = toolset.server_info
        mine = {"client": version("pydantic-ai-slim"), "can": ["cancel", "progress"]}
        return {"name": about.name, "version": about.version, "protocol": toolset.client.protocol_version, **mine}

    async def _count(self, done: float, total: float | None, message: str | None) -> None:
        self.reported += 1

    async def call_tool(
        self, name: str, arguments: Answer, progress: bool = False, cancel_after_s: float | None = None
    ) -> Answer:
        """Call a tool as an agent does."""
        assert self.toolset
        self.reported = 0
        try:
            shown = await asyncio.wait_for(self.toolset.direct_call_tool(name, arguments), cancel_after_s)
        except TimeoutError:
            return {"cancelled": True}
        except ToolError as error:
            return {"content": [{"type": "text", "text": str(error)}], "isError": True}
        return {**_result(shown), "progress": self.reported}

    async def list_tools(self) -> Answer:
        """List the tools as they were sent."""
        assert self.toolset
        tools = await self.toolset.list_tools()
        return {"tools": [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]}

    async def list_resources(self) -> Answer:
        """List resources by URI."""
        assert self.toolset
        return {"resources": [{"uri": one.uri, "name": one.name} for one in await self.toolset.list_resources()]}

    async def list_templates(self) -> Answer:
        """List templates by URI."""
        assert self.toolset
        found = await self.toolset.list_resource_templates()
        return {"resourceTemplates": [{"uriTemplate": one.uri_template, "name": one.name} for one in found]}

    async def read_resource(self, uri: str) -> Answer:
        """Read the texts of a resource."""
        assert self.toolset
        found = await self.toolset.read_resource(uri)
        texts = [found] if isinstance(found, str) else found
        return {"contents": [{"uri": uri, "text": text} for text in texts]}

    async def list_prompts(self) -> Answer:
        """List prompts by name."""
        assert self.toolset
        return {"prompts": [{"name": one.name} for one in await self.toolset.list_prompts()]}

    async def get_prompt(self, name: str, arguments: dict[str, str]) -> Answer:
        """Render a prompt."""
        assert self.toolset
        found = await self.toolset.get_prompt(name, arguments)
        said = [{"role": one.role, "content": {"type": "text", "text": one.content.content}} for one in found.messages]
        return {"messages": said}

    async def close(self) -> Answer:
        """Leave the server."""
        if self.toolset:
            await self.toolset.__aexit__(None, None, None)
        return {}


def _result(shown: Any) -> Answer:
    """Return the result that a value given to a model was made from: data, a text, or a text and a link."""
    if isinstance(shown, dict):
        return {"content": [], "structuredContent": shown}
    texts = shown if isinstance(shown, list) else [shown]
    links = [{"type": "resource_link", "uri": text} for text in texts if text.startswith("result://")]
    said = [{"type": "text", "text": text} for text in texts if not text.startswith("result://")]
    return {"content": [*said, *links]}


async def main() -> None:
    """Answer line after line."""
    driver, op = PydanticAiDriver(), ""
    while op != "close":
        what = json.loads(await asyncio.to_thread(sys.stdin.readline) or '{"op": "close"}')
        op = what.pop("op")
        try:
            answer: Answer = {"result": await getattr(driver, op)(**what)}
        except MCPError as error:
            answer = {"error": {"code": error.code, "message": error.message}}
        except McpError as error:
            answer = {"error": {"code": error.error.code, "message": error.error.message}}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
