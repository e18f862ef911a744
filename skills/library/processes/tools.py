"""Running processes: what there is, what it takes, what was drawn, and what a run has to prove."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from engine.errors import Invalid, NotFound
from engine.process.definition import ProcessDefinition
from engine.process.drawing import mermaid
from engine.process.messages import EventSent, SendEvent
from engine.process.provenance import Transition, Write, explain, provenance
from engine.values import Value
from skills.core import resolve_process
from skills.drawing import as_mermaid, as_svg, definition_of, read_state
from skills.services import ToolContext
from skills.tool import ToolReply, tool

AUDIT_PAGE = 100

Address = Annotated[str, Field(description="name, name@version or name@label", min_length=1)]


class ProcessRow(Value):
    """A process that can be started."""

    process: str
    title: str
    about: str
    newest: int
    labels: dict[str, int]
    input: dict[str, Any] = Field(description="JSON Schema of what a start must bring")


class ProcessRows(Value):
    """Published processes by name."""

    processes: list[ProcessRow]


class NodeRow(Value):
    """A node: what it does, what it may change, where it leads."""

    node: str
    type: str
    title: str
    about: str
    writes: tuple[str, ...]
    next: list[str]
    decisions: list[str] = Field(description="of a supervisor")
    seat: dict[str, JsonValue] | None = Field(description="who decides")
    nested: list[str] = Field(description="nodes inside it")


class ProcessView(Value):
    """A published process as people read it."""

    process: str
    version: int
    title: str
    about: str
    input: dict[str, Any]
    start: str
    nodes: list[NodeRow]
    drawing: str = Field(description="Mermaid flowchart")


class AuditPage(Value):
    """Records of a run's audit chain and whether the whole chain is as it was written."""

    valid: bool
    anchored: bool = Field(description="the head is in the tenant's signed chain")
    reason: str
    head: str
    total: int
    jsonl: str = Field(description="one record per line; each carries the hash of the one before")
    next_after: int | None


class Writes(Value):
    """Every change of one key, oldest first."""

    key: str
    value: JsonValue = Field(description="as the last change left it")
    writes: list[Write]


class Explained(Value):
    """Why a run went where it went, oldest first."""

    transitions: list[Transition]


@tool()
async def list_processes(ctx: ToolContext) -> ProcessRows:
    """List the published processes with the input they take."""
    rows: list[ProcessRow] = []
    for one in await ctx.services.definitions.list_names(ctx.principal):
        if one.newest is None:
            continue
        _, definition = await resolve_process(ctx.services, ctx.principal, one.name)
        row = ProcessRow(
            process=one.name,
            title=definition.title,
            about=definition.about,
            newest=one.newest,
            labels=one.labels,
            input=definition.input,
        )
        rows.append(row)
    return ProcessRows(processes=rows)


@tool()
async def describe_process(ctx: ToolContext, process: Address) -> ProcessView:
    """Describe a published process: its nodes, who decides where, what it takes, and a drawing."""
    version, definition = await resolve_process(ctx.services, ctx.principal, process)
    return ProcessView(
        process=version.name,
        version=version.number,
        title=definition.title,
        about=definition.about,
        input=definition.input,
        start=definition.start,
        nodes=_rows(definition),
        drawing=mermaid(definition),
    )


def _rows(definition: ProcessDefinition) -> list[NodeRow]:
    rows: list[NodeRow] = []
    for name, node in definition.nodes.items():
        seat = getattr(node, "seat", None)
        ways = [way.to for way in (*node.next, *node.on_error)]
        row = NodeRow(
            node=name,
            type=node.type,
            title=node.title,
            about=node.about,
            writes=node.writes,
            next=list(dict.fromkeys([*ways, *([node.on_timeout.to] if node.on_timeout else [])])),
            decisions=list(node.decisions_of()),
            seat=None if seat is None else seat.model_dump(mode="json", exclude_defaults=True),
            nested=[inner for body in node.bodies() for inner in body.body.nodes],
        )
        rows.append(row)
    return rows


