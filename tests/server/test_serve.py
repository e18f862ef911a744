"""The listening socket of the product."""

import asyncio
import socket
from pathlib import Path

import anyio
import pytest

from server.serve import bind
from server.settings_sources import load_settings

pytestmark = pytest.mark.anyio


async def test_answers_go_out_at_once_instead_of_waiting_for_the_client_to_acknowledge_their_head(
    tmp_path: Path,
) -> None:
    loaded = load_settings({"data": str(tmp_path), "port": 0}, environ={}, folder=tmp_path)
    without_delay: list[int] = []
    done = anyio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        without_delay.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        done.set()

    listener = bind(loaded)
    server = await asyncio.start_server(answer, sock=listener)
    with anyio.fail_after(10):
        async with server, await anyio.connect_tcp("127.0.0.1", listener.getsockname()[1]):
            await done.wait()
    assert without_delay[0] != 0
