"""How a neutral request is written as a Chat Completions body (renderer 1).

Source: the request types of the `openai` SDK 3.54 and the vendors' own references. What was sent before is written
again with the same bytes: instructions that depend on nothing but the request's constants stand at its beginning.
"""

import json
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, cast

from engine.transcript import Media, Message, ModelRequest, Part, Text, ToolCall, ToolResult
from engine.values import digest
from providers.base import LoadMedia
from providers.chat_tools import ChatTools
from providers.chat_vendors import Vendor
from providers.openai_render import IMAGES, can_be_strict
from providers.wire import media_base64, own_blocks, parse_arguments, shown, unreadable

API = "chat"
WRITTEN_HERE = (
    "model",
    "messages",
    "tools",
    "tool_choice",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
)
AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
REASONING = ("reasoning_content", "reasoning", "reasoning_details")
"""The fields in which vendors keep the reasoning of an assistant's message."""

REMEMBERED_CHARS = 2_000
"""Arguments up to this length are parsed once and not again at every later turn."""

_SENT_BACK = ("role", "content", "refusal", "tool_calls")
_BRIDGE = {"role": "assistant", "content": "I have read the results."}

Json = dict[str, Any]


async def render(
    request: ModelRequest, vendor: Vendor, tools: ChatTools, load_media: LoadMedia | None
) -> dict[str, Any]:
    """Return the body of one streamed request, as `vendor` takes it."""
    options: Json = dict(request.route.options)
    body: Json = {
        "model": request.route.model,
        "messages": await _Writer(request, vendor, tools, load_media).messages(),
        vendor.max_tokens: request.max_output_tokens,
        "stream": True,
    }
    declared = tools.declarations()
    if declared:
        body["tools"] = declared
        body["tool_choice"] = vendor.required if request.tool_choice == "required" else request.tool_choice
    if vendor.parallel and declared:
        body["parallel_tool_calls"] = options.pop("parallel_tool_calls", True)
    if vendor.asks_usage:
        body["stream_options"] = {"include_usage": True}
    if vendor.cache_key and request.cache_key is not None:
        body["prompt_cache_key"] = request.cache_key
    if "effort" in options:
        effort = options.pop("effort")
        given = options.get("reasoning")
        reasoning: Json = {**cast(Json, given if isinstance(given, dict) else {}), "effort": effort}
        options.update({"reasoning": reasoning} if vendor.effort == "reasoning" else {"reasoning_effort": effort})
    if request.output_schema is not None and _binds(request, vendor, bool(declared)):
        body["response_format"] = _format(request.output_schema, vendor)
    return {**options, **body}


Render = Callable[[ModelRequest, Vendor, ChatTools, LoadMedia | None], Awaitable[dict[str, Any]]]
RENDERERS: dict[int, Render] = {1: render}
"""The renderer of each version; a run that started with one keeps it."""


def _binds(request: ModelRequest, vendor: Vendor, with_tools: bool) -> bool:
    """Tell whether the vendor can bind this answer to JSON."""
    return vendor.structured != "none" and (vendor.structured_with_tools or not with_tools)


def _format(schema: Json, vendor: Vendor) -> Json:
    if vendor.structured == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema, "strict": can_be_strict(cast(Any, schema))},
    }


def _told(schema: Json) -> str:
    """Return the instruction that stands for a bound answer."""
    return (
        "When you give your final answer, give one JSON value that fits this JSON Schema, and nothing else: no words "
        f"before or after it and no code fence.\n{json.dumps(schema, ensure_ascii=False, sort_keys=True)}"
    )


