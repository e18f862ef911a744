"""Activities of processes and interactions: load and pin a definition, call a model through a prompt, call a tool."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from pydantic import JsonValue

from content.definitions import ProcessDefinitions
from content.executions import ExecutionDraft
from content.interactions import Interactions, RenderedInteraction
from content.versioned import Version
from engine.errors import Invalid
from engine.ports import (
    InteractionCall,
    InteractionResult,
    ProcessAddress,
    ProcessSnapshot,
    ToolInvocation,
    ToolOutcome,
    call_tool,
    load_process,
    run_interaction,
)
from engine.process.definition import parse_definition
from engine.routes import ModelChoice, Route, Routing
from engine.transcript import Media, Message, ModelReply, ModelRequest, Part
from engine.values import Principal, Spent, digest
from providers.output import generate_validated
from server.activities.foreach import foreach_activities
from server.activities.guard import implements
from server.activities.keeping import keep_as_artifact
from server.activities.moves import Pinned, move_activities
from server.models import Models, Routed
from server.store.effects import SqlEffects
from server.store.runs import SqlRunStore
from skills.services import Services, ToolContext
from skills.toolbox import Toolbox

MAX_OUTPUT_TOKENS = 8_192
ANY_OBJECT: dict[str, Any] = {"type": "object"}
BLOB = "blob:"


class ProcessParts(Protocol):
    """What the activities of processes need of the house."""

    @property
    def runs(self) -> SqlRunStore:
        """The runs."""
        ...

    @property
    def effects(self) -> SqlEffects:
        """The record of effects."""
        ...

    @property
    def definitions(self) -> ProcessDefinitions:
        """The published processes."""
        ...

    @property
    def interactions(self) -> Interactions:
        """The published interactions."""
        ...

    @property
    def models(self) -> Models:
        """The routes to models."""
        ...

    @property
    def toolbox(self) -> Toolbox:
        """The tools."""
        ...

    @property
    def services(self) -> Services:
        """What tools may reach."""
        ...


def process_activities(parts: ProcessParts) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the house's parts."""

    @implements(load_process)
    async def load(address: ProcessAddress) -> ProcessSnapshot:
        return await _load(parts, address)

    @implements(run_interaction)
    async def interact(call: InteractionCall) -> InteractionResult:
        return await _interact(parts, call)

    @implements(call_tool)
    async def tool(invocation: ToolInvocation) -> ToolOutcome:
        return await _call(parts, invocation)

    return [
        load,
        interact,
        tool,
        *move_activities(parts.runs, partial(find_process, parts.definitions)),
        *foreach_activities(parts.runs, parts.services.content.source),
    ]


async def find_process(definitions: ProcessDefinitions, principal: Principal, address: str) -> Pinned:
    """Return the published version that an address means now, and its definition.

    Raises:
        NotFound: there is none that the principal may use.
        Invalid: the address means a draft.
    """
    found = await definitions.find(principal, address)
    if not isinstance(found, Version):
        raise Invalid(f"{address} is a draft; publish it before it is run")
    return Pinned(found.name, str(found.number), parse_definition(found.text))


async def _load(parts: ProcessParts, address: ProcessAddress) -> ProcessSnapshot:
    """Return the pinned version as data; what it names by a label is pinned to the version it points at now."""
    found = await parts.definitions.find(address.principal, f"{address.name}@{address.version}")
    canonical = parse_definition(found.text).canonical()
    await _pin(parts, address, canonical)
    return ProcessSnapshot(definition=canonical, digest=digest(canonical), version=address.version)


async def _pin(parts: ProcessParts, address: ProcessAddress, graph: dict[str, Any]) -> None:
    for node in graph.get("nodes", {}).values():
        if node.get("type") == "interaction":
            found = await parts.interactions.resolve(address.principal, node["interaction"])
            node["interaction"] = found.address
        if node.get("type") == "process":
            child = await find_process(parts.definitions, address.principal, node["process"])
            node["process"] = f"{child.name}@{child.version}"
        for body in [node.get("body"), *(arm.get("body") for arm in node.get("arms", []))]:
            if body:
                await _pin(parts, address, body)


