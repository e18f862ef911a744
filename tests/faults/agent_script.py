"""The models of the swept agent: what each says depends on its request alone, and on a gate.

The chief keeps a plan, starts a clerk and a reader, waits for them, pays in two ways and finishes. Both subagents begin
when the gate of their case is open: before that the chief could hear of their end in two ways. The reviewer allows the
payment whose tool honours its key, and leaves the other one to a person.
"""

import os
import re
from pathlib import Path

import anyio
from pydantic import JsonValue

from engine.transcript import ModelRequest
from providers.scripted import ScriptedReply, answer, calls, register_script
from tests.faults.traps import GATE

SKILL = "fault-payments"
KEYED, BLIND = "fault_payments.pay_keyed", "fault_payments.pay_blind"
TOOLS = ("launch_subagent", "wait_subagents", "update_plan")
LOOK_S = 0.02

_CASE = re.compile(r"\bcase-[0-9a-z]+\b")


def register() -> None:
    """Make the models known."""
    for script in (chief, clerk, reader, reviewer):
        register_script(script.__name__, script)


def gate_of(gate: Path, case: str) -> Path:
    """Return the gate of one case beside that of the house."""
    return gate.with_name(f"{gate.name}-{case}")


def chief(request: ModelRequest) -> ScriptedReply:
    """Plan, start both subagents one after the other, wait for them, pay in both ways at once, finish."""
    case = _case(request)
    lines = (
        calls(("learn_fault_payments", {}), ("update_plan", {"steps": [{"title": f"settle {case}"}]})),
        calls(("launch_subagent", _part("clerk", case))),
        calls(("launch_subagent", _part("reader", case))),
        calls(("wait_subagents", {})),
        calls((KEYED, _payment(case, 70.0)), (BLIND, _payment(case, 5.0))),
        ScriptedReply(text=f"{case} is settled"),
    )
    return lines[_turn(request)]


async def clerk(request: ModelRequest) -> ScriptedReply:
    """Learn, pay the deposit, finish."""
    case = await _let_in(request)
    lines = (
        calls(("learn_fault_payments", {})),
        calls((KEYED, _payment(case, 30.0))),
        ScriptedReply(text="the deposit is paid"),
    )
    return lines[_turn(request)]


async def reader(request: ModelRequest) -> ScriptedReply:
    """Keep a plan and finish."""
    await _let_in(request)
    return (calls(("update_plan", {"steps": [{"title": "read"}]})), ScriptedReply(text="it is read"))[_turn(request)]


def reviewer(request: ModelRequest) -> ScriptedReply:
    """Allow what is paid once whatever happens; leave the rest to a person."""
    blind = "Pay at every call." in request.messages[-1].text
    return answer({"verdict": "ask" if blind else "allow", "reason": "by its tool"})


def _part(name: str, case: str) -> dict[str, JsonValue]:
    return {"name": name, "model": f"scripted/{name}", "task": f"Your part of {case}."}


def _payment(case: str, amount: float) -> dict[str, JsonValue]:
    return {"invoice": case, "supplier": "Northwind Instruments", "amount": amount, "currency": "EUR"}


def _turn(request: ModelRequest) -> int:
    return sum(message.role == "assistant" for message in request.messages)


def _case(request: ModelRequest) -> str:
    found = next((_CASE.search(message.text) for message in request.messages if message.role == "user"), None)
    assert found is not None, "the task names no case"
    return found.group()


async def _let_in(request: ModelRequest) -> str:
    case = _case(request)
    while not gate_of(Path(os.environ[GATE]), case).exists():
        await anyio.sleep(LOOK_S)
    return case
