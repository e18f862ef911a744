"""The same calls by a client of the field, FastMCP's own, whose cost stands on both sides."""

import time
from contextlib import AsyncExitStack
from typing import Literal

from fastmcp.client import Client
from fastmcp.client.transports import ClientTransport, StdioTransport, StreamableHttpTransport
from mcp_types import TextContent

from benchmarks.figures import Row, Sample
from benchmarks.mcp_peer import COUNT
from benchmarks.mcp_servers import Bare, Ours, learning
from benchmarks.mcp_times import ARGUMENTS, WARM_UP

PEER = "FastMCP, 2 tools"


async def measure_clients(server: Ours, bare: Bare, rounds: int, calls: int) -> list[Row]:
    """Return the time of a call over both transports, in the era that the client settles on and in the older."""
    return [
        await _row(server, bare, transport, mode, rounds, calls)
        for transport in ("HTTP", "stdio")
        for mode in ("auto", "legacy")
    ]


async def _row(
    server: Ours, bare: Bare, transport: str, mode: Literal["auto", "legacy"], rounds: int, calls: int
) -> Row:
    times: tuple[list[float], list[float]] = ([], [])
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(Client(_to_ours(server, transport), mode=mode))
        peer = await stack.enter_async_context(Client(_to_bare(bare, transport), mode=mode))
        # Not by its name: this client lists the tools again before each call of one that it was not shown.
        use = {"ticket": await _ticket(ours, server), "tool": COUNT, "arguments": ARGUMENTS}
        sides = ((ours, "use_tool", use, times[0]), (peer, COUNT, ARGUMENTS, times[1]))
        for place in range(rounds + 1):
            for client, tool, arguments, taken in sides:
                for _ in range(calls if place else WARM_UP):
                    began = time.perf_counter()
                    await client.call_tool(tool, dict(arguments))
                    if place:
                        taken.append((time.perf_counter() - began) * 1000)
    measure = f"use_tool by FastMCP's client, {transport}, {mode}"
    return Row(measure, "ms", Sample(times[0]), PEER, Sample(times[1]))


async def _ticket(client: Client[ClientTransport], server: Ours) -> str:
    lesson = (await client.call_tool(*learning(server))).content[0]
    assert isinstance(lesson, TextContent)
    return lesson.text.rstrip().rpartition("ticket: ")[2]


def _to_ours(server: Ours, transport: str) -> ClientTransport:
    if transport == "HTTP":
        headers = {"Authorization": f"Bearer {server.folder.token()}"}
        return StreamableHttpTransport(f"http://127.0.0.1:{server.port}/mcp", headers=headers)
    return StdioTransport(server.bridge[0], server.bridge[1:])


def _to_bare(bare: Bare, transport: str) -> ClientTransport:
    if transport == "HTTP":
        return StreamableHttpTransport(f"http://127.0.0.1:{bare.port}/mcp")
    return StdioTransport(bare.command[0], bare.command[1:], env=bare.environment)
