"""The core tools about runs: where they stand, what they wait for, answering, steering, listing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from engine.errors import Conflict, Invalid, NotFound
from engine.ports import Control, RunFilter, Say, TaskAnswer
from engine.runs import Event, Run, RunKind, RunStatus, Task
from engine.values import Principal, Value
from skills.services import ToolContext
from skills.tool import tool

MAX_WAIT_S = 25.0
PAGE = 50
LATEST = 20

ASKS_HERE = "asks_here"
"""The key of a call's `extra` under which its door says that it can ask the person at the client."""

RunId = Annotated[str, Field(description="as the start answered it", min_length=1, max_length=80)]


class OpenTask(Value):
    """What a run waits for."""

    task_id: str
    run_id: str
    kind: str = Field(description="decision, question or approval")
    title: str
    description: str = ""
    decisions: list[str] = Field(default=[], description="answer with one of them")
    form: dict[str, Any] | None = Field(default=None, description="JSON Schema of the values")
    context: dict[str, JsonValue] = {}
    seat: dict[str, list[str]] = Field(default={}, description="who may answer")
    yours: bool = Field(description="you may answer")
    deadline: datetime | None = None


class RunEvent(Value):
    """One event of a run."""

    seq: int
    type: str
    at: datetime
    data: dict[str, JsonValue] = {}


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
    events: list[RunEvent] = []
    next_after: int = Field(description="pass as after to read on")
    more: bool = Field(description="more events are there already")
    result: JsonValue = None
    error: str | None = None
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
    parent_id: str | None = None
    created_at: datetime
    url: str


class RunList(Value):
    """Runs, newest first."""

    runs: list[RunRow]
    next_after: str | None = Field(description="pass as after for the next page")


class TaskList(Value):
    """Open tasks, oldest first."""

    tasks: list[OpenTask]


class Answered(Value):
    """What became of an answer."""

    run_id: str
    task_id: str | None = None
    accepted: str
    status: str = Field(description="of the task; of the run for a message")
    url: str


class Steered(Value):
    """The run after a control verb."""

    run_id: str
    status: str
    position: str
    url: str


@tool(timeout_s=40)
async def get_run(
    ctx: ToolContext,
    run_id: RunId,
    wait_s: Annotated[float, Field(description="hold until something changes", ge=0, le=MAX_WAIT_S)] = 0,
    after: Annotated[int | None, Field(description="last event seen; without it, the latest", ge=0)] = None,
) -> RunView:
    """Show a run: status, where it stands, open tasks, events after a cursor, result.

    A run that is not completed, failed or cancelled goes on by itself: call again with wait_s and next_after.
    """
    runs = ctx.services.runs
    run = await runs.get(ctx.principal, run_id)
    seen = run.events if after is None else after
    if wait_s and not run.finished and run.events <= seen:
        run = await runs.wait(ctx.principal, run_id, after=seen, timeout_s=wait_s)
    start = max(0, run.events - LATEST) if after is None else after
    events = await runs.events(ctx.principal, run_id, after=start, limit=PAGE)
    tasks = [] if run.finished else await runs.tasks(ctx.principal, run_id=run_id)
    return _view(ctx, run, events, tasks, start)


def _view(ctx: ToolContext, run: Run, events: Sequence[Event], tasks: Sequence[Task], start: int) -> RunView:
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
        events=[RunEvent(seq=event.seq, type=event.type, at=event.at, data=event.data) for event in events],
        next_after=last,
        more=last < run.events,
        result=run.result,
        error=run.error,
        to_answer="answer_run with run_id alone asks the person here" if asks else "",
        usd=run.spent.usd,
        url=ctx.services.run_url(run.run_id),
    )


def open_task(ctx: ToolContext, task: Task) -> OpenTask:
    """Return a task as its reader sees it."""
    seat = task.seat.model_dump(mode="json")
    return OpenTask(
        task_id=task.task_id,
        run_id=task.run_id,
        kind=task.kind,
        title=task.title,
        description=task.description,
        decisions=list(task.decisions),
        form=task.form,
        context=task.context,
        seat={name: who for name, who in seat.items() if who},
        yours=task.seat.admits(ctx.principal),
        deadline=task.deadline,
    )


