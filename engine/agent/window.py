"""A transcript made smaller: what is kept as it is, what a line stands for, what is told again. Pure functions.

Nothing is ever cut between a call and its result: a piece of a transcript begins with a turn of the model and ends
before one. Reasoning from before a checkpoint is left out everywhere, and with it the blocks that hold it: providers
bind it to the very words that stood before it.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from engine.transcript import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from engine.values import canonical_json

Tokens = Callable[[str], int]
"""Estimates the tokens of a text."""

Where = Callable[[ToolResult], str]
"""Says where the whole of a result can be read."""

LESSON = "learn_"
"""How the names of the tools that teach a skill begin; lessons outlive every checkpoint."""

STUB_CHARS = 400
"""A result that is no longer stays as it is: a line in its place would save nothing."""

SHOWN_CHARS = 160
MAX_ARGUMENTS, MAX_RESULT = 1_000, 4_000
"""How much of a call and of its result is summed up, in characters."""

MAX_SAID = 8_000
"""How much of what people have said is told again in their own words, in characters; the latest counts first."""

_WHOLE = re.compile(r"run://\S+/artifacts/[^\s\"')\]]+")

TOLD_AGAIN = (
    "The conversation up to here was replaced by this checkpoint to make room. What follows is what you know of it; go "
    "on with the task from here, and do not repeat what is done."
)


def turns_of(messages: Sequence[Message]) -> list[int]:
    """Return where the turns of the model begin."""
    return [at for at, message in enumerate(messages) if message.role == "assistant"]


def split(messages: Sequence[Message], turns: int) -> tuple[list[Message], list[Message]]:
    """Return the messages before the last `turns` turns of the model, and those turns with what follows each."""
    begins = turns_of(messages)
    at = begins[max(0, len(begins) - turns)] if begins and turns else len(messages)
    return list(messages[:at]), list(messages[at:])


def unbound(messages: Iterable[Message]) -> list[Message]:
    """Return the messages in their neutral form, without reasoning; one that held nothing else is left out."""
    found: list[Message] = []
    for message in messages:
        kept = tuple(part for part in message.parts if not isinstance(part, Reasoning))
        if kept:
            found.append(message.model_copy(update={"parts": kept, "native": None}))
    return found


def is_lesson(result: ToolResult) -> bool:
    """Tell whether a result taught a skill, with the tools it revealed and the ticket for them."""
    return not result.is_error and (bool(result.reveals) or result.name.startswith(LESSON))


def lessons(messages: Iterable[Message], beside: Iterable[Message] = ()) -> list[Message]:
    """Return the lessons of `messages` as one turn and its answers, each skill once; those in `beside` are left out."""
    there = {result.text for result in _results(beside)}
    learned: dict[str, ToolResult] = {}
    for result in _results(messages):
        if is_lesson(result) and result.text not in there:
            learned.setdefault(result.text, result)
    if not learned:
        return []
    named = [one.model_copy(update={"call_id": f"lesson_{at}"}) for at, one in enumerate(learned.values(), start=1)]
    calls = tuple(ToolCall(id=one.call_id, name=one.name) for one in named)
    return [Message(role="assistant", parts=calls), Message(role="tool", parts=tuple(named))]


def masked(messages: Sequence[Message], protected: int, tokens: Tokens, where: Where) -> list[Message]:
    """Return the messages with a line in the place of each long result, but for the newest `protected` tokens of them.

    The newest result of all stays in any case, as much of it as fits.
    """
    left, newest, found = protected, True, list[Message]()
    for message in reversed(messages):
        parts: list[Part] = []
        for part in reversed(message.parts):
            if isinstance(part, ToolResult) and not is_lesson(part):
                size = tokens(part.text)
                if size <= left:
                    left -= size
                elif len(part.text) > STUB_CHARS:
                    part = _shortened(part, left / max(1, size), where) if newest else _stub(part, where)
                    left = 0
                newest = False
            parts.insert(0, part)
        found.insert(0, message.model_copy(update={"parts": tuple(parts)}))
    return found


def _stub(part: ToolResult, where: Where) -> ToolResult:
    begun = " ".join(part.text[:SHOWN_CHARS].split())
    text = f"[{len(part.text)} characters were removed to make room; they began: {begun} … {_whole(part, where)}]"
    return part.model_copy(update={"text": text})


def _shortened(part: ToolResult, share: float, where: Where) -> ToolResult:
    kept = max(STUB_CHARS, int(len(part.text) * share))
    text = f"{part.text[:kept]}\n[… {len(part.text) - kept} more characters. {_whole(part, where)}]"
    return part.model_copy(update={"text": text})


def _whole(part: ToolResult, where: Where) -> str:
    """Return where the whole result lies: an artifact that its own text names, else the record of the run."""
    named = _WHOLE.search(part.text)
    return f"The whole is at {named.group()}" if named else where(part)


def told(messages: Iterable[Message]) -> str:
    """Return messages as one text for a model that sums them up; long calls and results are cut."""
    lines: list[str] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text) and part.text.strip():
                lines.append(f"## {message.role}\n{part.text.strip()}")
            elif isinstance(part, ToolCall):
                given = part.malformed if part.malformed is not None else canonical_json(part.arguments)
                lines.append(f"## call of {part.name}\n{_cut(given, MAX_ARGUMENTS)}")
            elif isinstance(part, ToolResult):
                kept = SHOWN_CHARS if is_lesson(part) else MAX_RESULT
                lines.append(f"## {'error' if part.is_error else 'result'} of {part.name}\n{_cut(part.text, kept)}")
    return "\n\n".join(lines)


def retold(
    summary: str | None, said: Sequence[str], plan: Sequence[str], attached: Sequence[Media] = ()
) -> Message | None:
    """Return what is told again behind a checkpoint; None where there is nothing to tell.

    A summary is information: it was made from documents and results as well. What people said is told in their words,
    with the pictures and files that they `attached`.
    """
    parts: list[Part] = []
    if summary:
        parts += [Text(text=f"{TOLD_AGAIN}\n\nWhat happened so far:\n"), Text(text=summary, data=True)]
    words = _latest(said)
    if words:
        parts.append(Text(text="\n\nWhat people have said to you since the task began, oldest first:\n" + words))
    if plan:
        parts.append(Text(text="\n\nYour plan as you left it:\n" + "\n".join(f"- {step}" for step in plan)))
    parts += attached
    return Message(role="user", parts=tuple(parts), breakpoint=True) if parts else None


def _latest(said: Sequence[str]) -> str:
    kept: list[str] = []
    left = MAX_SAID
    for text in reversed(said):
        kept.insert(0, f"- {_cut(text, left)}")
        left -= len(text)
        if left <= 0:
            break
    return "\n".join(kept)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4]} … ({len(text) - most} characters left out) … {text[len(text) - most // 4 :]}"


def _results(messages: Iterable[Message]) -> Iterable[ToolResult]:
    return (part for message in messages for part in message.parts if isinstance(part, ToolResult))
