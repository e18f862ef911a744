"""The core tools about runs: where they stand, what they wait for, answering, steering, listing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from engine.agent.state import Grant
from engine.ports import ApprovalMode, Control, ControlAction, ForeachProgress, RunFilter
from engine.runs import Run, RunKind, RunStatus, Task
from engine.values import Budget, Value
from skills.drawing import foreaches_of
from skills.families import ChildRow, children_of
from skills.run_events import RunEvent, page_of
from skills.services import ToolContext
from skills.tasks import MoveVerb, OpenTask, RunId, hand_over, may_answer, open_task
from skills.tool import tool

MAX_WAIT_S = 25.0
PAGE = 50
LATEST = 20

ASKS_HERE = "asks_here"
"""The key of a call's `extra` under which its door says that it can ask the person at the client."""


class ForeachRow(Value):
    """How far a foreach whose items are worked on in batches is."""

    step: str
    node: str
    items: int = Field(description="of all batches; 0 where not known")
    done: int
    failed: int
    running: int


class RunView(Value):
    """A run as it stands."""

    run_id: str
    kind: str
    definition: str
    version: str
    title: str
    status: str
    position: str = Field(description="where it stands")
    waits_for: str
    open_tasks: list[OpenTask] = []
    foreaches: list[ForeachRow] = Field(default=[], description="in batches: how many items are over")
    children: list[ChildRow] = []
    events: list[RunEvent] = []
    next_after: int = Field(description="pass as after to read on")
    more: bool = Field(description="more events are there already")
    result: JsonValue = None
    error: str | None = None
    grants: list[Grant] = Field(default=[], description="allowed for the rest of the run")
    to_answer: str = Field(default="", description="how the person here is asked, where that can be")
    usd: float
    url: str


class RunRow(Value):
    """A run in a list."""

    run_id: str
    kind: str
    definition: str
    title: str
    status: str
    waits_for: str = ""
    progress: str = Field(default="", description="items of a large foreach")
    parent_id: str | None = None
    created_at: datetime
    url: str


class RunList(Value):
    """Runs, newest first."""

    runs: list[RunRow]
    next_after: str | None = Field(description="pass as after for the next page")


class Steered(Value):
    """The run after a control verb."""

    run_id: str
    status: str
    position: str
    url: str


@tool(timeout_s=40, polls=True)
async def get_run(
    ctx: ToolContext,
    run_id: RunId,
    wait_s: Annotated[float, Field(description="hold until something changes", ge=0, le=MAX_WAIT_S)] = 0,
    after: Annotated[int | None, Field(description="last event seen; without it, the latest", ge=0)] = None,
) -> RunView:
    """Show a run: status, position, open tasks, events after a cursor, result.

    A run that has not ended goes on by itself: call again with wait_s and next_after.
    """
    runs = ctx.services.runs
    run = await runs.get(ctx.principal, run_id)
    seen = run.events if after is None else after
    if wait_s and not run.finished and run.events <= seen:
        run = await runs.wait(ctx.principal, run_id, after=seen, timeout_s=wait_s)
    start = max(0, run.events - LATEST) if after is None else after
    events = await runs.events(ctx.principal, run_id, after=start, limit=PAGE)
    tasks = [] if run.finished else await runs.tasks(ctx.principal, run_id=run_id, family=True)
    below = await children_of(ctx, run_id)
    shown = page_of(events, newest=after is None)
    foreaches = [_foreach(one) for one in await foreaches_of(ctx.services, ctx.principal, run)]
    found = {"children": below, "foreaches": foreaches}
    view = _view(ctx, run, shown, tasks, start).model_copy(update=found)
    if run.kind != "agent" or run.finished:
        return view
    return view.model_copy(update={"grants": await _grants(ctx, run_id)})


def _foreach(found: ForeachProgress) -> ForeachRow:
    return ForeachRow(
        step=found.step,
        node=found.node,
        items=found.items,
        done=found.over - found.failed,
        failed=found.failed,
        running=found.running,
    )


async def _grants(ctx: ToolContext, run_id: str) -> list[Grant]:
    """Return what people have allowed for the rest of the run and not withdrawn since."""
    grants: dict[str, Grant] = {}
    for event in await ctx.services.runs.events(ctx.principal, run_id, types=("grant.given", "grant.revoked")):
        if event.type == "grant.given":
            grants[str(event.data["grant_id"])] = Grant.model_validate(event.data)
        else:
            grants.pop(str(event.data["grant_id"]), None)
    return list(grants.values())


