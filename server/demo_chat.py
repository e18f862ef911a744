"""The demonstration's chat client: the official MCP client over `upstairs stdio`, as desktop clients use it."""

import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from engine.errors import Problem, Unavailable

READ_S = 60.0
WAIT_S = 20.0
OVER = frozenset({"completed", "failed", "cancelled"})


class Refused(Problem):
    """A tool said no; the message is the tool's."""

    code = "refused"


class Chat:
    """One MCP session; tools of skills are learned before they are used, as a model does it."""

    def __init__(self, client: Client) -> None:
        """Take a connected client."""
        self._client = client
        self._tickets: dict[str, str] = {}

    async def tools(self) -> list[str]:
        """Return the names of the tools that the client sees."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Return the structured answer of a tool, or its text under `text`.

        Raises:
            Refused: the tool answered with an error.
        """
        result = await self._client.call_tool(tool, arguments)
        text = "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))
        if result.is_error:
            raise Refused(text)
        return cast("dict[str, Any]", result.structured_content or {"text": text})

    async def learn(self, skill: str) -> str:
        """Learn a skill and return the ticket that its lesson ends with."""
        lesson = (await self.call(f"learn_{skill}"))["text"]
        self._tickets[skill] = lesson.rstrip().rpartition("ticket: ")[2]
        return self._tickets[skill]

    async def use(self, skill: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Use a tool of a skill, which is learned first."""
        ticket = self._tickets.get(skill) or await self.learn(skill)
        return await self.call("use_tool", ticket=ticket, tool=tool, arguments=arguments)

    async def audit(self, run_id: str) -> list[dict[str, Any]]:
        """Return the audit records of a run."""
        records: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = await self.use("processes", "export_audit", run_id=run_id, after=after, limit=500)
            records += [json.loads(line) for line in page["jsonl"].splitlines()]
            after = page["next_after"]
        return records

    async def views(self, run_id: str, after: int, seconds: float, what: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the run each time something has happened behind `after`, the last time when it is over.

        Raises:
            Unavailable: nothing happened for `seconds`; the message says what was waited for and where to look.
        """
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            view = await self.call("get_run", run_id=run_id, after=after, wait_s=min(WAIT_S, left))
            if view["events"] or view["status"] in OVER:
                until = time.monotonic() + seconds
                after = view["next_after"]
                yield view
                if view["status"] in OVER and not view["more"]:
                    return
            elif time.monotonic() >= until:
                raise Unavailable(
                    f"{what} did not go on for {seconds:.0f} s: run {run_id} is {view['status']} at "
                    f"{view['position'] or 'its start'} and waits for {view['waits_for'] or 'nothing'}; "
                    f"see {view['url']}"
                )

    async def ended(self, run_id: str, seconds: float, what: str) -> dict[str, Any]:
        """Return the run once it is over; raises as `views`."""
        views = [view async for view in self.views(run_id, 0, seconds, what)]
        return views[-1]


@asynccontextmanager
async def connect(data: Path, log: Path, user: str | None = None) -> AsyncGenerator[Chat]:
    """Give a session with the server of the data folder over the standard streams of `upstairs stdio`.

    Raises:
        Problem: what was raised inside the block, without the groups that the client's tasks put around it.
        Unavailable: the session broke off, or an answer did not come in time.
    """
    arguments = ["-P", "-m", "server.cli", "stdio", "--data", str(data)]
    arguments += ["--as", user] if user is not None else []
    parameters = StdioServerParameters(command=sys.executable, args=arguments)
    with log.open("a", encoding="utf-8") as errors:
        try:
            async with Client(stdio_client(parameters, errors), read_timeout_seconds=READ_S) as client:
                yield Chat(client)
        except (MCPError, BaseExceptionGroup) as error:
            cause = _only(error)
            if isinstance(cause, MCPError):
                raise Unavailable(f"the MCP session broke off ({cause}); see {log} and server.log beside it") from error
            if not isinstance(cause, Problem):
                raise
            raise cause from error


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
