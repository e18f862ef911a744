"""How an answer of Chat Completions is put together: the message out of its deltas, and the usage in one shape."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import JsonValue

from engine.transcript import Delta, FinishKind, ModelRequest, Part, Reasoning, Text, ToolCall, Usage
from providers.chat_render import REASONING, fitting_id
from providers.chat_tools import ChatTools
from providers.chat_vendors import Vendor
from providers.tokens import TokenEstimator, text_tokens
from providers.wire import strict_json

FINISHES: dict[str, FinishKind] = {
    "stop": "done",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
"""`finish_reason` → the unified finish; the vendor's row has its own words, and any other finishes as `error`."""

INTERRUPTED = "insufficient_system_resource"
"""DeepSeek's word for an answer that it gave up half way for lack of capacity."""

_KNOWN = frozenset(("role", "content", "refusal", "tool_calls", "function_call", *REASONING))
"""The fields of a delta that have a meaning here; any other is kept as it came."""

Json = dict[str, Any]


@dataclass
class _Call:
    """One call under way; `other` holds what the vendor adds to it, such as a signature."""

    id: str
    name: str
    arguments: str = ""
    other: Json = field(default_factory=dict[str, Any])


class Assembly:
    """One assistant's message, built from the deltas of its stream."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._chunks: list[Json] = []
        self._listed = False
        self._texts: dict[str, str] = {}
        self._details: list[Json] = []
        self._other: Json = {}
        self._calls: list[_Call] = []
        self._at: dict[int, int] = {}

    def take(self, delta: Json) -> Iterator[Delta]:
        """Take one delta and yield the live pieces in it; a wrong field raises KeyError, TypeError or ValueError."""
        yield from self._reasoning(delta)
        yield from self._content(delta.get("content"))
        if delta.get("refusal"):
            self._texts["refusal"] = self._texts.get("refusal", "") + delta["refusal"]
            yield Delta(kind="text", text=delta["refusal"])
        for piece in cast(Iterable[Json], delta.get("tool_calls") or ()):
            yield self._call(piece)
        for name, value in delta.items():
            if name not in _KNOWN and value is not None:
                self._other[name] = value

    def _reasoning(self, delta: Json) -> Iterator[Delta]:
        shown = False
        for name in ("reasoning_content", "reasoning"):
            if delta.get(name):
                self._texts[name] = self._texts.get(name, "") + delta[name]
                if not shown:
                    yield Delta(kind="reasoning", text=delta[name])
                shown = True
        for detail in cast(Iterable[Json], delta.get("reasoning_details") or ()):
            self._detail(detail)
            text = detail.get("text") or detail.get("summary")
            if text and not shown:
                yield Delta(kind="reasoning", text=text)

    def _detail(self, detail: Json) -> None:
        """Join a piece of structured reasoning to the piece before it, where both are of one block."""
        last = self._details[-1] if self._details else None
        if last is None or any(last.get(name) != detail.get(name) for name in ("type", "index")):
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            joined = name in ("text", "summary", "data") and isinstance(last.get(name), str)
            if value is not None:
                last[name] = last[name] + value if joined else value

    def _content(self, content: str | list[Json] | None) -> Iterator[Delta]:
        if not content:
            return
        last = self._chunks[-1] if self._chunks else None
        if isinstance(content, str) and last is not None and last["type"] == "text":
            # Nearly every token comes like this.
            yield Delta(kind="text", text=content)
            last["text"] += content
            return
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        else:
            self._listed = True
        for chunk in content:
            for kind, text in _said(chunk):
                yield Delta(kind="reasoning" if kind == "thinking" else "text", text=text)
            last = self._chunks[-1] if self._chunks else None
            if last is None or last["type"] != chunk["type"] or chunk["type"] not in ("text", "thinking"):
                self._chunks.append(dict(chunk))
            elif chunk["type"] == "text":
                last["text"] += chunk["text"]
            else:
                joined = "".join(text for _, text in (*_said(last), *_said(chunk)))
                last.update({**chunk, "thinking": [{"type": "text", "text": joined}]})

    def _call(self, piece: Json) -> Delta:
        """Take a piece of a call. Another id at the same place begins another call: some servers count badly."""
        function: Json = piece.get("function") or {}
        index = piece.get("index")
        call_id, name = piece.get("id") or "", function.get("name") or ""
        place = self._at.get(index) if isinstance(index, int) else (len(self._calls) - 1 if not name else None)
        known = self._calls[place] if place is not None and place >= 0 else None
        if known is None or (name and call_id and known.id != call_id):
            if not name:
                raise KeyError("a tool call begins without its name")
            known = _Call(id=call_id, name=name)
            self._at[index if isinstance(index, int) else len(self._calls)] = len(self._calls)
            self._calls.append(known)
        elif name not in ("", known.name):
            raise ValueError(f"a tool call changes its name from {known.name!r} to {name!r}")
        given = function.get("arguments")
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given is not None else ""
        known.arguments += text
        known.other.update({key: value for key, value in piece.items() if key not in ("index", "id", "function")})
        return Delta(kind="tool", text=text, call_id=known.id or None)

    def block(self, reply_id: str) -> Json:
        """Return the whole message as the vendor would have sent it at once; calls without an id of their own, or
        with that of another, are given one."""
        content: Any = self._chunks if self._listed else "".join(chunk["text"] for chunk in self._chunks)
        said: Json = {"role": "assistant", "content": content or None, **self._other, **self._texts}
        if self._details:
            said["reasoning_details"] = self._details
        seen: set[str] = set()
        for index, call in enumerate(self._calls):
            if not call.id or call.id in seen:
                call.id = fitting_id(f"{reply_id}/{index}", self._vendor)
            seen.add(call.id)
        if self._calls:
            said["tool_calls"] = [
                {"id": call.id, "type": "function", **call.other, "function": _function(call)} for call in self._calls
            ]
        return said

    def parts(self, tools: ChatTools) -> list[Part]:
        """Return the message in its neutral form, after `block` has settled the ids."""
        thoughts = self._texts.get("reasoning_content") or self._texts.get("reasoning") or ""
        thoughts = thoughts or "".join(str(one.get("text") or one.get("summary") or "") for one in self._details)
        said = [pair for chunk in self._chunks for pair in _said(chunk)]
        thoughts += "".join(text for kind, text in said if kind == "thinking")
        text = "".join(text for kind, text in said if kind == "text") + self._texts.get("refusal", "")
        calls: list[ToolCall] = [tools.call(call.id, call.name, call.arguments) for call in self._calls]
        return [
            *([Reasoning(text=thoughts)] if thoughts else []),
            *([Text(text=text)] if text else []),
            *calls,
        ]

    @property
    def refused(self) -> bool:
        """Whether the model declined."""
        return bool(self._texts.get("refusal"))

    @property
    def size(self) -> int:
        """The estimated tokens of everything that was said."""
        calls = [call.name + call.arguments for call in self._calls]
        said = [text for chunk in self._chunks for _, text in _said(chunk)]
        return sum(map(text_tokens, (*self._texts.values(), *said, *calls)))


def _function(call: _Call) -> Json:
    return {"name": call.name, "arguments": call.arguments}


def _said(chunk: Json) -> list[tuple[str, str]]:
    """Return what a piece of the content says, as pairs of kind and text."""
    if chunk["type"] == "thinking":
        inner: Any = chunk["thinking"]
        return [("thinking", inner if isinstance(inner, str) else "".join(one.get("text", "") for one in inner))]
    return [("text", chunk["text"])] if chunk["type"] == "text" else []


def read_usage(raw: Json | None, request: ModelRequest, said: int) -> Usage:
    """Return the unified usage; this wire's `prompt_tokens` includes what caches gave and were given.

    A vendor that counts reasoning outside `completion_tokens` shows it in the total. Where nothing was reported the
    counts are estimates, `said` being that of the output, and `raw` is `{"estimated": true}`.
    """
    if not raw or not isinstance(raw.get("prompt_tokens"), int):
        tokens = TokenEstimator().estimate(request)
        return Usage(input_total=tokens, input_uncached=tokens, output_total=said, raw={"estimated": True})
    inside: Json = raw.get("prompt_tokens_details") or {}
    outside: Json = raw.get("completion_tokens_details") or {}
    total, completion = int(raw["prompt_tokens"]), int(raw.get("completion_tokens") or 0)
    read = _first(inside.get("cached_tokens"), raw.get("prompt_cache_hit_tokens"), raw.get("cached_tokens"))
    written = _first(inside.get("cache_write_tokens"))
    reasoning = _first(outside.get("reasoning_tokens"))
    everything = int(raw.get("total_tokens") or 0)
    return Usage(
        input_total=total,
        input_uncached=max(0, total - read - written),
        cache_read=read,
        cache_write_short=written,
        output_total=completion + reasoning if everything == total + completion + reasoning else completion,
        reasoning=reasoning,
        raw=cast(dict[str, JsonValue], raw),
    )


def _first(*counts: Any) -> int:
    return next((int(count) for count in counts if count), 0)


_WORDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_required",
    403: "permission_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    503: "overloaded",
    529: "overloaded",
}
"""What the bare numbers mean that some vendors give as the code of an error inside a stream."""


def error_fields(body: Any) -> Json:
    """Return message, code and type out of any of the forms in which vendors put an error."""
    if isinstance(body, bytes):
        try:
            body = strict_json(body.decode("utf-8", errors="replace"))
        except ValueError:
            body = {}
    fields: Json = cast(Json, body) if isinstance(body, dict) else {"message": body} if body else {}
    inner = fields.get("error")
    if isinstance(inner, dict):
        fields = cast(Json, inner)
    elif isinstance(inner, str):
        fields = {**fields, "message": inner}
    told = fields.get("message") or fields.get("detail") or fields.get("details")
    code = fields.get("code")
    if isinstance(code, int):
        code = _WORDS.get(code, "server_error" if code >= 500 else None)
    text = told if isinstance(told, str) or told is None else json.dumps(told, ensure_ascii=False)
    return {"message": text, "code": code, "type": fields.get("type")}
