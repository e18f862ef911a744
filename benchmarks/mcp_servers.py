"""The servers that are measured: the product's on generated skills, bare FastMCP beside it; each a process."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mcp_wire import Era, HttpWire
from benchmarks.stdio_start import stop
from engine.errors import Unavailable
from engine.values import PLATFORM_ROLES, Principal
from server.data_folder import DataFolder, open_data_folder
from server.stdio import reach_server
from skills.catalogue import Catalogue
from skills.core import CORE_TOOLS
from skills.discovery import MAX_LEARN
from skills.toolbox import Toolbox

TRIVIAL = "trivial"
FIND_TOOLS = "find_tools"
START_S = 60.0

_SKILL = """---
name: {name}
description: {description}
---
{body}
"""

_INSTRUCTIONS = """Ask for one subject at a time and read what comes back before asking again. The registers are kept by
different offices, which name the same subject differently: try the other names before you conclude that there is
nothing. Say in the answer which register a statement comes from, and of which day it is."""

_HEAD = '''"""Tools of a generated skill."""

from typing import Annotated

from pydantic import Field

from skills.services import ToolContext
from skills.tool import tool
'''

_COUNT = '''

@tool()
async def count(ctx: ToolContext, text: Annotated[str, Field(description="what to count", min_length=1)]) -> int:
    """Count the words of a text."""
    return len(text.split())
'''

_LOOK_UP = '''

@tool()
async def look_up_{number}(
    ctx: ToolContext,
    subject: Annotated[str, Field(description="what the record is about, as its register names it")],
    since: Annotated[str | None, Field(description="a day as YYYY-MM-DD; earlier records are left out")] = None,
    limit: Annotated[int, Field(description="how many records at most", ge=1, le=100)] = 20,
    exact: Annotated[bool, Field(description="whether the subject must be named word for word")] = False,
) -> dict[str, str]:
    """Look records of a register up. The newest stand first; what the caller may not read is left out."""
    return {{"subject": subject}}
'''


def built_in() -> tuple[int, int]:
    """Return how many skills come with the product, and how many tools `/mcp/all` then lists."""
    catalogue = Catalogue.load()
    operator = Principal(tenant="local", subject="benchmark", roles=PLATFORM_ROLES)
    flat = Toolbox(catalogue, CORE_TOOLS).flat(operator)
    return len(catalogue.visible(operator)), sum(spec.name != FIND_TOOLS for spec in flat)


def write_skills(root: Path, *, skills: int, tools: int) -> Path:
    """Write folders of skills with `tools` tools together, spread evenly; the first holds the trivial tool."""
    for place in range(skills):
        name = TRIVIAL if place == 0 else f"register-{place:02}"
        own = tools // skills + (place < tools % skills)
        fillers = [_LOOK_UP.format(number=number) for number in range(own - (place == 0))]
        description = (
            f"Records of the {name} office, who is entered, since when and on whose word, "
            "with the papers behind each entry and what was struck out later."
        )
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_text(_SKILL.format(name=name, description=description, body=_INSTRUCTIONS))
        (folder / "tools.py").write_text(_HEAD + (_COUNT if place == 0 else "") + "".join(fillers))
    return root


@dataclass(frozen=True)
class Ours:
    """A running server of the product."""

    name: str
    folder: DataFolder
    skills: int
    tools: int

    @property
    def pid(self) -> int:
        """The process."""
        return self.folder.read_server().pid

    @property
    def port(self) -> int:
        """Where it speaks HTTP."""
        port = self.folder.read_server().port
        assert port is not None
        return port

    def http(self, era: Era, path: str = "/mcp") -> HttpWire:
        """Return an open connection over HTTP."""
        wire = HttpWire(era, self.port, token=self.folder.token(), path=path)
        wire.open()
        return wire

    @property
    def bridge(self) -> list[str]:
        """The command by which a desktop client reaches it."""
        return [sys.executable, "-P", "-m", "server.stdio", "--data", str(self.folder.root)]


def learning(server: Ours) -> tuple[str, dict[str, Any]]:
    """Return the call that teaches the trivial skill: where there are many skills, `learn` serves all."""
    return (f"learn_{TRIVIAL}", {}) if server.skills <= MAX_LEARN else ("learn", {"skill": TRIVIAL})


@contextmanager
def ours(root: Path, name: str, *, skills: int, tools: int) -> Generator[Ours]:
    """Start the product's server with all its parts on an empty folder, with `skills` and `tools` in all."""
    own_skills, own_tools = built_in()
    root.mkdir()
    write_skills(root / "skills", skills=skills - own_skills, tools=tools - own_tools)
    config = root / "upstairs.toml"
    config.write_text(f'skills = ["{root / "skills"}"]\nport = 0\nlog_level = "warning"\n')
    folder = open_data_folder(root / "data")
    try:
        reach_server(folder, config).close()
        yield Ours(name, folder, skills, tools)
    finally:
        if folder.server_file.exists():
            stop(folder)


@dataclass(frozen=True)
class Bare:
    """A running FastMCP over HTTP, and the command that runs the same over its standard streams."""

    tools: int
    pid: int
    port: int
    command: list[str]
    environment: dict[str, str]


@contextmanager
def bare(tools: int) -> Generator[Bare]:
    """Start the peer with `tools` tools."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-m", "benchmarks.mcp_peer", str(tools)]
    quiet = {**os.environ, "FASTMCP_LOG_LEVEL": "ERROR"}
    with subprocess.Popen([*command, str(port)], env=quiet, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield Bare(tools, process.pid, port, command, quiet)
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise Unavailable(f"the peer did not answer on port {port} within {START_S:.0f} s")
