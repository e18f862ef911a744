"""Speaking to a running agent: a text, and objects that the speaker may read."""

from collections.abc import Sequence

from engine.errors import Conflict, Invalid
from engine.ports import Say
from engine.runs import Run
from skills.services import ToolContext


async def say_to(ctx: ToolContext, run: Run, text: str, attachments: Sequence[str] = ()) -> Run:
    """Hand a message to the agent and return its run; it reads it before its next turn.

    Raises:
        Invalid: the run is no agent.
        Conflict: it has ended.
        NotFound: the speaker may not read what is attached.
    """
    if run.kind != "agent":
        raise Invalid(f"{run.run_id} is a run of kind {run.kind}; only agents take messages", kind=run.kind)
    if run.finished:
        raise Conflict(f"the agent {run.run_id} is {run.status}; start another with start_agent", status=run.status)
    for object_id in attachments:
        await ctx.services.content.get(ctx.principal, object_id)
    say = Say(by=ctx.principal, text=text, key=ctx.key, attachments=tuple(attachments))
    return await ctx.services.control.say(ctx.principal, run.run_id, say)
