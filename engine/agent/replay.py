"""A run made again from its log, without any model: each request must come out as it was sent.

What a turn was sent is told by a digest beside the turn. The request is put together anew from what stood in the log
when the turn was made, by the code of today; the first turn that comes out otherwise is reported.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from engine.agent.log import PLAN, TURN, Assembly, Entry, assemble, entry
from engine.errors import Invalid
from engine.ports import AgentTask
from engine.remembered import Folded, Remembered
from engine.runs import Event, Run
from engine.transcript import Message, ModelRequest, Part, ToolCall, ToolResult, ToolSpec
from engine.values import Value, canonical_json

if TYPE_CHECKING:
    from _hashlib import HASH


class Difference(Value):
    """The first place where a run comes out otherwise."""

    turn: int
    what: str
    expected: str = ""
    found: str = ""


class Replayed(Value):
    """How replaying a run went. `compared` turns carry the digest of their request; the rest has no digest."""

    run_id: str
    turns: int
    compared: int
    messages: int
    same: bool
    difference: Difference | None = None


def request_digest(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    closing: bool,
    output_schema: dict[str, Any] | None,
    renderer: int,
) -> str:
    """Return the sha256 of what a turn is asked; the same in every release that only adds fields with defaults."""
    head = canonical_json([closing, output_schema, renderer]).encode() + b"".join(map(_tool_written, tools))
    return _told(tuple(messages), head).hexdigest()


def _write_tool(spec: ToolSpec) -> bytes:
    return spec.model_dump_json(exclude_defaults=True).encode()


def _write_part(part: Part) -> bytes:
    return f"\n{part.type} {part.model_dump_json(exclude_defaults=True)}".encode()


def _tell(told: "HASH", messages: Sequence[Message], head: bytes) -> "HASH":
    told = told.copy()
    for message in messages:
        told.update(f"\n{message.role} {message.breakpoint}".encode())
        for part in message.parts:
            told.update(_write_part(part))
        if message.native is not None:
            told.update(f"\nnative {message.native.model_dump_json(exclude_defaults=True)}".encode())
    return told


_tool_written = Remembered(_write_tool)
_told = Folded(hashlib.sha256, _tell)


def sent_of(request: ModelRequest) -> dict[str, JsonValue]:
    """Return what is kept of a request beside its turn: its digest, and what of it doesn't follow from the log.

    `wire` is the provider whose own form of a checkpoint may stand in it.
    """
    makers = {one.provider for one in request.route.candidates}
    closing = request.tool_choice == "none"
    digest = request_digest(
        request.messages,
        request.tools,
        closing=closing,
        output_schema=request.output_schema,
        renderer=request.renderer,
    )
    return {"digest": digest, "closing": closing, "wire": request.route.provider if len(makers) == 1 else ""}


def replay(run: Run, events: Sequence[Event]) -> Replayed:
    """Make every request of an agent run again and compare; `events` are those of the types `LOGGED`.

    Raises:
        Invalid: the run is no agent, or has not made its plan yet.
    """
    if run.kind != "agent":
        raise Invalid(f"run {run.run_id} is a {run.kind}; only agents can be replayed")
    plan = next((event for event in events if event.type == PLAN), None)
    if plan is None:
        raise Invalid(f"run {run.run_id} has not begun; there is nothing to replay")
    log = [entry(event) for event in events]
    turns = [event for event in events if event.type == TURN]
    compared, found = 0, _unpaired(log)
    again = _Again(run, plan, log)
    for event in turns if found is None else ():
        compared += isinstance(event.data.get("request"), dict)
        found = found or again.changed(event)
    found = found or _result(run, log)
    last = assemble(log)
    return Replayed(
        run_id=run.run_id,
        turns=len(turns),
        compared=compared,
        messages=len(last),
        same=found is None,
        difference=found,
    )


class _Again:
    """The requests of a run put together anew, turn after turn."""

    def __init__(self, run: Run, plan: Event, log: Sequence[Entry]) -> None:
        tools = plan.data["tools"]
        assert isinstance(tools, list)
        self._tools = [ToolSpec.model_validate(spec) for spec in tools]
        self._renderer = int(str(plan.data.get("renderer", 1)))
        self._schema = AgentTask.model_validate(run.input).output_schema
        self._log = log
        self._assemblies: dict[str, Assembly] = {}

    def changed(self, turn: Event) -> Difference | None:
        """Return how the request of a turn differs from the one that was sent."""
        sent = turn.data.get("request")
        if not isinstance(sent, dict):
            return None
        number, wire = _number(turn, "turn"), str(sent.get("wire", ""))
        seen = bisect_right(self._log, _number(turn, "seen"), key=lambda one: one.event.seq)
        messages = self._assemblies.setdefault(wire, Assembly(wire)).extended(self._log[:seen])
        digest = request_digest(
            messages,
            self._tools,
            closing=bool(sent["closing"]),
            output_schema=self._schema,
            renderer=self._renderer,
        )
        if digest == sent["digest"]:
            return None
        what = f"the request of turn {number} comes out otherwise than it was sent ({len(messages)} messages)"
        return Difference(turn=number, what=what, expected=str(sent["digest"]), found=digest)


def _unpaired(log: Sequence[Entry]) -> Difference | None:
    """Return the first call that is not answered exactly once before the next turn."""
    messages = assemble(log)
    made = [place for place, message in enumerate(messages) if message.role == "assistant"]
    # The calls of the last turn may be under way still.
    for number, place in enumerate(made[:-1], start=1):
        calls = [part.id for part in messages[place].parts if isinstance(part, ToolCall)]
        answers = [part.call_id for part in messages[place + 1].parts if isinstance(part, ToolResult)]
        if calls != answers:
            what = f"the calls of assistant message {number} are not answered one by one"
            return Difference(turn=number, what=what, expected=", ".join(calls), found=", ".join(answers))
    return None


def _result(run: Run, log: Sequence[Entry]) -> Difference | None:
    """Return how the answer of a completed run differs from the last message of its log."""
    said = [message.text for message in assemble(log) if message.role == "assistant"]
    if run.status != "completed" or not isinstance(run.result, str) or not said or said[-1] == run.result:
        return None
    return Difference(turn=len(said), what="the last message is not the result", expected=run.result, found=said[-1])


def _number(event: Event, name: str) -> int:
    value = event.data[name]
    assert isinstance(value, int)
    return value
