"""A question to the person the agent works for: a task like every other, and a parked run until it is answered."""

import json
from typing import Any

from engine.agent.conduct import Conduct
from engine.agent.controls.base import CONTROLS
from engine.agent.state import ends_at
from engine.ports import CallRef, GivenAnswer
from engine.runs import Seat, TaskDraft, derived_id

TEXT_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string", "title": "Answer", "minLength": 1}},
    "required": ["answer"],
}


async def ask_person(conduct: Conduct, turn: int, call: CallRef, order: dict[str, Any]) -> GivenAnswer:
    """Ask and wait; `order` has `title`, `description`, `choices` and `form`, already checked."""
    choices = tuple(order["choices"])
    form = order["form"] or (None if choices else TEXT_FORM)
    answer = await conduct.people.ask(
        TaskDraft(
            task_id=derived_id("task", conduct.run.workflow_id, str(turn), call.call_id),
            kind="question",
            node=f"turn {turn}",
            title=order["title"],
            description=order["description"],
            form=form,
            decisions=choices,
            seat=Seat(users=(conduct.principal.subject,), roles=("approver",)),
            context={"turn": turn, "call_id": call.call_id},
            deadline=ends_at(conduct.budget, conduct.state),
        )
    )
    if answer is None:
        return GivenAnswer(
            text="Nobody answered in time. Go on with what you know, and say what is open.", is_error=True
        )
    said = {
        "by": answer.by.subject,
        **({"choice": answer.decision} if answer.decision else {}),
        **answer.values,
        **({"comment": answer.comment} if answer.comment else {}),
    }
    return GivenAnswer(text=json.dumps(said, ensure_ascii=False))


CONTROLS["ask"] = ask_person
