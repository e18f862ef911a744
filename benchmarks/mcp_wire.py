"""The lightest MCP clients that could be written: bytes into a socket or a pipe, bytes out, one call at a time.

What a client of the field costs (FastMCP's has some 5 ms of CPU a call) would hide what the servers cost.
"""

import json
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, cast

from engine.errors import Invalid

Era = Literal["2025-11-25", "2026-07-28"]
ERAS: tuple[Era, ...] = ("2025-11-25", "2026-07-28")
OLD: Era = "2025-11-25"
_ABOUT = {"name": "benchmark", "version": "1"}


class Wire(ABC):
    """One connection that speaks one protocol era."""

    def __init__(self, era: Era) -> None:
        self._era: Era = era
        self._number = 0

    def open(self) -> None:
        """Shake hands where the era has that."""
        if self._era == OLD:
            self.call("initialize", {"protocolVersion": OLD, "capabilities": {}, "clientInfo": _ABOUT})
            self._notify({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, method: str, params: Mapping[str, Any]) -> bytes:
        """Return the JSON text of the whole answer to a request.

        Raises:
            Invalid: the answer is an error, or says that the tool failed: not what is to be measured.
        """
        self._number += 1
        said = dict(params)
        if self._era != OLD:
            said["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": self._era,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": _ABOUT,
            }
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": said}
        answer = self._exchange(message, method, str(params.get("name", "")))
        # Looked for in the bytes: reading the JSON would cost the client more than the rest of the call.
        if b'"isError":true' in answer or b'"result":' not in answer[:80]:
            raise Invalid(f"{method} was answered with {answer[:500].decode(errors='replace')}")
        return answer

    def tool(self, name: str, arguments: Mapping[str, Any]) -> bytes:
        """Return the answer of a tool."""
        return self.call("tools/call", {"name": name, "arguments": dict(arguments)})

    def text(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Return the first text of a tool's answer."""
        answer = cast("dict[str, Any]", json.loads(self.tool(name, arguments)))
        return str(answer["result"]["content"][0]["text"])

    @abstractmethod
    def close(self) -> None:
        """End the connection."""

    @abstractmethod
    def wake(self) -> None:
        """Make ready for calls after a pause."""

    @abstractmethod
    def _exchange(self, message: Mapping[str, Any], method: str, name: str) -> bytes: ...

    @abstractmethod
    def _notify(self, message: Mapping[str, Any]) -> None: ...


class HttpWire(Wire):
    """Streamable HTTP over one connection that is kept."""

    def __init__(self, era: Era, port: int, *, token: str = "", path: str = "/mcp") -> None:
        super().__init__(era)
        self._port = port
        self._socket = self._connect()
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {era}\r\n"
        )
        if token:
            self._head += f"Authorization: Bearer {token}\r\n"
        self._session = ""
        self._left = b""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def wake(self) -> None:
        """Connect anew: servers close a connection that was idle for a few seconds."""
        self._socket.close()
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _exchange(self, message: Mapping[str, Any], method: str, name: str) -> bytes:
        head, body = self._post(message, method, name)
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"mcp-session-id:"):
                self._session = f"Mcp-Session-Id: {line.partition(b':')[2].strip().decode()}\r\n"
        if b"text/event-stream" in head.lower():
            # The answer is the last event; one before it may carry a priming id alone.
            return body.rstrip().rpartition(b"data: ")[2]
        return body

    def _notify(self, message: Mapping[str, Any]) -> None:
        self._post(message, str(message["method"]), "")

    def _post(self, message: Mapping[str, Any], method: str, name: str) -> tuple[bytes, bytes]:
        body = json.dumps(message).encode()
        head = f"{self._head}{self._session}Content-Length: {len(body)}\r\n"
        if self._era != OLD:
            head += f"Mcp-Method: {method}\r\n" + (f"Mcp-Name: {name}\r\n" if name else "")
        self._socket.sendall(f"{head}\r\n".encode() + body)
        answered = self._until(b"\r\n\r\n")
        fields = answered.lower()
        if b"transfer-encoding: chunked" in fields:
            return answered, self._chunks()
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        return answered, self._take(length)

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(self._until(b"\r\n"), 16):
            parts.append(self._take(size))
            self._take(2)
        self._take(2)
        return b"".join(parts)

    def _until(self, end: bytes) -> bytes:
        while (at := self._left.find(end)) < 0:
            self._left += self._receive()
        found, self._left = self._left[:at], self._left[at + len(end) :]
        return found

    def _take(self, size: int) -> bytes:
        while len(self._left) < size:
            self._left += self._receive()
        found, self._left = self._left[:size], self._left[size:]
        return found

    def _receive(self) -> bytes:
        if data := self._socket.recv(256 * 1024):
            return data
        raise Invalid("the server closed the connection in the middle of an answer")


class PipeWire(Wire):
    """One process, its standard input and output."""

    def __init__(self, era: Era, command: list[str], environment: Mapping[str, str]) -> None:
        super().__init__(era)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(environment)
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def close(self) -> None:
        """End the process by the end of its input."""
        self._in.close()
        self._out.close()
        self._process.wait(30)

    def wake(self) -> None:
        """Do nothing: a pipe stays open."""

    def _exchange(self, message: Mapping[str, Any], method: str, name: str) -> bytes:
        self._notify(message)
        while line := self._out.readline():
            if b'"id":' in line:
                return line
        raise Invalid(f"the process of {self._process.args!r} ended in the middle of a call")

    def _notify(self, message: Mapping[str, Any]) -> None:
        self._in.write(json.dumps(message).encode() + b"\n")
        self._in.flush()
