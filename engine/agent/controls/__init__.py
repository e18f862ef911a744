"""What an agent orders its own workflow to do: one module per order, each enters itself by the order's name."""

from typing import Any

from engine.agent.conduct import Conduct
from engine.agent.controls import children, plan, questions
from engine.agent.controls.base import CONTROLS
from engine.ports import CallRef, GivenAnswer

CARRIED_OUT = (children, plan, questions)
"""The modules that carry out orders: naming them is what enters them."""


async def carry_out(conduct: Conduct, turn: int, call: CallRef, order: dict[str, Any]) -> GivenAnswer:
    """Do what a call ordered and return its answer; `order["do"]` says which control that is."""
    return await CONTROLS[str(order["do"])](conduct, turn, call, order)
