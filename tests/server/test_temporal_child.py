"""The embedded Temporal against the real server: starting, sharing, crashing, ending, refusing."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from engine.errors import Conflict, Invalid, Unavailable
from server import temporal_launch
from server.data_folder import DataFolder, open_data_folder
from server.settings import TemporalSettings, TlsSettings
from server.temporal import connect, external_target
from server.temporal_binary import admit, find_binary, inspect_binary, read_record, write_record
from server.temporal_child import EmbeddedTemporal, read_running, server_command

pytestmark = pytest.mark.anyio

EMBEDDED = TemporalSettings()


@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"hello {name}"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return open_data_folder(tmp_path / "data")


@contextlib.asynccontextmanager
async def worker(client: Client) -> AsyncGenerator[None]:
    async with Worker(client, task_queue="q", workflows=[Greet], workflow_runner=UnsandboxedWorkflowRunner()):
        yield


async def greet(client: Client, run: str) -> str:
    tenant = SearchAttributePair(SearchAttributeKey.for_keyword("Tenant"), "acme")
    return await client.execute_workflow(
        Greet.run,
        "you",
        id=f"acme/{run}",
        task_queue="q",
        search_attributes=TypedSearchAttributes([tenant]),
        rpc_timeout=timedelta(seconds=5),
    )


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    """Return when the process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def test_a_started_server_runs_workflows_with_the_platforms_search_attributes_and_retention(folder: DataFolder):
    with anyio.fail_after(30):
        async with EmbeddedTemporal(EMBEDDED, folder) as temporal:
            client = await connect(EMBEDDED, folder, pydantic_data_converter)
            async with worker(client):
                assert await greet(client, "run_1") == "hello you"
            found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="upstairs"))
            assert found.config.workflow_execution_retention_ttl.seconds == 30 * 86400
            asked = ListSearchAttributesRequest(namespace="upstairs")
            attributes = (await client.operator_service.list_search_attributes(asked)).custom_attributes
            assert dict(attributes) == dict.fromkeys(
                ("Tenant", "Kind", "Definition"), IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
            )
            assert temporal.up
            assert temporal.crashes == 0
        assert not folder.temporal_file.exists()
        assert not alive(temporal.running.pid)


def listening_addresses(pid: int) -> list[str]:
    """The addresses that the process listens on for TCP, from the kernel's tables."""
    sockets = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    found: list[str] = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address = fields[1].partition(":")[0]
                found.append("127.0.0.1" if address == "0100007F" else address)
    return found


