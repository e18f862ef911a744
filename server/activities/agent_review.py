"""A model that judges a call with effects before it is made, and the evidence that an agent is stuck.

The reviewer sees what people asked for and what the call would do, and nothing that documents or tools have said: a
text that made the agent go astray can't speak to its reviewer, other than through the arguments, which are data.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from pydantic import JsonValue

from engine.agent.approvals import review_key
from engine.agent.log import result_key
from engine.agent.prompts import REVIEW
from engine.ports import AgentTask, Reviewed, ReviewOrder, StuckFound, StuckNoted, note_stuck, review_call
from engine.runs import AuditDraft, Change, EventDraft
from engine.transcript import Message, ModelReply, ModelRequest, Part, Text, ToolResult, system
from engine.values import Spent, canonical_json
from providers.output import read_output
from providers.wire import RENDERER
from server.activities.agent_calls import AgentWork, admitted, unless_over
from server.activities.agent_spending import within
from server.activities.guard import implements
from server.activities.transcripts import Transcript

MAX_REVIEW_TOKENS = 4_096
MAX_ARGUMENTS = 20_000
"""A call whose arguments are longer can't be judged whole, so a person is asked."""

MAX_SAID, MAX_MESSAGES = 4_000, 10
MAX_REASON = 500
MAX_SHOWN = 300
"""How much of arguments and results stands in the evidence, in characters."""

VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["allow", "ask", "deny"]},
        "reason": {"type": "string"},
    },
    "required": ["verdict", "reason"],
    "additionalProperties": False,
}


def review_activities(work: AgentWork) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the house's parts."""

    @implements(review_call)
    async def review(order: ReviewOrder) -> Reviewed:
        return await _review(work, order)

    @implements(note_stuck)
    async def stuck(found: StuckFound) -> StuckNoted:
        return await _note_stuck(work, found)

    return [review, stuck]


async def _review(work: AgentWork, order: ReviewOrder) -> Reviewed:
    """Judge a call once; a repeat after the verdict was recorded gives the recorded one."""
    key = review_key(order.turn, order.call.call_id)
    recorded = [event for event in await work.runs.log(order.run, types=("approval.reviewed",)) if event.key == key]
    if recorded:
        return Reviewed.model_validate(recorded[0].data["reviewed"])
    reviewed = await _judge(work, order)
    data: dict[str, JsonValue] = {
        "turn": order.turn,
        "call_id": order.call.call_id,
        "tool": order.call.tool,
        "verdict": reviewed.verdict,
        "reason": reviewed.reason,
        "reviewed": reviewed.model_dump(mode="json"),
    }
    change = Change(
        run=order.run,
        key=key,
        spent=reviewed.spent,
        events=(EventDraft(key=key, type="approval.reviewed", data=data),),
        audit=(AuditDraft(key=key, actor=f"model:{reviewed.model}", action="approval.reviewed", data=data),),
    )
    await work.runs.apply(change)
    return reviewed


async def _judge(work: AgentWork, order: ReviewOrder) -> Reviewed:
    log = await work.transcripts.read(order.run)
    resolved = admitted(work, order.principal, log.call(order.turn, order.call.call_id), log)
    arguments = canonical_json(dict(resolved.arguments))
    if len(arguments) > MAX_ARGUMENTS:
        return Reviewed(
            verdict="ask", reason=f"the arguments are too long to be judged ({len(arguments):,} characters)"
        )
    task = AgentTask.model_validate((await work.runs.load(order.run)).input)
    about = f"\n\nThe call to judge: {resolved.spec.name}, which is described so:\n"
    parts: list[Part] = [
        Text(text=f"The task of the agent:\n{task.task}\n\n{task.instructions}".strip()),
        *([Text(text=f"\n\nFacts:\n{canonical_json(task.facts)}"[:MAX_ARGUMENTS], data=True)] if task.facts else []),
        *(Text(text=f"\n\nThe person said since:\n{said[:MAX_SAID]}") for said in _said(log)[-MAX_MESSAGES:]),
        Text(text=about),
        Text(text=resolved.spec.description, data=True),
        Text(text="\n\nIts arguments:\n"),
        Text(text=arguments, data=True),
    ]
    request = ModelRequest(
        route=order.route,
        messages=(system(log.words(REVIEW)), Message(role="user", parts=tuple(parts))),
        output_schema=VERDICT,
        max_output_tokens=MAX_REVIEW_TOKENS,
        cache_key=f"{order.run.run_id}/review",
        renderer=RENDERER,
    )
    bounded = within(work.models, request, order.left)
    answering = work.models.answering(order.run.tenant)
    reply = await unless_over(work, order.run, answering.generate(bounded))
    return _verdict(reply, answering.routings[-1].spent)


def _said(log: Transcript) -> list[str]:
    """Return what people have said to the running agent, in order."""
    return [one.message.text for one in log.entries if one.message is not None and one.event.key.startswith("said/")]


def _verdict(reply: ModelReply, before: Spent) -> Reviewed:
    """Return what the reviewer said; whatever isn't a plain verdict is `ask`."""
    # It is no turn of the agent, and its cost counts like that of one.
    spent = reply.spent.plus(before).model_copy(update={"turns": 0})
    model = f"{reply.provider}/{reply.model}"
    if reply.finish.unified != "done":
        reason = f"the reviewer ended with {reply.finish.unified}"
        return Reviewed(verdict="ask", reason=reason, model=model, spent=spent)
    value, errors = read_output(reply.message.text, VERDICT)
    if errors or not isinstance(value, dict):
        return Reviewed(verdict="ask", reason="the reviewer gave no readable verdict", model=model, spent=spent)
    reason = str(value["reason"])[:MAX_REASON]
    return Reviewed.model_validate({"verdict": value["verdict"], "reason": reason, "model": model, "spent": spent})


async def _note_stuck(work: AgentWork, found: StuckFound) -> StuckNoted:
    """Record what a run is stuck in, with its calls and their results, and return that in a few lines."""
    log = await work.transcripts.read(found.run)
    calls = [_evidence(log, turn, call_id) for turn, call_id in found.calls]
    data: dict[str, JsonValue] = found.model_dump(mode="json", exclude={"run", "calls"})
    key = f"turn/{found.turn}/stuck/{found.step}"
    event = EventDraft(key=key, type="stuck", data={**data, "calls": list[JsonValue](calls)})
    audit = AuditDraft(key=key, actor="engine", action=f"run.stuck.{found.step}", data=data)
    await work.runs.apply(Change(run=found.run, key=key, events=(event,), audit=(audit,)))
    return StuckNoted(text="\n".join(_lines(calls)))


def _evidence(log: Transcript, turn: int, call_id: str) -> dict[str, JsonValue]:
    call = log.call(turn, call_id)
    answer = log.message(result_key(turn, call_id))
    result = next((part for part in answer.parts if isinstance(part, ToolResult)), None) if answer else None
    asked = call.malformed if call.malformed is not None else canonical_json(call.arguments)
    return {
        "turn": turn,
        "call_id": call_id,
        "tool": call.name,
        "arguments": asked[:MAX_SHOWN],
        "result": result.text[:MAX_SHOWN] if result else "",
        "is_error": result.is_error if result else False,
    }


def _lines(calls: list[dict[str, JsonValue]]) -> Iterator[str]:
    for one in calls:
        yield f"turn {one['turn']}: {one['tool']} {one['arguments']} → {one['result']}"
