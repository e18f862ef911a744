"""A provider's own compaction: how it is asked for, what it costs, and that its block goes back as it came."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine.transcript import Message, ModelRequest, Route, ToolCall, ToolResult, ToolSpec, system, user
from providers.errors import ContextFull, InvalidRequest, MalformedReply
from tests.providers.conftest import Connect
from tests.providers.plain_server import Answer, Asked, PlainServer, plain_server

pytestmark = pytest.mark.anyio

ADD = ToolSpec(name="add", description="Add.", input_schema={"type": "object"})
BLOCK = {
    "type": "compaction",
    "content": "They added.",
    "signature": "c2ln+/==",
    "encrypted_content": "b3Bh",
    "tool_changes": [],
}
ITEMS = [
    {"type": "message", "role": "user", "id": "msg_1", "content": [{"type": "input_text", "text": "Add one and two."}]},
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "b3Bh+/=="},
]


def sse(*events: dict[str, Any]) -> Answer:
    """Return an answer that is a stream of events."""
    frames = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    return 200, frames.encode(), {"content-type": "text/event-stream"}


def messages_answer(block: dict[str, Any], stop: str) -> Answer:
    """Return an answer of the Messages wire with one block; what a compaction takes stands in an iteration."""
    none = {"input_tokens": 0, "output_tokens": 0}
    spent = {"type": "compaction", "input_tokens": 900, "output_tokens": 40, "cache_read_input_tokens": 100}
    usage = {**none, "iterations": [spent]} if stop == "compaction" else {"input_tokens": 30, "output_tokens": 4}
    deltas: list[dict[str, Any]] = []
    opened = block
    if block["type"] == "compaction":
        opened = {**block, "content": None, "encrypted_content": None}
        delta = {"type": "compaction_delta", "content": block["content"], "encrypted_content": "b3Bh"}
        deltas = [{"type": "content_block_delta", "index": 0, "delta": delta}]
    return sse(
        {"type": "message_start", "message": {"id": "msg_1", "model": "any", "content": [], "usage": none}},
        {"type": "content_block_start", "index": 0, "content_block": opened},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage},
        {"type": "message_stop"},
    )


def answers(asked: Asked) -> Answer:
    """Answer both wires: a compaction, or a plain turn."""
    body = asked.json
    if asked.path.endswith("/responses/compact"):
        usage = {"input_tokens": 1_000, "input_tokens_details": {"cached_tokens": 100}, "output_tokens": 40}
        return 200, {"id": "resp_1", "object": "response.compaction", "output": ITEMS, "usage": usage}
    if asked.path.endswith("/responses"):
        item = {
            "type": "message",
            "role": "assistant",
            "id": "msg_2",
            "content": [{"type": "output_text", "text": "3"}],
        }
        ended = {"id": "resp_2", "model": "any", "status": "completed", "output": [item], "usage": {}}
        return sse({"type": "response.completed", "response": ended})
    if body.get("compaction"):
        return messages_answer(BLOCK, "compaction")
    return messages_answer({"type": "text", "text": "3"}, "end_turn")


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with plain_server(answers) as opened:
        yield opened


def conversation(provider: str, **options: Any) -> ModelRequest:
    """Return a conversation that ends before a turn."""
    called = Message(role="assistant", parts=(ToolCall(id="c1", name="add", arguments={"a": 1}),))
    answer = Message(role="tool", parts=(ToolResult(call_id="c1", name="add", text="3"),))
    return ModelRequest(
        route=Route(provider=provider, model="any", options=options),
        messages=(system("Be brief."), user("Add one and two."), called, answer),
        tools=(ADD,),
        cache_key="run_1",
    )


@pytest.mark.parametrize(("wire", "base"), [("anthropic", ""), ("openai", "/v1")])
async def test_a_compaction_is_one_message_whose_blocks_begin_the_next_request_as_they_came(
    connect: Connect, server: PlainServer, wire: str, base: str
) -> None:
    provider = connect(wire, server.url + base)
    request = conversation(wire)
    reply = await provider.generate(request.model_copy(update={"compact": True}))
    assert reply.finish.unified == "compacted"
    assert reply.message.native is not None
    assert list(reply.message.native.blocks) == ([BLOCK] if wire == "anthropic" else ITEMS)
    assert (reply.usage.input_total, reply.usage.cache_read, reply.usage.output_total) == (1_000, 100, 40)
    follow = (request.messages[0], reply.message, user("And now?"))
    assert (await provider.generate(request.model_copy(update={"messages": follow}))).message.text == "3"
    body = server.asked[-1].json
    if wire == "anthropic":
        assert body["messages"][0] == {"role": "assistant", "content": [BLOCK]}
        assert "compaction" not in body
        assert reply.message.text == "They added."
    else:
        assert body["input"][1:3] == ITEMS


async def test_the_messages_wire_is_asked_with_the_same_prefix_and_its_beta(
    connect: Connect, server: PlainServer
) -> None:
    provider = connect("anthropic", server.url)
    request = conversation("anthropic", context_management={"edits": []}, betas=["other"])
    await provider.generate(request.model_copy(update={"compact": True}))
    await provider.generate(request)
    compacting, plain = server.asked
    assert compacting.json["compaction"] == {"type": "summarize"}
    assert compacting.headers["anthropic-beta"] == "other,compact-2026-09-04"
    assert plain.headers["anthropic-beta"] == "other"
    same = ("model", "system", "tools", "messages")
    assert [compacting.json[name] for name in same] == [plain.json[name] for name in same]
    assert "context_management" not in compacting.json
    assert plain.json["context_management"] == {"edits": []}


async def test_the_responses_wire_is_asked_at_its_own_path_with_the_whole_input(
    connect: Connect, server: PlainServer
) -> None:
    provider = connect("openai", server.url + "/v1")
    request = conversation("openai")
    await provider.generate(request.model_copy(update={"compact": True}))
    await provider.generate(request)
    compacting, plain = server.asked
    assert (compacting.path, plain.path) == ("/v1/responses/compact", "/v1/responses")
    assert compacting.json == {"model": "any", "input": plain.json["input"], "prompt_cache_key": "run_1"}


async def test_failures_of_a_compaction_have_the_names_of_all_failures(connect: Connect) -> None:
    replies: list[Answer] = [
        (400, {"error": {"code": "context_length_exceeded", "message": "too long"}}),
        (200, {"id": "resp_1", "output": [], "usage": {}}),
        (200, b"<html>"),
    ]
    with plain_server(lambda asked: replies.pop(0)) as server:
        provider = connect("openai", server.url + "/v1")
        request = conversation("openai").model_copy(update={"compact": True})
        for kind in (ContextFull, MalformedReply, MalformedReply):
            with pytest.raises(kind):
                await provider.generate(request)


async def test_a_wire_without_compaction_says_so(connect: Connect) -> None:
    provider = connect("scripted", None)
    with pytest.raises(InvalidRequest, match="scripted has no compaction of its own"):
        await provider.generate(conversation("scripted").model_copy(update={"compact": True}))
