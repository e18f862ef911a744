"""The server without workers of its own, as a process: `python -m benchmarks.stream_server DATA`."""

import asyncio
import signal
import sys
from pathlib import Path

from server.data_folder import open_data_folder
from server.serve import bind, running
from server.settings_sources import load_settings


async def serve(data: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    loaded = load_settings({"data": str(data)}, folder=data)
    folder = open_data_folder(data)
    with folder.lock("server"):
        listener = bind(loaded)
        settings = loaded.settings.model_copy(update={"port": listener.getsockname()[1]})
        async with running(settings, folder, listener, working=False):
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
