"""The `supervisor` node: a question to a seat of people, of an agent, or of both.

An agent in the seat decides first. Where it is unsure or fails, the people of the seat are asked; where there are none,
those of the escalations; where there are none either, the node fails with the agent's reason. People are asked by one
task, with a deadline, reminders and escalations, until one of them has decided, or as many alike as the quorum says.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from pydantic import JsonValue

from engine import stage
from engine.errors import Invalid
from engine.json_schema import violations
from engine.people import Judge, Undecided
from engine.ports import TaskAnswer, Texts, render_texts
from engine.process.durations import parse_duration
from engine.process.nodes.base import AgentSeat
from engine.process.nodes.base import Seat as SeatSpec
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.run.flow import EXECUTORS
from engine.process.run.frame import Frame, NodeFailed
from engine.process.run.operations import barred
from engine.process.run.results import NodeResult
from engine.process.run.seat_agent import Verdict, decide_by_agent
from engine.runs import Seat, TaskDraft, Vote, derived_id

MAX_REMINDERS = 500
"""How often one task is reminded of; a history holds no more."""


@dataclass
class Question:
    """One question: the node, what is asked, the agents' instructions by place, and how answers are judged."""

    frame: Frame
    node_id: str
    node: SupervisorNode
    step: str
    draft: TaskDraft
    instructions: dict[str, str]
    judge: Judge


async def run_supervisor_node(frame: Frame, node_id: str, node: SupervisorNode, step: str) -> NodeResult:
    """Ask and wait; nothing but timers is held meanwhile."""
    question = await _question(frame, node_id, node, step)
    agent = node.seat.agent
    if agent is None:
        return _result(question, await _ask_people(question))
    verdict = await _in_time(question, agent, "seat")
    if verdict.answer is not None and node.quorum == 1:
        return _result(question, verdict.answer, verdict)
    question.draft = _after_agent(question, verdict)
    seat = question.draft.seat
    if not (seat.users or seat.roles or seat.groups):
        raise NodeFailed(verdict.kind, f"no agent decided {question.draft.title!r}: {verdict.reason}")
    return _result(question, await _ask_people(question), verdict)


async def _question(frame: Frame, node_id: str, node: SupervisorNode, step: str) -> Question:
    agents = {"seat": node.seat.agent, **{str(number): rung.to.agent for number, rung in enumerate(node.escalate)}}
    instructions = {f"agent {place}": agent.instructions for place, agent in agents.items() if agent is not None}
    texts = {"title": node.ask.title, "description": node.ask.description, **instructions}
    shown = await render_texts(Texts(texts=texts, data=frame.visible()))
    excluded = barred(frame, node_id, node) if node.four_eyes else ()
    draft = TaskDraft(
        task_id=derived_id("task", frame.conduct.run.workflow_id, step),
        kind="decision",
        node=node_id,
        title=shown.texts["title"],
        description=shown.texts["description"],
        form=node.ask.form,
        decisions=node.decisions,
        seat=_people(node.seat).model_copy(update={"excluded": excluded}),
        context=frame.seen(node.reads),
        deadline=stage.now() + parse_duration(node.deadline) if node.deadline else None,
        quorum=node.quorum,
        delegation=node.delegation,
    )

    def judge(answer: TaskAnswer) -> None:
        _judge(frame, node_id, node, answer)

    rendered = {place.removeprefix("agent "): shown.texts[place] for place in instructions}
    return Question(frame, node_id, node, step, draft, rendered, judge)


def _judge(frame: Frame, node_id: str, node: SupervisorNode, answer: TaskAnswer) -> None:
    """Refuse an answer whose decision, form or writes don't hold: nobody's edit gets a value past the context's schema.

    Raises:
        Invalid: it names the field.
    """
    if answer.decision not in node.decisions:
        raise Invalid(f"decision {answer.decision!r} is not one of {', '.join(node.decisions)}", field="decision")
    if node.ask.form is None and answer.values:
        raise Invalid(f"{node_id} has no form; leave `values` out", field="values")
    for found in violations(node.ask.form or {}, answer.values):
        raise Invalid(f"values{found.path.removeprefix('$')}: {found.message}", field="values")
    try:
        frame.trial().write(node_id, tuple(node.writes), _writes(node, answer))
    except NodeFailed as failed:
        raise Invalid(f"the values can't be written: {failed.message}", field="values") from failed


