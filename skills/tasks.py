"""The core tools about what runs wait for: the inbox, answering, and who is to see to a task."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from engine.errors import Conflict, Invalid, NotFound, Problem
from engine.ports import TaskAnswer, TaskMove
from engine.runs import Run, Seat, Task
from engine.seats import check_may_answer
from engine.values import Principal, Value
from skills.families import waits_below
from skills.messages import say_to
from skills.services import ToolContext
from skills.tool import tool

RunId = Annotated[str, Field(description="as the start answered it")]

MoveVerb = Literal["claim", "release", "delegate", "reassign"]
"""Who is to see to a task: see `engine.ports.TaskMove`."""


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
    progress: str = Field(default="", description="of several who must decide alike")
    claimed_by: str | None = None


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
        yours=may_answer(ctx.principal, task),
        deadline=task.deadline,
        progress=progress(task),
        claimed_by=task.claimed_by,
    )


@tool(effect="control", timeout_s=40)
async def answer_run(
    ctx: ToolContext,
    run_id: RunId,
    task_id: Annotated[str | None, Field(description="where several are open")] = None,
    decision: Annotated[str | None, Field(description="one of the task's")] = None,
    values: Annotated[dict[str, JsonValue] | None, Field(description="values of the task's form")] = None,
    comment: Annotated[str, Field(max_length=10_000)] = "",
    message: Annotated[str | None, Field(description="to an agent, instead", min_length=1)] = None,
    attachments: Annotated[list[str], Field(description="object ids")] = [],  # noqa: B006
) -> Answered:
    """Answer what a run waits for (a decision, a question, an approval), or send an agent a message.

    With run_id alone the person at the client is asked, where the client can show a form.
    """
    if message is not None:
        run = await ctx.services.runs.get(ctx.principal, run_id)
        return await _say(ctx, run, task_id, decision, values, message, attachments)
    task = await meant_task(ctx, run_id, task_id)
    if may_answer(ctx.principal, task) and not is_answer(task, decision, values, comment):
        raise _nothing_given(ctx, task)
    if attachments:
        run = await ctx.services.runs.get(ctx.principal, task.run_id)
        await say_to(ctx, run, f"Attached to the answer to {task.title!r}.", attachments)
    answer = TaskAnswer(task_id=task.task_id, by=ctx.principal, decision=decision, values=values or {}, comment=comment)
    return answered(ctx, await ctx.services.control.answer(ctx.principal, task.task_id, answer))


def answered(ctx: ToolContext, task: Task) -> Answered:
    """Return what became of a task that is answered, or that others must still decide alike."""
    said = task.answer or (task.votes[-1] if task.votes else None)
    accepted = f"{task.title}: {said.decision}" if said is not None and said.decision else task.title
    return Answered(
        run_id=task.run_id,
        task_id=task.task_id,
        accepted=f"{accepted} ({progress(task)})" if task.status == "open" and task.votes else accepted,
        status=task.status,
        url=ctx.services.run_url(task.run_id),
    )


def may_answer(principal: Principal, task: Task) -> bool:
    """Tell whether `principal` is a person whose answer the task takes now."""
    if task.status != "open":
        return False
    try:
        check_may_answer(task, task.claimed_by, principal)
    except Problem:
        return False
    return True


def progress(task: Task) -> str:
    """Return in words how far those are who must decide alike; empty where one is enough."""
    if task.quorum <= 1:
        return ""
    said = ", ".join(f"{vote.by}: {vote.decision}" for vote in task.votes) or "nobody yet"
    return f"{task.quorum} must decide alike; so far {said}"


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
    attachments: Sequence[str],
) -> Answered:
    if task_id or decision or values:
        raise Invalid("message goes to the agent itself; send it alone, without task_id, decision or values")
    said = await say_to(ctx, run, text, attachments)
    url = ctx.services.run_url(run.run_id)
    return Answered(run_id=run.run_id, accepted="message delivered", status=said.status, url=url)


async def meant_task(ctx: ToolContext, run_id: str, task_id: str | None) -> Task:
    """Return the task that is meant: the one named, the only open one, or the only one that the caller may answer.

    What the runs below it wait for is the run's as well. A seat is enough: whoever may answer need not be allowed to
    see the run itself.

    Raises:
        NotFound: the run or its task does not exist for the caller.
        Conflict: the run has no open task; the message says who decided the last one.
        Invalid: several tasks could be meant; `details.tasks` are they.
    """
    runs = ctx.services.runs
    if task_id is not None:
        task = await runs.task(ctx.principal, task_id)
        if task.run_id != run_id and not await waits_below(ctx, run_id, task):
            raise NotFound(f"the run {run_id} has no task {task_id}", run_id=run_id)
        return task
    tasks = await runs.tasks(ctx.principal, run_id=run_id, family=True)
    meant = tasks if len(tasks) == 1 else [task for task in tasks if may_answer(ctx.principal, task)]
    if len(meant) == 1:
        return meant[0]
    if not tasks:
        raise await _no_open_task(ctx, run_id)
    raise Invalid(
        f"the run {run_id} has {len(tasks)} open tasks; say which by task_id",
        tasks=[{"task_id": task.task_id, "title": task.title} for task in tasks],
    )


async def hand_over(ctx: ToolContext, run_id: str, verb: MoveVerb, task_id: str | None, to: str, reason: str) -> Task:
    """Say who is to see to a task that a run waits for; `to` as in "user:bob, role:cfo"; a bare name is a user's."""
    task = await meant_task(ctx, run_id, task_id)
    move = TaskMove(task_id=task.task_id, action=verb, by=ctx.principal, to=seat_of(to), reason=reason)
    return await ctx.services.control.move_task(ctx.principal, move)


def seat_of(text: str) -> Seat:
    """Return the seat that a text names."""
    found: dict[str, tuple[str, ...]] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        kind, _, name = one.partition(":") if one.startswith(("user:", "role:", "group:")) else ("user", "", one)
        found[f"{kind}s"] = (*found.get(f"{kind}s", ()), name.strip())
    return Seat(**found)


async def _no_open_task(ctx: ToolContext, run_id: str) -> Conflict:
    over = await ctx.services.runs.tasks(ctx.principal, status="answered", run_id=run_id, limit=500)
    last = max(over, key=lambda task: task.answered_at or task.created_at, default=None)
    where = "get_run shows where it stands"
    if last is not None:
        said = f"{last.title!r} was already decided by {last.answered_by}"
        return Conflict(f"the run {run_id} has no open task: {said}; {where}", by=last.answered_by)
    run = await ctx.services.runs.get(ctx.principal, run_id)
    return Conflict(f"the run {run_id} is {run.status} and has no open task; {where}")


@tool()
async def list_tasks(
    ctx: ToolContext,
    run_id: str | None = None,
    mine: Annotated[bool, Field(description="only those you may answer")] = True,
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
) -> TaskList:
    """List what waits for a person: the inbox, or that of a run and those below it."""
    most = 500 if mine else limit
    found = await ctx.services.runs.tasks(ctx.principal, run_id=run_id, family=run_id is not None, limit=most)
    shown = [open_task(ctx, task) for task in found if not mine or task.seat.admits(ctx.principal)]
    return TaskList(tasks=shown[:limit])
