"""The plan: what the agent means to do, kept where people see it and where it outlives a checkpoint."""

from typing import Any

from pydantic import JsonValue

from engine.agent.conduct import Conduct
from engine.agent.controls.base import CONTROLS
from engine.agent.log import STEPS
from engine.ports import CallRef, GivenAnswer, PlanStep
from engine.runs import EventDraft


async def update_plan(conduct: Conduct, turn: int, call: CallRef, order: dict[str, Any]) -> GivenAnswer:
    """Replace the plan; `order["steps"]` are the steps, already checked."""
    steps = tuple(PlanStep.model_validate(step) for step in order["steps"])
    conduct.remember(plan=steps)
    key = f"turn/{turn}/plan/{call.call_id}"[:200]
    data: dict[str, JsonValue] = {"turn": turn, "steps": [step.model_dump(mode="json") for step in steps]}
    await conduct.change(key, events=(EventDraft(key=key, type=STEPS, data=data),))
    done = sum(step.status == "done" for step in steps)
    return GivenAnswer(text=f"The plan is kept: {done} of {len(steps)} steps are done.")


CONTROLS["plan"] = update_plan
