"""The hub of one machine: workers join the server of their data folder over a local socket.

The server listens on `run/hub.sock` (mode 0600 in a folder of its owner), or, where there are no such sockets, on a
loopback port; `run/hub.json` says where. Either side proves that it can read the data folder's token before anything
else is said, and the token itself is never sent:

    server: {"upstairs_hub": 2, "nonce": S}
    worker: {"nonce": C, "proof": HMAC(token, "worker S C")}
    server: {"proof": HMAC(token, "server S C")}

From then on each line is a frame (`server.hub_outlet`), in both directions. A worker that loses its server tries
again, and then tells the newest state of what went on meanwhile.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from engine.errors import Denied, Invalid, Problem
from server.data_folder import DataFolder, write_private
from server.hub import Hub
from server.hub_outlet import Outlet, decode, lines
from server.hub_values import Frame

logger = logging.getLogger(__name__)

FORM = 2
"""The number of this wire's form; both sides name it."""

PROOF_S = 10.0
"""How long either side may take to prove itself."""

MOST_BUFFERED = 1024 * 1024
"""How much may wait for a peer, in bytes, before it gets the newest state instead."""

MOST_LINE = 256 * 1024
FRAME = 64 * 1024
"""How long a line may be, and how long those are that are sent, in bytes."""

RETRY_S = (0.05, 1.0)
"""How long a worker waits before it tries again: at first, and at most."""

HAS_UNIX = hasattr(socket, "AF_UNIX")


def hub_file(folder: DataFolder) -> Path:
    """Return the file that says where the hub listens."""
    return folder.run / "hub.json"


class SocketLink(asyncio.Protocol):
    """One connection between two hubs, seen from either end; `outlet` is its way out."""

    def __init__(self, hub: Hub, outlet: Outlet, token: str, *, serves: bool) -> None:
        """Begin unconnected and unproven."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.proven = False
        self._hub, self._outlet = hub, outlet
        self._token = token.encode()
        self._serves = serves
        self._mine = secrets.token_hex(16)
        self._theirs = ""
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None

    def hang_up(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to prove oneself."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MOST_BUFFERED)
        self._patience = asyncio.get_running_loop().call_later(PROOF_S, self._transport.abort)
        if self._serves:
            self._say(upstairs_hub=FORM, nonce=self._mine)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go; the outlet remembers what is to be told."""
        if self._patience is not None:
            self._patience.cancel()
        self._outlet.shut()
        if self._serves:
            self._hub.leave(self._outlet)
        else:
            self._hub.hears = False
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        """Stop telling single steps: the peer does not keep up."""
        self._outlet.shut()

    def resume_writing(self) -> None:
        """Tell what it has missed, and go on."""
        self._outlet.open(self._write)

    def data_received(self, data: bytes) -> None:
        """Take whole lines; the rest waits for its end."""
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in whole:
                if self.proven:
                    self._hub.hear(decode(line), self._outlet)
                else:
                    self._prove(line)
            if len(self._buffer) > MOST_LINE:
                raise Invalid(f"a line of the hub is longer than {MOST_LINE} bytes")
        except Problem as problem:
            logger.warning("a connection of the hub is cut: %s", problem.message)
            self.hang_up()

    def _prove(self, line: bytes) -> None:
        said = _object(line)
        theirs, proof = said.get("nonce"), said.get("proof")
        if self._serves:
            self._theirs = str(theirs)
            self._check("worker", proof)
            self._say(proof=self._proof("server"))
        elif not self._theirs:
            if said.get("upstairs_hub") != FORM:
                raise Invalid(f"the server's hub does not speak form {FORM}; upgrade the older of the two")
            self._theirs = str(theirs)
            self._say(nonce=self._mine, proof=self._proof("worker"))
            return
        else:
            self._check("server", proof)
        self._open()

    def _open(self) -> None:
        self.proven = True
        assert self._patience is not None
        self._patience.cancel()
        if self._serves:
            self._hub.join(self._outlet)
        else:
            self._hub.hears = True
            # The server may be a new one, which knows nothing of the turns under way.
            self._outlet.again()
        self._outlet.open(self._write)

    def _check(self, side: str, proof: Any) -> None:
        if not hmac.compare_digest(self._proof(side).encode(), str(proof).encode()):
            raise Denied("the other side does not hold the token of this data folder")

    def _proof(self, side: str) -> str:
        nonces = (self._mine, self._theirs) if self._serves else (self._theirs, self._mine)
        return hmac.digest(self._token, " ".join((side, *nonces)).encode(), "sha256").hex()

    def _say(self, **said: str | int) -> None:
        assert self._transport is not None
        self._transport.write(json.dumps(said).encode() + b"\n")

    def _write(self, frames: Sequence[Frame]) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(line for frame in frames for line in lines(frame, FRAME)))


def _object(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Invalid("the opening of a connection of the hub is no JSON object")
    return cast("dict[str, Any]", said)


@asynccontextmanager
async def serve_hub(hub: Hub, folder: DataFolder, *, unix: bool = HAS_UNIX) -> AsyncGenerator[None]:
    """Let workers join `hub` while the block runs; whoever calls this holds the lock of the data folder."""
    token = folder.token()
    links: set[SocketLink] = set()

    def connected() -> SocketLink:
        # Workers are told which runs changed; the pieces of turns have their readers here.
        link = SocketLink(hub, Outlet(hub, takes_deltas=False), token, serves=True)
        links.add(link)
        link.ended.add_done_callback(lambda _: links.discard(link))
        return link

    loop = asyncio.get_running_loop()
    path = folder.socket_path().with_name("hub.sock")
    if unix:
        server = await loop.create_unix_server(connected, sock=_unix_listener(path))
    else:
        server = await loop.create_server(connected, "127.0.0.1", 0)
    where = {"socket": str(path)} if unix else {"port": server.sockets[0].getsockname()[1]}
    write_private(hub_file(folder), json.dumps(where).encode())
    hub.hears = True
    try:
        yield
    finally:
        hub.hears = False
        hub_file(folder).unlink(missing_ok=True)
        server.close()
        for link in tuple(links):
            link.hang_up()
        await server.wait_closed()
        path.unlink(missing_ok=True)


def _unix_listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@asynccontextmanager
async def join_hub(hub: Hub, folder: DataFolder) -> AsyncGenerator[None]:
    """Keep `hub` joined to that of the folder's server while the block runs, whenever there is one."""
    outlet = Outlet(hub, takes_deltas=True)
    hub.join(outlet)
    keeping = asyncio.ensure_future(_keep_joined(hub, folder, outlet))
    try:
        yield
    finally:
        hub.leave(outlet)
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def _keep_joined(hub: Hub, folder: DataFolder, outlet: Outlet) -> None:
    least, most = RETRY_S
    wait = least
    while True:
        link = SocketLink(hub, outlet, folder.token(), serves=False)
        try:
            await _connect(_where(hub_file(folder)), link)
            await link.ended
        except (OSError, ValueError, KeyError) as error:
            logger.debug("the hub of %s is not there: %s", folder.root, error)
        finally:
            link.hang_up()
        wait = least if link.proven else min(2 * wait, most)
        await asyncio.sleep(wait)


def _where(file: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))


async def _connect(where: dict[str, Any], link: SocketLink) -> None:
    loop = asyncio.get_running_loop()
    if "socket" in where:
        await loop.create_unix_connection(lambda: link, str(where["socket"]))
    else:
        await loop.create_connection(lambda: link, "127.0.0.1", int(where["port"]))
