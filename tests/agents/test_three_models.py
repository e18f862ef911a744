"""One job on three models of two providers, over their own wires: what each turn took stands on the record.

Both providers live on loopback; what they say of a call's tokens is what must stand in the log, priced by the table.
"""

import importlib
import json
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from pydantic import SecretStr

from engine.ports import RunFilter
from engine.runs import Run
from engine.values import Principal
from server.settings_models import ModelSettings
from skills.runs import get_run
from skills.services import ToolContext
from tests.providers import referee_anthropic, referee_openai
from tests.providers.plain_server import Answer, Answers, Asked, PlainServer, plain_server
from tests.providers.referee_rules import Turn, event
from tests.server.agent_house import AgentHouse, Talk, agent_house, check_log

pytestmark = pytest.mark.anyio

ORCHESTRATOR, PLANNER, EXTRACTOR = "anthropic/claude-sonnet-4-5", "openai/gpt-5-mini", "anthropic/claude-haiku-4-5"
OUTPUT = 5
"""How many tokens each turn of a referee says it has put out."""

FOUND = {"supplier": "Northwind Instruments", "total": 7}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"supplier": {"type": "string"}, "total": {"type": "integer"}},
    "required": ["supplier", "total"],
}


Said = dict[str, list[Turn]]


def job() -> Said:
    """Return what each model says, turn by turn; each turn says another number of tokens."""
    messages, responses = referee_anthropic, referee_openai
    plan = {"name": "planner", "task": "Plan it.", "model": PLANNER}
    extract = {"name": "extractor", "task": "Read it.", "model": EXTRACTOR, "output_schema": SCHEMA}
    launches = [
        *messages.call("toolu_1", "launch_subagent", plan),
        *messages.call("toolu_2", "launch_subagent", extract),
    ]
    steps = responses.call("call_1", "update_plan", {"steps": [{"title": "read"}]})
    return {
        ORCHESTRATOR: [
            Turn(launches, "tool_use", messages.usage(1_000, 0)),
            Turn(messages.call("toolu_3", "wait_subagents", {}), "tool_use", messages.usage(2_000, 1_000)),
            Turn(messages.say("It is read."), "end_turn", messages.usage(3_000, 2_000)),
        ],
        PLANNER: [
            Turn(steps, "completed", responses.usage(400, 0)),
            Turn(responses.say("First the head, then the lines."), "completed", responses.usage(500, 400)),
        ],
        EXTRACTOR: [Turn(messages.say(json.dumps(FOUND)), "end_turn", messages.usage(700, 0))],
    }


def answers(said: Said) -> Answers:
    """Return a server that speaks both wires; what it says depends on the request alone, so it can be asked again."""

    def answer(asked: Asked) -> Answer:
        body = asked.json
        if asked.path == "/v1/messages":
            provider, speak = "anthropic", referee_anthropic.speak
            made = sum(turn["role"] == "assistant" for turn in body["messages"])
        elif asked.path == "/v1/responses":
            provider, speak = "openai", referee_openai.speak
            made = sum(item["type"] == "function_call" for item in body["input"])
        else:
            return 404, {"error": {"message": f"there is no {asked.path}"}}
        turn = said[f"{provider}/{body['model']}"][made]
        stream = b"".join(map(event, speak(turn, body, f"{body['model']}-{made}")))
        return 200, stream, {"content-type": "text/event-stream"}

    return answer


@pytest.fixture
def server() -> Generator[PlainServer]:
    """Where both providers live; their clients are loaded first, which takes long on a busy machine."""
    for name in ("anthropic", "openai"):
        importlib.import_module(f"providers.{name}")
    with plain_server(answers(job())) as one:
        yield one


@pytest.fixture
async def house(tmp_path: Path, server: PlainServer) -> AsyncGenerator[AgentHouse]:
    """A house with an account at each of them."""
    key = SecretStr("key")
    models = ModelSettings(
        anthropic_base_url=server.url,
        anthropic_api_key=key,
        openai_base_url=f"{server.url}/v1",
        openai_api_key=key,
    )
    async with agent_house(tmp_path / "data", models=models) as opened:
        yield opened


async def turns_of(house: AgentHouse, run: Run) -> list[tuple[str, int, float]]:
    """Return model, input tokens and dollars of each turn, as the log of the run has them."""
    events = await house.events(run)
    check_log(events)
    found: list[tuple[str, int, float]] = []
    for one in events:
        if one.type == "turn.finished":
            turn: Any = one.data
            reply, routing = turn["reply"], turn["routing"]
            assert (reply["usage"]["output_total"], reply["price"]["source"][:12]) == (OUTPUT, "genai-prices")
            model = f"{reply['provider']}/{reply['model']}"
            assert model == routing["model"]
            found.append((model, reply["usage"]["input_total"], reply["price"]["usd"]))
    return found


def dollars(model: str, total: int, read: int = 0) -> float:
    """Return what a call costs by the price table."""
    provider, _, name = model.partition("/")
    usage = genai_prices.Usage(input_tokens=total, cache_read_tokens=read or None, output_tokens=OUTPUT)
    return float(genai_prices.calc_price(usage, name, provider_id=provider).total_price)


async def test_orchestrator_planner_and_extractor_work_on_three_models_and_each_turn_is_on_the_record(
    house: AgentHouse, alice: Principal, server: PlainServer
) -> None:
    tools = ("launch_subagent", "wait_subagents", "update_plan")
    start = await house.start(alice, Talk((), "none"), model=ORCHESTRATOR, skills=(), tools=tools)
    run = await house.finished(start)
    assert (run.status, run.result) == ("completed", "It is read."), run.error
    below = {
        one.title.partition(":")[0]: one
        for one in await house.platform.runs.list(alice, RunFilter(parent_id=run.run_id))
    }
    assert below["planner"].result == "First the head, then the lines."
    assert below["extractor"].result == FOUND
    made = {
        "orchestrator": await turns_of(house, run),
        "planner": await turns_of(house, below["planner"]),
        "extractor": await turns_of(house, below["extractor"]),
    }
    assert made == {
        "orchestrator": [
            (ORCHESTRATOR, 1_000, dollars(ORCHESTRATOR, 1_000)),
            (ORCHESTRATOR, 2_000, dollars(ORCHESTRATOR, 2_000, 1_000)),
            (ORCHESTRATOR, 3_000, dollars(ORCHESTRATOR, 3_000, 2_000)),
        ],
        "planner": [
            (PLANNER, 400, dollars(PLANNER, 400)),
            (PLANNER, 500, dollars(PLANNER, 500, 400)),
        ],
        "extractor": [(EXTRACTOR, 700, dollars(EXTRACTOR, 700))],
    }
    # What the job took is the sum of them, and nothing of it is missing or counted twice.
    turns = [turn for turns in made.values() for turn in turns]
    assert (run.spent.turns, run.spent.input_tokens, run.spent.unpriced_turns) == (6, 7_600, 0)
    assert run.spent.usd == pytest.approx(sum(turn[2] for turn in turns))
    assert all(turn[2] > 0 for turn in turns)
    view = await get_run(ToolContext(principal=alice, services=house.platform.services, key="view"), run.run_id)
    assert view.usd == run.spent.usd
    # Each provider was asked on its own wire and for its own models; a call that was cut may have been made again.
    asked = {(one.path, one.json["model"]) for one in server.asked}
    wires = {"anthropic": "/v1/messages", "openai": "/v1/responses"}
    names = [model.partition("/") for model in (ORCHESTRATOR, PLANNER, EXTRACTOR)]
    assert asked == {(wires[provider], model) for provider, _, model in names}
