"""The transcript of an agent as it lies in the run's event log, and how it is put together again.

Messages are durable events of type `message`. Tool results arrive in any order, and a person may speak while a model
is answering; a provider wants each call answered directly after the turn that made it, and what it was sent once must
come again in the same bytes. The order made here depends on the log alone, so the same log always renders alike.

A checkpoint is an event that holds a new beginning: its messages stand for everything up to the event `seen`, and the
transcript goes on with what came behind that, also with what was said while the checkpoint was made.
"""

import hashlib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.runs import Event, EventDraft
from engine.transcript import Message, ToolCall, ToolResult

MESSAGE = "message"
CHECKPOINT = "checkpoint"
"""The event of a new beginning: `{number, turn, kind, reason, seen, messages, before, after, spent}`; `before` and
`after` are estimated tokens."""
TURN = "turn.finished"
"""The event beside the assistant message of a turn: `{turn, seen, reply}`; `seen` is the number of the last event that
the turn was made from."""

PLAN = "agent.plan"
"""The event of what was fixed at the start: `{route, route_origin, tools, renderer}`."""

STEPS = "plan"
"""The event of the plan that an agent keeps of its own work: `{turn, steps}`, each time the whole of it."""

LOGGED = (MESSAGE, TURN, CHECKPOINT, PLAN)
"""The events that a turn is made from."""

SYSTEM_KEY, TASK_KEY = "message/system", "message/task"
"""The keys of the first messages of a run; they outlive every checkpoint."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the log, with its message where it is one, or the messages of a checkpoint."""

    event: Event
    message: Message | None
    beginning: tuple[Message, ...] = ()

    @property
    def seen(self) -> int:
        """The number of the last event that a checkpoint was made from; 0 for any other event."""
        return _number(self.event, "seen") if self.beginning else 0


def entry(event: Event) -> Entry:
    """Read an event once; a transcript is assembled again for each turn."""
    if event.type == CHECKPOINT:
        messages = event.data["messages"]
        assert isinstance(messages, list)
        return Entry(event, None, tuple(Message.model_validate(one) for one in messages))
    return Entry(event, Message.model_validate(event.data) if event.type == MESSAGE else None)


def message_event(key: str, message: Message) -> EventDraft:
    """Return the event that appends `message` under `key`."""
    return EventDraft(key=key, type=MESSAGE, data=message.model_dump(mode="json"))


def assistant_key(turn: int) -> str:
    """Return the key of the assistant message of a turn."""
    return f"turn/{turn}/assistant"


def finished_key(turn: int) -> str:
    """Return the key of the event that says what a turn took and how it ended."""
    return f"turn/{turn}/finished"


def result_key(turn: int, call_id: str) -> str:
    """Return the key of the one answer to a call."""
    return f"turn/{turn}/tool/{call_name(call_id)}"


def checkpoint_key(number: int) -> str:
    """Return the key of a checkpoint, which are counted from 1."""
    return f"checkpoint/{number}"


def call_name(call_id: str) -> str:
    """Return the id of a call as part of keys and paths; one that a provider made unusual stands by its digest."""
    return call_id if _PLAIN.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:32]


def assemble(log: Sequence[Entry], provider: str | None = None) -> tuple[Message, ...]:
    """Return the transcript from the entries of types `MESSAGE`, `TURN` and `CHECKPOINT`; see `Assembly`."""
    return Assembly(provider).extended(log)


class Assembly:
    """The transcript of a log that grows, put together further as far as the log has.

    Results stand directly behind the turn that called, in the order of its calls; what people said stands behind
    them, and what a turn had not been sent yet stands behind that turn. It begins with the last checkpoint that
    `provider` can read (None: any): one that a provider has made in its own way says nothing to the others.
    """

    def __init__(self, provider: str | None = None) -> None:
        """Begin with an empty log."""
        self._provider = provider
        self._read = 0
        self._sent: dict[str, int] = {}
        self._begin(())

    def extended(self, log: Sequence[Entry]) -> tuple[Message, ...]:
        """Return the transcript of `log`, which begins with the entries it had before."""
        new = log[self._read :]
        self._read = len(log)
        begun = next((one for one in reversed(new) if one.beginning and _readable(one, self._provider)), None)
        if begun is not None:
            self._begin(begun.beginning)
            new = [one for one in log if one.event.seq > begun.seen]
        turns = [one.event for one in new if one.event.type == TURN]
        self._sent |= {assistant_key(_number(event, "turn")): _number(event, "seen") for event in turns}
        for one in new:
            self._take_in(one)
        return (*self._ordered, *self._unsent(log[-1].event.seq if log else 0))

    def _begin(self, messages: Sequence[Message]) -> None:
        self._ordered: list[Message] = list(messages)
        self._called = _unanswered(messages)
        self._answers: dict[str, tuple[ToolResult, Message]] = {}
        self._said: list[tuple[int, Message]] = []
        self._answered: Message | None = None

    def _take_in(self, one: Entry) -> None:
        message, event = one.message, one.event
        if message is None:
            return
        if message.role == "tool":
            self._answers |= {part.call_id: (part, message) for part in message.parts if isinstance(part, ToolResult)}
        elif message.role == "assistant":
            until = self._sent.pop(event.key, event.seq)
            self._ordered += [*self._unsent(until), message]
            self._said = [said for said in self._said if said[0] > until]
            self._called, self._answers, self._answered = message.tool_calls, {}, None
        else:
            self._said.append((event.seq, message))

    def _unsent(self, until: int) -> list[Message]:
        """Return what stands behind the last turn: its answers, and what was said up to the event `until`."""
        given = [self._answers[call.id] for call in self._called if call.id in self._answers]
        if given:
            self._answered = _together(given, self._answered)
        answered = [self._answered] if given and self._answered is not None else []
        return [*answered, *(message for seq, message in self._said if seq <= until)]


def _together(given: Sequence[tuple[ToolResult, Message]], before: Message | None) -> Message:
    """Return one message of all results; the very one of the log, or the one made before, where it holds just these."""
    results = tuple(result for result, _ in given)
    for made in (given[0][1], before):
        if made is not None and len(results) == len(made.parts) and all(map(operator.is_, results, made.parts)):
            return made
    return Message(role="tool", parts=results)


def _readable(one: Entry, provider: str | None) -> bool:
    makers = {message.native.provider for message in one.beginning if message.native is not None}
    return provider is None or makers <= {provider}


def _unanswered(messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    """Return the calls whose answers come behind `messages`."""
    answered = {part.call_id for one in messages for part in one.parts if isinstance(part, ToolResult)}
    last = next((one for one in reversed(messages) if one.role == "assistant"), None)
    return tuple(call for call in (last.tool_calls if last else ()) if call.id not in answered)


def _number(event: Event, name: str) -> int:
    value = event.data[name]
    assert isinstance(value, int)
    return value
