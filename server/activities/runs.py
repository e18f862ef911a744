"""Activities of the run model itself."""

from collections.abc import Awaitable, Callable
from typing import Any

from content.templates import parse
from engine.ports import ChildStart, Texts, apply_change, create_child, load_run, render_texts
from engine.runs import Change, Recorded, Run, RunRef
from server.activities.guard import implements
from server.store.runs import SqlRunStore

Report = Callable[[Change], Awaitable[None]]


async def to_nobody(change: Change) -> None:
    """Tell nobody of a change."""


def run_activities(runs: SqlRunStore, report: Report = to_nobody) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over one store; `report` tells of each change of a run whom it concerns."""

    @implements(load_run)
    async def load(ref: RunRef) -> Run:
        return await runs.load(ref)

    @implements(apply_change)
    async def apply(change: Change) -> Recorded:
        recorded = await runs.apply(change)
        # After it, and again when it is repeated: a change that nobody was told of is told by the next attempt.
        await report(change)
        return recorded

    @implements(create_child)
    async def create(child: ChildStart) -> RunRef:
        run, _ = await runs.create(child.principal, child.start, run_id=child.run_id)
        return run.ref

    @implements(render_texts)
    async def render(texts: Texts) -> Texts:
        rendered = {name: parse(source, name=name).render(texts.data) for name, source in texts.texts.items()}
        return Texts(texts=rendered)

    return [load, apply, create, render]
