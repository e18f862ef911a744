"""Bare FastMCP with the tools that ours is measured with: `python -m benchmarks.mcp_peer NUMBER [PORT]`.

Without a port it speaks over its standard streams.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastmcp import FastMCP
from fastmcp.tools import ToolResult
from pydantic import Field

COUNT = "count"
TEXT = "text"


async def count(text: Annotated[str, Field(description="what to count", min_length=1)]) -> int:
    """Count the words of a text."""
    return len(text.split())


async def text(size: Annotated[int, Field(ge=1)]) -> ToolResult:
    """Answer with a text of `size` characters, as a lesson does."""
    return ToolResult(content="a lesson " * (size // 9))


def _filler() -> Callable[..., Awaitable[dict[str, str]]]:
    async def look_up(
        subject: Annotated[str, Field(description="what the record is about, as its register names it")],
        since: Annotated[str | None, Field(description="a day as YYYY-MM-DD; earlier records are left out")] = None,
        limit: Annotated[int, Field(description="how many records at most", ge=1, le=100)] = 20,
        exact: Annotated[bool, Field(description="whether the subject must be named word for word")] = False,
    ) -> dict[str, str]:
        """Look records of a register up. The newest stand first; what the caller may not read is left out."""
        return {"subject": subject}

    return look_up


def peer(number: int) -> FastMCP[None]:
    """Return a server of `number` tools, the two that are called among them."""
    server: FastMCP[None] = FastMCP("bare")
    server.tool(count, name=COUNT)
    server.tool(text, name=TEXT)
    for place in range(number - 2):
        server.tool(_filler(), name=f"register_{place}_look_up")
    return server


if __name__ == "__main__":
    served = peer(int(sys.argv[1]))
    if len(sys.argv) > 2:
        served.run(
            "http", host="127.0.0.1", port=int(sys.argv[2]), show_banner=False, uvicorn_config={"access_log": False}
        )
    else:
        served.run(show_banner=False)
