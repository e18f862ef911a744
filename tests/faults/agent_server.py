"""The server without workers of its own, as a process: `python -m tests.faults.agent_server DATA`.

Its workers are then processes too (`upstairs worker`), so that each of server, worker and Temporal can die alone.
"""

import asyncio
import logging
import sys
from pathlib import Path

from server.data_folder import open_data_folder
from server.serve import bind, register_scripts, running
from server.settings_sources import load_settings


async def serve(data: Path) -> None:
    """Serve until the process is ended."""
    loaded = load_settings({"data": str(data)}, folder=data)
    folder = open_data_folder(data)
    with folder.lock("server"):
        listener = bind(loaded)
        settings = loaded.settings.model_copy(update={"port": listener.getsockname()[1]})
        register_scripts(settings)
        async with running(settings, folder, listener, working=False):
            await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(Path(sys.argv[1])))
