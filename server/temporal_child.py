"""The embedded Temporal: the real server as a child process of ours, on a loopback port, watched and restarted.

What it promises: one server per database file (a lock that the child holds too), never an orphan (the kernel ends it
with us), the reached server is the one we started (its cluster id, which lives in the database), the same port after
a crash. Another user of the machine can reach the port: payloads are sealed (`server.codec`), names and states are
not.
"""

import asyncio
import contextlib
import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from engine.errors import Conflict, Invalid, Problem, Unavailable
from server import temporal_launch
from server.data_folder import DataFolder, FolderLock, write_private
from server.settings import TemporalSettings
from server.temporal_binary import Binary, Record, admit, find_binary, inspect_binary, read_record, write_record
from server.temporal_namespace import SEARCH_ATTRIBUTES, cluster_id, prepare_namespace

DEFAULT_NAMESPACE = "upstairs"

START_SECONDS = 30.0
STARTS = 5
STOP_SECONDS = 10.0
LOCK_SECONDS = 10.0
BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS = 30.0
LOG_BYTES = 16 * 1024 * 1024

# The queue processors poll 20 times per second and shard by default, and there is one shard: 50 ms for each step.
# Fairness between tenants on one queue is off by default.
DYNAMIC_CONFIG: dict[str, Any] = {
    "history.transferProcessorMaxPollRPS": 5000,
    "history.timerProcessorMaxPollRPS": 5000,
    "history.outboundProcessorMaxPollRPS": 1000,
    "history.visibilityProcessorMaxPollRPS": 200,
    "matching.enableFairness": True,
}


@dataclass(frozen=True)
class RunningTemporal:
    """What other processes of the same user need to reach the embedded server: `run/temporal.json`."""

    pid: int
    address: str
    namespace: str
    cluster_id: str
    version: str


def read_running(folder: DataFolder) -> RunningTemporal:
    """Return the record of the running embedded server; raises `Unavailable` when none runs on this folder."""
    try:
        row = json.loads(folder.temporal_file.read_text(encoding="utf-8"))
        return RunningTemporal(**row)
    except FileNotFoundError:
        raise Unavailable(
            f"The embedded Temporal of {folder.root} is not running; start the server with `upstairs serve`",
            folder=str(folder.root),
        ) from None
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"{folder.temporal_file} cannot be read ({type(error).__name__}); restart the server, it is written anew",
            file=str(folder.temporal_file),
        ) from error


