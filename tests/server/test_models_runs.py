"""Routes in whole runs: fallbacks on the record, another model in the middle of a run, and a key that is nowhere."""

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from temporalio.converter import WorkflowSerializationContext

from engine.errors import Denied, Invalid, NotFound
from engine.interaction import InteractionTask
from engine.ports import Control
from engine.routes import ModelEntry, RouteList
from engine.runs import Run, StartRun
from engine.transcript import Message
from engine.values import Principal
from providers.errors import RateLimited
from providers.scripted import answer, register_script
from server.data_folder import open_data_folder
from server.platform import open_platform
from server.settings import Settings
from server.settings_models import AccountSettings, ModelSettings
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from skills.runs import control_run
from skills.services import ToolContext
from tests.providers.plain_server import PlainServer, plain_server
from tests.server.agent_house import LEARN, SKILLS, AgentHouse, Held, check_log

pytestmark = pytest.mark.anyio

PLANTED = "sk-planted-runs-0123456789"
PROMPT = """---
output: {schema: {word: string}}
x-upstairs: {route: asks, fallbacks: [scripted/models-says]}
---
Say a word.
"""


@pytest.fixture(scope="module")
def server() -> Generator[PlainServer]:
    """A provider that refuses every key and repeats it in its answer."""
    with plain_server(lambda asked: (401, {"error": {"message": f"wrong key {asked.key}", "code": asked.key}})) as one:
        yield one


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, server: PlainServer) -> AsyncGenerator[AgentHouse]:
    root = tmp_path_factory.mktemp("house") / "data"
    models = ModelSettings(
        default="scripted/echo",
        routes={"asks": RouteList(candidates=(ModelEntry(model="openai/any", account="shop"),))},
        accounts={"shop": AccountSettings(provider="openai", api_key="secret:shop", base_url=f"{server.url}/v1")},
    )
    settings, folder = Settings(data=root, skills=(str(SKILLS),), models=models), open_data_folder(root)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
        platform = await stack.enter_async_context(open_platform(settings, folder))
        await stack.enter_async_context(workers(platform))
        yield AgentHouse(platform)


def finished(events: list[Any]) -> list[dict[str, Any]]:
    return [event.data["routing"] for event in events if event.type == "turn.finished"]


async def test_an_agent_goes_on_with_the_next_candidate_and_its_log_says_why(
    house: AgentHouse, alice: Principal
) -> None:
    busy = house.talk(RateLimited("Too fast.", provider="scripted", retry_after_s=120.0))
    good = house.talk("the answer")
    run = await house.start(alice, busy, model=[busy.route, good.route])
    ended = await house.finished(run)
    assert (ended.status, ended.result, ended.spent.turns) == ("completed", "the answer", 1)
    events = await house.events(run)
    check_log(events)
    (routing,) = finished(events)
    assert (routing["model"], routing["index"]) == (good.route, 1)
    ((passed,), (told,)) = routing["passed"], [event for event in events if event.type == "turn.restarted"]
    assert (passed["model"], passed["how"], passed["code"]) == (busy.route, "failed", "rate_limited")
    assert passed["reason"].startswith("Too fast.")
    assert told.data["passed"] == passed
    assert (len(busy.requests), len(good.requests)) == (1, 1)


async def test_when_every_candidate_fails_for_good_the_run_says_each_reason(
    house: AgentHouse, alice: Principal
) -> None:
    run = await house.start(alice, house.talk("unused"), model=["openai/any", "anthropic/any"])
    ended = await house.until(run, lambda now: now.finished)
    assert ended.status == "failed"
    assert ended.error is not None
    assert "openai/any: no API key for openai is configured" in ended.error
    assert "anthropic/any: no API key for anthropic is configured" in ended.error


async def test_a_person_changes_the_model_and_the_next_turn_uses_it(
    house: AgentHouse, alice: Principal, mallory: Principal
) -> None:
    held = Held(LEARN)
    first, second = house.talk(held, "never said"), house.talk("unused", "by the second")
    run = await house.start(alice, first)
    await held.reached()
    ctx = ToolContext(principal=alice, services=house.platform.services, key="k")
    steered = await control_run(ctx, run.run_id, "model", model=second.route, reason="cheaper")
    assert steered.status == "running"
    with pytest.raises(Invalid, match="'nonsense' is not a route"):
        await control_run(ctx, run.run_id, "model", model="nonsense")
    with pytest.raises(Invalid, match="the verb model needs a model"):
        await control_run(ctx, run.run_id, "model")
    held.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "by the second")
    events = await house.events(run)
    check_log(events)
    assert [routing["model"] for routing in finished(events)] == [first.route, second.route]
    changed: Any
    (changed,) = [event.data for event in events if event.type == "model.changed"]
    assert (changed["from"], changed["by"], changed["reason"]) == (first.route, "alice", "cheaper")
    assert changed["to"]["route"]["model"] == second.name
    audit = [record for record in await house.platform.runs.audit(alice, run.run_id) if record.action == "run.model"]
    assert [(record.actor, record.data["from"]) for record in audit] == [("alice", first.route)]
    # The other model is given the whole conversation: the task, the call and its answer.
    assert [message.role for message in second.requests[0].messages][2:] == ["assistant", "tool"]


