"""A house whose server, worker and Temporal are processes that can die one by one."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from engine.errors import Problem
from tests.faults.house import STOP_S, FaultHouse, Row
from tests.faults.program import Program

VICTIMS = ("worker", "server", "temporal")


class AgentHouse(FaultHouse):
    """A fault house with a worker of its own. `up`: the server was seen to answer, and a worker was started."""

    def __init__(self, root: Path) -> None:
        scripts = ("tests.faults.agent_script", "tests.faults.traps")
        super().__init__(root, users={"fay": ("operator", "approver")}, model="scripted/chief", scripts=scripts)
        self.deaths = 0
        self._killed: set[int] = set()
        self._worker: Program | None = None

    def command(self) -> list[str]:
        """Return the module that is the server without workers, and its arguments."""
        return ["tests.faults.agent_server", str(self.folder.root)]

    def start(self) -> None:
        """Start the server, and a worker unless one lives."""
        super().start()
        self._hire()

    def _hire(self) -> None:
        if self._worker is not None and self._worker.poll() is None:
            return
        self._worker = self.run("server.cli", "worker", "--data", str(self.folder.root))

    @property
    def whole(self) -> bool:
        """Whether server, worker and Temporal live."""
        if not self.up or self.ended() or self._worker is None or self._worker.poll() is not None:
            return False
        try:
            return self.temporal_pid() not in self._killed
        except Problem:
            return False

    def kill_one(self, victim: str) -> None:
        """End `worker`, `server` or `temporal` with SIGKILL; Temporal ends with its server, and not the reverse."""
        kills: dict[str, Callable[[], None]] = {
            "worker": self._kill_worker,
            "server": self._kill_server,
            "temporal": self._kill_temporal,
        }
        kills[victim]()

    def _kill_worker(self) -> None:
        worker = self._worker
        assert worker is not None
        worker.kill()
        worker.wait(STOP_S)

    def _kill_temporal(self) -> None:
        self._killed.add(self.temporal_pid())
        self.kill_temporal()

    def _kill_server(self) -> None:
        self.up = False
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def call(self, tool: str, user: str | None = None, /, **arguments: Any) -> Row:
        """Call a tool, with a worker there to answer what workflows are asked."""
        self.restart_if_ended()
        return super().call(tool, user, **arguments)

    def restart_if_ended(self) -> bool:
        """Start again what is gone of server and worker; count it."""
        alone = self._worker is not None and self._worker.poll() is not None
        again = super().restart_if_ended()
        if alone:
            self._hire()
        self.deaths += again + alone
        return again or alone

    def stop(self) -> None:
        """Stop the worker, then the server."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.poll() is None:
            worker.terminate()
            try:
                worker.wait(STOP_S)
            except TimeoutExpired:
                worker.kill()
                worker.wait(STOP_S)
        super().stop()