@tool(effect="control", timeout_s=40)
async def answer_run(
    ctx: ToolContext,
    run_id: RunId,
    task_id: Annotated[str | None, Field(description="needed only where several tasks are open")] = None,
    decision: Annotated[str | None, Field(description="one of the task's decisions")] = None,
    values: Annotated[dict[str, JsonValue] | None, Field(description="values of the task's form")] = None,
    comment: Annotated[str, Field(max_length=10_000)] = "",
    message: Annotated[str | None, Field(description="to a running agent, instead of an answer", min_length=1)] = None,
) -> Answered:
    """Answer what a run waits for: a supervisor's decision, a question, a tool approval; or send an agent a message.

    With run_id alone the person at the client is asked, where the client can show a form.
    """
    if message is not None:
        run = await ctx.services.runs.get(ctx.principal, run_id)
        return await _say(ctx, run, task_id, decision, values, message)
    task = await meant_task(ctx, run_id, task_id)
    if may_answer(ctx.principal, task) and not is_answer(task, decision, values, comment):
        raise _nothing_given(ctx, task)
    answer = TaskAnswer(task_id=task.task_id, by=ctx.principal, decision=decision, values=values or {}, comment=comment)
    return answered(ctx, await ctx.services.control.answer(ctx.principal, task.task_id, answer))


def answered(ctx: ToolContext, task: Task) -> Answered:
    """Return what became of a task that is answered."""
    decision = None if task.answer is None else task.answer.decision
    return Answered(
        run_id=task.run_id,
        task_id=task.task_id,
        accepted=f"{task.title}: {decision}" if decision else task.title,
        status=task.status,
        url=ctx.services.run_url(task.run_id),
    )


def may_answer(principal: Principal, task: Task) -> bool:
    """Tell whether `principal` is a person whose answer the task takes now."""
    return task.status == "open" and principal.kind != "agent" and task.seat.admits(principal)


def is_answer(task: Task, decision: str | None, values: dict[str, JsonValue] | None, comment: str) -> bool:
    """Tell whether anything is answered: no values at all are an answer only to a task that asks for nothing."""
    asks = bool(task.decisions or (task.form or {}).get("required"))
    return decision is not None or bool(values) or bool(comment) or (values is not None and not asks)


def _nothing_given(ctx: ToolContext, task: Task) -> Invalid:
    fields = [
        *(["decision"] if task.decisions else []),
        *(["values"] if task.form is not None else []),
        *([] if task.decisions or task.form is not None else ["comment"]),
    ]
    return Invalid(
        f"the call holds no answer to {task.title!r}, and this client can't ask the person. Ask the person yourself "
        f"and call again with {' and '.join(fields)}, or send the person to the page",
        run_id=task.run_id,
        task_id=task.task_id,
        decisions=list(task.decisions),
        form=task.form,
        page=ctx.services.task_url(task.task_id),
    )


async def _say(
    ctx: ToolContext,
    run: Run,
    task_id: str | None,
    decision: str | None,
    values: dict[str, JsonValue] | None,
    text: str,
) -> Answered:
    if task_id or decision or values:
        raise Invalid("message goes to the agent itself; send it alone, without task_id, decision or values")
    if run.kind != "agent":
        raise Invalid(f"{run.run_id} is a run of kind {run.kind}; only agents take messages", kind=run.kind)
    if run.finished:
        raise Conflict(f"the agent {run.run_id} is {run.status}; start another with start_agent", status=run.status)
    said = await ctx.services.control.say(ctx.principal, run.run_id, Say(by=ctx.principal, text=text, key=ctx.key))
    url = ctx.services.run_url(run.run_id)
    return Answered(run_id=run.run_id, accepted="message delivered", status=said.status, url=url)


