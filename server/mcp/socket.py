"""The local door: one MCP session per connection on the Unix socket of the data folder, as over stdio."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.abc import SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, RequestId, jsonrpc_message_adapter
from pydantic import ValidationError

from engine.errors import Invalid, Problem
from engine.values import Principal
from server.mcp.house import House, Session
from server.stdio import WIRE
from server.strict_json import BadJson, check_json, check_message

logger = logging.getLogger(__name__)

OPENING_BYTES = 4096
OPENING_SECONDS = 10.0
CHUNK = 64 * 1024


@asynccontextmanager
async def serve_socket(server: Server[Session], house: House, path: Path) -> AsyncGenerator[None]:
    """Listen on `path` (mode 0600) while the block runs; leaving it ends every connection and removes the socket.

    A file left at `path` by a server that died is replaced: whoever calls this holds the lock of the data folder.
    """
    listener = await anyio.create_unix_listener(path, mode=0o600)

    async def handle(stream: SocketStream) -> None:
        async with stream:
            try:
                await _serve(server, house, stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                logger.debug("a local connection broke off")
            except Exception:
                # One connection's defect is not the end of the others.
                logger.exception("a local connection failed")

    try:
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, handle)
            yield
            group.cancel_scope.cancel()
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _serve(server: Server[Session], house: House, stream: SocketStream) -> None:
    lines = Lines(stream, OPENING_BYTES)
    try:
        with anyio.fail_after(OPENING_SECONDS):
            opening = await lines.next()
        if opening is None:
            return
        principal = _principal(house, opening)
    except TimeoutError:
        return await _answer(stream, error="no opening line came; upgrade the bridge")
    except TooLong:
        return await _answer(stream, error=f"the opening line is longer than {OPENING_BYTES} bytes")
    except Problem as problem:
        return await _answer(stream, error=problem.message)
    await _answer(stream, version=house.version)
    lines.limit = house.settings.limits.max_request_bytes
    inbound_send, inbound = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outbound, outbound_receive = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as group:
        group.start_soon(_read, lines, inbound_send, outbound.clone())
        group.start_soon(_write, stream, outbound_receive)
        await serve_dual_era_loop(server, inbound, outbound, lifespan_state=Session(principal))
        group.cancel_scope.cancel()


def _principal(house: House, opening: bytes) -> Principal:
    try:
        check_json(opening)
        said = cast("dict[str, Any]", json.loads(opening))
        wire, user = said["upstairs"], said.get("user")
    except (BadJson, KeyError, TypeError, AttributeError):
        raise Invalid("the opening line is not one of this wire; connect with `upstairs stdio`") from None
    if wire != WIRE:
        raise Invalid(f"the bridge speaks form {wire!r} of this wire, this server form {WIRE}; upgrade the older one")
    if user is not None and not isinstance(user, str):
        raise Invalid("`user` of the opening line must be a name or null")
    return house.local_user(user)


async def _answer(stream: SocketStream, **fields: str) -> None:
    await stream.send(json.dumps({"upstairs": WIRE, **fields}).encode() + b"\n")


class TooLong(Exception):
    """A line is longer than the limit; it has been skipped to its end."""


class Lines:
    """The lines of a byte stream, none held beyond `limit` bytes."""

    def __init__(self, stream: SocketStream, limit: int) -> None:
        self.limit = limit
        self._stream = stream
        self._buffer = bytearray()
        self._searched = 0

    async def next(self) -> bytes | None:
        """Return the next line without its end, or None when the stream has ended.

        Raises:
            TooLong: the line was longer than the limit; the one behind it can be read.
        """
        too_long = False
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > self.limit:
                too_long = True
                self._forget(self._searched)
            try:
                self._buffer += await self._stream.receive(CHUNK)
            except anyio.EndOfStream:
                return None
        line = bytes(self._buffer[:end])
        self._forget(end + 1)
        if too_long or len(line) > self.limit:
            raise TooLong
        return line

    def _forget(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0


async def _read(
    lines: Lines,
    inbound: MemoryObjectSendStream[SessionMessage | Exception],
    outbound: MemoryObjectSendStream[SessionMessage],
) -> None:
    """Hand each line on as a message, and answer those that are none."""
    async with inbound, outbound:
        while True:
            line: bytes | None = None
            try:
                line = await lines.next()
                if line is None:
                    return
                if not line.strip():
                    continue
                await anyio.to_thread.run_sync(check_message, line) if len(line) > CHUNK else check_message(line)
                await inbound.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))
            except TooLong:
                message = f"the message is longer than {lines.limit} bytes; send less, or upload files over HTTP"
                await outbound.send(_error(INVALID_REQUEST, message, None))
            except BadJson as error:
                await outbound.send(_error(PARSE_ERROR if error.syntax else INVALID_REQUEST, str(error), None))
            except ValidationError:
                message = "the message is no JSON-RPC request, notification or response"
                await outbound.send(_error(INVALID_REQUEST, message, _request_id(line)))


def _request_id(line: bytes | None) -> RequestId | None:
    value = json.loads(line or b"null")
    found = cast("dict[str, Any]", value).get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def _error(code: int, message: str, request_id: RequestId | None) -> SessionMessage:
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message)))


async def _write(stream: SocketStream, outbound: MemoryObjectReceiveStream[SessionMessage]) -> None:
    async with outbound:
        async for item in outbound:
            text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            await stream.send(text.encode() + b"\n")
