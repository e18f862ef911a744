"""The SDK's own client for the small house, for what the other clients of the tests don't speak."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from engine.values import Principal
from tests.server.flat import TOKEN, Flat
from tests.server.served import Era, Served


@asynccontextmanager
async def sdk_client(
    served: Served, era: Era, user: str | None = None, *, path: str = "/mcp", **options: Any
) -> AsyncGenerator[Client]:
    """A client that holds the token."""
    headers = {"Authorization": f"Bearer {TOKEN}", **({"Upstairs-User": user} if user else {})}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(10, read=60)) as http:
        transport = streamable_http_client(f"{served.url}{path}", http_client=http)
        async with Client(transport, mode=era, **options) as client:
            yield client


class Crowded(Flat):
    """The small house with one user more: sam, who may do nothing and sees only what is its own."""

    def local_user(self, name: str | None) -> Principal:
        """Return sam, or one of the house's own."""
        return Principal(tenant="local", subject="sam") if name == "sam" else super().local_user(name)


class Modern:
    """Requests of 2026-07-28 as they are, each with the capabilities it declares."""

    def __init__(
        self, url: str, *, user: str | None = None, capabilities: dict[str, Any] | None = None, token: str = TOKEN
    ) -> None:
        """Speak to the endpoint `url` for a user."""
        self._url = url
        self._token = token
        self._user = {"Upstairs-User": user} if user else {}
        self._capabilities = capabilities or {}
        self._count = 0

    async def __call__(self, method: str, header: str | None = None, /, **params: Any) -> dict[str, Any]:
        """Return the whole answer; `header` is the name that intermediaries route by."""
        message, headers = self.request(method, header, **params)
        async with httpx2.AsyncClient(timeout=30) as http:
            return (await http.post(self._url, json=message, headers=headers)).json()

    def request(
        self, method: str, header: str | None = None, /, **params: Any
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a request and its headers."""
        self._count += 1
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": self._capabilities,
        }
        message = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": {**params, "_meta": meta}}
        named = header or params.get("name") or params.get("uri") or params.get("taskId")
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
            **({"Mcp-Name": named} if named else {}),
            **self._user,
        }
        return message, headers
