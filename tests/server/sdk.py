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
