"""The transcript of an agent as it lies in the run's event log, and how it is put together again.

Messages are durable events of type `message`. Tool results arrive in any order, and a person may speak while a model
is answering; a provider wants each call answered directly after the turn that made it, and what it was sent once must
come again in the same bytes. The order made here depends on the log alone, so the same log always renders alike.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.runs import Event, EventDraft
from engine.transcript import Message, ToolCall, ToolResult

MESSAGE = "message"
TURN = "turn.finished"
"""The event beside the assistant message of a turn: `{turn, seen, reply}`; `seen` is the number of the last event that
the turn was made from."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of the log, with its message where it is one."""

    event: Event
    message: Message | None


def entry(event: Event) -> Entry:
    """Read an event once; a transcript is assembled again for each turn."""
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


def call_name(call_id: str) -> str:
    """Return the id of a call as part of keys and paths; one that a provider made unusual stands by its digest."""
    return call_id if _PLAIN.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:32]


def assemble(log: Sequence[Entry]) -> tuple[Message, ...]:
    """Return the transcript from the entries of types `MESSAGE` and `TURN`.

    Results stand directly behind the turn that called, in the order of its calls; what people said stands behind
    them, and what a turn had not been sent yet stands behind that turn.
    """
    turns = [one.event for one in log if one.event.type == TURN]
    sent = {assistant_key(_number(event, "turn")): _number(event, "seen") for event in turns}
    ordered: list[Message] = []
    called: tuple[ToolCall, ...] = ()
    answers: dict[str, ToolResult] = {}
    said: list[tuple[int, Message]] = []

    def settle(until: int) -> None:
        results = tuple(answers[call.id] for call in called if call.id in answers)
        if results:
            ordered.append(Message(role="tool", parts=results))
        ordered.extend(message for seq, message in said if seq <= until)
        said[:] = [one for one in said if one[0] > until]

    for one in log:
        message, event = one.message, one.event
        if message is None:
            continue
        if message.role == "tool":
            answers |= {part.call_id: part for part in message.parts if isinstance(part, ToolResult)}
        elif message.role == "assistant":
            settle(sent.get(event.key, event.seq))
            ordered.append(message)
            called, answers = message.tool_calls, {}
        else:
            said.append((event.seq, message))
    settle(log[-1].event.seq if log else 0)
    return tuple(ordered)


def _number(event: Event, name: str) -> int:
    value = event.data[name]
    assert isinstance(value, int)
    return value
