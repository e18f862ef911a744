"""Runs at the limit of a provider: they wait on durable timers, hold no slot of a worker, and all of them finish."""

import json
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import pytest
import sqlalchemy as sa

from engine.runs import Run
from engine.values import Principal
from server.data_folder import open_data_folder
from server.platform import open_platform
from server.settings import Settings
from server.settings_models import AccountSettings, ModelSettings
from server.store import tables
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from skills.services import ToolContext
from tests.capacity.simulation import Clock, Simulated
from tests.providers.plain_server import Answer, Asked, plain_server
from tests.server.agent_house import AgentHouse, start_of

pytestmark = pytest.mark.anyio

PER_MINUTE, RUNS = 120, 30


@dataclass
class Small:
    """A provider with a small quota, as a server on loopback; its bucket is that of the simulation, on a real clock."""

    quota: Simulated = field(default_factory=lambda: Simulated(Clock(), PER_MINUTE, 1e9))
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: float = field(default_factory=time.monotonic)

    def __call__(self, asked: Asked) -> Answer:
        """Answer with a short stream and the headers of the quota, or refuse."""
        with self.lock:
            self.quota.clock.now = self.quota.at + max(0.0, time.monotonic() - self.begun)
            self.begun = time.monotonic()
            try:
                rates = self.quota.call("any", 10)
            except Exception as refused:
                return 429, {"error": {"message": str(refused)}}, {"retry-after": "5"}
        assert rates.requests is not None
        said = {
            "id": "1",
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": "done"}, "finish_reason": "stop"}],
        }
        spent = {"id": "1", "model": "m", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}
        body = "".join(f"data: {json.dumps(one)}\n\n" for one in (said, spent)) + "data: [DONE]\n\n"
        headers = {
            "content-type": "text/event-stream",
            "x-ratelimit-limit-requests": str(PER_MINUTE),
            "x-ratelimit-remaining-requests": str(rates.requests.remaining),
            "x-ratelimit-reset-requests": f"{rates.requests.resets_in_s:.3f}s",
        }
        return 200, body.encode(), headers


@pytest.fixture(scope="module")
def provider() -> Generator[tuple[Small, str]]:
    small = Small()
    with plain_server(small) as server:
        yield small, server.url


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, provider: tuple[Small, str]) -> AsyncGenerator[AgentHouse]:
    root = tmp_path_factory.mktemp("house") / "data"
    account = AccountSettings(provider="chat", base_url=f"{provider[1]}/v1")
    models = ModelSettings(default="scripted/echo", accounts={"small": account})
    settings, folder = Settings(data=root, models=models), open_data_folder(root)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        await stack.enter_async_context(workers(platform))
        yield AgentHouse(platform)


async def waiting(house: AgentHouse, runs: list[Run]) -> list[tuple[Run, float]]:
    """Return the runs that have a ticket and are told to come later, with that time."""
    table = tables.capacity_tickets
    async with house.platform.database.read() as connection:
        rows = (await connection.execute(sa.select(table).where(table.c.state != "open"))).all()
    by_id = {run.run_id: run for run in runs}
    return [(by_id[row.ticket.partition("/")[0]], row.at) for row in rows]


async def in_work(house: AgentHouse, run: Run) -> int:
    """Return how many activities of a run are under way or scheduled."""
    return len((await house.handle(run).describe()).raw_description.pending_activities)


async def test_waiting_runs_hold_no_slot_and_all_of_them_finish_without_refusals(
    house: AgentHouse, alice: Principal, provider: tuple[Small, str]
) -> None:
    small, _ = provider
    route = [{"model": "chat/small", "account": "small"}]
    runs: list[Run] = []
    idle = 0
    with anyio.fail_after(120):
        for _ in range(RUNS):
            start = start_of("", None, None, model=route, skills=())
            runs.append(await house.platform.control.start(alice, start))
        while not (found := await waiting(house, runs)):
            await anyio.lowlevel.checkpoint()
        (report,) = await house.platform.services.capacity(alice)
        assert [(one.kind, one.limit, one.learned) for one in report.limits] == [("requests", PER_MINUTE, "told")]
        assert report.waiting.get("local", 0) > 0
        while found := await waiting(house, runs):
            for run, at in found:
                held = await in_work(house, run)
                # Whoever's time came while we looked may be at work again.
                if time.time() < at - 0.2 and (run, at) in await waiting(house, runs) and time.time() < at:
                    assert held == 0
                    idle += 1
        ended = [await house.finished(run) for run in runs]
    assert [run.status for run in ended] == ["completed"] * RUNS
    assert idle > 0
    assert small.quota.refused <= 0.01 * small.quota.calls
    assert small.quota.calls == RUNS


async def test_the_tool_and_the_page_are_for_operators(house: AgentHouse, alice: Principal) -> None:
    toolbox = house.platform.toolbox
    ctx = ToolContext(principal=alice, services=house.platform.services, key="k")
    assert toolbox.find(alice, "administration.capacity").spec.effect == "read_only"
    reports = await ctx.services.capacity(alice)
    assert [(one.model, one.account) for one in reports] == [("chat/small", "small")]
    viewer = alice.model_copy(update={"roles": frozenset({"viewer"})})
    assert "administration" not in {skill.name for skill in toolbox.catalogue.visible(viewer)}
