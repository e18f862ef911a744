"""A server process over a small house, as the bridge starts one: `python -m tests.server.flat_server FOLDER`.

With a second argument it does not serve but ends with these words in its log.
"""

import os
import signal
import sys
from pathlib import Path

import anyio

from content.database import Database
from server.data_folder import open_data_folder
from server.mcp.socket import serve_socket
from server.mcp.surface import make_mcp_server
from tests.server.flat import Flat


async def main(root: Path) -> None:
    folder = open_data_folder(root)
    with (root / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    with folder.lock("server"), anyio.open_signal_receiver(signal.SIGTERM) as signals:
        database = Database(f"sqlite:///{folder.database}")
        await database.migrate()
        flat = Flat(database, root)
        async with serve_socket(make_mcp_server(flat), flat, folder.socket_path()):
            folder.write_server(port=None, socket=folder.socket_path(), version=flat.version)
            async for _ in signals:
                break
        folder.forget_server()
        await database.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(" ".join(sys.argv[2:]))
    anyio.run(main, Path(sys.argv[1]))