@tool()
async def draw(
    ctx: ToolContext,
    run_id: Annotated[str | None, Field(description="a run, with how far it is; or name a process")] = None,
    process: Annotated[str | None, Field(description="name, name@version or name@label")] = None,
    form: Annotated[Literal["mermaid", "svg"], Field(description="text for hosts that draw it, or the picture")] = (
        "mermaid"
    ),
) -> ToolReply:
    """Draw a process, or a run on its process: what is done, under way, waiting for somebody, failed, undone."""
    if (run_id is None) == (process is None):
        raise Invalid("give either run_id or process")
    state = None
    if run_id is not None:
        run = await ctx.services.runs.get(ctx.principal, run_id)
        definition = await definition_of(ctx.services, ctx.principal, run)
        state = await read_state(ctx.services, ctx.principal, run, definition)
    else:
        _, definition = await resolve_process(ctx.services, ctx.principal, process or "")
    return ToolReply(text=as_svg(definition, state) if form == "svg" else as_mermaid(definition, state))


@tool(timeout_s=120)
async def export_audit(
    ctx: ToolContext,
    run_id: Annotated[str, Field(min_length=1)],
    after: Annotated[int, Field(description="number of the last record seen", ge=0)] = 0,
    limit: Annotated[int, Field(ge=1, le=500)] = AUDIT_PAGE,
) -> AuditPage:
    """Verify the audit chain of a run and return its records as JSON Lines.

    The whole chain is also the resource run://{run_id}/audit.
    """
    records = await ctx.services.runs.audit(ctx.principal, run_id)
    verdict = await ctx.services.verify_audit(ctx.principal, run_id)
    page = [record for record in records if record.seq > after][:limit]
    lines = [json.dumps(record.model_dump(mode="json"), ensure_ascii=False, sort_keys=True) for record in page]
    more = bool(page) and page[-1].seq < len(records)
    return AuditPage(
        valid=verdict.valid,
        anchored=verdict.anchored,
        reason=verdict.reason,
        head=verdict.head,
        total=len(records),
        jsonl="\n".join(lines),
        next_after=page[-1].seq if more else None,
    )


RunId = Annotated[str, Field(min_length=1, max_length=80)]


@tool(name="provenance")
async def provenance_of(
    ctx: ToolContext, run_id: RunId, key: Annotated[str, Field(description="of the context", min_length=1)]
) -> Writes:
    """Say where a value of a run's context comes from: node, attempt, prompt version, model, cost, person."""
    writes = provenance(await ctx.services.runs.audit(ctx.principal, run_id), key)
    if not writes:
        raise NotFound(f"nothing in the run {run_id} has written {key!r}", key=key)
    whole = [write for write in writes if not write.scope and write.path == f"/{key}"]
    return Writes(key=key, value=whole[-1].value if whole else None, writes=writes)


@tool(name="explain")
async def explain_run(
    ctx: ToolContext,
    run_id: RunId,
    step: Annotated[str, Field(description="a step or a node; without it, the whole way")] = "",
    item: Annotated[str, Field(description="key of one foreach item, else its number from 0")] = "",
) -> Explained:
    """Say why a run went where it went: each guard that was looked at, with the values it saw."""
    return Explained(transitions=explain(await ctx.services.runs.audit(ctx.principal, run_id, item=item), step))


@tool(effect="side_effecting", honours_key=True, timeout_s=40)
async def send_event(
    ctx: ToolContext,
    name: Annotated[str, Field(description="as the waiting step has it", min_length=1, max_length=128)],
    payload: Annotated[dict[str, JsonValue], Field(description="what the step writes")] = {},  # noqa: B006
    match: Annotated[dict[str, JsonValue], Field(description="further fields to find the run, or its step, by")] = {},  # noqa: B006
    run_id: Annotated[str | None, Field(description="one run; it keeps the event until its step waits")] = None,
    idempotency_key: Annotated[str | None, Field(description="the same key again is the same event")] = None,
) -> EventSent:
    """Tell the runs that wait for it what has happened outside. Without run_id, all those that its fields fit.

    With run_id match may be left out, except for a step inside a foreach or branch: its fields say which is meant.
    """
    event = SendEvent(name=name, payload=payload, match=match, run_id=run_id, key=idempotency_key or ctx.key[:150])
    return await ctx.services.control.send_event(ctx.principal, event)
