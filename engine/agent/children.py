"""What an agent's workflow does about the runs it has started: hear of them, wait for them, count them, end them.

The runs are workflows of their own, so they go on while the agent's history is renewed. Each tells its parent by signal
how it stands; what it said and made lies in the store. What no tool call has asked for reaches the model as a message.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Literal

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from engine.agent.conduct import Conduct
from engine.agent.family import Child, at_work, seconds_until
from engine.agent.state import ends_at, last_turn_by
from engine.ports import ChildNews, ChildrenOrder, ChildrenSettled, ChildTold, cancel_children, settle_children

CANCEL_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=10)
LAST_WORD = timedelta(seconds=30)
"""How long an agent that ends waits for the runs it has cancelled to say that they have ended."""


def hear(conduct: Conduct, news: ChildNews) -> None:
    """Take in how a child stands; one that has ended has said its last word."""
    known = {child.run_id: child for child in conduct.state.children}
    child = known.get(news.run_id)
    if child is not None and not child.ended:
        _put(conduct, [child.model_copy(update={"status": news.status, "waits_for": news.waits_for})])


def forget(conduct: Conduct, run_id: str) -> None:
    """Drop a child that could not be started."""
    conduct.remember(children=tuple(child for child in conduct.state.children if child.run_id != run_id))


def _put(conduct: Conduct, changed: Iterable[Child]) -> None:
    by_id = {child.run_id: child for child in changed}
    conduct.remember(children=tuple(by_id.get(child.run_id, child) for child in conduct.state.children))


def chosen(conduct: Conduct, ids: frozenset[str]) -> list[Child]:
    """Return the children of these ids as they stand now."""
    return [child for child in conduct.state.children if child.run_id in ids]


async def parked(
    conduct: Conduct,
    ids: frozenset[str],
    *,
    until: Literal["any", "all"] = "all",
    timeout_s: float | None = None,
    strictly: bool = False,
) -> None:
    """Wait, holding nothing, until the children `ids` have ended, all or any of them, or time is up.

    Unless `strictly`, one that newly waits for a person ends the wait, and so does a message to the agent.
    """
    said = conduct.state.said

    def ready() -> bool:
        found = chosen(conduct, ids)
        if not strictly and (conduct.state.said > said or any(one.untold and not one.ended for one in found)):
            return True
        ended = [one.ended for one in found]
        return all(ended) or (until == "any" and any(ended))

    if ready():
        return
    names = ", ".join(child.name for child in at_work(tuple(chosen(conduct, ids))))
    await _show(conduct, "waiting", f"subagents: {names}")
    left = seconds_until(ends_at(conduct.budget, conduct.state), workflow.now())
    times = [max(one, 0.001) for one in (timeout_s, left) if one is not None]
    with suppress(TimeoutError):
        await workflow.wait_condition(ready, timeout=min(times) if times else None)
    await _show(conduct, "running", "")


async def _show(conduct: Conduct, status: Literal["waiting", "running"], waits_for: str) -> None:
    # What people are asked for is shown rather than this.
    if not conduct.people.waiting and not conduct.state.paused:
        await conduct.change(f"children/{workflow.uuid4()}", status=status, waits_for=waits_for)


async def come_in(conduct: Conduct) -> None:
    """Wait for what is still at work, and put before the model what it has not heard of."""
    await conduct.interruptible(parked(conduct, frozenset(child.run_id for child in at_work(conduct.state.children))))
    await settle(conduct)


async def bound_of(conduct: Conduct) -> str | None:
    """Return the bound that leaves room for one more turn only, or None.

    What children have been given and don't use comes back: a last turn is not made before they have ended.
    """
    bound = last_turn_by(conduct.budget, conduct.state, workflow.now())
    if bound in (None, "seconds") or not at_work(conduct.state.children):
        return bound
    ids = frozenset(child.run_id for child in at_work(conduct.state.children))
    await conduct.interruptible(parked(conduct, ids, strictly=True))
    await settle(conduct)
    return last_turn_by(conduct.budget, conduct.state, workflow.now())


async def settle(conduct: Conduct, *, tell: bool = True) -> None:
    """Count what has ended, and tell the model by messages what it has not heard of."""
    wanted = [child for child in conduct.state.children if child.untold or (child.ended and not child.settled)]
    if not wanted:
        return
    order = ChildrenOrder(
        run=conduct.run,
        principal=conduct.principal,
        children=tuple(told_of(child, tell=tell and child.untold) for child in wanted),
    )
    keep(conduct, wanted, await settle_children(order))


def told_of(child: Child, *, tell: bool) -> ChildTold:
    """Return a child as the store is to be told of it."""
    return ChildTold(
        name=child.name,
        run_id=child.run_id,
        ended=child.ended,
        waits_for="" if child.ended else child.waits_for,
        tell=tell,
    )


def keep(conduct: Conduct, told: Iterable[Child], settled: ChildrenSettled) -> None:
    """Remember what the model has heard and what is counted. A message to it is answered like one of a person."""
    now = {child.run_id: child for child in conduct.state.children}
    spent, changed = conduct.state.spent, list[Child]()
    for child in told:
        # Two calls may have waited for the same one; it is counted by the first.
        if child.ended and not now[child.run_id].settled:
            spent = spent.plus(settled.spent[child.run_id])
        fields = {"told": child.standing, "settled": now[child.run_id].settled or child.ended}
        changed.append(now[child.run_id].model_copy(update=fields))
    _put(conduct, changed)
    conduct.remember(spent=spent, said=max(conduct.state.said, settled.last_seq))


async def end_all(conduct: Conduct) -> None:
    """Cancel what is still at work when the agent ends, and count what it took."""
    # A run whose start is under way can't be told to end yet.
    await workflow.wait_condition(lambda: all(one.status != "starting" for one in conduct.state.children))
    open_ones = at_work(conduct.state.children)
    if open_ones:
        order = ChildrenOrder(
            run=conduct.run,
            principal=conduct.principal,
            children=tuple(told_of(child, tell=False) for child in open_ones),
        )
        with suppress(ActivityError):
            await cancel_children(order, retry=CANCEL_RETRY)
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: not at_work(conduct.state.children), timeout=LAST_WORD)
    await settle(conduct, tell=False)
