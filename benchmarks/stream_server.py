"""The server without workers of its own, as a process: `python -m benchmarks.stream_server DATA`."""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from server.data_folder import open_data_folder
from server.long_lived import loading, run
from server.serve import bind, running
from server.settings_sources import load_settings


async def serve(data: Path, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    loaded = load_settings({"data": str(data)}, folder=data)
    folder = open_data_folder(data)
    with folder.lock("server"):
        listener = bind(loaded)
        settings = loaded.settings.model_copy(update={"port": listener.getsockname()[1]})
        async with running(settings, folder, listener, working=False):
            ready()
            await stop.wait()


if __name__ == "__main__":
    with ExitStack() as start:
        start.enter_context(loading())
        run(serve(Path(sys.argv[1]), start.close))
