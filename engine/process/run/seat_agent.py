"""An agent in a seat: a bounded run that decides as a person would, within the same decisions and the same form."""

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from engine.errors import Problem
from engine.people import Judge
from engine.ports import AgentTask, TaskAnswer, apply_change
from engine.process.nodes.base import AgentSeat
from engine.process.run.agents import run_agent
from engine.process.run.frame import Conduct, NodeFailed
from engine.runs import AuditDraft, Change, EventDraft, TaskDraft, derived_id
from engine.values import Budget, Principal, Spent

UNSURE = "_unsure"
"""The decision to leave the decision to people; no decision of a definition has a name like it."""

BOUNDS = Budget(turns=20)
"""What the agent may use where neither the process nor its supervision says."""


@dataclass(frozen=True)
class Verdict:
    """What an agent in a seat came to: an answer, or None and the reason why people are to decide."""

    answer: TaskAnswer | None
    run_id: str = ""
    reason: str = ""
    kind: str = "unsure"
    spent: Spent = field(default_factory=Spent)


async def decide_by_agent(
    conduct: Conduct, step: str, spec: AgentSeat, draft: TaskDraft, instructions: str, judge: Judge
) -> Verdict:
    """Let an agent decide what `draft` asks; an answer that `judge` refuses counts as none.

    Its failure is a verdict too: without an answer, with the kind and the reason. The verdict is recorded with the
    agent's run and what it took.
    """
    verdict = await _decide(conduct, step, spec, draft, instructions, judge)
    conduct.spent = conduct.spent.plus(verdict.spent)
    key = f"agent/{step}"
    data: dict[str, JsonValue] = {"step": step, "title": draft.title, "spent": verdict.spent.model_dump(mode="json")}
    said: dict[str, JsonValue] = {"agent_run": verdict.run_id, "decision": None, "reason": verdict.reason}
    if verdict.answer is not None:
        said |= {"decision": verdict.answer.decision, "values": verdict.answer.values}
    actor = f"agent:{verdict.run_id}" if verdict.run_id else "engine"
    audit = AuditDraft(key=key, actor=actor, action="seat.agent", node=draft.node, data={**data, **said})
    event = EventDraft(key=key, type="seat.agent", data=said)
    await apply_change(Change(run=conduct.run, key=key, spent=verdict.spent, events=(event,), audit=(audit,)))
    return verdict


async def _decide(
    conduct: Conduct, step: str, spec: AgentSeat, draft: TaskDraft, instructions: str, judge: Judge
) -> Verdict:
    task = AgentTask(
        task=_task(draft, instructions),
        facts=draft.context,
        # As for every agent of a process: what its seat names; by default no skill, and the tools that only read.
        skills=spec.skills or (),
        tools=spec.tools,
        model=spec.model or conduct.definition.defaults.model,
        output_schema=_schema(draft),
        approval="ask",
    )
    budget = conduct.definition.defaults.budget or BOUNDS
    try:
        done = await run_agent(conduct, (step, "seat"), node_id=draft.node, title=draft.title, task=task, budget=budget)
    except NodeFailed as failed:
        run_id = derived_id("run", conduct.run.workflow_id, step, "seat")
        return Verdict(None, run_id, f"the agent failed: {failed.message}", failed.kind, failed.spent)
    return _verdict(conduct, draft, judge, done.value, done.run_id, done.spent)


def _verdict(conduct: Conduct, draft: TaskDraft, judge: Judge, value: JsonValue, run_id: str, spent: Spent) -> Verdict:
    said = value if isinstance(value, dict) else {}
    comment = str(said.get("comment") or "")
    if said.get("decision") not in draft.decisions:
        return Verdict(None, run_id, comment or "the agent was unsure", spent=spent)
    values = said.get("values")
    answer = TaskAnswer(
        task_id=draft.task_id,
        by=Principal(tenant=conduct.run.tenant, subject=f"agent:{run_id}", kind="agent"),
        decision=str(said["decision"]),
        values=values if isinstance(values, dict) else {},
        comment=comment,
    )
    try:
        judge(answer)
    except Problem as problem:
        return Verdict(None, run_id, f"its answer is refused: {problem.message}", kind="invalid_output", spent=spent)
    return Verdict(answer, run_id, comment, spent=spent)


def _schema(draft: TaskDraft) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "decision": {"type": "string", "enum": [*draft.decisions, UNSURE]},
        "comment": {"type": "string", "description": "the reason, in a sentence or two"},
    }
    required = ["decision", "comment"]
    if draft.form is not None:
        # Not required: whoever is unsure fills in no form. Whether it must be is for the judge.
        properties["values"] = draft.form
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _task(draft: TaskDraft, instructions: str) -> str:
    form = f"\nFill in `values` by this JSON Schema: {json.dumps(draft.form)}" if draft.form is not None else ""
    return (
        f"{instructions}\n\nDecide this question, from the facts you are given and what you can look up.\n"
        f"Question: {draft.title}\n{draft.description}\n"
        f"Your decision is one of: {', '.join(draft.decisions)}.{form}\n"
        f"Where the facts do not settle it, decide {UNSURE} and say what is missing: a person decides then."
    ).strip()
