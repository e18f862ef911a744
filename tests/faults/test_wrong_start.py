"""What people type wrongly: the real command line answers in one line that says what to do, and nothing is lost."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from server.data_folder import open_data_folder
from tests.faults.house import FaultHouse, environment

SIMPLE = """
format: 1
process: simple
title: Nothing but an end
input:
  type: object
  properties: {document: {type: string}}
  required: [document]
  additionalProperties: false
context: {schema: {type: object, properties: {document: {type: string}}}}
start: done
nodes:
  done: {type: end, outcome: done, output: {var: document}}
"""

ASKING = """
format: 1
process: asking
title: A model without a key
input: {type: object, properties: {document: {type: string}}, required: [document]}
context: {schema: {type: object, properties: {document: {type: string}, said: {type: string}}}}
start: ask
nodes:
  ask:
    type: interaction
    interaction: repeat
    model: anthropic/claude-sonnet-4-5
    input: {text: {var: document}}
    writes: [said]
    next: [{to: done}]
  done: {type: end, outcome: done, output: {var: said}}
"""

REPEAT = """---
name: repeat
description: Repeats a text.
input:
  schema:
    text: string
output:
  format: json
  schema:
    said: string
---
{{text}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultHouse]:
    """A server with two processes on it."""
    house = FaultHouse(tmp_path_factory.mktemp("running") / "data")
    house.start()
    try:
        house.publish("interactions", "repeat", REPEAT)
        house.publish("processes", "simple", SIMPLE)
        house.publish("processes", "asking", ASKING)
        yield house
    finally:
        house.stop()


def upstairs(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder`."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "server.cli", *map(str, words)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    """Check that a command failed with one line on its standard error that holds `says`."""
    assert done.returncode not in (0, None)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("upstairs: ")
    assert "Traceback" not in done.stdout + done.stderr
    for words in says:
        assert words in done.stderr, done.stderr


def still_serves(house: FaultHouse) -> bool:
    """Whether the server that ran before still does its work."""
    assert not house.ended()
    done = upstairs(
        "run", "simple", "--input", '{"document": "x"}', "--wait", "--data", house.folder.root, folder=Path("/")
    )
    return (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(
        'completed: {"outcome": "done", "output": "x"}\n'
    )


def test_a_chosen_port_that_is_taken(running: FaultHouse, tmp_path: Path) -> None:
    port = running.folder.read_server().port
    refused(
        upstairs("serve", "--data", tmp_path / "other", "--port", str(port), folder=tmp_path),
        f"port {port}",
        "--port 0",
    )
    assert still_serves(running)


def test_a_port_of_another_program(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(
            upstairs("serve", "--data", tmp_path / "data", "--port", port, folder=tmp_path),
            "choose another with --port",
        )


def test_a_second_server_on_the_same_folder(running: FaultHouse, tmp_path: Path) -> None:
    done = upstairs("serve", "--data", running.folder.root, "--port", "0", folder=tmp_path)
    refused(done, f"process {running.pid} already uses the data folder", "--data")
    assert running.folder.read_server().pid == running.pid
    assert still_serves(running)


def test_a_data_folder_of_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("99\n")
    refused(upstairs("serve", "--data", tmp_path, "--port", "0", folder=tmp_path), "format 99", "Upgrade upstairs")
    assert (tmp_path / "format").read_text() == "99\n"


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    folder = open_data_folder(tmp_path / "data")
    with closing(sqlite3.connect(folder.database)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('from_the_future')")
    done = upstairs("serve", "--data", folder.root, "--port", "0", "--background", folder=tmp_path)
    refused(done, "revision from_the_future", "Start that release or restore the backup")
    with closing(sqlite3.connect(folder.database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert tables == [("alembic_version",)]
    assert not folder.server_file.exists()
    assert not folder.temporal_file.exists()


def test_settings_that_are_no_toml(tmp_path: Path) -> None:
    (tmp_path / "upstairs.toml").write_text("port = = 3\n")
    for command in ("serve", "status", "doctor"):
        refused(
            upstairs(command, "--data", tmp_path, folder=tmp_path), "upstairs.toml", "line 1", "correct it or remove it"
        )


def test_a_setting_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "upstairs.toml").write_text("prot = 3\n")
    refused(upstairs("serve", "--data", tmp_path, folder=tmp_path), "`prot`", "did you mean `port`?")


def test_an_unknown_process(running: FaultHouse, tmp_path: Path) -> None:
    done = upstairs("run", "simpel", "--data", running.folder.root, folder=tmp_path)
    refused(done, "no published process 'simpel'", "simple")
    assert still_serves(running)


def test_an_input_that_fails_its_schema(running: FaultHouse, tmp_path: Path) -> None:
    before = running.rows("SELECT count(*) AS n FROM runs")
    for text, says in (
        ('{"document": 3}', "$.document must be string, not 3"),
        ("{}", "document"),
        ('{"document": ', "--input is not JSON"),
        ("[1]", "--input must be a JSON object"),
    ):
        refused(upstairs("run", "simple", "--input", text, "--data", running.folder.root, folder=tmp_path), says)
    assert running.rows("SELECT count(*) AS n FROM runs") == before
    assert still_serves(running)


def test_files_that_cannot_be_taken_in(running: FaultHouse, tmp_path: Path) -> None:
    (tmp_path / "half.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    unreadable = tmp_path / "unreadable.txt"
    # A link into the process's own memory can be opened and not be read, by the administrator of the machine too.
    unreadable.symlink_to("/proc/self/mem")
    for name, says in (
        ("absent.pdf", "there is no file absent.pdf"),
        ("half.pdf", "half.pdf: The PDF has no end: it was cut off on its way. Send it again."),
        (unreadable.name, "unreadable.txt: Input/output error"),
        ("a" * 300, "File name too long"),
    ):
        refused(upstairs("ingest", name, "--data", running.folder.root, folder=tmp_path), says)
    assert still_serves(running)


def test_the_files_that_can_be_taken_in_are_although_another_one_cannot(running: FaultHouse, tmp_path: Path) -> None:
    (tmp_path / "half.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    (tmp_path / "whole.txt").write_text("The gate is open on Tuesdays.")
    done = upstairs("ingest", tmp_path, "--data", running.folder.root, folder=tmp_path)
    refused(done, "1 of 2 files were not taken in", "half.pdf")
    assert "whole.txt: ready" in done.stdout


def test_a_prompt_that_cannot_be_read(running: FaultHouse, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("format: 1\nprocess: [\n")
    for name in ("absent.yaml", "broken.yaml"):
        refused(upstairs("publish", name, "--data", running.folder.root, folder=tmp_path))
    assert still_serves(running)


def test_a_model_without_its_key(running: FaultHouse, tmp_path: Path) -> None:
    done = upstairs(
        "run", "asking", "--input", '{"document": "x"}', "--wait", "--data", running.folder.root, folder=tmp_path
    )
    refused(done, "no API key for anthropic is configured: set ANTHROPIC_API_KEY")
    assert still_serves(running)


def test_a_user_whom_the_settings_do_not_name(running: FaultHouse, tmp_path: Path) -> None:
    done = upstairs("inbox", "--as", "mallory", "--data", running.folder.root, folder=tmp_path)
    refused(done, "no local user 'mallory'", "local.users")


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    refused(upstairs("strat", folder=tmp_path), "strat", "--help")


def test_a_folder_where_nothing_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(upstairs("serve", "--data", tmp_path / "file", folder=tmp_path), "--data", os.fspath(tmp_path / "file"))
