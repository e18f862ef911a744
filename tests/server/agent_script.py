"""Models for a worker in a process of its own: what they say depends on the request and on files alone.

`AGENT_PLACE` names the folder of the test: `ledger`, `gate` (open when it exists) and `asked`, where each call of the
waiting model adds a line before it waits.
"""

import json
import os
from pathlib import Path

import anyio
from pydantic import JsonValue

from engine.transcript import ModelRequest, ToolCall
from providers.errors import ContextFull
from providers.scripted import ScriptedReply, calls, register_script

PLACE = "AGENT_PLACE"
LOOK_S = 0.02


def register() -> None:
    """Make the models known."""
    register_script("payer", payer)
    register_script("waiting", waiting)
    register_script("chief", chief)
    register_script("summing", summing)


def payer(request: ModelRequest) -> ScriptedReply:
    """Learn, pay in both ways at once, and finish."""
    place = Path(os.environ[PLACE])
    where: dict[str, JsonValue] = {"ledger": str(place / "ledger"), "gate": str(place / "gate")}
    turns = sum(message.role == "assistant" for message in request.messages)
    if turns == 0:
        return calls(("learn_desk", {}))
    if turns == 1:
        return calls(("desk.pay_blind", where), ("desk.pay_keyed", where))
    return ScriptedReply(text="paid what could be paid")


async def summing(request: ModelRequest) -> ScriptedReply | ContextFull:
    """Learn, talk until the window is full, sum up when the gate is open, and finish."""
    if request.messages[0].text.startswith("You write the checkpoint"):
        await waiting(request)
        return ScriptedReply(text="much was said")
    said = [message.text for message in request.messages]
    if any("much was said" in text for text in said):
        return ScriptedReply(text="finished after the checkpoint")
    turns = sum(message.role == "assistant" for message in request.messages)
    if turns == 5:
        return ContextFull("Too long.", provider="scripted")
    asked = ToolCall(id="", name="desk.add", arguments={"a": turns, "b": 1})
    return ScriptedReply(text="on and on it goes " * 100, tool_calls=(asked,)) if turns else calls(("learn_desk", {}))


async def waiting(request: ModelRequest) -> ScriptedReply:
    """Answer when the gate is open."""
    place = Path(os.environ[PLACE])
    with (place / "asked").open("a") as asked:
        asked.write("asked\n")
    while not (place / "gate").exists():
        await anyio.sleep(LOOK_S)
    return ScriptedReply(text="waited for it")


def chief(request: ModelRequest) -> ScriptedReply:
    """Start two subagents on the waiting model, wait for them, and say what they said."""
    turns = sum(message.role == "assistant" for message in request.messages)
    if turns == 0:
        wanted: list[dict[str, JsonValue]] = [
            {"task": f"Wait, {name}.", "name": name, "model": "scripted/waiting"} for name in ("north", "south")
        ]
        return calls(*(("launch_subagent", one) for one in wanted))
    if turns == 1:
        return calls(("wait_subagents", {}))
    told = json.loads(request.messages[-1].parts[-1].text)  # type: ignore[union-attr]
    return ScriptedReply(text=", ".join(sorted(f"{one['name']}: {one['result']}" for one in told["subagents"])))
