"""A house to be set on fire: a data folder, the server on it as a process, and a look at its database from outside."""

import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, TypeVar

import anyio
from temporalio.client import Client, WorkflowExecutionStatus

import examples
from engine.errors import Problem, Unavailable
from server import stdio
from server.client import LocalClient, Refused
from server.commands.work import settled, upload
from server.data_folder import DataFolder, open_data_folder
from server.temporal_child import read_running
from tests.faults.program import Program
from tests.faults.traps import GATE, LEDGER, PLAY, TRAP

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = Path(examples.__file__).parent
EXAMPLE_LEDGER = "UPSTAIRS_EXAMPLE_LEDGER"
EXAMPLE_REGISTERS = "UPSTAIRS_EXAMPLE_REGISTERS"
SCRIPTS = ("examples.models", "tests.faults.traps")
USERS: Mapping[str, Sequence[str]] = {"fay": ("finance", "viewer"), "gil": ("finance", "viewer")}

START_S = 90.0
STOP_S = 30.0
STILL_S = 90.0
"""How long a run may stand still before a test gives up."""

LOOK_S = 0.002
OVER = ("completed", "failed", "cancelled")

Row = dict[str, Any]
Found = TypeVar("Found")


def until(look: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """Return what `look` finds, looking again and again; a bound that passes says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(LOOK_S)


def environment(**more: str) -> dict[str, str]:
    """Return our environment without settings of ours and without model keys."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("UPSTAIRS_") and not name.endswith("_API_KEY")
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}


