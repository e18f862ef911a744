"""Programs of the house as processes that start in a second: forked from one that has imported what they import.

A sweep starts a server for every death, and imports are most of a start. Everything behind the imports is a process
like any other: settings, environment, session and standard streams of its own, and SIGKILL ends it alone.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import TimeoutExpired

PRELOADED = "tests.faults.preloaded"


class Program:
    """A module that runs as `python -m` would run it, with the few methods of a `Popen` that a house needs."""

    def __init__(
        self, module: str, arguments: Sequence[str], *, log: Path, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._process: BaseProcess = _forks().Process(
            target=_run, args=(module, list(arguments), str(log), str(folder), dict(environment))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: it still runs.
        """
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            raise TimeoutExpired(str(self.pid), seconds)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def _run(module: str, arguments: list[str], log: str, folder: str, environment: dict[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    nothing, said = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(nothing, 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
