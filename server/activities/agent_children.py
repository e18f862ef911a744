"""Activities about the runs that agents start beside themselves: starting, telling the model of them, ending them."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import JsonValue

from engine.agent.family import FINISHED, STARTED, SUBAGENT
from engine.agent.log import message_event
from engine.errors import Conflict, Invalid
from engine.ports import (
    AgentTask,
    AgentToolCalls,
    ChildNews,
    ChildOrder,
    ChildrenOrder,
    ChildrenReport,
    ChildrenSettled,
    ChildTold,
    Control,
    GivenAnswer,
    cancel_children,
    report_children,
    settle_children,
    start_child,
)
from engine.runs import Artifact, AuditDraft, Change, EventDraft, Run, RunRef, StartRun
from engine.transcript import Message, Text
from engine.values import Empty, Principal, Spent, digest, utc_now
from providers.output import schema_validator
from server.activities.agent_calls import AgentWork, acting, run_calls
from server.activities.guard import implements
from server.control import Runs
from skills.arguments import Checker
from skills.catalogue import skill_key
from skills.core import resolve_process
from skills.discovery import shortened

MAX_RESULT = 4_000
"""How much of a child's result is told at once, in characters; the whole is with its run."""

MAX_TOLD = 24_000
MAX_NAMED = 20
"""How many files of a child are named."""


def child_activities(work: AgentWork, control: Runs) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the house's parts."""

    @implements(start_child)
    async def start(order: ChildOrder) -> ChildNews:
        return await _start(work, control, order)

    @implements(settle_children)
    async def settle(order: ChildrenOrder) -> ChildrenSettled:
        return await _settle(work, order)

    @implements(report_children)
    async def report(order: ChildrenReport) -> ChildrenSettled:
        return await _report(work, order)

    @implements(cancel_children)
    async def cancel(order: ChildrenOrder) -> Empty:
        for child in order.children:
            await _cancel(control, order.principal, child)
        return Empty()

    return [start, settle, report, cancel]


async def _start(work: AgentWork, control: Runs, order: ChildOrder) -> ChildNews:
    """Write the row of the child and the event of its parent, then start its workflow; a repeat finds all of it."""
    parent = await work.runs.load(order.run)
    start = await _child(work, parent, order)
    run, _ = await work.runs.create(order.principal, start, run_id=order.run_id)
    key = f"child/{run.run_id}/started"
    data: dict[str, JsonValue] = {
        "name": order.name,
        "run_id": run.run_id,
        "kind": run.kind,
        "title": run.title,
        "turn": order.turn,
        "call_id": order.call_id,
        "budget": order.budget.model_dump(mode="json", exclude_none=True),
    }
    # Before it runs: by this event it is known as a child when it tells how it stands.
    await work.runs.apply(
        Change(
            run=order.run,
            key=key,
            events=(EventDraft(key=key, type=STARTED, data=data),),
            audit=(AuditDraft(key=key, actor=order.principal.subject, action=STARTED, data=data),),
        )
    )
    if run.status == "starting":
        await control.launch(run)
    now = await work.runs.load(run.ref)
    return ChildNews(run_id=run.run_id, status="running" if now.status == "starting" else now.status)


async def _child(work: AgentWork, parent: Run, order: ChildOrder) -> StartRun:
    """Return the start that the call asks for.

    Raises:
        Invalid: it asks for what the parent doesn't have, or what can't be carried out.
    """
    log = await work.transcripts.read(order.run)
    call = log.call(order.turn, order.call_id)
    given = work.toolbox.find(acting(order.principal), call.name).parse(call.arguments)
    if "process" in given:
        return await _process(work, order, given)
    task = _bounded(
        work,
        order.principal,
        AgentTask.model_validate(parent.input),
        given,
        frozenset(spec.name for spec in log.planned()),
    )
    for object_id in task.attachments:
        await work.content.get(order.principal, object_id)
    work.models.route(order.run.tenant, ("run", task.model))
    if task.output_schema is not None:
        schema_validator(task.output_schema)
    return StartRun(
        kind="agent",
        definition=SUBAGENT,
        title=f"{order.name}: {shortened(' '.join(task.task.split()), 80)}",
        input=task.model_dump(mode="json"),
        budget=order.budget,
        parent_id=order.run.run_id,
    )


def _bounded(
    work: AgentWork, principal: Principal, parent: AgentTask, given: dict[str, Any], having: frozenset[str]
) -> AgentTask:
    """Return the task of a subagent: what it doesn't name it has from its parent, and nothing beyond that."""
    skills: tuple[str, ...] | None = parent.skills
    if given["skills"] is not None:
        skills = tuple(given["skills"])
        for name in skills:
            work.toolbox.catalogue.get(principal, name)
        allowed = None if parent.skills is None else {skill_key(name) for name in parent.skills}
        _within("skills", [name for name in skills if allowed is not None and skill_key(name) not in allowed], allowed)
    tools: tuple[str, ...] | None = parent.tools
    if given["tools"] is not None:
        tools = tuple(given["tools"])
        _within("tools", [name for name in tools if name not in having], having)
    return AgentTask(
        task=given["task"],
        instructions=given["instructions"],
        facts=given["facts"],
        skills=skills,
        tools=tools,
        exclude_tools=parent.exclude_tools,
        model=given["model"] or parent.model,
        output_schema=given["output_schema"],
        attachments=tuple(given["attachments"]),
        approval=parent.approval,
        reviewer=parent.reviewer,
        on_stuck=parent.on_stuck,
    )


