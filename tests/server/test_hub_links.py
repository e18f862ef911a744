"""Hubs joined to each other: over the socket of a data folder, over a loopback port, over one Postgres."""

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from content.database import Database
from engine.runs import RunRef
from engine.transcript import Delta
from server.data_folder import DataFolder, open_data_folder
from server.hub import Hub, TurnStream
from server.hub_links import linked
from server.hub_outlet import MOST_MISSED, Outlet, decode, encode, lines
from server.hub_postgres import NOTICE, joined_over_postgres
from server.hub_reader import Deltas
from server.hub_socket import hub_file, join_hub, serve_hub
from server.hub_values import Changed, Frame, Hello, LiveDelta, Place, Stopping, settled_by
from server.keys import KeyRing

pytestmark = pytest.mark.anyio

RUN = RunRef(tenant="local", run_id="run_1")
LATER = 3600.0
"""Longer than any test: what waits for this timer never leaves by it."""

Joins = Callable[[Hub, bool], AbstractAsyncContextManager[None]]


def folder_at(root: Path) -> DataFolder:
    return open_data_folder(root / "data")


@pytest.fixture
def joins(database: Database, tmp_path: Path) -> Joins:
    """Joins a hub, as one with readers or as a worker's: over a socket, and over Postgres."""
    folder, keys = folder_at(tmp_path), KeyRing.in_memory()
    return lambda hub, serves: linked(hub, database, keys, folder, serves=serves)


@asynccontextmanager
async def heard(joins: Joins, hub: Hub, serves: bool) -> AsyncGenerator[None]:
    """Join a hub and give it when it hears."""
    async with joins(hub, serves):
        with anyio.fail_after(20):
            while not hub.hears:
                await anyio.sleep(0.005)
        yield


async def until_text(reader: Deltas, text: str) -> list[LiveDelta]:
    """Return the pieces up to the one with which their text ends in `text`."""
    found: list[LiveDelta] = []
    with anyio.fail_after(20):
        while not "".join(one.text for one in found).endswith(text):
            found.append(await reader.get())
    return found


