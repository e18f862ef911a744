"""Running code that nobody vouches for: an interpreter of its own kind in a process of its own.

The code is Python, carried out by Monty, which knows no files, network, environment or processes. It runs in a worker
process that is killed when it does not end, inside bubblewrap where that is installed; memory, time, depth and output
are bounded. Its clock and its chance are given, so that the same code over the same input gives the same value.
"""

import json
import logging
import math
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any, cast

import anyio
import pydantic_monty as monty
from pydantic import JsonValue

from engine.errors import Exhausted, Invalid, Problem, Unavailable
from engine.values import Value

log = logging.getLogger(__name__)

MEMORY_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 200
MAX_RESULT_BYTES = 256 * 1024
MAX_PRINTED = 4_000
WAIT_FOR_WORKER_S = 30.0
CHECK_S = 10.0

_CHECKED = "_checked"
_NAMES = ("invalid-syntax", "unresolved-reference", "unresolved-import", "possibly-unresolved-reference")


class ScriptFailed(Problem):
    """The code raised an exception of its own; the message is the exception, the line is where."""

    code = "script_error"


class Ran(Value):
    """The value of the last expression, and the beginning of what was printed."""

    value: JsonValue
    printed: str = ""


class Flaw(Value):
    """What is wrong with code before it runs: the line, and what to do."""

    line: int
    message: str


class Sandbox:
    """A pool of interpreters; `open_sandbox` makes it."""

    def __init__(self, pool: monty.AsyncMonty) -> None:
        """Keep the pool."""
        self._pool = pool

    async def run(
        self, code: str, values: Mapping[str, JsonValue], *, name: str, seconds: float, seed: str, at: datetime
    ) -> Ran:
        """Run code whose variables are `values`; `at` is what its clock says, `seed` what its chance begins with.

        Raises:
            Invalid: the code is no Python of this kind, or its value is no JSON.
            ScriptFailed: it raised an exception.
            Exhausted: it took more than its time, memory, depth or output; `details.limit` says which.
            Unavailable: no interpreter was free, or none could be started.
        """
        printed = _Printed()
        policy: monty.OSPolicy = {"datetime": at, "sleep": "zero", "random_start": {"seed": seed}}
        async with self._session(name, seconds, os_policy=policy) as opened:
            try:
                result = await opened.feed_run(code, inputs=dict(values), print_callback=printed)
            except monty.MontyError as error:
                raise _problem(error, seconds) from error
        return Ran(value=_json(result), printed=printed.text)

    async def check(self, code: str, names: Sequence[str], *, name: str) -> Sequence[Flaw]:
        """Return what keeps code from running over variables of these names; nothing of it is carried out."""
        stubs = "from typing import Any\n" + "".join(f"{one}: Any\n" for one in names)
        stubs += f"def {_CHECKED}() -> None: ...\n"
        flaws = await self._feed_checked(code, name, type_check=True, type_check_stubs=stubs, type_check_format="json")
        return flaws or await self._feed_checked(code, name)

    async def _feed_checked(self, code: str, name: str, **options: Any) -> Sequence[Flaw]:
        def stop() -> None:
            raise RuntimeError(_CHECKED)

        async with self._session(name, CHECK_S, **options) as opened:
            try:
                # The whole text is read and its names are looked up before its first line, which ends it.
                await opened.feed_run(f"{_CHECKED}()\n{code}", external_lookup={_CHECKED: stop})
            except monty.MontyTypingError as error:
                found: list[dict[str, Any]] = json.loads(error.display())
                return [_flaw(one) for one in found if one["code"] in _NAMES and one["location"]["row"] > 1]
            except (monty.MontySyntaxError, monty.MontyRuntimeError) as error:
                if isinstance(error.exception(), RuntimeError) and str(error.exception()) == _CHECKED:
                    return []
                line = error.traceback()[-1].line - 1 if error.traceback() else 1
                return [Flaw(line=max(line, 1), message=_said(error))]
            except monty.MontyError as error:
                raise _problem(error, CHECK_S) from error
        return []

    @asynccontextmanager
    async def _session(self, name: str, seconds: float, **options: Any) -> AsyncGenerator[monty.AsyncMontySession]:
        session = self._pool.checkout(
            script_name=f"{name}.py",
            limits={
                "max_feed_duration_secs": seconds,
                "max_memory": MEMORY_BYTES,
                "max_recursion_depth": MAX_DEPTH,
                "max_suspensions": 10,
                "max_total_sleep_secs": 0.0,
            },
            **options,
        )
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(session)
            except TimeoutError as error:
                raise Unavailable("no interpreter became free; try again") from error
            except (monty.MontyError, OSError) as error:
                raise Unavailable(f"no interpreter could be started: {error}") from error
            yield opened


