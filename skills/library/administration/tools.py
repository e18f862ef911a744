"""How the installation stands: the gates in front of models."""

from engine.capacity import GateReport
from engine.values import Value
from skills.services import ToolContext
from skills.tool import tool


class Gates(Value):
    """The gates that your tenant calls through."""

    gates: list[GateReport]


@tool(roles=("operator", "administrator"), polls=True)
async def capacity(ctx: ToolContext) -> Gates:
    """Show the learned limits of each model on each account, what is in use, who waits, what is paused and why."""
    return Gates(gates=list(await ctx.services.capacity(ctx.principal)))