def _within(what: str, beyond: list[str], allowed: "frozenset[str] | set[str] | None") -> None:
    if beyond:
        there = ", ".join(sorted(allowed or ())) or "none"
        raise Invalid(f"a subagent has no {what} that you don't have: {', '.join(beyond)}; you have: {there}")


async def _process(work: AgentWork, order: ChildOrder, given: dict[str, Any]) -> StartRun:
    version, definition = await resolve_process(work.services, order.principal, given["process"])
    schema = {"type": "object", **definition.input}
    Checker(schema).check(given["input"], what=f"the input of {version.address} does not fit its schema")
    return StartRun(
        kind="process",
        definition=version.name,
        version=str(version.number),
        title=f"{order.name}: {definition.title or version.name}",
        input=given["input"],
        budget=order.budget,
        parent_id=order.run.run_id,
    )


async def _cancel(control: Runs, principal: Principal, child: ChildTold) -> None:
    reason = "the agent that started it has ended"
    try:
        await control.control(principal, child.run_id, Control(action="cancel", by=principal, reason=reason))
    except Conflict:
        # It ended by itself in between.
        return


async def _settle(work: AgentWork, order: ChildrenOrder) -> ChildrenSettled:
    """Count what the children that have ended took, have their files, and write what the model is to be told."""
    spent: dict[str, Spent] = {}
    last = 0
    for child in order.children:
        run = await work.runs.load(_ref(order, child))
        told = await _told(work, run, child) if child.tell else None
        if child.ended:
            await _count(work, order, child, run, told)
            spent[run.run_id] = run.spent
        elif told is not None:
            await work.runs.apply(Change(run=order.run, key=told.key, events=(told,)))
        if told is not None:
            said = (await work.transcripts.read(order.run)).event(told.key)
            last = max(last, said.seq if said is not None else 0)
    return ChildrenSettled(spent=spent, last_seq=last)


def _ref(order: ChildrenOrder, child: ChildTold) -> RunRef:
    return RunRef(tenant=order.run.tenant, run_id=child.run_id)


async def _count(work: AgentWork, order: ChildrenOrder, child: ChildTold, run: Run, told: EventDraft | None) -> None:
    """Add what a child took to its parent's record, once, with the files it made."""
    adopted = await work.runs.adopt_artifacts(order.run, run.ref, child.name)
    key = f"child/{run.run_id}/finished"
    data: dict[str, JsonValue] = {
        "name": child.name,
        "run_id": run.run_id,
        "status": run.status,
        "error": run.error,
        "spent": run.spent.model_dump(mode="json"),
        "artifacts": len(adopted),
    }
    finished = EventDraft(key=key, type=FINISHED, data=data)
    change = Change(
        run=order.run,
        key=key,
        spent=run.spent,
        events=(finished, told) if told is not None else (finished,),
        audit=(AuditDraft(key=key, actor="engine", action=FINISHED, data=data),),
    )
    await work.runs.apply(change)


async def _told(work: AgentWork, run: Run, child: ChildTold) -> EventDraft:
    """Return the message by which the model hears of a child that it did not wait for."""
    if not child.ended:
        text = (
            f"The subagent {child.name} ({run.run_id}) waits for a person: {child.waits_for}. It goes on by itself "
            "when they have answered."
        )
        key = f"child/{run.run_id}/waits/{digest(child.waits_for)[:16]}"
        return message_event(key, Message(role="user", parts=(Text(text=text),)))
    facts = json.dumps(await _facts(work, run, child, MAX_RESULT), ensure_ascii=False)
    parts = (Text(text=f"The subagent {child.name} has ended. What it came to:\n"), Text(text=facts, data=True))
    return message_event(f"child/{run.run_id}/told", Message(role="user", parts=parts))


async def _report(work: AgentWork, order: ChildrenReport) -> ChildrenSettled:
    """Answer the call that has waited for children with how each of them stands."""
    settled = await _settle(work, order)
    most = min(MAX_RESULT, MAX_TOLD // max(1, len(order.children)))
    told = [await _facts(work, await work.runs.load(_ref(order, child)), child, most) for child in order.children]
    given = GivenAnswer(text=json.dumps({"subagents": told}, ensure_ascii=False))
    answer = AgentToolCalls(run=order.run, principal=order.principal, turn=order.turn, calls=(order.call,), given=given)
    await run_calls(work, answer)
    return settled


async def _facts(work: AgentWork, run: Run, child: ChildTold, most: int) -> dict[str, JsonValue]:
    """Return how a child stands, with the beginning of its result where that is long."""
    facts: dict[str, JsonValue] = {"name": child.name, "run_id": run.run_id}
    if not child.ended:
        waits: dict[str, JsonValue] = {"waits_for_a_person": child.waits_for} if child.waits_for else {}
        age = round((utc_now() - run.created_at).total_seconds())
        return {**facts, "status": run.status, "position": run.position, "seconds_at_work": age, **waits}
    facts |= {"status": run.status, "turns": run.spent.turns, "usd": run.spent.usd}
    if run.error is not None:
        facts["error"] = run.error[:most]
    if run.result is not None:
        text = run.result if isinstance(run.result, str) else json.dumps(run.result, ensure_ascii=False)
        cut = len(text) > most
        facts["result"] = f"{text[:most]}…" if cut else run.result
        if cut:
            facts["whole_result"] = f"get_run({run.run_id})"
    files = await work.runs.artifacts(run.principal, run.run_id)
    if files:
        facts["artifacts"] = [_uri(one, child.name, run.parent_id) for one in files[:MAX_NAMED]]
    return facts


def _uri(artifact: Artifact, name: str, parent_id: str | None) -> str:
    return f"run://{parent_id}/artifacts/{name}/{artifact.path}"
