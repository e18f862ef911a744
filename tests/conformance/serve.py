"""The product's server with the suite's fixtures beside it: `python -m tests.conformance.serve FOLDER`.

It prints its URL once it answers, and ends when its standard input does. The suite can send no credential, so each
request gets the token here, before the product's own guard checks it.
"""

import sys
import tempfile
from pathlib import Path

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from content.database import Database
from server.http import make_app
from server.mcp.surface import make_mcp_server
from tests.conformance.fixtures import Fixtures
from tests.conformance.jobs import JobControl, Jobs
from tests.server.flat import TOKEN, Flat
from tests.server.served import serve


class Bearing:
    """Adds the token to every request."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {TOKEN}".encode())]}
        await self._app(scope, receive, send)


async def main(root: Path) -> None:
    """Serve until the standard input ends."""
    database = Database(f"sqlite:///{root / 'conformance.db'}")
    await database.migrate()
    flat = Flat(database, root, control=JobControl)
    app = make_app(flat, server=make_mcp_server(flat, extra_providers=[Fixtures(Jobs(flat))]))
    app.add_middleware(Bearing)
    async with serve(app) as served:
        print(f"{served.url}/mcp", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    await database.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(main, Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder))