async def woken(hub: Hub, place: RunRef | str, say: Callable[[], None]) -> None:
    """Say something again and again until who waits for `place` is woken: the other end may join a moment later."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def repeat() -> None:
                while True:
                    say()
                    await anyio.sleep(0.02)

            group.start_soon(repeat)
            await hub.wait(place, LATER)
            group.cancel_scope.cancel()


async def test_what_a_worker_streams_is_heard_by_the_readers_of_the_server_in_its_order(joins: Joins) -> None:
    server, worker = Hub(), Hub()
    async with heard(joins, server, True), heard(joins, worker, False), server.watch(RUN) as reader:
        stream = TurnStream(worker, RUN, 1, 1)
        for number in range(200):
            stream(Delta(kind="text", text=f"{number} "))
            if number % 7 == 0:
                await anyio.lowlevel.checkpoint()
        stream(Delta(kind="reasoning", text="done"))
        worker.changed(RUN)
        found = [one for one in await until_text(reader, "done") if one.is_text]
        assert "".join(one.text for one in found) == "".join(f"{number} " for number in range(200)) + "done"
        assert [one.offset for one in found] == [sum(len(two.text) for two in found[:n]) for n in range(len(found))]
        assert found[-1].type == "reasoning.delta"


async def test_a_change_wakes_who_waits_in_every_other_process(joins: Joins) -> None:
    server, first, second = Hub(), Hub(), Hub()
    async with heard(joins, server, True), heard(joins, first, False), heard(joins, second, False):
        await woken(server, RUN, lambda: first.changed(RUN))
        await woken(first, RUN, lambda: server.changed(RUN))
        await woken(second, RUN, lambda: first.changed(RUN))
        await woken(second, "local", lambda: first.changed(RUN))
        # Of another tenant's run of the same name nobody is told.
        other = RunRef(tenant="other", run_id=RUN.run_id)
        waiting = asyncio.ensure_future(server.wait(other, LATER))
        await woken(server, RUN, lambda: first.changed(RUN))
        assert not waiting.done()
        waiting.cancel()


async def test_that_a_run_will_end_is_known_in_every_other_process_at_once(joins: Joins) -> None:
    server, first, second = Hub(), Hub(), Hub()
    async with heard(joins, server, True), heard(joins, first, False), heard(joins, second, False):
        await woken(first, RUN, lambda: server.stopping(RUN))
        await woken(second, RUN, lambda: server.stopping(RUN))
        assert first.is_stopping(RUN)
        assert second.is_stopping(RUN)


async def test_the_store_is_looked_at_often_only_while_nobody_tells_of_changes(joins: Joins) -> None:
    server, worker = Hub(), Hub()
    assert (server.look_s, worker.look_s) == (0.25, 0.25)
    async with heard(joins, server, True), heard(joins, worker, False):
        assert (server.look_s, worker.look_s) == (5.0, 5.0)
    assert (server.look_s, worker.look_s) == (0.25, 0.25)


async def test_a_server_that_comes_in_the_middle_of_a_turn_is_told_it_from_its_start(joins: Joins) -> None:
    worker = Hub()
    stream = TurnStream(worker, RUN, 2, 1)
    async with joins(worker, False):
        for text in ("Once ", "upon ", "a time"):
            stream(Delta(kind="text", text=text))
        worker.changed(RUN)
        for _ in range(2):
            server = Hub()
            async with heard(joins, server, True), server.watch(RUN) as reader:
                found = await until_text(reader, "a time")
                assert "".join(one.text for one in found) == "Once upon a time"
                assert {(one.turn, one.attempt) for one in found} == {(2, 1)}


async def test_what_is_settled_while_the_server_is_away_is_not_told_when_it_is_back(joins: Joins) -> None:
    server, worker = Hub(), Hub()
    async with joins(worker, False):
        stream = TurnStream(worker, RUN, 1, 1)
        async with heard(joins, server, True), server.watch(RUN) as reader:
            stream(Delta(kind="text", text="old"))
            worker.changed(RUN)
            await until_text(reader, "old")
        worker.changed(RUN, settled_by("turn.finished", {"turn": 1}))
        TurnStream(worker, RUN, 2, 1)(Delta(kind="text", text="new"))
        async with heard(joins, server, True), server.watch(RUN) as reader:
            await until_text(reader, "new")
        async with server.watch(RUN) as late:
            assert [(one.type, one.turn, one.text) for one in late.ready()] == [
                ("turn.retold", 2, ""),
                ("text.delta", 2, "new"),
            ]


async def test_where_there_are_no_local_sockets_a_loopback_port_takes_their_place(tmp_path: Path) -> None:
    folder, server, worker = folder_at(tmp_path), Hub(), Hub()
    async with serve_hub(server, folder, unix=False), join_hub(worker, folder), server.watch(RUN) as reader:
        TurnStream(worker, RUN, 1, 1)(Delta(kind="text", text="over a port"))
        assert "".join(one.text for one in await until_text(reader, "over a port")) == "over a port"
        await woken(worker, RUN, lambda: server.changed(RUN))


@pytest.mark.parametrize("unix", [True, False])
async def test_who_does_not_hold_the_token_is_cut_off_and_hears_nothing(tmp_path: Path, unix: bool) -> None:
    folder, server = folder_at(tmp_path), Hub()
    async with serve_hub(server, folder, unix=unix), server.watch(RUN) as reader:
        where = json.loads(hub_file(folder).read_text())
        if unix:
            path = Path(where["socket"])
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            opened = asyncio.open_unix_connection(path)
        else:
            opened = asyncio.open_connection("127.0.0.1", where["port"])
        assert stat.S_IMODE(hub_file(folder).stat().st_mode) == 0o600
        reading, writing = await opened
        opening = json.loads(await reading.readline())
        assert folder.token() not in json.dumps(opening)
        writing.write(json.dumps({"nonce": "0" * 32, "proof": "0" * 64}).encode() + b"\n")
        writing.write(encode(LiveDelta(run=RUN, type="text.delta", turn=1, attempt=1, offset=0, data={"text": "lie"})))
        with anyio.fail_after(10):
            assert await reading.read() == b""
        writing.close()
        with contextlib.suppress(OSError):
            await writing.wait_closed()
        assert reader.ready() == []
    assert not hub_file(folder).exists()


async def test_a_worker_tells_nothing_to_a_server_that_can_not_prove_itself(tmp_path: Path) -> None:
    folder, worker = folder_at(tmp_path), Hub()
    told: list[bytes] = []
    over = asyncio.Event()

    async def impostor(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        writing.write(b'{"upstairs_hub": 2, "nonce": "abc"}\n')
        told.append(await reading.readline())
        writing.write(b'{"proof": "' + b"0" * 64 + b'"}\n')
        told.append(await reading.read())
        writing.close()
        over.set()

    listening = await asyncio.start_server(impostor, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    hub_file(folder).write_text(json.dumps({"port": port}))
    async with join_hub(worker, folder):
        worker.changed(RUN)
        with anyio.fail_after(20):
            await over.wait()
        assert not worker.hears
    listening.close()
    await listening.wait_closed()
    assert set(json.loads(told[0])) == {"nonce", "proof"}
    assert folder.token().encode() not in told[0]
    assert told[1] == b""


async def test_a_line_that_is_no_frame_cuts_the_connection_and_the_worker_comes_back(tmp_path: Path) -> None:
    folder, server, worker = folder_at(tmp_path), Hub(), Hub()
    async with serve_hub(server, folder), join_hub(worker, folder):
        await woken(server, RUN, lambda: worker.changed(RUN))
        (link,) = vars(worker)["_links"]
        vars(link)["_write"].__self__._transport.write(b"x nonsense\n")
        with anyio.fail_after(10):
            while worker.hears:
                await anyio.sleep(0.005)
        await woken(server, RUN, lambda: worker.changed(RUN))


def outlet_with(hub: Hub) -> tuple[Outlet, list[Frame]]:
    """An outlet of `hub`, and where it writes once it is opened."""
    outlet, told = Outlet(hub, takes_deltas=True), list[Frame]()
    hub.join(outlet)
    return outlet, told


async def test_nothing_piles_up_for_a_peer_that_does_not_keep_up_and_it_gets_the_newest_state() -> None:
    hub = Hub()
    outlet, told = outlet_with(hub)
    stream = TurnStream(hub, RUN, 1, 1)
    for number in range(5_000):
        stream(Delta(kind="text", text=f"{number},"))
        hub.changed(RUN)
    others = [RunRef(tenant="local", run_id=f"run_{number}") for number in range(MOST_MISSED + 5)]
    for other in others:
        hub.changed(other)
    hub.changed(others[-1], Place(3, 0, 0))
    assert vars(outlet)["_pending"] == []
    assert len(vars(outlet)["_missed"]) == MOST_MISSED
    outlet.open(told.extend)
    changes = [one for one in told if isinstance(one, Changed)]
    assert changes[-1] == Changed(run=others[-1], settled=Place(3, 0, 0))
    (text,) = [one for one in told if isinstance(one, LiveDelta)]
    assert text.text == "".join(f"{number}," for number in range(5_000))
    told.clear()
    stream(Delta(kind="text", text="on"))
    hub.changed(RUN)
    with anyio.fail_after(10):
        while not told:
            await anyio.lowlevel.checkpoint()
    assert [one.text for one in told if isinstance(one, LiveDelta)] == ["on"]
    outlet.shut()
    outlet.open(told.extend)
    assert len(told) == 2


async def test_what_was_taken_but_not_written_before_a_break_is_told_after_it() -> None:
    hub = Hub()
    outlet, told = outlet_with(hub)
    lost: list[Any] = []
    outlet.open(lost.extend)
    TurnStream(hub, RUN, 1, 1)(Delta(kind="text", text="said"))
    outlet.shut()
    hub.changed(RUN)
    outlet.open(told.extend)
    assert lost == []
    assert [type(one) for one in told] == [Changed, LiveDelta]
    TurnStream(hub, RUN, 2, 1)(Delta(kind="text", text="next"))
    hub.changed(RUN)
    assert [type(one) for one in told[2:]] == [LiveDelta, Changed]


async def test_a_stuck_reader_of_the_socket_does_not_hold_up_the_worker(tmp_path: Path) -> None:
    folder, server, worker = folder_at(tmp_path), Hub(), Hub()
    async with serve_hub(server, folder), join_hub(worker, folder):
        await woken(server, RUN, lambda: worker.changed(RUN))
        (link,) = vars(worker)["_links"]
        transport = vars(link)["_write"].__self__._transport
        # Small buffers of the system, so that little fills them.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport.set_write_buffer_limits(high=10_000)
        stream = TurnStream(worker, RUN, 1, 1)
        async with server.watch(RUN) as reader:
            for number in range(4_000):
                stream(Delta(kind="text", text=f"{number:>50},"))
                worker.changed(RUN)
                # Without a turn of the event loop in between nothing is taken off the buffer.
                if number % 500 == 0:
                    await anyio.lowlevel.checkpoint()
                assert transport.get_write_buffer_size() < 200_000
            found = await until_text(reader, "3999,")
        text = "".join(one.text for one in found)
        assert [int(word) for word in text.split(",")[:-1]] == list(range(4_000))


def test_a_piece_that_is_too_long_is_cut_between_characters_and_stays_where_it_stands() -> None:
    whole = LiveDelta(
        run=RUN, type="tool.delta", turn=1, attempt=1, offset=7, data={"text": "ä\n🙂" * 4_000, "call_id": "c"}
    )
    told = lines(whole, NOTICE)
    assert max(map(len, told)) <= NOTICE
    pieces = [one for one in map(decode, told) if isinstance(one, LiveDelta)]
    assert len(pieces) == len(told)
    assert "".join(one.text for one in pieces) == whole.text
    assert [one.offset for one in pieces] == [7 + sum(len(two.text) for two in pieces[:n]) for n in range(len(pieces))]
    assert all(one.data["call_id"] == "c" for one in pieces)


def test_a_frame_is_one_line_and_comes_back_as_it_was() -> None:
    delta = LiveDelta(run=RUN, type="text.delta", turn=1, attempt=2, offset=3, data={"text": "a\nb\u2028"})
    for frame in (delta, Changed(run=RUN, settled=Place(1, 2, 3)), Changed(run=RUN), Stopping(run=RUN), Hello()):
        line = encode(frame)
        assert line.count(b"\n") == 1
        assert decode(line.rstrip(b"\n")) == frame


async def test_a_notice_that_was_not_sealed_by_the_house_is_not_heard(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    if database.is_sqlite:
        pytest.skip("notices are Postgres's")
    server, stranger, worker = Hub(), Hub(), Hub()
    keys = KeyRing.in_memory()

    def join(hub: Hub, serves: bool) -> AbstractAsyncContextManager[None]:
        ring = KeyRing.in_memory() if hub is stranger else keys
        return joined_over_postgres(hub, database, ring, serves=serves)

    async with (
        heard(join, server, True),
        heard(join, stranger, False),
        heard(join, worker, False),
        server.watch(RUN) as reader,
    ):
        TurnStream(stranger, RUN, 1, 1)(Delta(kind="text", text="lie"))
        with anyio.fail_after(20):
            while "a notice on upstairs_deltas is not heard" not in caplog.text:
                await anyio.sleep(0.005)
        TurnStream(worker, RUN, 1, 1)(Delta(kind="text", text="truth"))
        assert "".join(one.text for one in await until_text(reader, "truth")) == "truth"


async def test_a_broken_connection_to_postgres_is_made_again(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("notices are Postgres's")
    server, worker, keys = Hub(), Hub(), KeyRing.in_memory()

    def join(hub: Hub, serves: bool) -> AbstractAsyncContextManager[None]:
        return joined_over_postgres(hub, database, keys, serves=serves)

    async with heard(join, server, True), heard(join, worker, False):
        async with database.write() as connection:
            await connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%pg_notify%'"
                )
            )
        TurnStream(worker, RUN, 1, 1)(Delta(kind="text", text="once more"))
        async with server.watch(RUN) as reader:
            found = await until_text(reader, "once more")
        assert "".join(one.text for one in found) == "once more"
        await woken(server, RUN, lambda: worker.changed(RUN))