async def _interact(parts: ProcessParts, call: InteractionCall) -> InteractionResult:
    """Render, call and validate once; a repeat after the answer was recorded gives the recorded answer."""
    key = f"{call.run.run_id}/{call.key}/interaction"
    begun = await parts.effects.begin(call.run, key)
    if begun.state == "done":
        return InteractionResult.model_validate(begun.outcome)
    rendered = await parts.interactions.render(call.principal, call.interaction, call.parameters)
    routed = parts.models.route(call.run.tenant, ("node", call.model), ("interaction", _own_models(rendered)))
    request = ModelRequest(
        route=routed.route.with_defaults(rendered.options),
        messages=tuple(_with_blobs(message) for message in rendered.transcript()),
        output_schema=call.result_schema or rendered.output_schema or ANY_OBJECT,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        cache_key=f"{rendered.interaction}@{rendered.version}",
    )
    answering = parts.models.answering(call.run.tenant)
    started = time.monotonic()
    reply, tries = await generate_validated(answering, request, attempts=1 + rendered.retry_invalid)
    spent = Spent()
    for one in (*tries, *answering.routings):
        spent = spent.plus(one.spent)
    latency_ms = (time.monotonic() - started) * 1000
    execution = await parts.interactions.record_execution(
        call.principal, _execution(call, rendered, routed, answering.routings[-1], reply, len(tries), latency_ms)
    )
    result = InteractionResult(
        output=reply.output,
        interaction=rendered.interaction,
        version=str(rendered.version),
        digest=rendered.digest,
        provider=reply.provider,
        model=reply.model,
        finish=reply.finish,
        spent=spent,
        tries=len(tries),
        execution_id=execution.execution_id,
    )
    await parts.effects.finish(call.run, key, result.model_dump(mode="json"))
    return result


def _own_models(rendered: RenderedInteraction) -> ModelChoice | None:
    """Return what the interaction itself names: its route, then its fallbacks."""
    named = ((rendered.route,) if rendered.route else ()) + rendered.fallbacks
    return named or None


def _with_blobs(message: Message) -> Message:
    """Put the digest of a blob in the place of its URL: nothing else can be sent to a model."""
    return message.model_copy(update={"parts": tuple(_with_blob(part) for part in message.parts)})


def _with_blob(part: Part) -> Part:
    if not isinstance(part, Media):
        return part
    if not part.ref.startswith(BLOB):
        raise Invalid(f"media {part.ref[:80]!r} is no stored blob; pass blob:<digest of a version>")
    return part.model_copy(update={"ref": part.ref.removeprefix(BLOB)})


def _execution(
    call: InteractionCall,
    rendered: RenderedInteraction,
    routed: Routed,
    routing: Routing,
    reply: ModelReply,
    tries: int,
    latency_ms: float,
) -> ExecutionDraft:
    return ExecutionDraft(
        key=f"{call.run.run_id}/{call.key}",
        interaction=rendered.interaction,
        version=rendered.version,
        digest=rendered.digest,
        rendered_digest=rendered.rendered_digest,
        storage=rendered.storage,
        parameters=call.parameters,
        output=reply.output,
        provider=reply.provider,
        model=reply.model,
        route_origin=routed.origin,
        routing=routing,
        options=_options(routed.route, routing),
        usage=reply.usage,
        price=reply.price,
        latency_ms=latency_ms,
        finish=reply.finish,
        valid=True,
        tries=tries,
        run_id=call.run.run_id,
    )


def _options(route: Route, routing: Routing) -> dict[str, JsonValue]:
    return route.candidates[routing.index].options


async def _call(parts: ProcessParts, invocation: ToolInvocation) -> ToolOutcome:
    ctx = ToolContext(principal=invocation.principal, services=parts.services, key=invocation.key, run=invocation.run)
    keep = keep_as_artifact(
        parts.runs, invocation.run, f"tools/{invocation.key.rpartition('/')[2]}.txt", invocation.key
    )
    ran = await parts.toolbox.run_with_effects(ctx, invocation.tool, invocation.arguments, keep=keep)
    return ran.outcome