async def test_a_changed_model_survives_into_the_next_history(house: AgentHouse, alice: Principal) -> None:
    held = Held(LEARN)
    first = house.talk(held, "never said")
    second = house.talk("unused", LEARN, LEARN, "done by the second")
    run = await house.start_with(alice, first, turns_per_history=2)
    await held.reached()
    await steer(house, run, alice, second.route)
    held.released.set()
    ended = await house.finished(run)
    assert (ended.status, ended.result) == ("completed", "done by the second")
    assert len(await house.histories(run)) == 2


async def steer(house: AgentHouse, run: Run, who: Principal, model: str) -> None:
    control = Control(action="model", by=who, model=model)
    await house.platform.control.control(who, run.run_id, control)


async def test_only_agents_change_their_model_and_only_by_those_who_may_steer_them(
    house: AgentHouse, alice: Principal
) -> None:
    held = Held("done")
    run = await house.start(alice, house.talk(held))
    await held.reached()
    author = Principal(tenant="local", subject="bob", roles=frozenset({"author"}))
    with pytest.raises((Denied, NotFound)):
        await steer(house, run, author, "scripted/echo")
    held.released.set()
    await house.finished(run)


async def test_an_interaction_records_whom_it_passed_over_and_a_repeated_key_is_nowhere(
    house: AgentHouse, alice: Principal, server: PlainServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    register_script("models-says", lambda request: answer({"word": "hello"}))
    platform = house.platform
    await platform.secrets.put(alice, "shop", PLANTED)
    await platform.interactions.publish_text(alice, "word", PROMPT)
    task = InteractionTask(interaction="word")
    start = StartRun(kind="interaction", definition="word", input=task.model_dump(mode="json"))
    run = await house.finished(await platform.control.start(alice, start))
    result: Any = run.result
    assert (run.status, result["output"], result["model"]) == ("completed", {"word": "hello"}, "models-says")
    execution = await platform.interactions.get_execution(alice, result["execution_id"])
    assert execution.routing is not None
    assert (execution.routing.index, execution.route_origin) == (1, "interaction")
    (passed,) = execution.routing.passed
    assert (passed.model, passed.account, passed.code) == ("openai/any", "shop", "unauthorized")
    assert "wrong key [key]" in passed.reason
    agent = await house.start(alice, house.talk("unused"), model=["asks"])
    failed = await house.until(agent, lambda now: now.finished)
    assert failed.status == "failed"
    assert "wrong key [key]" in str(failed.error)
    assert [asked.key for asked in server.asked] == [PLANTED] * 2
    await nowhere(house, [run, agent], caplog)


async def nowhere(house: AgentHouse, runs: list[Run], caplog: pytest.LogCaptureFixture) -> None:
    """Look for the planted key in every file of the data folder, in the open histories, the rows and the logs."""
    client = house.platform.client
    for run in runs:
        context = WorkflowSerializationContext(namespace=client.namespace, workflow_id=run.ref.workflow_id)
        codec = client.data_converter.with_context(context).payload_codec
        assert codec is not None
        for history in await house.histories(run):
            payloads = [payload for event in history.events for payload in _payloads(event)]
            opened = await codec.decode(payloads)
            assert any(b"local" in payload.data for payload in opened)
            assert not any(PLANTED.encode() in payload.data for payload in opened)
            assert PLANTED not in str(history.events)
        row = await house.platform.runs.load(run.ref)
        assert PLANTED not in row.model_dump_json()
    files = [path for path in house.platform.settings.data.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        assert PLANTED.encode() not in await anyio.Path(path).read_bytes(), path
    assert PLANTED not in caplog.text
    said = [Message.model_validate(event.data) for run in runs for event in await house.events(run, "message")]
    assert PLANTED not in str(said)


def _payloads(message: Any) -> list[Any]:
    """Return every payload inside a protobuf message."""
    if type(message).__name__ == "Payload":
        return [message]
    found: list[Any] = []
    for descriptor, value in message.ListFields():
        if descriptor.type != descriptor.TYPE_MESSAGE:
            continue
        single = hasattr(value, "ListFields")
        for inner in [value] if single else list(value.values() if hasattr(value, "values") else value):
            if hasattr(inner, "ListFields"):
                found += _payloads(inner)
    return found
