"""The data folder: its layout, its format version, its locks, and what a running server tells others through it.

```
upstairs.db                     the database
temporal/temporal.db            the embedded Temporal's file, with its lock, version and backups beside it
blobs/                          files and large payloads
keys/ring.json                  the key ring
logs/                           what the parts say
token                           the token that loopback HTTP needs
format                          the number of this layout
run/server.json, run/*.lock     the running server; empty after a clean stop
run/hub.json, run/hub.sock      where its workers join it (`server.hub_socket`)
```
Everything is made with rights for its owner only (0700, 0600): locally the folder is the boundary of trust.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.errors import Conflict, Invalid, Unavailable

FORMAT = 1

# The kernel's bound is 108 bytes on Linux and 104 on macOS, the final zero byte included.
MAX_SOCKET_PATH = 100


class DataFolder:
    """One data folder; `open_data_folder` makes or checks it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "upstairs.db"
        self.temporal = root / "temporal"
        self.temporal_database = self.temporal / "temporal.db"
        self.blobs = root / "blobs"
        self.keys = root / "keys"
        self.key_ring = self.keys / "ring.json"
        self.keys_made = root / "keys.made"
        self.logs = root / "logs"
        self.run = root / "run"
        self.server_file = self.run / "server.json"
        self.temporal_file = self.run / "temporal.json"
        self.token_file = root / "token"
        self.format_file = root / "format"

    def __repr__(self) -> str:
        return f"DataFolder({str(self.root)!r})"

    def token(self) -> str:
        """Return the token of loopback HTTP, 43 characters, made at the first call."""
        with contextlib.suppress(FileExistsError):
            create_once(self.token_file, secrets.token_urlsafe(32).encode())
        token = self.token_file.read_text(encoding="ascii").strip()
        if len(token) < 32:
            raise Invalid(
                f"{self.token_file} holds no usable token; remove it and a new one is made", file=str(self.token_file)
            )
        return token

    def socket_path(self) -> Path:
        """Return where the server listens: `run/server.sock`, or a short path in a private temporary folder.

        The short path depends on the data folder and the user only; the running server records it in
        `run/server.json` and clients read it there.
        """
        path = self.run / "server.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            return path
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"upstairs-{os.getuid()}-{name}"
        make_private(folder)
        path = folder / "server.sock"
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise Invalid(
                f"The socket path {path} is longer than the {MAX_SOCKET_PATH} bytes that systems allow; "
                "choose a shorter data folder or set TMPDIR to a shorter one",
                path=str(path),
            )
        return path

    def lock(self, name: str) -> "FolderLock":
        """Take the exclusive lock `name`, held until `release`; raises `Conflict` naming the holder."""
        return FolderLock(self.run / f"{name}.lock", f"the data folder {self.root}")

    def write_server(self, *, port: int | None, socket: Path | None, version: str) -> "RunningServer":
        """Record this process as the running server and return the record."""
        running = RunningServer(os.getpid(), port, socket, self.token_file, version)
        write_private(self.server_file, json.dumps(running.as_json(), indent=1).encode())
        return running

    def read_server(self) -> "RunningServer":
        """Return the record of the running server; raises `Unavailable` when none runs on this folder."""
        try:
            return RunningServer.from_json(json.loads(self.server_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise Unavailable(
                f"No server runs on {self.root}; start one with `upstairs serve`", folder=str(self.root)
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Invalid(
                f"{self.server_file} cannot be read ({error}); restart the server, it is written anew",
                file=str(self.server_file),
            ) from error

    def forget_server(self) -> None:
        """Remove the record and the socket at a clean stop, if they are this process's own."""
        with contextlib.suppress(Unavailable, Invalid):
            running = self.read_server()
            if running.pid == os.getpid():
                if running.socket is not None:
                    running.socket.unlink(missing_ok=True)
                self.server_file.unlink(missing_ok=True)


@dataclass(frozen=True)
class RunningServer:
    """What a running server tells other processes of the same user: `run/server.json`."""

    pid: int
    port: int | None
    socket: Path | None
    token_file: Path
    version: str

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON, paths as strings."""
        return {
            "pid": self.pid,
            "port": self.port,
            "socket": None if self.socket is None else str(self.socket),
            "token_file": str(self.token_file),
            "version": self.version,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "RunningServer":
        """Return the record that `as_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            int(record["pid"]),
            None if record["port"] is None else int(record["port"]),
            None if record["socket"] is None else Path(record["socket"]),
            Path(record["token_file"]),
            str(record["version"]),
        )


class FolderLock:
    """An exclusive lock held by an open file, so that it ends with its holder however that dies.

    A child that inherits `descriptor` holds the lock too, until it has ended as well.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 200, 0)
            os.close(self._descriptor)
            self._descriptor = None
            raise _held(path, what, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)

    @property
    def descriptor(self) -> int:
        """The open file, for a child that shall hold the lock with us."""
        assert self._descriptor is not None, "the lock was released"
        return self._descriptor

    def release(self) -> None:
        """Give the lock up; the file stays, as removing it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _held(path: Path, what: str, holder: bytes) -> Conflict:
    pid: int | None = None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        pid = int(cast("dict[str, Any]", json.loads(holder))["pid"])
    who = f"process {pid}" if pid is not None else "another process"
    return Conflict(
        f"{who} already uses {what} (lock {path.name}); stop it, or choose another folder with --data",
        pid=pid,
        lock=str(path),
    )


def open_data_folder(root: Path) -> DataFolder:
    """Return the data folder at `root`, made when absent.

    Rights of others are taken away. Raises `Invalid` when a newer version made it or its format cannot be read,
    `Unavailable` when it cannot be written or belongs to another user.
    """
    folder = DataFolder(Path(os.path.abspath(root)))
    try:
        for path in (folder.root, folder.temporal, folder.blobs, folder.keys, folder.logs, folder.run):
            make_private(path)
        _check_format(folder)
    except OSError as error:
        raise Unavailable(
            f"The data folder {folder.root} cannot be used: {error.strerror} ({error.filename}); "
            "choose another with --data or UPSTAIRS_DATA",
            folder=str(folder.root),
        ) from error
    return folder


def _check_format(folder: DataFolder) -> None:
    with contextlib.suppress(FileExistsError):
        create_once(folder.format_file, f"{FORMAT}\n".encode())
    text = folder.format_file.read_text(encoding="utf-8", errors="replace").strip()
    if not text.isdecimal():
        raise Invalid(
            f"{folder.format_file} holds {text[:40]!r} instead of a number; restore it from a backup of the folder",
            file=str(folder.format_file),
        )
    if int(text) > FORMAT:
        raise Invalid(
            f"The data folder {folder.root} has format {text}, made by a newer version; this one reads up to {FORMAT}. "
            "Upgrade upstairs or choose another folder with --data",
            found=int(text),
            supported=FORMAT,
        )


def make_private(folder: Path) -> None:
    """Make `folder` with mode 0700; an existing one must be a folder of this user and is narrowed to 0700."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "It belongs to another user; name a folder inside it", str(folder))
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step, mode 0600, safely on the disk when this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    _write_new(temporary, data)
    os.replace(temporary, path)
    sync_folder(path.parent)


def create_once(path: Path, data: bytes) -> None:
    """Create `path` with `data` in one step, mode 0600; raises FileExistsError when another was first."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    _write_new(temporary, data)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk."""
    with open_folder(folder) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def open_folder(folder: Path) -> Generator[int]:
    """Yield a descriptor of `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
