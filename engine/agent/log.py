"""The transcript of an agent as it lies in the run's event log, and how it is put together again.

Messages are durable events of type `message`. Tool results arrive in any order and a person may speak in between;
a provider wants each call answered directly after the turn that made it. The order made here depends on the log
alone, so the same log always renders to the same bytes.
"""

from collections.abc import Sequence

from engine.runs import Event, EventDraft
from engine.transcript import Message, ToolCall, ToolResult

MESSAGE = "message"


def message_event(key: str, message: Message) -> EventDraft:
    """Return the event that appends `message` under `key`."""
    return EventDraft(key=key, type=MESSAGE, data=message.model_dump(mode="json"))


def assistant_key(turn: int) -> str:
    """Return the key of the assistant message of a turn."""
    return f"turn/{turn}/assistant"


def result_key(turn: int, call_id: str) -> str:
    """Return the key of the one answer to a call."""
    return f"turn/{turn}/tool/{call_id}"


def assemble(events: Sequence[Event]) -> tuple[Message, ...]:
    """Return the transcript: results stand directly behind the turn that called, words of people behind them."""
    ordered: list[Message] = []
    answers: list[ToolResult] = []
    held: list[Message] = []
    open_calls: set[str] = set()

    def settle() -> None:
        if answers:
            ordered.append(Message(role="tool", parts=tuple(answers)))
            answers.clear()
        ordered.extend(held)
        held.clear()

    for event in events:
        if event.type != MESSAGE:
            continue
        message = Message.model_validate(event.data)
        if message.role == "tool":
            answers.extend(part for part in message.parts if isinstance(part, ToolResult))
            open_calls -= {answer.call_id for answer in answers}
        elif message.role == "assistant":
            settle()
            ordered.append(message)
            open_calls = {call.id for call in message.tool_calls}
        elif open_calls:
            held.append(message)
        else:
            settle()
            ordered.append(message)
    settle()
    return tuple(ordered)


def find_call(events: Sequence[Event], turn: int, call_id: str) -> ToolCall:
    """Return the call of a turn.

    Raises:
        KeyError: the log has no such call; it is written before any call is ordered.
    """
    for event in events:
        if event.key == assistant_key(turn):
            for call in Message.model_validate(event.data).tool_calls:
                if call.id == call_id:
                    return call
    raise KeyError(f"turn {turn} has no call {call_id}")
