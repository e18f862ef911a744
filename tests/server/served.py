"""The HTTP application on a free loopback port, and clients for it."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import httpx2
import uvicorn
from fastmcp.client import Client
from fastmcp.client.transports import StreamableHttpTransport
from starlette.applications import Starlette

from tests.server.flat import TOKEN

Era = Literal["legacy", "2026-07-28"]
ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")


@dataclass
class Served:
    """A running server."""

    url: str
    app: Starlette

    def mcp(self, era: Era, user: str | None = None, **options: Any) -> Client[StreamableHttpTransport]:
        """A client of one protocol era that holds the token."""
        headers = {"Authorization": f"Bearer {TOKEN}", **({"Upstairs-User": user} if user else {})}
        return Client(StreamableHttpTransport(f"{self.url}/mcp", headers=headers), mode=era, **options)

    def http(self, *, token: str | None = TOKEN, **headers: str) -> httpx2.AsyncClient:
        """A plain client."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(base_url=self.url, headers={**given, **headers}, timeout=60)

    def browser(self) -> httpx2.AsyncClient:
        """A client without a token that keeps cookies, asks for pages and says where its forms come from."""
        return self.http(token=None, Accept="text/html")


@asynccontextmanager
async def serve(app: Starlette) -> AsyncGenerator[Served]:
    """Serve `app` while the block runs."""
    # Named as TCP, as the product's is: else each answer waits for the client to acknowledge its head.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, ws="none"))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listening])
            with anyio.fail_after(60):
                while not server.started:
                    await anyio.sleep(0.01)
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app)
            server.should_exit = True
