"""One run as the world around an agent's workflow knows it: its log, what waits for a test, and what went wrong."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowHandle

from engine.agent.log import TURN, Entry, assistant_key, entry, finished_key, message_event, result_key
from engine.ports import (
    AgentPlan,
    AgentToolCalls,
    AgentToolDone,
    AgentToolsDone,
    ApprovalMode,
    CallRef,
    TurnMade,
    TurnOrder,
)
from engine.runs import TERMINAL, Event, EventDraft, RunRef, TaskDraft
from engine.transcript import Finish, Message, Text, ToolCall, ToolResult
from engine.values import Budget, Spent

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Pending:
    """An order that waits for a test to say what comes of it."""

    order: Any
    outcome: "asyncio.Future[Any]"


@dataclass
class Case:
    """One run and everything that was done about it."""

    ref: RunRef
    plan: AgentPlan
    budget: Budget
    handle: "WorkflowHandle[Any, Any] | None" = None
    events: list[Event] = field(default_factory=lambda: [])
    changes: set[str] = field(default_factory=lambda: set())
    pending: list[Pending] = field(default_factory=lambda: [])
    tasks: dict[str, TaskDraft] = field(default_factory=lambda: {})
    calls: dict[int, tuple[CallRef, ...]] = field(default_factory=lambda: {})
    answered: dict[tuple[int, str], AgentToolDone] = field(default_factory=lambda: {})
    orders: dict[tuple[int, str], dict[str, Any]] = field(default_factory=lambda: {})
    allowed: set[tuple[int, str]] = field(default_factory=lambda: set())
    denied: set[tuple[int, str]] = field(default_factory=lambda: set())
    granted: set[tuple[str, str]] = field(default_factory=lambda: set())
    mode: ApprovalMode = "ask"
    modes: set[ApprovalMode] = field(default_factory=lambda: set())
    seen: int = 0
    closing: bool = False
    said: int = 0
    paused: bool = False
    turns_left: int = 0
    held: set[tuple[int, str]] = field(default_factory=lambda: set())
    error: str = ""
    status: str = "running"
    wrong: list[str] = field(default_factory=lambda: [])
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def entries(self) -> list[Entry]:
        """The log as a transcript is assembled from it."""
        return [entry(event) for event in self.events]

    @property
    def ended(self) -> bool:
        """Whether the run has its last status."""
        return self.status in TERMINAL

    def append(self, draft: EventDraft) -> int:
        """Append an event once; return its number."""
        known = next((one.seq for one in self.events if one.key == draft.key), None)
        if known is not None:
            return known
        if self.ended:
            self.wrong.append(f"{draft.key} was appended after the end")
        seq = len(self.events) + 1
        self.events.append(Event(run_id=self.ref.run_id, seq=seq, at=NOW, **draft.model_dump()))
        return seq

    async def wait(self, order: Any) -> Any:
        """Return what a test makes of an order."""
        one = Pending(order, asyncio.get_running_loop().create_future())
        self.pending.append(one)
        self.moved.set()
        try:
            return await one.outcome
        finally:
            self.pending.remove(one)


def replied(case: Case, order: TurnOrder, finish: str, calls: tuple[CallRef, ...]) -> TurnMade:
    """Return a turn and put it into the log, as the real activity does before it answers."""
    seen = case.seen
    parts = (Text(text=f"turn {order.turn}"), *(ToolCall(id=one.call_id, name=one.tool) for one in calls))
    kind = "tool_calls" if calls and finish == "done" else finish
    made = TurnMade(
        turn=order.turn,
        seen=seen,
        finish=Finish.model_validate({"unified": kind, "raw": kind}),
        calls=calls,
        spent=Spent(turns=1, input_tokens=10, output_tokens=10),
        model="fake",
        provider="fake",
    )
    case.append(message_event(assistant_key(order.turn), Message(role="assistant", parts=parts)))
    case.append(
        EventDraft(key=finished_key(order.turn), type=TURN, data={"turn": order.turn, "seen": seen, "reply": {}})
    )
    case.calls[order.turn] = calls
    case.modes = {case.mode}
    return made


def ran(case: Case, order: AgentToolCalls, outcome: str, result: int) -> AgentToolsDone:
    """Return how calls ended and put their answers into the log; those that are answered already stay as they are."""
    done: list[AgentToolDone] = []
    for call in order.calls:
        key = (order.turn, call.call_id)
        steers = order.given is None and call.effect == "control"
        if steers:
            done.append(AgentToolDone(call_id=call.call_id, outcome="ok", order=case.orders[key]))
            continue
        failed = outcome != "ok"
        made = AgentToolDone.model_validate(
            {
                "call_id": call.call_id,
                "outcome": outcome,
                "call": call.tool + call.target,
                "result": f"{failed}{result}",
            }
        )
        known = case.answered.setdefault(key, made)
        answer = ToolResult(call_id=call.call_id, name=call.tool, text=str(result), is_error=failed)
        case.append(message_event(result_key(order.turn, call.call_id), Message(role="tool", parts=(answer,))))
        done.append(known)
    return AgentToolsDone(done=tuple(done))


def check_allowed(case: Case, turn: int, call: CallRef) -> None:
    """Write down a call that is made although nobody allowed it."""
    key = (turn, call.call_id)
    if case.paused and key in case.held:
        case.wrong.append(f"{call.tool} of turn {turn} was allowed while the run was paused and is made")
    if key in case.denied:
        case.wrong.append(f"{call.tool} of turn {turn} was denied and is made")
    if call.effect == "always_ask" and key not in case.allowed:
        case.wrong.append(f"{call.tool} of turn {turn} is made without having been asked for")
    free = "full" in case.modes or (call.tool, call.target) in case.granted or key in case.allowed
    if call.effect == "side_effecting" and not free:
        case.wrong.append(f"{call.tool} of turn {turn} is made and nobody allowed it")
