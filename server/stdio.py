"""The bridge of desktop clients: copies bytes between its standard streams and the one server of a data folder.

It starts that server when none runs and leaves it running, so runs go on when the client closes. It imports the
standard library and a few light modules of ours alone: a client waits for this process before it shows any tool.

A connection opens with one line from the bridge, `{"upstairs": 1, "user": NAME | null}`, and one answer,
`{"upstairs": 1, "version": …}` or `{"upstairs": 1, "error": …}`; after that it is MCP, one JSON message a line.
"""

import argparse
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

from engine.errors import Problem, Unavailable
from server.data_folder import DataFolder, open_data_folder
from server.places import find_config, find_data_folder

WIRE = 1
"""The number of the opening lines' form; both sides name it."""

START_SECONDS = 60.0
"""How long a start may take, the embedded Temporal included."""

POLL_SECONDS = 0.05
CHUNK = 64 * 1024
LOG_LINES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bridge until either side closes; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        here = Path.cwd()
        config = find_config(options.config, os.environ, here)
        folder = open_data_folder(find_data_folder(options.data, config, os.environ, here))
        connection = reach_server(folder, config, seconds=options.wait)
        greet(connection, options.user)
    except Problem as problem:
        return _failed(problem.message)
    except (OSError, ValueError) as error:
        return _failed(f"the settings cannot be read: {error}; correct them or name the folder with --data")
    with connection:
        return copy(connection)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="upstairs stdio", description="Speak MCP on the standard streams.")
    parser.add_argument("--data", help="the data folder; unset: UPSTAIRS_DATA, the settings file, the default")
    parser.add_argument("--config", help="a settings file, handed on to a server that is started")
    parser.add_argument("--as", dest="user", help="a local user of the settings; unset: you")
    parser.add_argument("--wait", type=float, default=START_SECONDS, help="seconds to wait for a starting server")
    return parser


def _failed(message: str) -> int:
    print(f"upstairs: {message}", file=sys.stderr, flush=True)
    return 1


def reach_server(folder: DataFolder, config: Path | None, *, seconds: float = START_SECONDS) -> socket.socket:
    """Return a connection to the server of `folder`, started first when none answers.

    Raises:
        Unavailable: it ended while starting, or was not ready in time; the message has the end of its log.
    """
    until = time.monotonic() + seconds
    connection = connect(folder)
    while connection is None:
        with _start_lock(folder) as mine:
            # Another bridge may have started the server between our try and the lock.
            connection = connect(folder)
            if connection is None and mine:
                connection = _start(folder, config, until)
        if connection is None:
            if time.monotonic() > until:
                raise Unavailable(
                    f"Another start of the server on {folder.root} did not finish in {seconds:.0f} s. "
                    f"{_end_of_log(folder)}Run `upstairs doctor --data {folder.root}` to see why"
                )
            time.sleep(POLL_SECONDS)
    return connection


def connect(folder: DataFolder) -> socket.socket | None:
    """Return a connection to the server that runs on `folder`, or None when none answers."""
    try:
        running = folder.read_server()
    except Problem:
        return None
    if running.socket is None:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(running.socket))
    except OSError:
        connection.close()
        return None
    return connection


@contextlib.contextmanager
def _start_lock(folder: DataFolder) -> Generator[bool]:
    """Yield whether this process is the one that may start the server now."""
    descriptor = os.open(folder.run / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def server_command(folder: DataFolder, config: Path | None) -> list[str]:
    """Return the command that serves `folder` in the background; `-P` keeps the current folder out of imports."""
    command = [sys.executable, "-P", "-m", "server.cli", "serve", "--data", str(folder.root), "--background"]
    return [*command, "--config", str(config)] if config is not None else command


def _start(folder: DataFolder, config: Path | None, until: float) -> socket.socket:
    log = os.open(_log_file(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # A session of its own: what ends the client's terminal or process group does not end the server.
        server = subprocess.Popen(  # noqa: S603
            server_command(folder, config),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.root,
            start_new_session=True,
        )
    finally:
        os.close(log)
    while (connection := connect(folder)) is None:
        code = server.poll()
        # A server that finds another one on the folder ends; the other one then answers.
        if code is not None and (connection := connect(folder)) is not None:
            return connection
        if code is not None:
            raise Unavailable(
                f"The server on {folder.root} ended with code {code}. {_end_of_log(folder)}{_advice(folder)}"
            )
        if time.monotonic() > until:
            raise Unavailable(
                f"The server on {folder.root} (process {server.pid}) is not ready yet and goes on starting. "
                f"{_end_of_log(folder)}{_advice(folder)}"
            )
        time.sleep(POLL_SECONDS)
    return connection


def _advice(folder: DataFolder) -> str:
    return f"See {_log_file(folder)}, or run `upstairs serve --data {folder.root}` to watch it start"


def _log_file(folder: DataFolder) -> Path:
    return folder.logs / "server.log"


def _end_of_log(folder: DataFolder) -> str:
    try:
        with _log_file(folder).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    return f"Its log ends with: {' | '.join(lines)}. " if lines else ""


def greet(connection: socket.socket, user: str | None) -> None:
    """Say who is calling and hear whether that is accepted.

    Raises:
        Unavailable: the server refused, with its reason, or is no server of this kind.
    """
    line = b""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps({"upstairs": WIRE, "user": user}).encode() + b"\n")
        while not line.endswith(b"\n") and len(line) < CHUNK:
            # One byte at a time, so that nothing of the session behind this line is taken.
            byte = connection.recv(1)
            if not byte:
                break
            line += byte
    try:
        answer = cast("dict[str, Any]", json.loads(line))
        refused = answer.get("error")
        wire = answer["upstairs"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unavailable("The server closed the connection at once; it may be stopping, try again") from None
    if refused is not None:
        raise Unavailable(f"The server refused the connection: {refused}")
    if wire != WIRE:
        raise Unavailable(f"The server speaks form {wire} of this wire, this bridge form {WIRE}; restart the server")


def copy(connection: socket.socket) -> int:
    """Copy both ways until the server closes; return 0 when the client had closed first, else 1."""
    client_closed = threading.Event()

    def forward() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(0, CHUNK):
                connection.sendall(data)
        client_closed.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=forward, daemon=True).start()
    try:
        while data := connection.recv(CHUNK):
            _write_all(data)
    except BrokenPipeError:
        return 0
    except OSError:
        pass
    if client_closed.is_set():
        return 0
    return _failed("the server ended; connect again to start it, runs continue where they were")


def _write_all(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


if __name__ == "__main__":
    sys.exit(main())
