"""Models for a worker in a process of its own: what they say depends on the request and on files alone.

`AGENT_PLACE` names the folder of the test: `ledger`, `gate` (open when it exists) and `asked`, where each call of the
waiting model adds a line before it waits.
"""

import os
from pathlib import Path

import anyio
from pydantic import JsonValue

from engine.transcript import ModelRequest
from providers.scripted import ScriptedReply, calls, register_script

PLACE = "AGENT_PLACE"
LOOK_S = 0.02


def register() -> None:
    """Make the models known."""
    register_script("payer", payer)
    register_script("waiting", waiting)


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


async def waiting(request: ModelRequest) -> ScriptedReply:
    """Answer when the gate is open."""
    place = Path(os.environ[PLACE])
    with (place / "asked").open("a") as asked:
        asked.write("asked\n")
    while not (place / "gate").exists():
        await anyio.sleep(LOOK_S)
    return ScriptedReply(text="waited for it")