class EmbeddedTemporal:
    """The child process from entering to leaving `async with`.

    Entering raises `Conflict` when another process uses the database or the binary is too old for it, `Unavailable`
    when the server does not start. Enter and leave it in the thread that lives as long as the process: on Linux the
    child ends with that thread.
    """

    def __init__(self, settings: TemporalSettings, folder: DataFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._namespace = settings.namespace or DEFAULT_NAMESPACE
        self._log = folder.logs / "temporal.log"
        self._lock: FolderLock | None = None
        self._binary: Binary | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._running: RunningTemporal | None = None
        self._up = asyncio.Event()
        self.crashes = 0
        self.last_failure: str | None = None

    @property
    def running(self) -> RunningTemporal:
        """Address, namespace, cluster id, version and process id of the server as last started."""
        assert self._running is not None, "the embedded Temporal has not been entered"
        return self._running

    @property
    def address(self) -> str:
        """`127.0.0.1:port`, the same from entering to leaving."""
        return self.running.address

    @property
    def up(self) -> bool:
        """Whether the server answers, as far as is known; False between a crash and the restart."""
        return self._up.is_set()

    async def wait_up(self) -> None:
        """Return when the server answers; at once while it does."""
        await self._up.wait()

    async def __aenter__(self) -> "EmbeddedTemporal":
        self._lock = await _take_lock(self._folder)
        try:
            self._binary = await asyncio.to_thread(self._admitted)
            self._running = await self._first_start(self._binary)
            self._watcher = asyncio.create_task(self._watch(), name="embedded-temporal")
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        await self._stop()

    def _admitted(self) -> Binary:
        binary = inspect_binary(find_binary(self._settings.binary))
        backup = admit(self._folder, binary)
        if backup is not None:
            self.last_failure = f"opened by a newer Temporal server; the copy from before is {backup}"
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        return binary

    async def _first_start(self, binary: Binary) -> RunningTemporal:
        record = read_record(self._folder)
        for attempt in range(STARTS):
            chosen = self._settings.port or _free_port(record.port if record and attempt == 0 else 0)
            try:
                running = await self._start(binary, chosen, record)
            except Unavailable as error:
                # Between choosing a free port and the child's bind another process may take it; the child chooses
                # more of them itself, for its other interfaces.
                taken = "address already in use" in error.message
                asked = self._settings.port and f":{self._settings.port}:" in error.message
                if not taken or asked or attempt == STARTS - 1:
                    raise
                continue
            write_record(self._folder, Record(binary.cli, binary.server, running.cluster_id, chosen))
            return running
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _start(self, binary: Binary, port: int, record: Record | None) -> RunningTemporal:
        """Start the child on `port`, wait until it answers, check that it is ours, and tell the others."""
        address = f"127.0.0.1:{port}"
        offset = self._log.stat().st_size if self._log.exists() else 0
        process = await self._spawn(binary, port)
        self._process = process
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._ready(address))
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done() or process.returncode is not None:
                raise self._not_started(f"ended with status {process.returncode}", offset)
            found = await ready
        except TimeoutError:
            raise self._not_started(f"did not answer on {address} within {START_SECONDS:.0f} s", offset) from None
        finally:
            ended.cancel()
            ready.cancel()
        if record is not None and found != record.cluster_id:
            raise Conflict(
                f"The Temporal server at {address} is not the one of {self._folder.temporal_database}: cluster id "
                f"{found} instead of {record.cluster_id}. Another server has that port, or the database was replaced; "
                f"in that case remove {self._folder.temporal / 'server.json'}",
                address=address,
            )
        running = RunningTemporal(process.pid, address, self._namespace, found, binary.server)
        write_private(self._folder.temporal_file, json.dumps(vars(running), indent=1).encode())
        self._up.set()
        return running

    async def _spawn(self, binary: Binary, port: int) -> asyncio.subprocess.Process:
        assert self._lock is not None
        launcher = [sys.executable, "-I", "-S", temporal_launch.__file__, str(os.getpid())]
        kept = ("PATH", "HOME", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *launcher,
                *server_command(binary.path, self._folder.temporal_database, port, self._namespace, self._settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder.temporal,
                env={name: os.environ[name] for name in kept if name in os.environ},
                pass_fds=(self._lock.descriptor,),
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _ready(self, address: str) -> str:
        """Return the cluster id once the server at `address` answers and its namespace is prepared."""
        while True:
            try:
                client = await Client.connect(address, namespace=self._namespace)
                await prepare_namespace(client, self._settings.retention_days)
                return await cluster_id(client)
            except (RuntimeError, RPCError) as error:
                self.last_failure = str(error)
                await asyncio.sleep(0.05)

    def _not_started(self, what: str, offset: int) -> Unavailable:
        with self._log.open("rb") as file:
            file.seek(offset)
            lines = [line for line in file.read(64 * 1024).decode("utf-8", "replace").splitlines() if line.strip()]
        # The server tells all its parts around what went wrong, which stands last.
        said = f", saying: {lines[-1].strip()[-300:]}" if lines else ""
        return Unavailable(
            f"The embedded Temporal {what}{said}; its log is {self._log}",
            log=str(self._log),
            database=str(self._folder.temporal_database),
        )

    async def _watch(self) -> None:
        """Restart the child on its port whenever it ends, for ever, each time a little later while it keeps ending."""
        assert self._process is not None
        assert self._binary is not None
        fails = 0
        while True:
            began = time.monotonic()
            status = await self._process.wait()
            self._up.clear()
            self.crashes += 1
            self.last_failure = f"ended with status {status}"
            fails = 0 if time.monotonic() - began > STEADY_SECONDS else fails
            while True:
                await asyncio.sleep(BACKOFF_SECONDS[min(fails, len(BACKOFF_SECONDS) - 1)])
                fails += 1
                try:
                    port = int(self.running.address.rpartition(":")[2])
                    self._running = await self._start(self._binary, port, read_record(self._folder))
                    break
                except (Problem, OSError) as error:
                    self.last_failure = str(error)
                    await self._end_process()

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _stop(self) -> None:
        self._up.clear()
        try:
            await self._end_process()
        finally:
            if self._running is not None:
                self._folder.temporal_file.unlink(missing_ok=True)
            if self._lock is not None:
                self._lock.release()
                self._lock = None


def server_command(binary: Path, database: Path, port: int, namespace: str, settings: TemporalSettings) -> list[str]:
    """Return the command line of the server; see `temporal server start-dev --help`."""
    command = [str(binary), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)]
    command += ["--db-filename", str(database), "--namespace", namespace]
    command += ["--disable-config-file", "--disable-config-env", "--log-level", "warn", "--log-format", "json"]
    # `full` syncs the write-ahead log at every commit; `normal` only now and then, which a power loss may show.
    command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", f"synchronous={settings.durability}"]
    for name in SEARCH_ATTRIBUTES:
        command += ["--search-attribute", f"{name}=Keyword"]
    for name, value in DYNAMIC_CONFIG.items():
        command += ["--dynamic-config-value", f"{name}={json.dumps(value)}"]
    return command


async def _take_lock(folder: DataFolder) -> FolderLock:
    """Take the lock beside the database; a server that outlives its killed parent is given the time to stop."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return FolderLock(folder.temporal / "temporal.lock", f"the embedded Temporal of {folder.root}")
        except Conflict as error:
            if _alive(error.details["pid"]) or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


def _alive(pid: int | None) -> bool:
    """Return whether the process runs; one that has ended but was not yet waited for does not."""
    if pid is None:
        return False
    try:
        if sys.platform != "linux":
            os.kill(pid, 0)
            return True
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(descriptor)


def _free_port(preferred: int) -> int:
    """Return `preferred` if it is free on loopback, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Unavailable("No port is free on the loopback address for the embedded Temporal")
