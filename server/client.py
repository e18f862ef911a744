"""The command line's way in: one MCP session over the local socket of a data folder, like any desktop client."""

import json
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from engine.errors import Problem, Unavailable
from server.data_folder import DataFolder
from server.stdio import greet, reach_server

PROTOCOL = "2025-11-25"
ANSWER_S = 120.0


class Refused(Problem):
    """A tool answered with an error; the message is the tool's."""

    code = "refused"


class LocalClient:
    """A session of tool calls, one after the other; made by `local_client`."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a greeted connection."""
        connection.settimeout(ANSWER_S)
        self._lines = connection.makefile("rwb")
        self._number = 0

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the structured result of a tool, or its text under `text`.

        Raises:
            Refused: the tool answered with an error.
        """
        result = self._request("tools/call", {"name": tool, "arguments": arguments})
        text = "\n".join(part.get("text", "") for part in result.get("content", []))
        if result.get("isError"):
            raise Refused(_sentence(text))
        return cast("dict[str, Any]", result.get("structuredContent") or {"text": text})

    def use(self, skill: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Learn a skill and use one of its tools: what a model does in two turns."""
        lesson = self.call(f"learn_{skill}", {})["text"]
        ticket = lesson.rstrip().rpartition("ticket: ")[2]
        return self.call("use_tool", {"ticket": ticket, "tool": tool, "arguments": arguments})

    def open(self) -> None:
        """Shake hands."""
        about = {"name": "upstairs", "version": "1"}
        self._request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": about})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        while True:
            line = self._lines.readline()
            if not line:
                raise Unavailable("the server closed the connection; the same command works once it is back")
            message = cast("dict[str, Any]", json.loads(line))
            if message.get("id") != self._number or "method" in message:
                continue
            if "error" in message:
                raise Refused(str(message["error"].get("message")))
            return cast("dict[str, Any]", message["result"])

    def _send(self, message: dict[str, Any]) -> None:
        self._lines.write(json.dumps(message).encode() + b"\n")
        self._lines.flush()


def _sentence(text: str) -> str:
    """Return what a tool says without the details behind it, which are JSON for models."""
    message, _, details = text.rpartition("\n")
    return message if message and details.startswith("{") else text


@contextmanager
def local_client(folder: DataFolder, config: Path | None, user: str | None = None) -> Generator[LocalClient]:
    """Give a session with the server of `folder`, which is started when none runs."""
    with reach_server(folder, config) as connection:
        greet(connection, user)
        client = LocalClient(connection)
        client.open()
        yield client