class _Writer:
    """Writes the messages of one request."""

    def __init__(self, request: ModelRequest, vendor: Vendor, tools: ChatTools, load_media: LoadMedia | None) -> None:
        self._request = request
        self._vendor = vendor
        self._tools = tools
        self._load_media = load_media
        self._ids = _foreign_ids(request, vendor)

    async def messages(self) -> list[Any]:
        """Return them in order; the instructions at the beginning are one message."""
        rest = list(self._request.messages)
        opening: list[str] = []
        while rest and rest[0].role == "system":
            opening.append(_joined(rest.pop(0)))
        schema = self._request.output_schema
        with_tools = bool(self._tools.declarations())
        bound = self._vendor.structured == "json_schema" and _binds(self._request, self._vendor, with_tools)
        if schema is not None and not bound:
            opening.append(_told(schema))
        text = "\n\n".join(part for part in opening if part)
        written: list[Any] = [{"role": self._vendor.system, "content": text}] if text else []
        for message in rest:
            for one in await self._written(message):
                if self._vendor.bridge and written and written[-1]["role"] == "tool" and one["role"] == "user":
                    written.append(_BRIDGE)
                written.append(one)
        return written

    async def _written(self, message: Message) -> list[Json]:
        if message.role == "assistant":
            own = own_blocks(message, self._vendor.name, API)
            said = [self._own(cast(Json, block)) for block in own] if own is not None else [self._neutral(message)]
            return [one for one in said if one.get("content") or one.get("tool_calls") or one.get("refusal")]
        if message.role == "tool":
            return [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
        if message.role == "system" and self._vendor.later_system:
            text = _joined(message)
            return [{"role": self._vendor.system, "content": text}] if text else []
        content = await self._user_content(message)
        return [{"role": "user", "content": content}] if content else []

    def _own(self, block: Json) -> Json:
        """Return a turn of this vendor's own as it was, with its reasoning if the vendor wants that back."""
        kept = (*_SENT_BACK, *REASONING) if self._vendor.replay_reasoning else _SENT_BACK
        said = {name: value for name, value in block.items() if name in kept}
        if not self._vendor.replay_reasoning and isinstance(said.get("content"), list):
            said["content"] = [chunk for chunk in said["content"] if chunk.get("type") != "thinking"]
        if self._vendor.json_arguments and said.get("tool_calls"):
            said["tool_calls"] = [_with_json(call) for call in said["tool_calls"]]
        return said

    def _neutral(self, message: Message) -> Json:
        text = "".join(part.text for part in message.parts if isinstance(part, Text))
        calls = [self._call(part) for part in message.parts if isinstance(part, ToolCall)]
        said: Json = {"role": "assistant", "content": text or None}
        return {**said, "tool_calls": calls} if calls else said

    def _call(self, part: ToolCall) -> Json:
        name, arguments = self._tools.to_wire(part)
        call = {
            "id": self._ids.get(part.id, part.id),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        return _with_json(call) if self._vendor.json_arguments else call

    def _result(self, part: ToolResult) -> Json:
        text = f"Error: {part.text}" if part.is_error else part.text
        return {"role": "tool", "tool_call_id": self._ids.get(part.call_id, part.call_id), "content": text}

    async def _user_content(self, message: Message) -> Any:
        if not any(isinstance(part, Media) for part in message.parts):
            text = _joined(message)
            return f"<operator>\n{text}\n</operator>" if message.role == "system" and text else text
        return [block for part in message.parts if (block := await self._block(part)) is not None]

    async def _block(self, part: Part) -> Json | None:
        vendor = self._vendor
        if isinstance(part, Text) and part.text:
            return {"type": "text", "text": shown(part)}
        if not isinstance(part, Media):
            return None
        data = None
        if (
            (vendor.images and part.mime in IMAGES)
            or (vendor.documents and part.mime == "application/pdf")
            or (vendor.audio and part.mime in AUDIO)
        ):
            data = await media_base64(part, self._load_media, vendor.name, self._request.route.model)
        if data is None:
            return {"type": "text", "text": unreadable(part)}
        if part.mime in IMAGES:
            return {"type": "image_url", "image_url": {"url": f"data:{part.mime};base64,{data}"}}
        if part.mime in AUDIO:
            return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO[part.mime]}}
        named = part.name or "document.pdf"
        return {"type": "file", "file": {"filename": named, "file_data": f"data:{part.mime};base64,{data}"}}


def _joined(message: Message) -> str:
    return "\n\n".join(shown(part) for part in message.parts if isinstance(part, Text) and part.text)


def _with_json(call: Json) -> Json:
    """Return the call with arguments that parse: a text that does not is carried inside an object."""
    text = call["function"]["arguments"]
    if _remembered(text) if len(text) <= REMEMBERED_CHARS else _parses(text):
        return call
    given = json.dumps({"INVALID_JSON": text}, ensure_ascii=False) if text.strip() else "{}"
    return {**call, "function": {**call["function"], "arguments": given}}


def _parses(text: str) -> bool:
    return bool(text.strip()) and parse_arguments(text) is not None


_remembered = lru_cache(1_024)(_parses)


def _foreign_ids(request: ModelRequest, vendor: Vendor) -> dict[str, str]:
    """Return other ids for those of foreign calls that the vendor would not take; all others stay as they are."""
    foreign = (message for message in request.messages if own_blocks(message, vendor.name, API) is None)
    ids = (call.id for message in foreign for call in message.tool_calls)
    return {call_id: fitting_id(call_id, vendor) for call_id in ids if not re.fullmatch(vendor.call_id, call_id)}


def fitting_id(seed: str, vendor: Vendor) -> str:
    """Return an id in the form that the vendor takes, the same for the same seed."""
    long = f"call_{digest(seed)[:24]}"
    return long if re.fullmatch(vendor.call_id, long) else digest(seed)[:9]
