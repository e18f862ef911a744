"""A worker in a process of its own, a server with readers, a model on loopback: said and stopped across them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from benchmarks.stream_model import serve as serve_model
from engine.runs import Run
from engine.values import Principal
from server.http import make_app
from server.hub_links import linked
from tests.server.agent_house import PATIENCE_S, AgentHouse, Talk, agent_house
from tests.server.served import serve
from tests.server.test_agent_engine_crash import worker
from tests.server.test_sse import parsed

pytestmark = pytest.mark.anyio

TOKENS = 1_500
"""Thirty seconds of speech: the turn goes on as long as a test looks at it."""


@dataclass
class Clock:
    """The model: its port, and the moments at which its clients left before the end."""

    port: int = 0
    aborted: list[float] = field(default_factory=list[float])


@asynccontextmanager
async def clock() -> AsyncGenerator[Clock]:
    found, up = Clock(), asyncio.Event()

    def listening(port: int) -> None:
        found.port = port
        up.set()

    serving = asyncio.ensure_future(serve_model(listening, found.aborted.append))
    try:
        await up.wait()
        yield found
    finally:
        serving.cancel()
        await asyncio.wait([serving])


def configure(data: Path, model: Clock) -> None:
    """Write the settings that the worker starts with."""
    (data / "upstairs.toml").write_text(
        '[models]\ndefault = "clock"\n[models.routes]\nclock = [{model = "chat/clock", account = "clock"}]\n'
        f'[models.accounts.clock]\nprovider = "chat"\nbase_url = "http://127.0.0.1:{model.port}/v1"\n'
    )


async def start(house: AgentHouse, alice: Principal) -> Run:
    task = f"{TOKENS} tokens at 50/s"
    return await house.start(alice, Talk((), "unused"), task=task, model="clock", skills=())


async def until_words(http: httpx2.AsyncClient, run: Run, after: int, count: int) -> list[dict[str, Any]]:
    """Read the stream of a run until it has said `count` words; return its events."""
    found: list[dict[str, Any]] = []
    rest = b""
    async with http.stream("GET", f"/runs/{run.run_id}/events?after={after}") as answer:
        async for data in answer.aiter_raw():
            *blocks, rest = (rest + data).split(b"\n\n")
            found += parsed(b"\n\n".join(blocks))
            said = [one["data"] for one in found if one.get("event") == "delta"]
            if len("".join(one["data"].get("text", "") for one in said).split()) >= count:
                break
    return found


async def test_what_a_worker_streams_reaches_a_client_of_the_server_and_a_stop_reaches_the_worker(
    tmp_path: Path, alice: Principal
) -> None:
    data, place = tmp_path / "data", tmp_path / "place"
    place.mkdir()
    async with clock() as model, agent_house(data, working=False) as house:
        configure(data, model)
        parts = house.platform
        async with (
            linked(parts.hub, parts.database, parts.keys, parts.folder, serves=True),
            serve(make_app(parts)) as served,
            served.http(token=parts.token) as http,
        ):
            with worker(data, place), anyio.fail_after(PATIENCE_S):
                run = await start(house, alice)
                first = await until_words(http, run, 0, 20)
                last = max(int(event["id"]) for event in first if "id" in event)
                again = await until_words(http, run, last, 20)
                logged = len(await house.events(run))
                assert "turn.finished" not in [event.type for event in await house.events(run)]
                await house.control(run, "stop")
                ended = await house.until(run, lambda now: now.finished)
                while not model.aborted:
                    await anyio.sleep(0.01)
    told = [event["data"] for event in again if event.get("event") == "delta"]
    assert (told[0]["type"], told[0]["turn"], told[0]["offset"]) == ("turn.retold", 1, 0)
    words = [one["data"]["text"] for one in told if one["type"] == "text.delta"]
    before = "".join(one["data"]["data"].get("text", "") for one in first if one.get("event") == "delta")
    assert "".join(words).startswith(before)
    assert ended.status == "cancelled"
    # No token has become an event.
    assert logged < 10, json.dumps([event["data"] for event in first if "id" in event])
