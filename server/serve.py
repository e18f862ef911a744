"""The one server of a data folder: Temporal's child, the workers, MCP over HTTP and the local socket, the pages."""

import asyncio
import contextlib
import importlib
import logging
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server

from content.erasure import sweep_all
from engine.errors import Conflict, Invalid, Problem
from server.data_folder import DataFolder, open_data_folder
from server.http import make_app
from server.hub_links import linked
from server.mcp.house import Session
from server.mcp.socket import serve_socket
from server.mcp.surface import make_mcp_server
from server.platform import Platform, open_platform
from server.settings import Settings
from server.settings_sources import Loaded
from server.temporal_child import EmbeddedTemporal
from server.worker import workers

log = logging.getLogger(__name__)

RECONCILE_S = 10.0
STOP_S = 3


async def serve(loaded: Loaded, *, ready: Callable[[Platform], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        Conflict: another server runs on the folder, or the port is taken.
        Problem: any other part can't be opened; nothing is left running.
    """
    folder = open_data_folder(loaded.settings.data)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with folder.lock("server"):
        listener = bind(loaded)
        settings = loaded.settings.model_copy(update={"port": listener.getsockname()[1]})
        register_scripts(settings)
        async with running(settings, folder, listener) as platform:
            if ready is not None:
                ready(platform)
            await stop.wait()


@asynccontextmanager
async def running(
    settings: Settings, folder: DataFolder, listener: socket.socket, *, working: bool = True
) -> AsyncGenerator[Platform]:
    """Run every part of the server while the block runs. `working` false leaves the work to workers of their own."""
    async with AsyncExitStack() as stack:
        if settings.temporal.mode == "embedded":
            await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        hub, database = platform.hub, platform.database
        await stack.enter_async_context(linked(hub, database, platform.keys, folder, serves=True))
        if working:
            await stack.enter_async_context(workers(platform))
        await stack.enter_async_context(_background(_reconcile(platform)))
        mcp = make_mcp_server(platform)
        await stack.enter_async_context(_http(platform, mcp, listener))
        path = folder.socket_path()
        await stack.enter_async_context(serve_socket(mcp, platform, path))
        folder.write_server(port=settings.port, socket=path, version=platform.version)
        stack.callback(folder.forget_server)
        yield platform


def bind(loaded: Loaded) -> socket.socket:
    """Return the listening socket; a default port that is taken gives way to a free one, a chosen one does not."""
    settings = loaded.settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for port in (settings.port, 0):
        # Named, or asyncio does not take it for TCP and each answer waits 40 ms for the client to acknowledge its head.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
        except OSError as error:
            listener.close()
            if loaded.origins["port"].kind == "default" and port:
                continue
            raise Conflict(
                f"port {port} on {settings.host} can't be used ({error.strerror}); choose another with --port, "
                "or --port 0 for a free one",
                port=port,
            ) from error
        listener.listen(128)
        listener.setblocking(False)
        return listener
    raise Conflict(f"no port on {settings.host} is free")


def register_scripts(settings: Settings) -> None:
    """Import the modules that make scripted models known.

    Raises:
        Invalid: a module can't be imported or has no `register()`.
    """
    for name in settings.models.scripts:
        try:
            importlib.import_module(name).register()
        except (ImportError, AttributeError) as error:
            raise Invalid(f"models.scripts names {name!r}, which can't be used: {error}", module=name) from error


@asynccontextmanager
async def _http(platform: Platform, mcp: Server[Session], listener: socket.socket) -> AsyncGenerator[None]:
    config = uvicorn.Config(
        make_app(platform, server=mcp),
        log_config=None,
        access_log=False,
        http="httptools",
        lifespan="on",
        timeout_graceful_shutdown=STOP_S,
        limit_concurrency=platform.settings.limits.max_concurrent_requests,
    )
    server = _Server(config)
    async with _background(server.serve(sockets=[listener])):
        await server.up.wait()
        try:
            yield
        finally:
            server.should_exit = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * STOP_S):
                    await server.down.wait()


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: stopping is ours, in the order of the parts."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.down = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and say so."""
        await super().shutdown(sockets)
        self.down.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone."""
        yield


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _reconcile(platform: Platform) -> None:
    """Close, again and again, what a crash has left between the store and Temporal."""
    while True:
        try:
            touched = await platform.control.reconcile()
            await sweep_all(platform.database, platform.blobs)
            if touched:
                log.warning("reconciled %s", ", ".join(touched))
        except Problem as problem:
            log.warning("the reconciler will try again: %s", problem.message)
        except Exception:
            log.exception("the reconciler will try again")
        await asyncio.sleep(RECONCILE_S)
