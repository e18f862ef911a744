"""What the prompt cache gave to each turn stands on the run, and a miss with its cause."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from engine.agent.log import TURN
from engine.transcript import ModelReply
from engine.values import Principal
from tests.server.agent_house import LEARN, AgentHouse, agent_house

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[AgentHouse, None]:
    async with agent_house(tmp_path) as made:
        yield made


async def test_each_turn_tells_what_the_cache_gave(house: AgentHouse, alice: Principal) -> None:
    run = await house.finished(await house.start(alice, house.talk(LEARN, "done")))
    turns = [event.data["reply"] for event in await house.platform.runs.log(run.ref, types=(TURN,))]
    given = [
        ModelReply.model_validate({**turn, "message": {"role": "assistant", "parts": []}}).cache
        for turn in turns
        if isinstance(turn, dict)
    ]
    assert [(cache.hit, cache.reason) for cache in given if cache] == [(False, "first_turn"), (True, None)]