def _view(ctx: ToolContext, run: Run, events: list[RunEvent], tasks: Sequence[Task], start: int) -> RunView:
    last = events[-1].seq if events else start
    asks = ctx.extra.get(ASKS_HERE) and any(may_answer(ctx.principal, task) for task in tasks)
    return RunView(
        run_id=run.run_id,
        kind=run.kind,
        definition=run.definition,
        version=run.version,
        title=run.title,
        status=run.status,
        position=run.position,
        waits_for=run.waits_for,
        open_tasks=[open_task(ctx, task) for task in tasks],
        events=events,
        next_after=last,
        more=last < run.events,
        result=run.result,
        error=run.error,
        to_answer="answer_run with run_id alone asks the person here" if asks else "",
        usd=run.spent.usd,
        url=ctx.services.run_url(run.run_id),
    )


@tool(effect="control", timeout_s=40)
async def control_run(
    ctx: ToolContext,
    run_id: RunId,
    action: Literal[ControlAction, MoveVerb],
    target: Annotated[
        str | None,
        Field(
            description="retry, skip, advance, rewind: node; migrate: version; revoke: grant; fork: turn; claim: task"
        ),
    ] = None,
    to: Annotated[str, Field(description="advance: node; delegate, reassign: user:x, role:y or group:z")] = "",
    values: Annotated[
        dict[str, JsonValue] | None, Field(description="skip: what the node would write; set_context: keys")
    ] = None,
    patch: Annotated[list[JsonValue] | None, Field(description="set_context: JSON Patch instead")] = None,
    model: Annotated[str | None, Field(description="for model and fork")] = None,
    approval: Annotated[ApprovalMode | None, Field(description="for approval")] = None,
    budget: Annotated[
        Budget | None, WithJsonSchema({"type": "object", "description": "budget: turns, tokens, usd, seconds to add"})
    ] = None,
    reason: Annotated[str, Field(description="kept in the audit", max_length=2_000)] = "",
) -> Steered:
    """Steer a run, as far as your role and its kind allow. stop ends an agent gracefully; cancel ends any run.

    model: an agent's from its next turn on. revoke: a grant that get_run lists. checkpoint: a shorter transcript.
    fork: a turn made anew in another run. retry, skip, advance, set_context steer a process by hand. claim, release,
    delegate, reassign: who sees to a task.
    """
    if action in ("claim", "release", "delegate", "reassign"):
        task = await hand_over(ctx, run_id, action, target, to, reason)
        # Whoever sits in the seat need not be allowed to see the run itself; it waits as long as the task is open.
        return Steered(run_id=run_id, status="waiting", position=task.node, url=ctx.services.task_url(task.task_id))
    control = Control(
        action=action,
        by=ctx.principal,
        target=target,
        to=to or None,
        values=values,
        patch=patch,
        budget=budget,
        reason=reason,
        model=model,
        approval=approval,
        key=ctx.key,
    )
    run = await ctx.services.control.control(ctx.principal, run_id, control)
    url = ctx.services.run_url(run.run_id)
    return Steered(run_id=run.run_id, status=run.status, position=run.position, url=url)


@tool()
async def list_runs(
    ctx: ToolContext,
    kind: RunKind | None = None,
    status: RunStatus | None = None,
    definition: Annotated[str | None, Field(description="process or interaction")] = None,
    parent_id: str | None = None,
    after: Annotated[str | None, Field(description="next_after of the page before")] = None,
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
) -> RunList:
    """List the runs you may see, newest first."""
    wanted = RunFilter(kind=kind, status=status, definition=definition, parent_id=parent_id, after=after, limit=limit)
    runs = await ctx.services.runs.list(ctx.principal, wanted)
    at_work = [run.run_id for run in runs if run.kind in ("process", "batch") and not run.finished]
    foreaches = await ctx.services.runs.foreaches(ctx.principal, at_work) if at_work else {}
    rows = [
        RunRow(
            run_id=run.run_id,
            kind=run.kind,
            definition=run.definition,
            title=run.title,
            status=run.status,
            waits_for=run.waits_for,
            progress="; ".join(f"{one.node}: {one.in_words()}" for one in foreaches.get(run.run_id, ())),
            parent_id=run.parent_id,
            created_at=run.created_at,
            url=ctx.services.run_url(run.run_id),
        )
        for run in runs
    ]
    return RunList(runs=rows, next_after=rows[-1].run_id if len(rows) == limit else None)
