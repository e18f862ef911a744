"""The tools by which an agent works with others: starting runs beside itself, waiting, speaking to them, ending them.

A subagent has no more rights, skills and tools than the agent that starts it, and a share of its budget. Starting and
waiting are carried out by the agent's own workflow, which knows how many there are and what is left.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import Field, JsonValue

from engine.agent.family import STARTED
from engine.errors import NotFound
from engine.ports import Control
from engine.values import Budget, Value
from skills.core import Model
from skills.messages import say_to
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply, tool

Name = Annotated[
    str | None, Field(description="short, unlike those of the others", pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,39}$")
]
Which = Annotated[str, Field(description="run_id or name, as the start answered them", min_length=1, max_length=80)]
Share = Annotated[Budget | None, Field(description="of your own budget; default: half of what is left")]
Deadline = Annotated[float | None, Field(description="seconds from now, after which it has to close", gt=0)]


class Told(Value):
    """A subagent after it was spoken to or told to end."""

    run_id: str
    name: str
    status: str


@tool(effect="control", honours_key=True)
async def launch_subagent(
    ctx: ToolContext,
    task: Annotated[str, Field(description="all it needs to know: it sees nothing of yours", min_length=1)],
    name: Name = None,
    instructions: Annotated[str, Field(description="how to work")] = "",
    facts: Annotated[dict[str, JsonValue], Field(description="information, not instructions")] = {},  # noqa: B006
    skills: Annotated[list[str] | None, Field(description="default: yours")] = None,
    tools: Annotated[list[str] | None, Field(description="default: as yours")] = None,
    model: Model = None,
    budget: Share = None,
    deadline_s: Deadline = None,
    output_schema: Annotated[dict[str, Any] | None, Field(description="JSON Schema of its answer")] = None,
    attachments: Annotated[list[str], Field(description="object ids")] = [],  # noqa: B006
) -> ToolReply:
    """Start a subagent on a part of your task and go on at once; several work side by side.

    What it comes to reaches you by wait_subagents, or as a message. Your answer counts when all of them have ended.
    """
    return _launch("agent", name, budget, deadline_s)


@tool(effect="side_effecting", honours_key=True, target="process")
async def launch_process(
    ctx: ToolContext,
    process: Annotated[str, Field(description="name, name@version or name@label", min_length=1)],
    input: Annotated[dict[str, JsonValue], Field(description="by its input schema")] = {},  # noqa: B006
    name: Name = None,
    budget: Share = None,
    deadline_s: Deadline = None,
) -> ToolReply:
    """Start a published process beside you and go on at once, as launch_subagent does with an agent."""
    return _launch("process", name, budget, deadline_s)


def _launch(kind: str, name: str | None, budget: Budget | None, deadline_s: float | None) -> ToolReply:
    share = None if budget is None else budget.model_dump(mode="json")
    seconds = deadline_s if deadline_s is not None or budget is None else budget.seconds
    order = {"do": "launch", "kind": kind, "name": name, "budget": share, "seconds": seconds}
    return ToolReply(text="", order=cast("dict[str, JsonValue]", order))


@tool(effect="control", honours_key=True, polls=True)
async def wait_subagents(
    ctx: ToolContext,
    which: Annotated[list[Which] | None, Field(description="default: all you have not heard the end of")] = None,
    until: Annotated[Literal["all", "any"], Field(description="how many of them must have ended")] = "all",
    timeout_s: Annotated[float | None, Field(description="default: as long as it takes", gt=0)] = None,
) -> ToolReply:
    """Wait until subagents have ended, or one needs a person; answers with how each stands and what it came to."""
    order = {"do": "wait", "which": which, "until": until, "timeout_s": timeout_s}
    return ToolReply(text="", order=cast("dict[str, JsonValue]", order))


@tool(effect="control", honours_key=True)
async def message_subagent(
    ctx: ToolContext,
    subagent: Which,
    text: Annotated[str, Field(min_length=1, max_length=20_000)],
    attachments: Annotated[list[str], Field(description="object ids")] = [],  # noqa: B006
) -> Told:
    """Tell a subagent something; it reads it before its next turn."""
    run_id, name = await _mine(ctx, subagent)
    run = await say_to(ctx, await ctx.services.runs.get(ctx.principal, run_id), text, attachments)
    return Told(run_id=run_id, name=name, status=run.status)


@tool(effect="control", honours_key=True)
async def cancel_subagent(
    ctx: ToolContext, subagent: Which, reason: Annotated[str, Field(max_length=2_000)] = ""
) -> Told:
    """End a subagent whose work you don't need any more."""
    run_id, name = await _mine(ctx, subagent)
    control = Control(action="cancel", by=ctx.principal, reason=reason or "the agent that started it wants it no more")
    run = await ctx.services.control.control(ctx.principal, run_id, control)
    return Told(run_id=run_id, name=name, status=run.status)


async def _mine(ctx: ToolContext, subagent: str) -> tuple[str, str]:
    """Return the run and the name of a subagent of the calling run.

    Raises:
        NotFound: it has none of that name or id.
    """
    if ctx.run is None:
        raise NotFound("only an agent has subagents; use answer_run and control_run with the run's id")
    started = await ctx.services.runs.events(ctx.principal, ctx.run.run_id, types=(STARTED,))
    names = {str(event.data["run_id"]): str(event.data["name"]) for event in started}
    for run_id, name in names.items():
        if subagent in (run_id, name):
            return run_id, name
    raise NotFound(f"you have no subagent {subagent!r}; you have: {', '.join(names.values()) or 'none'}")


CHILD_TOOLS: tuple[AnyTool, ...] = tuple(
    cast(AnyTool, one) for one in (launch_subagent, launch_process, wait_subagents, message_subagent, cancel_subagent)
)
