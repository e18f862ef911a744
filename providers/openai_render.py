"""How a neutral request is written as an OpenAI Responses body (renderer 1).

Source: the request types of the `openai` SDK 3.54. The provider keeps nothing (`store` is false): every turn sends
the whole input, with the provider's own earlier items verbatim, `phase` and encrypted reasoning included.
"""

import json
from collections.abc import Awaitable, Callable
from itertools import takewhile
from typing import Any, cast

from pydantic import JsonValue

from engine.transcript import Media, Message, ModelRequest, Native, Text, ToolCall, ToolResult, ToolSpec
from providers.base import LoadMedia
from providers.cache import Outgoing
from providers.wire import ToolNames, as_object, call_ids, media_base64, own_blocks, shown, unreadable

PROVIDER = "openai"
API = "responses"
MIN_OUTPUT_TOKENS = 16
WRITTEN_HERE = ("model", "input", "instructions", "tools", "tool_choice", "max_output_tokens", "stream", "store")
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_NOT_STRICT = {"oneOf", "allOf", "not", "if", "patternProperties", "dependentRequired", "dependentSchemas"}

Item = dict[str, Any]


async def render(
    request: ModelRequest, names: ToolNames, load_media: LoadMedia | None, before: Native | None
) -> dict[str, Any]:
    """Return the body of one streamed Responses request; `before` is this wire's own last turn.

    A route that sets `prompt_cache_options`, if only to `{}`, has a model with explicit breakpoints and diagnostics:
    stable prefixes end in a breakpoint then, and the last response is named for comparison.
    """
    options: dict[str, Any] = dict(request.route.options)
    body: dict[str, Any] = {
        "model": request.route.model,
        "input": await _input(request, names, load_media),
        "max_output_tokens": max(MIN_OUTPUT_TOKENS, request.max_output_tokens),
        "store": False,
        "stream": True,
    }
    tools = [tool for tool in request.tools if not tool.deferred]
    if tools or any(tool.deferred for tool in request.tools):
        body["tools"] = [function_tool(tool, names) for tool in tools]
        body["tool_choice"] = request.tool_choice
        body["parallel_tool_calls"] = options.pop("parallel_tool_calls", True)
    if request.cache_key is not None:
        body["prompt_cache_key"] = request.cache_key
    if "effort" in options:
        options["reasoning"] = {**options.get("reasoning", {}), "effort": options.pop("effort")}
    if marks_prefixes(request) and before is not None and before.reply_id is not None:
        options["prompt_cache_options"] = {
            "comparison_response_id": before.reply_id,
            **options["prompt_cache_options"],
        }
    text: dict[str, Any] = options.pop("text", {})
    if request.output_schema is not None:
        text = {**text, "format": _format(request.output_schema)}
    if text:
        body["text"] = text
    return {**options, **body}


Render = Callable[[ModelRequest, ToolNames, LoadMedia | None, Native | None], Awaitable[dict[str, Any]]]
RENDERERS: dict[int, Render] = {1: render}
"""The renderer of each version; a run that started with one keeps it."""


def outgoing(request: ModelRequest, before: Native | None, body: dict[str, Any]) -> Outgoing:
    """Return the digests of a body for the comparison with the turn before; what the developer opens with is its
    system."""
    items: list[Item] = body["input"]
    opening = list(takewhile(_of_developer, items))
    return Outgoing.of(request, before, tools=body.get("tools"), system=opening, entries=items)


def _of_developer(item: Item) -> bool:
    return item.get("role") == "developer"


def marks_prefixes(request: ModelRequest) -> bool:
    """Tell whether the route's model takes explicit cache breakpoints; the option says so."""
    return isinstance(request.route.options.get("prompt_cache_options"), dict)


def function_tool(tool: ToolSpec, names: ToolNames) -> Item:
    """Return the declaration of one function; schemas come from everywhere, so `strict` is not claimed."""
    return {
        "type": "function",
        "name": names.to_wire(tool.name),
        "description": tool.description,
        "parameters": as_object(tool.input_schema),
        "strict": False,
    }


