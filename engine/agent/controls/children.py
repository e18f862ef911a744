"""Starting runs beside the agent and waiting for them: at most so many, so deep, and within its budget."""

import asyncio
import json
from itertools import count
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from engine.agent.children import chosen, forget, hear, keep, parked, told_of
from engine.agent.conduct import Conduct, reason_of
from engine.agent.controls.base import CONTROLS
from engine.agent.family import MAX_CHILDREN, MAX_DEPTH, MAX_OPEN, Child, at_work, reserved, seconds_until, share_of
from engine.agent.state import ends_at
from engine.errors import Conflict, Exhausted, NotFound, Problem
from engine.ports import CallRef, ChildOrder, ChildrenReport, GivenAnswer, report_children, start_child
from engine.runs import derived_id
from engine.values import Budget


async def launch(conduct: Conduct, turn: int, call: CallRef, order: dict[str, Any]) -> GivenAnswer:
    """Start a run; `order` has `kind`, `name`, `budget` and `seconds`, the rest stands in the call."""
    run_id = derived_id("run", conduct.run.workflow_id, str(turn), call.call_id)
    try:
        # A review under way may take all that it was given, so a share is counted when it has ended.
        async with conduct.spending:
            child = _admitted(conduct, run_id, order)
            # Remembered before it is there: it counts at once, and its first word can't come too early.
            conduct.remember(children=(*conduct.state.children, child))
    except Problem as problem:
        return GivenAnswer(text=problem.message, is_error=True)
    started = ChildOrder(
        run=conduct.run,
        principal=conduct.principal,
        turn=turn,
        call_id=call.call_id,
        run_id=run_id,
        name=child.name,
        budget=child.share,
    )
    # Not cut short when the agent is stopped: a run that is half started could not be told to end.
    problem = await asyncio.shield(asyncio.ensure_future(_start(conduct, started)))
    if problem is not None:
        return GivenAnswer(text=f"{child.name} was not started: {problem}", is_error=True)
    share = child.share.model_dump(mode="json", exclude_none=True)
    said = {"run_id": run_id, "name": child.name, **({"budget": share} if share else {})}
    return GivenAnswer(text=json.dumps(said))


def _admitted(conduct: Conduct, run_id: str, order: dict[str, Any]) -> Child:
    """Return the child as it may be.

    Raises:
        Exhausted: the agent has reached a bound of depth, number or budget.
        Conflict: its name is taken.
    """
    children = conduct.state.children
    if conduct.plan.depth >= MAX_DEPTH:
        raise Exhausted(
            f"this run is {conduct.plan.depth} runs deep, and no run may be deeper than {MAX_DEPTH}: do it yourself"
        )
    if len(at_work(children)) >= MAX_OPEN:
        raise Exhausted(f"{MAX_OPEN} subagents are at work; wait for one to end before you start another")
    if len(children) >= MAX_CHILDREN:
        raise Exhausted(f"a run may start {MAX_CHILDREN} subagents in all, and this one has; do the rest yourself")
    names = {child.name for child in children}
    name = order["name"] or next(free for at in count(1) if (free := f"{order['kind']}-{at}") not in names)
    if name in names:
        raise Conflict(f"you have a subagent named {name} already; give this one another name")
    wanted = Budget.model_validate({**(order["budget"] or {}), "seconds": order["seconds"]})
    committed = conduct.state.spent.plus(reserved(children))
    left = seconds_until(ends_at(conduct.budget, conduct.state), workflow.now())
    share = share_of(conduct.budget, committed, conduct.state.last, wanted, left)
    return Child(name=name, run_id=run_id, kind=order["kind"], share=share)


async def _start(conduct: Conduct, order: ChildOrder) -> str | None:
    try:
        news = await start_child(order)
    except ActivityError as error:
        forget(conduct, order.run_id)
        return reason_of(error)
    hear(conduct, news)
    return None


async def wait(conduct: Conduct, turn: int, call: CallRef, order: dict[str, Any]) -> GivenAnswer:
    """Wait for runs; `order` has `which`, `until` and `timeout_s`. The answer is written where their results are."""
    try:
        ids = _meant(conduct, order["which"])
    except Problem as problem:
        return GivenAnswer(text=problem.message, is_error=True)
    await parked(conduct, ids, until=order["until"], timeout_s=order["timeout_s"])
    found = chosen(conduct, ids)
    report = ChildrenReport(
        run=conduct.run,
        principal=conduct.principal,
        turn=turn,
        call=call,
        children=tuple(told_of(child, tell=False) for child in found),
    )
    keep(conduct, found, await report_children(report))
    return GivenAnswer(text="told")


def _meant(conduct: Conduct, which: list[str] | None) -> frozenset[str]:
    """Return the ids of the children named, or of all that the model does not know to have ended."""
    children = conduct.state.children
    if not which:
        found = [child.run_id for child in children if not child.ended or child.untold]
        if not found:
            raise NotFound("no subagent of yours is at work, and you have heard of each that has ended")
        return frozenset(found)
    by_name = {child.name: child.run_id for child in children} | {child.run_id: child.run_id for child in children}
    unknown = [name for name in which if name not in by_name]
    if unknown:
        there = ", ".join(child.name for child in children) or "none"
        raise NotFound(f"you have no subagent {', '.join(unknown)}; you have: {there}")
    return frozenset(by_name[name] for name in which)


CONTROLS["launch"] = launch
CONTROLS["wait"] = wait