def _writes(node: SupervisorNode, answer: TaskAnswer) -> dict[str, JsonValue]:
    """Give the first declared key the decision; further keys are taken from the form by name."""
    if not node.writes:
        return {}
    # What a form holds never stands for who decided what.
    said: dict[str, JsonValue] = {
        "comment": answer.comment,
        **answer.values,
        "decision": answer.decision,
        "by": answer.by.subject,
    }
    first, *others = node.writes
    return {first: said, **{name: answer.values[name] for name in others if name in answer.values}}


def _result(question: Question, answer: TaskAnswer, verdict: Verdict | None = None) -> NodeResult:
    node, by = question.node, answer.by
    facts: dict[str, JsonValue] = {"task_id": question.draft.task_id, "decision": answer.decision, "by": by.subject}
    if verdict is not None:
        facts["agent_run"] = verdict.run_id
    writes = _writes(node, answer)
    if by.kind != "agent":
        question.frame.conduct.propose(by.subject, question.node_id, writes)
    return NodeResult(writes=writes, facts=facts, chosen=answer.decision)


def _people(spec: SeatSpec) -> Seat:
    return Seat(users=spec.users, roles=spec.roles, groups=spec.groups)


def _after_agent(question: Question, verdict: Verdict) -> TaskDraft:
    """Return the task for people after an agent: with its decision as the first of a quorum, or for those left."""
    draft = question.draft
    if verdict.answer is not None:
        said = verdict.answer
        at = stage.now().isoformat(timespec="seconds")
        vote = Vote(by=said.by.subject, decision=said.decision, values=said.values, comment=said.comment, at=at)
        return draft.model_copy(update={"votes": (vote,)})
    note = f"{draft.description}\n\nLeft to people by an agent: {verdict.reason}".strip()
    seat = draft.seat
    if not (seat.users or seat.roles or seat.groups):
        for rung in question.node.escalate:
            seat = seat.plus(_people(rung.to))
    return draft.model_copy(update={"description": note, "seat": seat})


async def _in_time(question: Question, spec: AgentSeat, place: str) -> Verdict:
    """Let an agent decide before the deadline; it is cancelled then."""
    draft = question.draft
    left = None if draft.deadline is None else (draft.deadline - stage.now()) / timedelta(seconds=1)
    step = question.step if place == "seat" else f"{question.step}/escalation{place}"
    deciding = decide_by_agent(question.frame.conduct, step, spec, draft, question.instructions[place], question.judge)
    try:
        return await stage.wait_for(deciding, None if left is None else max(left, 0.001))
    except TimeoutError as error:
        raise NodeFailed("timeout", f"nobody decided {draft.title!r} before its deadline") from error


async def _ask_people(question: Question) -> TaskAnswer:
    """Open the task and wait for its decision.

    Raises:
        NodeFailed: of kind `timeout` at the deadline, `no_quorum` when enough can't decide alike any more.
    """
    frame, node, draft = question.frame, question.node, question.draft
    beside = [asyncio.ensure_future(_escalate(question, number)) for number in range(len(node.escalate))]
    if node.remind_every is not None:
        beside.append(asyncio.ensure_future(_remind(question, node.remind_every)))
    try:
        answer = await frame.conduct.people.ask(
            draft, position=None if frame.path else question.node_id, judge=question.judge, rungs=len(node.escalate)
        )
    except Undecided as undecided:
        raise NodeFailed("no_quorum", str(undecided)) from undecided
    finally:
        for one in beside:
            one.cancel()
    if answer is None:
        raise NodeFailed("timeout", f"nobody decided {draft.title!r} before its deadline")
    return answer


async def _escalate(question: Question, number: int) -> None:
    """Let others in once their time has come, or an agent decide in the place of those who have not."""
    rung, draft = question.node.escalate[number], question.draft
    people = question.frame.conduct.people
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(parse_duration(rung.after) / timedelta(seconds=1))
        await people.escalate(draft.task_id, _people(rung.to), f"not decided within {rung.after}")
        if rung.to.agent is None:
            return
        with suppress(NodeFailed):
            verdict = await _in_time(question, rung.to.agent, str(number))
            if verdict.answer is not None:
                await people.decide(verdict.answer)


async def _remind(question: Question, every: str) -> None:
    with suppress(asyncio.CancelledError):
        for number in range(1, MAX_REMINDERS + 1):
            await asyncio.sleep(parse_duration(every) / timedelta(seconds=1))
            if not await question.frame.conduct.people.remind(question.draft.task_id, number):
                return


EXECUTORS["supervisor"] = run_supervisor_node