def can_be_strict(schema: JsonValue) -> bool:
    """Tell whether the wire's strict mode takes the schema: closed objects whose properties are all required."""
    if isinstance(schema, list):
        return all(can_be_strict(entry) for entry in schema)
    if not isinstance(schema, dict):
        return True
    if _NOT_STRICT & schema.keys():
        return False
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        named = set(properties) if isinstance(properties, dict) else set[str]()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or named != set(
            cast(list[str], required) if isinstance(required, list) else []
        ):
            return False
    return all(can_be_strict(value) for value in schema.values())


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "name": "output", "schema": schema, "strict": can_be_strict(schema)}


async def _input(request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> list[Any]:
    items: list[Any] = []
    ids = call_ids(request.messages, PROVIDER, API)
    declared = {tool.name for tool in request.tools if not tool.deferred}
    visible = set(declared)
    for message in request.messages:
        if message.role == "assistant":
            native = own_blocks(message, PROVIDER, API)
            items.extend(native if native is not None else _neutral(message, names, ids, visible - declared))
        elif message.role == "tool":
            items.extend(_answers(message, names, ids, visible))
        else:
            written = [await _content(part, load_media, request.route.model) for part in message.parts]
            content = [block for block in written if block is not None]
            role = "developer" if message.role == "system" else "user"
            if content and message.breakpoint and marks_prefixes(request):
                content[-1] = {**content[-1], "prompt_cache_breakpoint": {"mode": "explicit"}}
            if content:
                items.append({"type": "message", "role": role, "content": content})
    return items


def _neutral(message: Message, names: ToolNames, ids: dict[str, str], learned: set[str]) -> list[Item]:
    """Write another provider's turn. A tool that was declared in the conversation has a namespace of its own name,
    and the wire refuses an earlier call of it that doesn't say so."""
    items: list[Item] = []
    for part in message.parts:
        if isinstance(part, Text) and part.text:
            items.append({"type": "message", "role": "assistant", "content": part.text})
        elif isinstance(part, ToolCall):
            arguments = json.dumps(part.arguments, ensure_ascii=False) if part.malformed is None else part.malformed
            call = {
                "type": "function_call",
                "call_id": ids.get(part.id, part.id),
                "name": names.to_wire(part.name),
                "arguments": arguments,
            }
            items.append({**call, "namespace": names.to_wire(part.name)} if part.name in learned else call)
    return items


def _answers(message: Message, names: ToolNames, ids: dict[str, str], visible: set[str]) -> list[Item]:
    """Write the results, and after them the tools they reveal; each tool is declared once in the conversation."""
    items: list[Item] = []
    learned: list[Item] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            continue
        text = f"Error: {part.text}" if part.is_error else part.text
        items.append({"type": "function_call_output", "call_id": ids.get(part.call_id, part.call_id), "output": text})
        for tool in part.reveals:
            if tool.name not in visible:
                visible.add(tool.name)
                learned.append(function_tool(tool, names))
    if learned:
        items.append({"type": "additional_tools", "role": "developer", "tools": learned})
    return items


async def _content(part: Any, load_media: LoadMedia | None, model: str) -> Item | None:
    if isinstance(part, Text) and part.text:
        return {"type": "input_text", "text": shown(part)}
    if not isinstance(part, Media):
        return None
    if part.mime in IMAGES:
        data = await media_base64(part, load_media, PROVIDER, model)
        return {"type": "input_image", "detail": "auto", "image_url": f"data:{part.mime};base64,{data}"}
    if part.mime == "application/pdf":
        data = await media_base64(part, load_media, PROVIDER, model)
        return {
            "type": "input_file",
            "filename": part.name or "document.pdf",
            "file_data": f"data:{part.mime};base64,{data}",
        }
    return {"type": "input_text", "text": unreadable(part)}
