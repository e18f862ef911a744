"""A house for agents with tools that do what no tool should."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from providers.scripted import Line
from server.data_folder import open_data_folder
from server.platform import open_platform
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from tests.server.agent_house import PATIENCE_S, SKILLS, AgentHouse, call, calling, settings_of

HOSTILE = Path(__file__).parent / "skills"
FOLDERS = (str(SKILLS), str(HOSTILE))
LEARN_HOSTILE: Line = calling(call("learn_hostile"))
BOTH = ("desk", "hostile")


@asynccontextmanager
async def hostile_house(root: Path, *, working: bool = True) -> AsyncGenerator[AgentHouse]:
    """Give a house as `agent_house` does, with both skills."""
    settings, folder = settings_of(root).model_copy(update={"skills": FOLDERS}), open_data_folder(root)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        if working:
            await stack.enter_async_context(workers(platform))
        yield AgentHouse(platform)


async def until_line(file: Path, line: str) -> None:
    """Wait until a line stands in a file."""
    with anyio.fail_after(PATIENCE_S):
        while not file.exists() or line not in file.read_text().splitlines():
            await anyio.sleep(0.01)
