"""The data folder: private, locked, versioned, and findable by other processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import Conflict, Invalid, Unavailable
from server.data_folder import FORMAT, MAX_SOCKET_PATH, DataFolder, open_data_folder


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return open_data_folder(tmp_path / "data")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_everything_is_made_for_its_owner_only(folder: DataFolder):
    for path in (folder.root, folder.temporal, folder.blobs, folder.keys, folder.logs, folder.run):
        assert mode(path) == 0o700
    assert len(folder.token()) == 43
    assert mode(folder.token_file) == 0o600
    assert mode(folder.format_file) == 0o600


def test_rights_of_others_are_taken_away(folder: DataFolder):
    folder.root.chmod(0o755)
    open_data_folder(folder.root)
    assert mode(folder.root) == 0o700


def test_the_token_stays_the_same(folder: DataFolder):
    assert folder.token() == open_data_folder(folder.root).token()
    folder.token_file.write_text("short")
    with pytest.raises(Invalid, match="no usable token"):
        folder.token()


def test_a_newer_format_is_refused(folder: DataFolder):
    folder.format_file.write_text(f"{FORMAT + 1}\n")
    with pytest.raises(Invalid, match="made by a newer version") as refused:
        open_data_folder(folder.root)
    assert refused.value.details == {"found": FORMAT + 1, "supported": FORMAT}
    folder.format_file.write_text("?")
    with pytest.raises(Invalid, match="instead of a number"):
        open_data_folder(folder.root)


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="choose another with --data"):
        open_data_folder(tmp_path / "file")
    with pytest.raises(Unavailable, match="choose another with --data"):
        open_data_folder(tmp_path / "file" / "below")


HOLD = """
import sys
from pathlib import Path
from server.data_folder import DataFolder
lock = DataFolder(Path(sys.argv[1])).lock("server")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_names_its_holder_and_ends_with_it(folder: DataFolder):
    command = [sys.executable, "-c", HOLD, str(folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=f"process {holder.pid} already uses the data folder") as refused:
            folder.lock("server")
        assert refused.value.details["pid"] == holder.pid
        with folder.lock("another"):
            pass
        holder.kill()
        holder.wait(timeout=10)
        with folder.lock("server") as lock, pytest.raises(Conflict, match=f"process {os.getpid()} "):
            folder.lock(lock.path.stem)
        with folder.lock("server"):
            pass


def test_the_socket_lies_in_the_folder_or_in_a_short_private_place(folder: DataFolder, tmp_path: Path):
    deep = open_data_folder(tmp_path / ("x" * 60) / ("y" * 60))
    path = deep.socket_path()
    assert path == deep.socket_path()
    assert path != open_data_folder(tmp_path / ("x" * 60) / ("z" * 60)).socket_path()
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH
    assert mode(path.parent) == 0o700
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    path.unlink()
    path.parent.rmdir()
    short = DataFolder(Path("/short"))
    assert short.socket_path() == Path("/short/run/server.sock")


def test_the_running_server_is_found_by_its_record_until_it_stops(folder: DataFolder):
    with pytest.raises(Unavailable, match="upstairs serve"):
        folder.read_server()
    sock = folder.run / "server.sock"
    sock.touch()
    written = folder.write_server(port=7777, socket=sock, version="1.2.3")
    assert folder.read_server() == written
    assert written.pid == os.getpid()
    assert written.token_file == folder.token_file
    assert mode(folder.server_file) == 0o600
    folder.forget_server()
    assert not folder.server_file.exists()
    assert not sock.exists()
    folder.server_file.write_text("{")
    with pytest.raises(Invalid, match="written anew"):
        folder.read_server()


def test_another_servers_record_is_not_removed(folder: DataFolder):
    folder.write_server(port=1, socket=None, version="1")
    folder.server_file.write_text(folder.server_file.read_text().replace(str(os.getpid()), "1"))
    folder.forget_server()
    assert folder.read_server().pid == 1
