"""The runs below a run, as whoever looks at it sees them."""

from pydantic import Field

from engine.agent.family import STARTED
from engine.ports import RunFilter
from engine.runs import Task
from engine.values import Value
from skills.services import ToolContext

MAX_SHOWN = 100
"""How many of the runs that a run has started are shown with it."""


class ChildRow(Value):
    """A run that another has started."""

    run_id: str
    name: str = Field(default="", description="as its parent calls it; empty where it doesn't")
    kind: str
    title: str
    status: str
    waits_for: str = ""
    turns: int = 0
    usd: float = 0.0


async def children_of(ctx: ToolContext, run_id: str) -> list[ChildRow]:
    """Return the runs that a run has started and the caller may see, newest first."""
    runs = ctx.services.runs
    found = await runs.list(ctx.principal, RunFilter(parent_id=run_id, limit=MAX_SHOWN))
    started = await runs.events(ctx.principal, run_id, types=(STARTED,)) if found else ()
    names = {str(event.data["run_id"]): str(event.data["name"]) for event in started}
    return [
        ChildRow(
            run_id=run.run_id,
            name=names.get(run.run_id, ""),
            kind=run.kind,
            title=run.title,
            status=run.status,
            waits_for=run.waits_for,
            turns=run.spent.turns,
            usd=run.spent.usd,
        )
        for run in found
    ]


async def waits_below(ctx: ToolContext, run_id: str, task: Task) -> bool:
    """Tell whether a task is that of a run, or of one below it."""
    below = await ctx.services.runs.tasks(ctx.principal, status=task.status, run_id=run_id, family=True, limit=500)
    return task.task_id in {one.task_id for one in below}