def environment_names(pid: int) -> set[str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {entry.partition(b"=")[0].decode() for entry in entries if entry}


async def test_everything_the_server_listens_on_is_loopback_and_its_files_are_private(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "planted")
    with anyio.fail_after(10):
        async with EmbeddedTemporal(EMBEDDED, folder) as temporal:
            pid = temporal.running.pid
            listening = listening_addresses(pid)
            assert listening
            assert set(listening) == {"127.0.0.1"}
            files = [path for path in folder.temporal.iterdir() if path.is_file()]
            assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
            assert (folder.temporal / "temporal.db-wal").exists()
            assert "PATH" in environment_names(pid)
            assert "ANTHROPIC_API_KEY" not in environment_names(pid)
            assert os.getsid(pid) == pid


async def test_a_killed_server_is_restarted_on_its_port_and_clients_go_on(folder: DataFolder):
    with anyio.fail_after(30):
        async with EmbeddedTemporal(EMBEDDED, folder) as temporal:
            client = await connect(EMBEDDED, folder, pydantic_data_converter)
            async with worker(client):
                assert await greet(client, "run_1") == "hello you"
                address, pid = temporal.address, temporal.running.pid
                os.kill(pid, signal.SIGKILL)
                await gone(pid)
                assert await greet(client, "run_2") == "hello you"
                await temporal.wait_up()
                assert temporal.crashes == 1
                assert temporal.address == address
                assert temporal.running.pid != pid
                assert read_running(folder).pid == temporal.running.pid
                assert await client.get_workflow_handle("acme/run_1").result() == "hello you"


PARENT = """
import asyncio, sys
from pathlib import Path
from server.data_folder import open_data_folder
from server.settings import TemporalSettings
from server.temporal_child import EmbeddedTemporal

async def main():
    async with EmbeddedTemporal(TemporalSettings(), open_data_folder(Path(sys.argv[1]))) as temporal:
        print(temporal.running.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_parent_takes_its_server_along_and_the_next_start_waits_for_its_end(folder: DataFolder):
    with anyio.fail_after(30):
        async with await anyio.open_process([sys.executable, "-c", PARENT, str(folder.root)], stderr=None) as parent:
            assert parent.stdout is not None
            pid = int(await parent.stdout.receive())
            assert alive(pid)
            with pytest.raises(Conflict) as refused:
                await EmbeddedTemporal(EMBEDDED, folder).__aenter__()
            assert refused.value.details["pid"] == parent.pid
            assert f"process {parent.pid} already uses" in refused.value.message
            parent.kill()
            await parent.wait()
            async with EmbeddedTemporal(EMBEDDED, folder) as temporal:
                assert not alive(pid)
                assert temporal.running.pid != pid


async def test_a_second_start_on_one_folder_is_told_who_has_it(folder: DataFolder):
    with anyio.fail_after(10):
        async with EmbeddedTemporal(EMBEDDED, folder) as temporal:
            with pytest.raises(Conflict, match=f"process {os.getpid()} already uses the embedded Temporal"):
                await EmbeddedTemporal(EMBEDDED, folder).__aenter__()
            assert temporal.up
            assert alive(temporal.running.pid)


async def test_a_taken_port_is_named_when_it_was_asked_for(folder: DataFolder):
    with anyio.fail_after(10), socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(Unavailable, match="address already in use"):
            await EmbeddedTemporal(EMBEDDED.model_copy(update={"port": port}), folder).__aenter__()


CLASHING = """#!/bin/sh
if [ "$1" = server ] && [ ! -e "$0.met" ]; then
    touch "$0.met"
    echo "Error: failed starting server: {said}127.0.0.1:{port}: bind: address already in use" >&2
    exit 1
fi
exec '{real}' "$@"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
@pytest.mark.parametrize("asked", [False, True])
async def test_a_port_that_the_server_chose_and_another_took_is_no_reason_not_to_start(
    folder: DataFolder, tmp_path: Path, asked: bool
):
    """Temporal takes ports of its own for its other interfaces, and says so at the end of a long line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "temporal"
    said = "could not build arguments for function; " * 20 + "failed listening for HTTP API on "
    script.write_text(CLASHING.format(said=said, port=1, real=find_binary(None)))
    script.chmod(0o755)
    settings = EMBEDDED.model_copy(update={"binary": script, "port": port if asked else EMBEDDED.port})
    with anyio.fail_after(30):
        async with EmbeddedTemporal(settings, folder) as temporal:
            assert temporal.up
    assert script.with_name("temporal.met").exists()


async def test_a_server_with_another_database_than_recorded_is_refused(folder: DataFolder):
    with anyio.fail_after(20):
        async with EmbeddedTemporal(EMBEDDED, folder):
            pass
        record = read_record(folder)
        assert record is not None
        write_record(folder, replace(record, cluster_id="another"))
        with pytest.raises(Conflict, match="instead of another"):
            await EmbeddedTemporal(EMBEDDED, folder).__aenter__()
        assert not folder.temporal_file.exists()


async def test_a_client_refuses_a_server_that_is_not_the_folders_own(folder: DataFolder):
    with anyio.fail_after(30):
        async with EmbeddedTemporal(EMBEDDED, folder):
            record = json.loads(folder.temporal_file.read_text())
            folder.temporal_file.write_text(json.dumps({**record, "cluster_id": "another"}))
            with pytest.raises(Conflict, match="not the one of this data folder"):
                await connect(EMBEDDED, folder, pydantic_data_converter)


async def test_a_client_without_a_running_server_is_told_to_start_it(folder: DataFolder):
    with anyio.fail_after(20):
        with pytest.raises(Unavailable, match="upstairs serve"):
            await connect(EMBEDDED, folder, pydantic_data_converter)


async def test_an_external_address_is_used_and_its_errors_say_what_to_do(folder: DataFolder):
    with anyio.fail_after(20):
        async with EmbeddedTemporal(EMBEDDED, folder) as temporal:
            external = TemporalSettings(mode="external", address=temporal.address, namespace="upstairs")
            client = await connect(external, folder, pydantic_data_converter)
            assert client.namespace == "upstairs"
            with pytest.raises(Unavailable, match="has no namespace 'elsewhere'"):
                await connect(external.model_copy(update={"namespace": "elsewhere"}), folder, pydantic_data_converter)
            bare = RegisterNamespaceRequest(
                namespace="bare", workflow_execution_retention_period=Duration(seconds=86400)
            )
            await client.workflow_service.register_namespace(bare)
            with pytest.raises(Unavailable, match="lacks the search attributes Tenant, Kind, Definition"):
                await connect(external.model_copy(update={"namespace": "bare"}), folder, pydantic_data_converter)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await connect(external, folder, pydantic_data_converter)


async def test_an_external_target_takes_the_profile_below_its_own_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.prod]\naddress = "prod.example:7233"\nnamespace = "prod-ns"\napi_key = "sesame"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(file))
    target = external_target(TemporalSettings(mode="external", profile="prod"))
    assert (target.address, target.namespace) == ("prod.example:7233", "prod-ns")
    assert target.options["api_key"] == "sesame"
    assert target.options["tls"] is True
    assert "sesame" not in repr(target)
    target = external_target(TemporalSettings(mode="external", profile="prod", address="other:1", namespace="mine"))
    assert (target.address, target.namespace) == ("other:1", "mine")
    with pytest.raises(Invalid, match="profile 'absent'"):
        external_target(TemporalSettings(mode="external", profile="absent"))
    missing = TlsSettings(ca_file=tmp_path / "ca.pem")
    with pytest.raises(Invalid, match=r"temporal\.tls\.ca_file"):
        external_target(TemporalSettings(mode="external", address="other:1", tls=missing))


async def test_external_mode_without_an_address_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))
    with pytest.raises(Invalid, match="host:port"):
        external_target(TemporalSettings(mode="external"))


def test_the_durability_setting_decides_what_is_synced(folder: DataFolder):
    for durability in ("full", "normal"):
        settings = EMBEDDED.model_copy(update={"durability": durability})
        command = server_command(Path("temporal"), folder.temporal_database, 1, "upstairs", settings)
        assert f"synchronous={durability}" in command
        assert "journal_mode=wal" in command


def test_the_packaged_server_is_found_and_says_its_version():
    binary = inspect_binary(find_binary(None))
    assert binary.path.is_file()
    assert binary.server.count(".") == 2


def test_a_configured_binary_comes_first_and_must_be_a_temporal_server(tmp_path: Path):
    other = shutil.copy("/bin/true", tmp_path / "temporal")
    assert find_binary(Path(other)) == Path(other)
    with pytest.raises(Unavailable, match="no Temporal CLI"):
        inspect_binary(Path(other))
    with pytest.raises(Invalid, match=r"temporal\.binary"):
        find_binary(tmp_path / "absent")


async def test_an_older_server_is_refused_and_a_newer_one_gets_a_backup_first(folder: DataFolder):
    with anyio.fail_after(20):
        async with EmbeddedTemporal(EMBEDDED, folder):
            pass
        record = read_record(folder)
        assert record is not None
        binary = inspect_binary(find_binary(None))
        assert (record.cli, record.server) == (binary.cli, binary.server)
        assert admit(folder, binary) is None

        write_record(folder, replace(record, server="999.0.0"))
        with pytest.raises(Conflict, match=r"last opened by Temporal server 999\.0\.0"):
            await EmbeddedTemporal(EMBEDDED, folder).__aenter__()

        write_record(folder, replace(record, server="1.9.0"))
        async with EmbeddedTemporal(EMBEDDED, folder):
            pass
        (copy,) = folder.temporal.glob("backup-1.9.0-*.db")
        with contextlib.closing(sqlite3.connect(copy)) as database:
            assert database.execute("select count(*) from cluster_metadata_info").fetchone()[0] > 0
        assert copy.stat().st_mode & 0o777 == 0o600
        after = read_record(folder)
        assert after is not None
        assert after.server == binary.server


async def test_a_database_of_unknown_version_is_backed_up_before_it_is_opened(folder: DataFolder):
    with contextlib.closing(sqlite3.connect(folder.temporal_database)) as database:
        database.execute("create table t (x)")
    backup = admit(folder, inspect_binary(find_binary(None)))
    assert backup is not None
    assert backup.name.startswith("backup-unknown-")


async def test_the_launcher_starts_nothing_when_its_parent_is_gone():
    script = temporal_launch.__file__
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-I", "-S", script, "1", "/bin/true"], timeout=10, check=False
    )
    assert ended.returncode == 3
