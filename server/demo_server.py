"""The server of the demonstration: its settings file, and starting, killing and stopping it as a separate process."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import Conflict, Problem, Unavailable
from server import stdio
from server.data_folder import DataFolder
from server.settings import Settings
from server.settings_sources import EXAMPLE_PREFIX, PREFIX, Loaded
from server.temporal_child import read_running

MARK = "# Written by `upstairs demo`; remove this line to keep your own changes."
SCRIPTED = "scripted/invoice"
LEDGER = f"{EXAMPLE_PREFIX}LEDGER"
HOLD = f"{EXAMPLE_PREFIX}HOLD"
PEOPLE = {"fay": ("finance", "viewer"), "gil": ("finance", "viewer")}

START_S = 90.0
STOP_S = 30.0
POLL_S = 0.05


def real_route(settings: Settings) -> str | None:
    """Return the configured default route if it leads to a real model whose key is there, else None."""
    route = settings.models.effective_default
    provider = (route or "").partition("/")[0]
    return route if getattr(settings.models, f"{provider}_api_key", None) is not None else None


class DemoServer:
    """One server process on one data folder; `examples` is the folder with the example skills."""

    def __init__(self, loaded: Loaded, folder: DataFolder, examples: Path) -> None:
        """Keep what is needed; nothing is started yet."""
        self.folder = folder
        self.ledger = folder.root / "demo" / "payments.jsonl"
        self.hold = folder.root / "demo" / "hold"
        self.config = folder.root / "upstairs.toml"
        self.log = folder.logs / "server.log"
        self._settings = loaded.settings
        self._own_port = loaded.origins["port"].kind != "default"
        self._examples = examples
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    def write_settings(self) -> None:
        """Write the settings that the server and every client that starts it read.

        Raises:
            Conflict: the folder has settings that are not the demonstration's, or a server runs on it.
        """
        if self.config.exists() and not self.config.read_text(encoding="utf-8").startswith(MARK):
            raise Conflict(
                f"{self.config} holds settings of its own; give the demonstration a folder for itself with --data"
            )
        connection = stdio.connect(self.folder)
        if connection is not None:
            connection.close()
            raise Conflict(
                f"a server runs on {self.folder.root} already; stop it with `upstairs stop --data {self.folder.root}` "
                "or choose another folder with --data"
            )
        route = real_route(self._settings)
        people = [f"{name} = {json.dumps(roles)}" for name, roles in PEOPLE.items()]
        models = [f"default = {json.dumps(route or SCRIPTED)}", 'scripts = ["examples.models"]']
        for name in ("anthropic_base_url", "openai_base_url"):
            url = getattr(self._settings.models, name)
            models += [f"{name} = {json.dumps(url)}"] if url else []
        port = self._settings.port if self._own_port else _free_port(self._settings.port)
        lines = [MARK, f"port = {port}", f"skills = [{json.dumps(str(self._examples / 'skills'))}]", ""]
        lines += ["[models]", *models, "", "[local.users]", *people, ""]
        self.config.write_text("\n".join(lines), encoding="utf-8")
        self.config.chmod(0o600)

    async def start(self) -> float:
        """Start the server and return how many seconds it took until it answered.

        Raises:
            Unavailable: it ended, or did not answer in time; the message names its log.
        """
        began = time.monotonic()
        command = [sys.executable, "-P", "-m", "server.cli", "serve", "--background"]
        command += ["--data", str(self.folder.root), "--config", str(self.config)]
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder.root,
                env=self._environment(),
                start_new_session=True,
            )
        finally:
            os.close(log)
        await self._until(self._answers, START_S, f"the server did not answer within {START_S:.0f} s; see {self.log}")
        return time.monotonic() - began

    async def kill(self) -> tuple[int, int]:
        """End the server and its Temporal child with SIGKILL; return both process ids once they are gone."""
        assert self._process is not None, "the server has not been started"
        server, temporal = self._process.pid, read_running(self.folder).pid
        # The group is the server's own session: only what it started itself is in it.
        os.killpg(server, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(temporal, signal.SIGKILL)
        async with asyncio.timeout(STOP_S):
            await self._process.wait()
        self._process = None
        await self._until(
            lambda: not _runs(temporal), STOP_S, f"process {temporal} (Temporal) outlived kill -9; end it by hand"
        )
        return server, temporal

    async def stop(self) -> None:
        """Stop the server as `upstairs stop` does; one that does not stop in time is killed."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._process is not None:
            await self._process.wait()

    def _environment(self) -> dict[str, str]:
        """Return our environment without other settings of ours, with the keys of models, and with the ledger."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        for name in ("anthropic", "openai"):
            key = getattr(self._settings.models, f"{name}_api_key")
            kept |= {f"{name.upper()}_API_KEY": key.get_secret_value()} if key is not None else {}
        return {**kept, LEDGER: str(self.ledger), HOLD: str(self.hold)}

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise Unavailable(
                f"the server ended with code {self._process.returncode}: {_last_line(self.log)}; see {self.log}"
            )
        try:
            if self.folder.read_server().pid != self._process.pid:
                return False
        except Problem:
            return False
        connection = stdio.connect(self.folder)
        if connection is None:
            return False
        connection.close()
        return True

    async def _until(self, holds: Callable[[], bool], seconds: float, failure: str) -> None:
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                raise Unavailable(failure)
            await asyncio.sleep(POLL_S)


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Unavailable("no port is free on the loopback address; stop a program that listens there")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError, IndexError):
        # A process that has ended and was not yet waited for by its parent (Linux).
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it has no log"
    return lines[-1][:500] if lines else "it said nothing"
