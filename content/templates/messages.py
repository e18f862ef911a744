"""From rendered pieces to messages: roles begin messages, media and sections are parts, history finds its place.

The rules are those of Dotprompt, on marks instead of on text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from content.templates.pieces import HistoryMark, MediaMark, Piece, RoleMark, SectionMark, UnstableMark
from content.templates.scanner import SPACE

Message = dict[str, Any]
"""`{role, content: [{text} | {media: {url, contentType?}} | {metadata}], metadata?}`: JSON."""


class Assembled(NamedTuple):
    """The messages, and how far they are the same for all parameters: whole messages, and characters of text."""

    messages: list[Message]
    stable_messages: int
    stable_characters: int


@dataclass(slots=True)
class _Words:
    """Text between two marks; `stable` is how much of its beginning doesn't depend on anything passed."""

    text: list[str] = field(default_factory=list[str])
    stable: int = 0


@dataclass(slots=True)
class _Draft:
    """A message that is being put together; `whole` when it ended before anything depended on parameters."""

    role: str
    parts: list[_Words | MediaMark | SectionMark] = field(default_factory=list[_Words | MediaMark | SectionMark])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    whole: bool = False
    ready: Message | None = None

    def blank(self) -> bool:
        """Whether nothing but white space has come yet."""
        return all(isinstance(part, _Words) and not "".join(part.text).strip(SPACE) for part in self.parts)

    def message(self) -> tuple[Message, int]:
        """Return the message, without parts of white space only, and how many of its characters are stable."""
        content: list[dict[str, Any]] = []
        stable = 0
        for part in self.parts:
            if isinstance(part, MediaMark):
                kind = {"contentType": part.content_type} if part.content_type else {}
                content.append({"media": {"url": part.url, **kind}})
            elif isinstance(part, SectionMark):
                content.append({"metadata": {"purpose": part.name, "pending": True}})
            elif (text := "".join(part.text)).strip(SPACE):
                content.append({"text": text})
                stable += part.stable
        message: Message = {"role": self.role, "content": content}
        return ({**message, "metadata": self.metadata} if self.metadata else message), stable


def assemble(pieces: Sequence[Piece], history: Sequence[Message] | None) -> Assembled:
    """Return the messages of `pieces`.

    Text before any role is the user's. `history` stands where its mark is, with `metadata.purpose` "history"; without
    a mark before the last message if that is the user's, else at the end.
    """
    drafts = [draft for draft in _drafts(pieces, history or ()) if draft.ready is not None or not draft.blank()]
    if history is not None and not any(_purpose(draft) == "history" for draft in drafts):
        ready = [_Draft(str(message.get("role", "")), ready=dict(message)) for message in history]
        place = len(drafts) - 1 if drafts and drafts[-1].role == "user" else len(drafts)
        for draft in drafts[place:]:
            draft.whole = False
        drafts[place:place] = ready
        return _finish(drafts, place)
    return _finish(drafts, len(drafts))


def _drafts(pieces: Sequence[Piece], history: Sequence[Message]) -> list[_Draft]:
    current = _Draft("user")
    drafts = [current]
    stable = True
    for piece in pieces:
        if isinstance(piece, UnstableMark):
            stable = False
        elif isinstance(piece, RoleMark):
            if current.blank():
                current.role, current.parts = piece.name, []
            else:
                current.whole = stable
                current = _Draft(piece.name)
                drafts.append(current)
            current.metadata.update(piece.metadata or {})
        elif isinstance(piece, HistoryMark):
            current.whole = stable and not current.blank()
            stable = False
            drafts.extend(_Draft(str(item.get("role", "")), ready=_past(item)) for item in history)
            current = _Draft("model")
            drafts.append(current)
        elif isinstance(piece, MediaMark | SectionMark):
            current.parts.append(piece)
        else:
            last = current.parts[-1] if current.parts else None
            if not isinstance(last, _Words):
                last = _Words()
                current.parts.append(last)
            last.text.append(piece)
            last.stable += len(piece) if stable else 0
    current.whole = stable
    return drafts


def _finish(drafts: list[_Draft], limit: int) -> Assembled:
    """Return the messages; the stable prefix ends at the latest at draft `limit`, where a history may stand."""
    messages: list[Message] = []
    whole, characters, stable = 0, 0, True
    for index, draft in enumerate(drafts):
        if draft.ready is not None:
            messages.append(draft.ready)
            stable = False
            continue
        message, count = draft.message()
        messages.append(message)
        stable = stable and index < limit
        if stable:
            characters += count
            whole += draft.whole
            stable = draft.whole
    return Assembled(messages, whole, characters)


def _past(message: Message) -> Message:
    return {**message, "metadata": {**(message.get("metadata") or {}), "purpose": "history"}}


def _purpose(draft: _Draft) -> Any:
    metadata = draft.metadata if draft.ready is None else draft.ready.get("metadata") or {}
    return metadata.get("purpose")
