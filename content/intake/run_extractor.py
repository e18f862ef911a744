"""Run an extractor in a process of its own, so that a file can break only that process.

The child has bounds on memory and processor time, no secrets in its environment, a process group of its own, and dies
with its parent. It reads the file from disk and writes its answer as JSON. Source: setrlimit(2), prctl(2).
"""

import ctypes
import json
import math
import os
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
from anyio.abc import Process
from pydantic import ValidationError

from content.intake import resolve_extractor
from content.intake.detect import Limits
from content.structure import Structure
from engine.errors import Exhausted, Invalid, Problem, Unavailable

MAX_ANSWER_BYTES = 256 * 2**20
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_PR_SET_PDEATHSIG = 1
_PROBLEMS: dict[str, type[Problem]] = {kind.code: kind for kind in (Invalid, Exhausted, Unavailable)}


async def extract_in_subprocess(
    source: bytes | Path,
    mime: str,
    *,
    timeout_s: float = 120.0,
    memory_bytes: int = 2 * 2**30,
    limits: Limits | None = None,
    extractor: str | None = None,
) -> Structure:
    """Return the structure of `source`, a file's bytes or the path of a file, whose type was found to be `mime`.

    `extractor` ("module:function") replaces the one registered for the type. The child gets `memory_bytes` of address
    space and is killed after `timeout_s` seconds or when the call is cancelled. Raises what the extractor raises;
    `Exhausted` (reason `timeout`, `memory`) when a bound was reached; `Invalid` (reason `crashed`) when it died.
    """
    with tempfile.TemporaryDirectory(prefix="intake-") as folder:
        answer = Path(folder) / "answer.json"
        errors = Path(folder) / "errors.txt"
        path = source
        if isinstance(path, bytes):
            path = Path(folder) / "source"
            await anyio.Path(path).write_bytes(source if isinstance(source, bytes) else b"")
        order = {
            "path": str(path.absolute()),
            "answer": str(answer),
            "mime": mime,
            "extractor": extractor,
            "limits": (limits or Limits()).model_dump(),
            "memory_bytes": memory_bytes,
            "cpu_seconds": math.ceil(timeout_s * (os.cpu_count() or 1)) + 1,
            "parent": os.getpid(),
        }
        returncode = await _run(order, errors, timeout_s)
        return await anyio.to_thread.run_sync(_read_answer, answer, errors, returncode, memory_bytes)


async def _run(order: dict[str, Any], errors: Path, timeout_s: float) -> int:
    """Run the child to its end and return its exit code; kill its whole group when time is up or on cancellation."""
    command = [sys.executable, "-P", "-m", "content.intake.run_extractor", json.dumps(order)]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # The child has to find the same modules as this process, however they were found here.
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_THREAD_LIMIT": "1"}
    with errors.open("wb") as stderr:
        process = await anyio.open_process(
            command, stdin=DEVNULL, stdout=DEVNULL, stderr=stderr, env=environment, start_new_session=True
        )
    try:
        with anyio.fail_after(timeout_s):
            return await process.wait()
    except TimeoutError:
        raise Exhausted(
            f"Reading the file took longer than {timeout_s:g} seconds and was stopped: split it or raise the limit.",
            reason="timeout",
            timeout_s=timeout_s,
        ) from None
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    await process.aclose()


def _read_answer(answer: Path, errors: Path, returncode: int, memory_bytes: int) -> Structure:
    said = errors.read_bytes()[-4096:].decode(errors="replace").strip()
    if returncode == 0 and answer.is_file() and answer.stat().st_size <= MAX_ANSWER_BYTES:
        with suppress(ValidationError, ValueError, KeyError):
            return _open_answer(answer.read_bytes())
    if "memory allocation" in said or "MemoryError" in said or "bad_alloc" in said or returncode == -signal.SIGKILL:
        raise _out_of_memory(memory_bytes)
    if returncode == -signal.SIGXCPU:
        raise Exhausted(
            "Reading the file took too much processor time and was stopped: split the file.", reason="timeout"
        )
    how = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
    raise Invalid(
        f"The extractor crashed on this file ({how}): it is probably damaged. Save it again and send the new one.",
        reason="crashed",
        how=how,
        last_words=said.splitlines()[-1] if said else "",
    )


def _open_answer(content: bytes) -> Structure:
    if content.startswith(b'{"problem"'):
        problem = json.loads(content)["problem"]
        raise _PROBLEMS[problem["code"]](problem["message"], **problem["details"])
    return Structure.model_validate_json(content)


def _out_of_memory(memory_bytes: int) -> Exhausted:
    return Exhausted(
        f"Reading the file needed more than {memory_bytes / 2**20:,.0f} MiB of memory and was stopped: split it or "
        "raise the limit.",
        reason="memory",
        memory_bytes=memory_bytes,
    )


def _confine(order: dict[str, Any]) -> None:
    """Bind this process to its parent's life and to its share of the machine."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        # The parent died before the signal was asked for; nobody waits for the answer.
        os._exit(1)
    for kind, bound in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_ANSWER_BYTES),
        (resource.RLIMIT_CPU, order["cpu_seconds"]),
        (resource.RLIMIT_AS, order["memory_bytes"]),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        # Some systems refuse a bound on the address space; the deadline of the parent still holds.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (allowed, allowed))


def main() -> None:
    """Entry point of the child: one argument, the order as JSON."""
    order = json.loads(sys.argv[1])
    _confine(order)
    try:
        extract = resolve_extractor(order["mime"], order["extractor"])
        structure = extract(Path(order["path"]).read_bytes(), order["mime"], Limits(**order["limits"]))
        answer = structure.model_dump_json()
    except Problem as problem:
        answer = json.dumps({"problem": problem.as_json()}, default=str)
    except MemoryError:
        answer = json.dumps({"problem": _out_of_memory(order["memory_bytes"]).as_json()})
    except Exception as error:  # an extractor's defect on this file is an answer about the file
        message = f"The extractor failed on this file ({type(error).__name__}: {error}): save it again in another form."
        answer = json.dumps({"problem": Invalid(message, reason="failed").as_json()})
    Path(order["answer"]).write_text(answer, encoding="utf-8")


if __name__ == "__main__":
    main()
