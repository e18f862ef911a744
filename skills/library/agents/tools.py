"""Agents side by side: starting, watching, speaking to and ending several, their families, forks and replays."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from engine.agent.family import FINISHED
from engine.agent.log import LOGGED, TURN
from engine.agent.replay import Replayed
from engine.agent.replay import replay as replay_log
from engine.errors import Conflict
from engine.ports import Control, FirstCall, RunFilter
from engine.runs import Event, Run
from engine.values import Budget, Spent, Value
from skills.core import STARTERS, Begin, Model, start_agent
from skills.messages import say_to
from skills.runs import MAX_WAIT_S
from skills.services import ToolContext
from skills.tool import tool

MAX_AGENTS = 32
PAGE = 500
MAX_RUNS = 200

RunIds = Annotated[list[str], Field(description="as the starts answered them", min_length=1, max_length=MAX_AGENTS)]


class AgentStart(Value):
    """One agent to start; what is left out is as in start_agent."""

    task: Annotated[str, Field(min_length=1)]
    instructions: str = ""
    facts: dict[str, JsonValue] = {}
    skills: list[str] | None = None
    tools: list[str] | None = None
    model: Model = None
    budget: Budget | None = None
    output_schema: dict[str, Any] | None = None
    attachments: list[str] = []
    learned: Annotated[list[str], Field(description="skills it knows from the start")] = []
    calls: Annotated[list[FirstCall], Field(description="of tools that only read, before its first turn")] = []
    approval: Literal["ask", "auto_review", "full"] = "ask"
    title: str = ""


class Launched(Value):
    """The runs in the order of the tasks."""

    run_ids: list[str]


class Standing(Value):
    """How a run stands."""

    run_id: str
    parent_id: str | None = None
    kind: str
    title: str
    status: str
    position: str = ""
    waits_for: str = ""
    models: list[str] = Field(default=[], description="those that answered its turns")
    turns: int
    usd: float
    url: str


class Watched(Value):
    """Runs as they stand. `seen` is for the next call."""

    runs: list[Standing]
    ended: list[str]
    seen: dict[str, int]


class Family(Value):
    """A run and every run below it, from the top down, each with what it took itself, and what they took together."""

    runs: list[Standing]
    turns: int
    usd: float


class Ended(Value):
    """What became of each run."""

    cancelled: list[str]
    over_already: list[str]


class Forked(Value):
    """The new run."""

    run_id: str
    forked_from: str
    turn: int
    status: str
    url: str


class Said(Value):
    """The agent that was spoken to."""

    run_id: str
    status: str


@tool(effect="side_effecting", honours_key=True, timeout_s=60, roles=STARTERS)
async def launch(
    ctx: ToolContext,
    tasks: Annotated[list[AgentStart], Field(min_length=1, max_length=MAX_AGENTS)],
    key: Annotated[str | None, Field(description="the same key again returns the same runs", max_length=120)] = None,
) -> Launched:
    """Start agents side by side; answers at once with their runs."""
    started: list[str] = []
    for place, one in enumerate(tasks, start=1):
        given = {name: getattr(one, name) for name in AgentStart.model_fields if name not in ("learned", "calls")}
        begin = Begin(learned=one.learned, calls=one.calls)
        run = await start_agent(ctx, **given, begin=begin, idempotency_key=f"{key or ctx.key}/{place}")
        started.append(run.run_id)
    return Launched(run_ids=started)


@tool(timeout_s=40, polls=True)
async def watch(
    ctx: ToolContext,
    run_ids: RunIds,
    wait_s: Annotated[float, Field(description="hold until one changes", ge=0, le=MAX_WAIT_S)] = 0,
    seen: Annotated[dict[str, int], Field(description="as the last call answered it")] = {},  # noqa: B006
) -> Watched:
    """Show how runs stand, held until one of them changes or all have ended."""
    store = ctx.services.runs
    found = [await store.get(ctx.principal, run_id) for run_id in dict.fromkeys(run_ids)]
    fresh = [run for run in found if run.events > seen.get(run.run_id, -1)]
    going = [run for run in found if not run.finished]
    if wait_s and not fresh and going:
        waits = [
            asyncio.ensure_future(store.wait(ctx.principal, run.run_id, after=run.events, timeout_s=wait_s))
            for run in going
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        found = [await store.get(ctx.principal, run.run_id) for run in found]
    return Watched(
        runs=[_standing(ctx, run) for run in found],
        ended=[run.run_id for run in found if run.finished],
        seen={run.run_id: run.events for run in found},
    )


@tool()
async def family(ctx: ToolContext, run_id: Annotated[str, Field(min_length=1)]) -> Family:
    """Show a run and every run below it, with the models that answered and what each took."""
    store = ctx.services.runs
    top = await store.get(ctx.principal, run_id)
    found = [top]
    for run in found:
        below = await store.list(ctx.principal, RunFilter(parent_id=run.run_id, limit=MAX_RUNS))
        found += list(reversed(below))[: MAX_RUNS - len(found)]
    rows: list[Standing] = []
    total = Spent()
    for run in found:
        events = await store.events(ctx.principal, run.run_id, types=(TURN, FINISHED))
        own = _own(run, events)
        total = total.plus(own)
        models = list(dict.fromkeys(_model(event) for event in events if event.type == TURN))
        fields = {"models": models, "turns": own.turns, "usd": own.usd}
        rows.append(_standing(ctx, run).model_copy(update=fields))
    return Family(runs=rows, turns=total.turns, usd=total.usd)


def _own(run: Run, events: Sequence[Event]) -> Spent:
    """Return what a run took itself: its record holds what its children took as soon as they have ended."""
    below = Spent()
    for event in events:
        if event.type == FINISHED:
            below = below.plus(Spent.model_validate(event.data["spent"]))
    fields = {name: getattr(run.spent, name) - getattr(below, name) for name in Spent.model_fields}
    return Spent.model_validate({**fields, "usd": round(fields["usd"], 10)})


def _model(event: Event) -> str:
    reply = event.data["reply"]
    assert isinstance(reply, dict)
    return f"{reply['provider']}/{reply['model']}"


def _standing(ctx: ToolContext, run: Run) -> Standing:
    return Standing(
        run_id=run.run_id,
        parent_id=run.parent_id,
        kind=run.kind,
        title=run.title,
        status=run.status,
        position=run.position,
        waits_for=run.waits_for,
        turns=run.spent.turns,
        usd=run.spent.usd,
        url=ctx.services.run_url(run.run_id),
    )


@tool(effect="control", honours_key=True, timeout_s=40)
async def message(
    ctx: ToolContext,
    run_id: Annotated[str, Field(min_length=1)],
    text: Annotated[str, Field(min_length=1, max_length=100_000)],
    attachments: Annotated[list[str], Field(description="object ids, which it then sees")] = [],  # noqa: B006
) -> Said:
    """Tell a running agent something; it reads it before its next turn."""
    run = await say_to(ctx, await ctx.services.runs.get(ctx.principal, run_id), text, attachments)
    return Said(run_id=run.run_id, status=run.status)


@tool(effect="control", honours_key=True, timeout_s=60)
async def cancel(
    ctx: ToolContext, run_ids: RunIds, reason: Annotated[str, Field(description="audited", max_length=2_000)] = ""
) -> Ended:
    """End several runs; those that are over already stay as they are."""
    cancelled: list[str] = []
    over: list[str] = []
    for run_id in dict.fromkeys(run_ids):
        try:
            await ctx.services.control.control(
                ctx.principal, run_id, Control(action="cancel", by=ctx.principal, reason=reason)
            )
        except Conflict:
            over.append(run_id)
        else:
            cancelled.append(run_id)
    return Ended(cancelled=cancelled, over_already=over)


@tool(effect="side_effecting", honours_key=True, timeout_s=40, roles=STARTERS)
async def fork(
    ctx: ToolContext,
    run_id: Annotated[str, Field(min_length=1)],
    turn: Annotated[int, Field(description="to be made anew; one more than the last to go on after it", ge=1)],
    model: Model = None,
    message: Annotated[str, Field(description="what it is told then", max_length=100_000)] = "",
    key: Annotated[str | None, Field(description="the same key again returns the same run", max_length=120)] = None,
) -> Forked:
    """Start another run from any turn of an agent's, on another model if wanted; nothing is done twice."""
    control = Control(
        action="fork", by=ctx.principal, target=str(turn), model=model, message=message, key=key or ctx.key
    )
    run = await ctx.services.control.control(ctx.principal, run_id, control)
    url = ctx.services.run_url(run.run_id)
    return Forked(run_id=run.run_id, forked_from=run_id, turn=turn, status=run.status, url=url)


@tool(timeout_s=60)
async def replay(ctx: ToolContext, run_id: Annotated[str, Field(min_length=1)]) -> Replayed:
    """Make every request of a run again from its log, without a model; the first difference is reported."""
    run = await ctx.services.runs.get(ctx.principal, run_id)
    events: list[Event] = []
    while True:
        after = events[-1].seq if events else 0
        page = await ctx.services.runs.events(ctx.principal, run_id, after=after, limit=PAGE, types=LOGGED)
        events += page
        if len(page) < PAGE:
            return replay_log(run, events)
