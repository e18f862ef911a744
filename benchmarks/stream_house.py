"""The processes of the streaming benchmark: a model, a server, workers, the peer's worker; and a client of them all."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import Client

from benchmarks.figures import process_cpu
from engine.errors import Unavailable
from server import stdio
from server.client import LocalClient
from server.data_folder import DataFolder, open_data_folder
from server.temporal_child import read_running

ROOT = Path(__file__).resolve().parents[1]
START_S = 120.0
SETTINGS = """port = 0
[models]
default = "clock"
[models.routes]
clock = [{{model = "chat/clock", account = "clock"}}]
[models.accounts.clock]
provider = "chat"
base_url = "http://127.0.0.1:{port}/v1"
"""


@dataclass
class Model:
    """The model's port, and the moments at which its clients left before the end."""

    port: int
    aborted: "asyncio.Queue[float]" = field(default_factory=lambda: asyncio.Queue[float]())


@dataclass(frozen=True)
class House:
    """What runs, by the name of its process."""

    folder: DataFolder
    model: Model
    client: Client
    local: LocalClient
    pids: dict[str, int]

    async def start(self, task: str) -> str:
        """Start an agent that hands `task` to the model; return its run's id."""
        given: dict[str, Any] = {"task": task, "model": "clock", "skills": [], "tools": [], "approval": "full"}
        return str((await asyncio.to_thread(self.local.call, "start_agent", given))["run_id"])

    async def stop(self, run_id: str) -> None:
        """Stop an agent as every client does."""
        await asyncio.to_thread(self.local.call, "control_run", {"run_id": run_id, "action": "stop"})

    async def history(self, workflow_id: str) -> int:
        """Return how many events a workflow's history has."""
        return (await self.client.get_workflow_handle(workflow_id).describe()).history_length

    def cpu(self, *names: str) -> float:
        """Return the CPU seconds that processes have used so far."""
        return sum(process_cpu(pid) for name, pid in self.pids.items() if name in names or not names)

    async def pieces(self, run_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Yield the live pieces of a run as a client gets them over HTTP; what is told again is left out."""
        running = self.folder.read_server()
        reading, writing = await asyncio.open_connection("127.0.0.1", running.port, limit=2**24)
        try:
            head = f"GET /runs/{run_id}/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer "
            writing.write(f"{head}{self.folder.token()}\r\n\r\n".encode())
            kind, again = b"", False
            async for line in reading:
                if line.startswith(b"event: "):
                    kind = line[7:].strip()
                elif line.startswith(b"data: ") and kind == b"delta":
                    piece = json.loads(line[6:])
                    if piece["type"] == "text.delta" and not again:
                        yield piece
                    again = piece["type"] == "turn.retold"
                elif line.startswith(b"data: ") and kind == b"end":
                    return
                elif not line.strip():
                    kind = b""
        finally:
            writing.close()


@asynccontextmanager
async def process(*command: str, log: Path, speaks: bool = False) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a Python module as a process while the block runs. `speaks`: its standard output is read."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UPSTAIRS_")}
    with log.open("ab") as errors:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if speaks else errors,
            stderr=errors,
            cwd=log.parent,
            env={**environment, "PYTHONPATH": str(ROOT)},
        )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        try:
            async with asyncio.timeout(20):
                await running.wait()
        except TimeoutError:
            running.kill()
            await running.wait()
        if running.stdout is not None:
            # To its end, or the pipe outlives the event loop.
            await running.stdout.read()


async def until(look: Callable[[], Any], what: str) -> Any:
    """Return what `look` finds, looking again and again.

    Raises:
        Unavailable: nothing was found in two minutes.
    """
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except Unavailable:
            pass
        await asyncio.sleep(0.05)
    raise Unavailable(f"{what}: not within {START_S:.0f} s")


async def _listen(model: Model, lines: asyncio.StreamReader) -> None:
    async for line in lines:
        model.aborted.put_nowait(float(line.split()[1]))


@asynccontextmanager
async def open_house(root: Path, workers: int) -> AsyncGenerator[House]:
    """Give a house of an empty data folder: a server without workers, and workers in processes of their own."""
    folder = open_data_folder(root)
    log = root / "processes.log"
    async with AsyncExitStack() as stack:
        speaking = await stack.enter_async_context(process("benchmarks.stream_model", log=log, speaks=True))
        assert speaking.stdout is not None
        model = Model(int(await speaking.stdout.readline()))
        listening = asyncio.ensure_future(_listen(model, speaking.stdout))
        stack.push_async_callback(asyncio.wait, [listening])
        stack.callback(listening.cancel)
        (root / "upstairs.toml").write_text(SETTINGS.format(port=model.port))
        server = await stack.enter_async_context(process("benchmarks.stream_server", str(root), log=log))
        connection = await until(lambda: stdio.connect(folder), "the server answers")
        stack.enter_context(connection)
        stdio.greet(connection, None)
        local = LocalClient(connection)
        await asyncio.to_thread(local.open)
        temporal = read_running(folder)
        pids = {"model": speaking.pid, "server": server.pid, "temporal": temporal.pid}
        for number in range(workers):
            worker = await stack.enter_async_context(process("server.cli", "worker", "--data", str(root), log=log))
            pids[f"worker {number + 1}"] = worker.pid
        client = await Client.connect(temporal.address, namespace=temporal.namespace)
        yield House(folder, model, client, local, pids)