async def meant_task(ctx: ToolContext, run_id: str, task_id: str | None) -> Task:
    """Return the task that is meant: the one named, the only open one, or the only one that the caller may answer.

    A seat is enough: whoever may answer need not be allowed to see the run itself.

    Raises:
        NotFound: the run or its task does not exist for the caller.
        Conflict: the run has no open task; the message says who decided the last one.
        Invalid: several tasks could be meant; `details.tasks` are they.
    """
    runs = ctx.services.runs
    if task_id is not None:
        task = await runs.task(ctx.principal, task_id)
        if task.run_id != run_id:
            raise NotFound(f"the run {run_id} has no task {task_id}", run_id=run_id)
        return task
    tasks = await runs.tasks(ctx.principal, run_id=run_id)
    meant = tasks if len(tasks) == 1 else [task for task in tasks if may_answer(ctx.principal, task)]
    if len(meant) == 1:
        return meant[0]
    if not tasks:
        raise await _no_open_task(ctx, run_id)
    raise Invalid(
        f"the run {run_id} has {len(tasks)} open tasks; say which by task_id",
        tasks=[{"task_id": task.task_id, "title": task.title} for task in tasks],
    )


async def _no_open_task(ctx: ToolContext, run_id: str) -> Conflict:
    over = await ctx.services.runs.tasks(ctx.principal, status="answered", run_id=run_id, limit=500)
    last = max(over, key=lambda task: task.answered_at or task.created_at, default=None)
    where = "get_run shows where it stands"
    if last is not None:
        said = f"{last.title!r} was already decided by {last.answered_by}"
        return Conflict(f"the run {run_id} has no open task: {said}; {where}", by=last.answered_by)
    run = await ctx.services.runs.get(ctx.principal, run_id)
    return Conflict(f"the run {run_id} is {run.status} and has no open task; {where}")


@tool(effect="control", timeout_s=40)
async def control_run(
    ctx: ToolContext,
    run_id: RunId,
    action: Literal["stop", "pause", "resume", "cancel", "retry", "skip", "model"],
    target: Annotated[str | None, Field(description="node, for retry and skip")] = None,
    model: Annotated[str | None, Field(description="for model: provider/model or a route of the settings")] = None,
    reason: Annotated[str, Field(description="kept in the audit", max_length=2_000)] = "",
) -> Steered:
    """Steer a run, as far as your role and its kind allow. stop ends an agent gracefully; cancel ends any run.

    model switches an agent to another model from its next turn on.
    """
    control = Control(action=action, by=ctx.principal, target=target, reason=reason, model=model)
    run = await ctx.services.control.control(ctx.principal, run_id, control)
    url = ctx.services.run_url(run_id)
    return Steered(run_id=run_id, status=run.status, position=run.position, url=url)


@tool()
async def list_runs(
    ctx: ToolContext,
    kind: RunKind | None = None,
    status: RunStatus | None = None,
    definition: Annotated[str | None, Field(description="name of a process or interaction")] = None,
    parent_id: str | None = None,
    after: Annotated[str | None, Field(description="next_after of the page before")] = None,
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
) -> RunList:
    """List the runs you may see, newest first."""
    wanted = RunFilter(kind=kind, status=status, definition=definition, parent_id=parent_id, after=after, limit=limit)
    runs = await ctx.services.runs.list(ctx.principal, wanted)
    rows = [
        RunRow(
            run_id=run.run_id,
            kind=run.kind,
            definition=run.definition,
            title=run.title,
            status=run.status,
            waits_for=run.waits_for,
            parent_id=run.parent_id,
            created_at=run.created_at,
            url=ctx.services.run_url(run.run_id),
        )
        for run in runs
    ]
    return RunList(runs=rows, next_after=rows[-1].run_id if len(rows) == limit else None)


@tool()
async def list_tasks(
    ctx: ToolContext,
    run_id: str | None = None,
    mine: Annotated[bool, Field(description="only those you may answer")] = True,
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
) -> TaskList:
    """List what waits for a person: the inbox. Answer with answer_run."""
    found = await ctx.services.runs.tasks(ctx.principal, run_id=run_id, limit=500 if mine else limit)
    shown = [open_task(ctx, task) for task in found if not mine or task.seat.admits(ctx.principal)]
    return TaskList(tasks=shown[:limit])
