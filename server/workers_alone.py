"""The `worker` command: workers in a process of their own, on the server's Temporal and database."""

import asyncio
import signal
from collections.abc import Callable

from server.data_folder import open_data_folder
from server.hub_links import linked
from server.platform import open_platform
from server.serve import register_scripts
from server.settings_sources import Loaded
from server.worker import workers


async def work(loaded: Loaded, *, ready: Callable[[], None]) -> None:
    """Work until SIGINT or SIGTERM; the embedded Temporal belongs to the server, which must run."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    register_scripts(loaded.settings)
    folder = open_data_folder(loaded.settings.data)
    async with (
        open_platform(loaded.settings, folder) as platform,
        linked(platform.hub, platform.database, platform.keys, folder, serves=False),
        workers(platform),
    ):
        ready()
        await stop.wait()
