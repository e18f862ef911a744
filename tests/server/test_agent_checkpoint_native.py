"""A checkpoint by a provider's own compaction, over a server on loopback that speaks the Messages wire."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.runs import Event, Run
from engine.transcript import Usage
from engine.values import Principal
from server.settings import ModelSettings
from tests.providers.plain_server import Answer, Asked, PlainServer, plain_server
from tests.server.agent_house import AgentHouse, agent_house

pytestmark = pytest.mark.anyio

BLOCK = {"type": "compaction", "content": "Pages were read.", "signature": "c2ln+/=="}
LONG = "one page after another, and still no end of them "


def said(asked: Asked, *blocks: dict[str, Any], stop: str) -> Answer:
    """Return a streamed answer; four characters of the request count as a token."""
    usage: dict[str, Any] = {"input_tokens": len(asked.body) // 4, "output_tokens": 50}
    if stop == "compaction":
        usage = {"input_tokens": 0, "output_tokens": 0, "iterations": [{"type": "compaction", **usage}]}
    opening = {"id": f"msg_{len(asked.body)}", "model": "any", "content": [], "usage": {}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": opening}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage})
    events.append({"type": "message_stop"})
    frames = "".join(f"data: {json.dumps(one)}\n\n" for one in events)
    return 200, frames.encode(), {"content-type": "text/event-stream"}


def reads(asked: Asked) -> Answer:
    """Learn, read pages aloud until the conversation begins with the block, and finish."""
    body = asked.json
    if "compaction" in body:
        return said(asked, BLOCK, stop="compaction")
    turns = sum(turn["role"] == "assistant" for turn in body["messages"])
    if body["messages"][0]["content"][0]["type"] == "compaction":
        return said(asked, {"type": "text", "text": "done"}, stop="end_turn")
    thought = {"type": "thinking", "thinking": "hm", "signature": f"c2ln{turns}"}
    name, given = ("desk__add", {"a": turns, "b": 1}) if turns else ("learn_desk", {})
    call = {"type": "tool_use", "id": f"toolu_{turns}", "name": name, "input": given}
    return said(asked, thought, {"type": "text", "text": LONG * 40}, call, stop="tool_use")


async def run_on(house: AgentHouse, alice: Principal) -> Run:
    """Run an agent on the Messages wire with a small window."""
    route = ({"model": "anthropic/any", "max_context": 24_000},)
    talk = house.talk("never")
    return await house.finished(await house.start(alice, talk, task="Read.", model=route))


def house_on(server: PlainServer, root: Path) -> Any:
    """Return a house whose Anthropic account lives at the server."""
    return agent_house(
        root,
        models=ModelSettings.model_validate({"anthropic_base_url": server.url, "anthropic_api_key": "key"}),
    )


async def test_a_checkpoint_by_the_provider_begins_the_next_turn_with_its_block_and_keeps_task_and_lessons(
    tmp_path: Path, alice: Principal
) -> None:
    with plain_server(reads) as server:
        async with house_on(server, tmp_path / "data") as house:
            run = await run_on(house, alice)
            assert (run.status, run.result) == ("completed", "done"), run.error
            (made,) = await house.events(run, "checkpoint")
            turns = await house.events(run, "turn.finished")
    assert made.data["kind"] == "native"
    bodies = [asked.json for asked in server.asked]
    (at,) = (place for place, body in enumerate(bodies) if "compaction" in body)
    before, compacting, after = bodies[at - 1 : at + 2]
    # What was thought is sent once more as it was, in the same words as before, so that the cache gives it.
    assert unmarked(compacting["messages"]) == unmarked(before["messages"])[: len(compacting["messages"])]
    first, *rest = after["messages"]
    assert first == {"role": "assistant", "content": [BLOCK]}
    assert rest[0]["content"][0]["text"] == "Read."
    assert "tool_reference" in json.dumps(rest)
    assert "thinking" not in {block["type"] for turn in rest for block in turn["content"]}
    assert after["system"] == compacting["system"]
    assert sum(turn["role"] == "assistant" for turn in rest) == 4
    assert run.spent.turns == len(turns)
    assert run.spent.input_tokens == sum(map(reading, turns)) + len(server.asked[at].body) // 4


def reading(turn: Event) -> int:
    """Return what a turn has read, as its event says."""
    reply = turn.data["reply"]
    assert isinstance(reply, dict)
    return Usage.model_validate(reply["usage"]).input_total


def unmarked(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return turns without their cache markers."""
    return json.loads(json.dumps(turns).replace(', "cache_control": {"type": "ephemeral"}', ""))


async def test_a_model_without_compaction_is_asked_for_a_summary(tmp_path: Path, alice: Principal) -> None:
    def without(asked: Asked) -> Answer:
        body = asked.json
        if "compaction" in body:
            return 400, {"error": {"type": "invalid_request_error", "message": "compaction: unknown field"}}
        if body["system"][0]["text"].startswith("You write the checkpoint"):
            return said(asked, {"type": "text", "text": "Pages were read."}, stop="end_turn")
        if "Pages were read." in json.dumps(body["messages"]):
            return said(asked, {"type": "text", "text": "done"}, stop="end_turn")
        return reads(asked)

    with plain_server(without) as server:
        async with house_on(server, tmp_path / "data") as house:
            run = await run_on(house, alice)
            assert (run.status, run.result) == ("completed", "done"), run.error
            (made,) = await house.events(run, "checkpoint")
    assert made.data["kind"] == "summary"
    assert server.asked[-1].json["messages"][0]["content"][0]["text"] == "Read."
