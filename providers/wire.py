"""What every wire needs and no SDK is needed for: strict JSON, tool names, call pairing, how a reply settles."""

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NoReturn, TypeVar, cast

from pydantic import JsonValue

from engine.remembered import Folded
from engine.transcript import (
    Finish,
    FinishKind,
    Media,
    Message,
    ModelRequest,
    Part,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from engine.values import digest
from providers.base import LoadMedia
from providers.errors import InvalidRequest

RENDERER = 1
"""The version of the bytes that the wires write for a new run; a run keeps the version it started with."""

RENDERERS = frozenset({1})
"""Every version that can still be written: each wire has a table with a renderer for each of them."""

COMPACTING = frozenset({"anthropic", "openai"})
"""The providers that make a transcript smaller in a way of their own (`ModelRequest.compact`)."""

V = TypeVar("V")

_WIRE_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` makes a decoder for each call that names an option, and a stream has an event for each token.
_STRICT = json.JSONDecoder(parse_constant=_no_constant)


def strict_json(text: str) -> JsonValue:
    """Parse JSON by its grammar: no NaN, no Infinity, nothing before or after; `ValueError` otherwise."""
    try:
        return cast(JsonValue, _STRICT.decode(text))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def encoded(body: dict[str, Any]) -> bytes:
    """Return the body of a request as JSON in UTF-8; `ValueError` for what JSON has no word for."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def parse_arguments(text: str) -> dict[str, JsonValue] | None:
    """Return the arguments of a tool call, or None if `text` is not one JSON object; no text means no arguments.

    An escaped half of a character makes them malformed as well: no store and no wire could carry it on.
    """
    if not text.strip():
        return {}
    try:
        value = strict_json(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class ToolNames:
    """The names of tools as wires accept them, and back: letters, digits, `_` and `-`; a dot is written `__`."""

    def __init__(self, tools: Iterable[ToolSpec], who: str, model: str) -> None:
        self._back: dict[str, str] = {}
        for tool in tools:
            wire = self.to_wire(tool.name)
            if self._back.setdefault(wire, tool.name) != tool.name:
                raise InvalidRequest(
                    f"The tools {self._back[wire]!r} and {tool.name!r} have the same name {wire!r} on this wire.",
                    provider=who,
                    model=model,
                )

    def to_wire(self, name: str) -> str:
        """Return `name` as the wire accepts it; the same name always gives the same text."""
        return name if _WIRE_NAME.fullmatch(name) else re.sub(r"[^a-zA-Z0-9_-]", "_", name.replace(".", "__"))[:64]

    def from_wire(self, name: str) -> str:
        """Return the tool's own name; a name nobody offered stays as the model wrote it."""
        return self._back.get(name, name)


def revealed_tools(messages: Sequence[Message]) -> list[ToolSpec]:
    """Return the tools that answers in `messages` have revealed, each once, in order."""
    return list(_revealed(tuple(messages), None).values())


def _reveal(found: dict[str, ToolSpec], messages: Sequence[Message], _: None) -> dict[str, ToolSpec]:
    found = dict(found)
    for part in (part for message in messages for part in message.parts if isinstance(part, ToolResult)):
        for tool in part.reveals:
            found.setdefault(tool.name, tool)
    return found


_revealed = Folded(lambda _: dict[str, ToolSpec](), _reveal)


def check_request(request: ModelRequest, who: str, own_options: Iterable[str]) -> None:
    """Raise `InvalidRequest` for what every provider would refuse: an unknown renderer, a wire field set as an
    option, a call without its one answer, compaction where the wire has none."""
    model = request.route.model
    if request.compact and who not in COMPACTING:
        raise InvalidRequest(f"{who} has no compaction of its own.", provider=who, model=model)
    if request.renderer not in RENDERERS:
        known = ", ".join(map(str, sorted(RENDERERS)))
        raise InvalidRequest(
            f"This version writes requests with the renderers {known}; the run asks for {request.renderer}.",
            provider=who,
            model=model,
        )
    clash = sorted(set(request.route.options) & set(own_options))
    if clash:
        raise InvalidRequest(
            f"The options {', '.join(clash)} of the route are written by the adapter itself.", provider=who, model=model
        )
    problem = unpaired_call(request.messages)
    if problem:
        raise InvalidRequest(problem, provider=who, model=model)


def unpaired_call(messages: Sequence[Message]) -> str | None:
    """Say which call lacks its one answer before the model's next turn, or which answer has no open call."""
    problem, unanswered = _paired(tuple(messages), None)
    return problem or _unanswered(unanswered)


_Pairs = tuple[str | None, dict[str, str]]
"""What is wrong with a transcript, and the names of the calls at its end that wait for their answers, by id."""


def _pair(before: _Pairs, messages: Sequence[Message], _: None) -> _Pairs:
    problem, unanswered = before[0], dict(before[1])
    for message in messages if problem is None else ():
        if message.role == "tool":
            for part in message.parts:
                if isinstance(part, ToolResult) and unanswered.pop(part.call_id, None) is None:
                    said = f"The answer to call {part.call_id!r} of {part.name} has no open call, or is the second one."
                    return said, {}
        elif unanswered:
            return _unanswered(unanswered), {}
        unanswered.update((call.id, call.name) for call in message.tool_calls)
    return problem, unanswered


def _unanswered(calls: dict[str, str]) -> str | None:
    for call_id, name in calls.items():
        return f"Call {call_id!r} of {name} has no answer; each call is answered once before the next turn."
    return None


_NOTHING: _Pairs = (None, {})
_paired = Folded(lambda _: _NOTHING, _pair)


def own_blocks(message: Message, provider: str, api: str) -> tuple[JsonValue, ...] | None:
    """Return the verbatim blocks of a turn that this wire made itself, or None."""
    native = message.native
    return native.blocks if native and native.provider == provider and native.api == api else None


def call_ids(messages: Iterable[Message], provider: str, api: str) -> dict[str, str]:
    """Return other ids for those of foreign calls that a wire would not accept; all others stay as they are."""
    foreign = (message for message in messages if own_blocks(message, provider, api) is None)
    ids = (call.id for message in foreign for call in message.tool_calls)
    return {call_id: f"call_{digest(call_id)[:24]}" for call_id in ids if not _WIRE_NAME.fullmatch(call_id)}


def shown(part: Text) -> str:
    """Return the text as the model reads it; data stands between tags that the data itself can't close."""
    if not part.data:
        return part.text
    return "<data>\n" + part.text.replace("</data>", "<\\/data>") + "\n</data>"


async def media_base64(part: Media, load_media: LoadMedia | None, who: str, model: str) -> str:
    """Return the blob in base64; `InvalidRequest` if nothing here can load blobs."""
    if load_media is None:
        raise InvalidRequest(
            f"The request holds the attachment {part.name or part.ref}, and this provider was made without a loader.",
            provider=who,
            model=model,
        )
    return base64.b64encode(await load_media(part.ref)).decode()


def unreadable(part: Media) -> str:
    """Return the sentence that stands for an attachment whose kind the wire can't carry."""
    return f"[The attachment {part.name or part.ref} ({part.mime}) can't be shown to this model; read it with a tool.]"


def settle(parts: Sequence[Part], finish: FinishKind, raw: str) -> tuple[tuple[Part, ...], Finish]:
    """Make parts and finish agree: calls under a plain end are calls to make; a call at a cut end is not one.

    The last call of an output that was cut may be half of one even if it parses, so it is marked `malformed`.
    """
    settled = list(parts)
    has_calls = any(isinstance(part, ToolCall) for part in settled)
    if has_calls and finish == "done":
        finish = "tool_calls"
    elif not has_calls and finish == "tool_calls":
        finish = "malformed"
    elif settled and finish not in ("tool_calls", "paused"):
        last = settled[-1]
        if isinstance(last, ToolCall) and last.malformed is None:
            text = json.dumps(last.arguments)
            settled[-1] = last.model_copy(update={"arguments": {}, "malformed": text})
    return tuple(settled), Finish(unified=finish, raw=raw)


def parsed_output(request: ModelRequest, parts: Sequence[Part], finish: Finish) -> JsonValue:
    """Return the answer as JSON if the request asks for a schema and the answer is whole JSON, else None."""
    if request.output_schema is None or finish.unified != "done":
        return None
    try:
        return strict_json("".join(part.text for part in parts if isinstance(part, Text)))
    except ValueError:
        return None


def as_object(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's input schema with the object type that wires insist on."""
    return schema if schema.get("type") == "object" else {"type": "object", **schema}


class Recent(Generic[V]):
    """A small memory of the latest entries, oldest forgotten first."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._entries: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        """Return the entry or None."""
        return self._entries.get(key)

    def put(self, key: str, value: V) -> None:
        """Remember the entry as the latest."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
