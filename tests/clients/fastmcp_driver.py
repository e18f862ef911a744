"""The driver of the FastMCP client, in this process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastmcp.client import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference
from pydantic import BaseModel

from tests.clients.drivers import Answer, clean

ABILITIES = ["cancel", "complete", "elicitation", "progress"]


class FastmcpDriver:
    """Asks with the FastMCP client; made by `fastmcp_driver`."""

    def __init__(self, era: str, place: dict[str, Any]) -> None:
        """Make the client; `open` is what connecting it answers."""
        mode = "legacy" if era == "legacy" else "auto"
        self.client: Client[Any] = Client(_transport(place), mode=mode, cache=False, elicitation_handler=self._person)
        self._says: Answer | None = None

    async def ask(self, op: str, **what: Any) -> Answer:
        """Return the answer of the client."""
        try:
            return {"result": await getattr(self, f"_{op}")(**what)}
        except MCPError as error:
            return {"error": {"code": error.error.code, "message": error.error.message}}

    async def _open(self, **_: Any) -> Answer:
        info = self.client.server_info
        assert info is not None
        about = {"client": version("fastmcp"), "protocol": self.client.protocol_version, "can": ABILITIES}
        return {"name": info.name, "version": info.version, **about}

    async def _list_tools(self, **_: Any) -> Answer:
        return {"tools": [_wire(tool) for tool in await self.client.list_tools()]}

    async def _person(self, message: str, response_type: Any, params: Any, context: Any) -> ElicitResult[Any]:
        says, self._says = self._says, None
        return ElicitResult(**(says or {"action": "cancel"}))

    async def _call_tool(
        self,
        name: str,
        arguments: dict[str, Any],
        progress: bool = False,
        cancel_after_s: float | None = None,
        person: Answer | None = None,
    ) -> Answer:
        heard: list[float] = []
        self._says = person

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append(progress)

        with anyio.move_on_after(cancel_after_s):
            result = await self.client.call_tool_mcp(
                name, arguments, progress_handler=on_progress if progress else None
            )
            return {**_wire(result), "progress": len(heard)}
        return {"cancelled": True}

    async def _list_resources(self) -> Answer:
        return {"resources": [_wire(one) for one in await self.client.list_resources()]}

    async def _list_templates(self) -> Answer:
        return {"resourceTemplates": [_wire(one) for one in await self.client.list_resource_templates()]}

    async def _read_resource(self, uri: str) -> Answer:
        return {"contents": [_wire(one) for one in await self.client.read_resource(uri)]}

    async def _list_prompts(self) -> Answer:
        return {"prompts": [_wire(one) for one in await self.client.list_prompts()]}

    async def _get_prompt(self, name: str, arguments: dict[str, str]) -> Answer:
        return _wire(await self.client.get_prompt(name, arguments))

    async def _complete(self, ref: dict[str, str], argument: dict[str, str]) -> Answer:
        named = PromptReference(name=ref["name"]) if "name" in ref else ResourceTemplateReference(uri=ref["uri"])
        return {"completion": _wire(await self.client.complete(named, argument))}


def _wire(value: BaseModel) -> Answer:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def _transport(place: dict[str, Any]) -> StdioTransport | StreamableHttpTransport:
    if "url" in place:
        return StreamableHttpTransport(place["url"], headers=place["headers"])
    command, *arguments = place["command"]
    return StdioTransport(command, arguments, env=clean({}), keep_alive=False)


@asynccontextmanager
async def fastmcp_driver(era: str, place: dict[str, Any]) -> AsyncGenerator[FastmcpDriver]:
    """Give a connected client."""
    driver = FastmcpDriver(era, place)
    async with driver.client:
        yield driver