class _Printed:
    """Keeps the beginning of what is printed and lets the rest go."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, stream: str, text: str) -> None:
        self.text = (self.text + text)[:MAX_PRINTED]


@asynccontextmanager
async def open_sandbox(processes: int = 2, *, max_seconds: float = 90.0) -> AsyncGenerator[Sandbox]:
    """Give a sandbox of at most so many interpreters; none is started before it is needed, none outlives the block."""
    with tempfile.TemporaryDirectory(prefix="upstairs-sandbox-") as folder:
        pool = monty.AsyncMonty(
            binary_path=await anyio.to_thread.run_sync(_binary, Path(folder)),
            min_processes=0,
            max_processes=processes,
            checkout_timeout=WAIT_FOR_WORKER_S,
            request_timeout=max_seconds,
            max_checkouts_per_worker=100,
        )
        async with pool as opened:
            yield Sandbox(opened)


def _binary(folder: Path) -> Path | None:
    """Return the interpreter inside a jail of the kernel where bubblewrap works; None is the interpreter itself."""
    jail = shutil.which("bwrap")
    binary = shutil.which("monty", path=str(Path(sys.executable).parent)) or shutil.which("monty")
    if jail is None or binary is None:
        return None
    script = folder / "monty"
    script.write_text(
        "#!/bin/sh\n"
        f"exec {quote(jail)} --unshare-all --die-with-parent --new-session --clearenv --ro-bind /usr /usr "
        f"--ro-bind-try /lib /lib --ro-bind-try /lib64 /lib64 --ro-bind {quote(binary)} /monty --proc /proc --dev /dev "
        '--tmpfs /tmp /monty "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    # In a container without user namespaces bubblewrap is there and can't work.
    probe = subprocess.run([script, "--version"], capture_output=True, timeout=30, check=False)  # noqa: S603
    if probe.returncode == 0:
        return script
    log.warning(
        "bubblewrap does not work here, scripts run without it: %s", probe.stderr.decode(errors="replace")[:200]
    )
    return None


def _flaw(found: dict[str, Any]) -> Flaw:
    return Flaw(line=max(int(found["location"]["row"]) - 1, 1), message=str(found["message"]))


def _said(error: "monty.MontySyntaxError | monty.MontyRuntimeError") -> str:
    return error.display("type-msg")[:500]


def _problem(error: monty.MontyError, seconds: float) -> Problem:
    """Return what went wrong in the house's terms."""
    if isinstance(error, monty.MontySyntaxError):
        return Invalid(f"the code is no Python of this kind: {_said(error)}", line=error.traceback()[-1].line)
    if isinstance(error, monty.MontyCrashedError):
        if error.timed_out:
            return Exhausted(f"the code did not end within {seconds:g} s and was killed", limit="time")
        return Exhausted(f"the interpreter died under the code ({error.exit_status})", limit="process")
    if isinstance(error, monty.MontyRuntimeError):
        return _raised(error, seconds)
    if isinstance(error, monty.MontyConversionError):
        return Invalid(f"the value of the code is no JSON: {error}")
    return Unavailable(f"the sandbox failed: {error}")


def _raised(error: "monty.MontyRuntimeError", seconds: float) -> Problem:
    raised, frames = error.exception(), error.traceback()
    line = frames[-1].line if frames else 0
    if isinstance(raised, TimeoutError):
        return Exhausted(f"the code took more than {seconds:g} s; compute less, or raise timeout", limit="time")
    if isinstance(raised, MemoryError):
        return Exhausted(f"the code took more than {MEMORY_BYTES >> 20} MiB; hold less at once", limit="memory")
    if isinstance(raised, RecursionError):
        return Exhausted(f"the code called itself more than {MAX_DEPTH} deep; use a loop", limit="depth")
    if isinstance(raised, NotImplementedError):
        return Invalid(f"line {line}: {_said(error)}", line=line)
    return ScriptFailed(f"line {line}: {_said(error)}", line=line)


def _json(value: object) -> JsonValue:
    """Return the value if it is JSON: no sets, no functions, no numbers without a value.

    Raises:
        Invalid: it is not, or has more than `MAX_RESULT_BYTES`.
    """
    _check_json(value, "the value")
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MAX_RESULT_BYTES:
        raise Exhausted(f"the value has {size} bytes; a script gives at most {MAX_RESULT_BYTES}", limit="output")
    return cast("JsonValue", value)


def _check_json(value: object, where: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if math.isfinite(value):
            return
        raise Invalid(f"{where} is {value}, which is no JSON")
    if isinstance(value, list):
        for number, item in enumerate(cast("list[object]", value)):
            _check_json(item, f"{where}[{number}]")
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str):
                raise Invalid(f"{where} has the key {key!r}; keys are strings")
            _check_json(item, f"{where}.{key}")
    else:
        raise Invalid(f"{where} is of type {type(value).__name__}, which is no JSON; give lists, not tuples or sets")