class FaultHouse:
    """One data folder with its server. `starts`: seconds that each start took; `up`: it was seen to answer.

    `users` are its people with their roles, `model` answers where nothing else is named, `scripts` are registered in
    the server before its parts are made.
    """

    def __init__(
        self,
        root: Path,
        *,
        users: Mapping[str, Sequence[str]] = USERS,
        model: str = "scripted/invoice",
        scripts: Sequence[str] = SCRIPTS,
    ) -> None:
        self.folder: DataFolder = open_data_folder(root)
        self.trap = root / "trap.json"
        self.gate = root / "gate"
        self.play = root / "play.json"
        self.registers = root / "registers.db"
        self.ledgers = {EXAMPLE_LEDGER: root / "payments.jsonl", LEDGER: root / "cut-payments.jsonl"}
        self.starts: list[float] = []
        self.up = False
        self._process: Program | None = None
        self._sessions: dict[str | None, tuple[socket.socket, LocalClient]] = {}
        skills = [str(EXAMPLES / "skills"), str(Path(__file__).parent / "skills")]
        people = "".join(f"{name} = {json.dumps(list(roles))}\n" for name, roles in users.items())
        (root / "upstairs.toml").write_text(
            f"port = 0\nskills = {json.dumps(skills)}\n"
            f"[models]\ndefault = {json.dumps(model)}\nscripts = {json.dumps(list(scripts))}\n"
            f"[local.users]\n{people}"
        )

    # --- the process --------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        began = time.monotonic()
        self._process = self.run(*self.command())
        until(lambda: self._exited() or self._answers(), START_S, "the server answers")
        assert not self._exited(), f"the server ended: {self.log()[-3000:]}"
        self.starts.append(time.monotonic() - began)
        self.up = True

    def run(self, module: str, *arguments: str) -> Program:
        """Run a program of the house: it says what it says to the server's log."""
        log = self.folder.logs / "server.log"
        return Program(module, arguments, log=log, folder=self.folder.root, environment=self.environment())

    def command(self) -> list[str]:
        """Return the module that is the server, and its arguments."""
        return ["server.cli", "serve", "--background", "--data", str(self.folder.root)]

    def environment(self) -> dict[str, str]:
        """Return the environment of the server and of clients that might start it."""
        files = {
            **self.ledgers,
            TRAP: self.trap,
            GATE: self.gate,
            PLAY: self.play,
            EXAMPLE_REGISTERS: self.registers,
        }
        return environment(**{name: str(file) for name, file in files.items()})

    def _answers(self) -> bool:
        with suppress(Problem):
            connection = stdio.connect(self.folder) if self.folder.read_server().pid == self.pid else None
            if connection is not None:
                connection.close()
                return True
        return False

    def kill(self) -> None:
        """End the server and its Temporal with SIGKILL, at once."""
        self.up = False
        for pid in (self.pid, self.temporal_pid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_temporal(self) -> None:
        """End the Temporal of the server with SIGKILL; the server stays."""
        os.kill(self.temporal_pid(), signal.SIGKILL)

    def temporal_pid(self) -> int:
        """The process id of the embedded Temporal."""
        return read_running(self.folder).pid

    def ended(self) -> bool:
        """Tell whether the server is gone, or has been sent away."""
        if self._exited():
            self.up = False
        return not self.up

    def _exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self) -> None:
        """Stop the server as people do, or kill it if that does not help."""
        self.hang_up()
        self.up = False
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except TimeoutExpired:
            process.kill()
            process.wait(STOP_S)

    def restart_if_ended(self) -> bool:
        """Start the server again if it is gone."""
        if not self.ended():
            return False
        self.hang_up()
        if self._process is not None:
            self._process.wait(STOP_S)
        self.start()
        return True

    def log(self) -> str:
        """What the server has said so far."""
        return (self.folder.logs / "server.log").read_text(errors="replace")

    # --- clients ------------------------------------------------------------------------------------------

    def _session(self, user: str | None) -> LocalClient:
        if user not in self._sessions:
            connection = stdio.connect(self.folder)
            if connection is None:
                raise Unavailable("the server does not answer")
            try:
                stdio.greet(connection, user)
                client = LocalClient(connection)
                client.open()
            except BaseException:
                connection.close()
                raise
            self._sessions[user] = (connection, client)
        return self._sessions[user][1]

    def hang_up(self) -> None:
        """Close every session."""
        for connection, _ in self._sessions.values():
            connection.close()
        self._sessions.clear()

    def call(self, tool: str, user: str | None = None, /, **arguments: Any) -> Row:
        """Call a tool; a server that dies meanwhile is started again and asked again."""
        return self._again(user, lambda client: client.call(tool, arguments))

    def use(self, skill: str, tool: str, /, **arguments: Any) -> Row:
        """Use a tool of a skill, as `call`."""
        return self._again(None, lambda client: client.use(skill, tool, arguments))

    def _again(self, user: str | None, ask: Callable[[LocalClient], Row]) -> Row:
        while True:
            try:
                return ask(self._session(user))
            except Refused:
                raise
            except (Problem, OSError):
                self.hang_up()
                # Between its death and our seeing it the process looks alive and does not answer.
                until(lambda: self.ended() or self._answers(), STOP_S, "the server is gone or answers")
                self.restart_if_ended()

    # --- what is in it ------------------------------------------------------------------------------------

    def put(self, path: str, body: bytes) -> Row:
        """Put a body to the server over HTTP."""
        return upload(self.folder, path, body)

    def ingest(self, path: Path) -> str:
        """Take a file in and return the id of its object."""
        started = self.put(f"/api/content?name={path.name}", path.read_bytes())
        view = settled(self._session(None), started["run_id"], seconds=STILL_S)
        assert view["status"] == "completed", view
        return str(started["object_id"])

    def publish(self, kind: str, name: str, text: str) -> Row:
        """Publish a prompt (`interactions`) or a process (`processes`)."""
        return self.put(f"/api/{kind}/{name}", text.encode())

    def workflow_over(self, run_id: str) -> bool:
        """Tell whether Temporal has nothing left to do for a run."""
        return anyio.run(self._workflow_over, run_id)

    async def _workflow_over(self, run_id: str) -> bool:
        running = read_running(self.folder)
        client = await Client.connect(running.address, namespace=running.namespace)
        description = await client.get_workflow_handle(f"local/{run_id}").describe()
        return description.status is not WorkflowExecutionStatus.RUNNING

    # --- a look from outside ------------------------------------------------------------------------------

    def rows(self, query: str, *values: Any) -> list[Row]:
        """Return the rows of a query on the database, read from outside without any lock of the server's."""
        with closing(sqlite3.connect(f"file:{self.folder.database}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    @contextmanager
    def looking(self) -> Generator[Callable[..., list[tuple[Any, ...]]]]:
        """Give a function that queries the database over one connection, for looking many times."""
        with closing(sqlite3.connect(f"file:{self.folder.database}?mode=ro", uri=True, timeout=10)) as connection:

            def look(query: str, *values: Any) -> list[tuple[Any, ...]]:
                return connection.execute(query, values).fetchall()

            yield look
