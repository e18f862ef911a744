"""MCP over HTTP: one server at its paths, behind the guard."""

from contextlib import AbstractAsyncContextManager

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from server.mcp.house import PRINCIPAL, House, Session


class Endpoint:
    """An ASGI application that speaks Streamable HTTP; `run` must be entered while it serves."""

    def __init__(self, server: Server[Session], house: House) -> None:
        """Serve `server`; sessions of the older eras live here."""
        self._catalogue = house.toolbox.catalogue
        self._sessions = StreamableHTTPSessionManager(
            server,
            max_request_body_size=house.settings.limits.max_request_bytes,
            # Host and Origin are the guard's: it stands in front of every path, not of this one alone.
            security_settings=None,
        )

    def run(self) -> AbstractAsyncContextManager[None]:
        """Hold the sessions while the block runs."""
        return self._sessions.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            NotFound: the path names a skill that does not exist for the caller.
        """
        skill = scope.get("path_params", {}).get("skill")
        if skill is not None:
            self._catalogue.get(scope[PRINCIPAL], skill)
        await self._sessions.asgi_app(scope, receive, send)
