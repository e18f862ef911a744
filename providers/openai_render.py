"""How a neutral request is written as an OpenAI Responses body (renderer 1).

Source: the request types of the `openai` SDK 3.54. The provider keeps nothing (`store` is false): every turn sends
the whole input, with the provider's own earlier items verbatim, `phase` and encrypted reasoning included.
"""

import json
from typing import Any, cast

from pydantic import JsonValue

from engine.transcript import Media, Message, ModelRequest, Text, ToolCall, ToolResult, ToolSpec
from providers.base import LoadMedia
from providers.wire import ToolNames, as_object, call_ids, check_request, media_base64, own_blocks, shown, unreadable

PROVIDER = "openai"
API = "responses"
MIN_OUTPUT_TOKENS = 16
WRITTEN_HERE = ("model", "input", "instructions", "tools", "tool_choice", "max_output_tokens", "stream", "store")
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_NOT_STRICT = {"oneOf", "allOf", "not", "if", "patternProperties", "dependentRequired", "dependentSchemas"}

Item = dict[str, Any]


async def render(
    request: ModelRequest, names: ToolNames, load_media: LoadMedia | None, compare_with: str | None
) -> dict[str, Any]:
    """Return the body of one streamed Responses request; `compare_with` is the response before it in the
    conversation, named for cache diagnostics where the route sets `prompt_cache_options`."""
    check_request(request, PROVIDER, WRITTEN_HERE)
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
    if isinstance(options.get("prompt_cache_options"), dict) and compare_with is not None:
        options["prompt_cache_options"] = {"comparison_response_id": compare_with, **options["prompt_cache_options"]}
    text: dict[str, Any] = options.pop("text", {})
    if request.output_schema is not None:
        text = {**text, "format": _format(request.output_schema)}
    if text:
        body["text"] = text
    return {**options, **body}


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
    visible = {tool.name for tool in request.tools if not tool.deferred}
    for message in request.messages:
        if message.role == "assistant":
            native = own_blocks(message, PROVIDER, API)
            items.extend(native if native is not None else _neutral(message, names, ids))
        elif message.role == "tool":
            items.extend(_answers(message, names, ids, visible))
        else:
            content = [await _content(part, load_media, request.route.model) for part in message.parts]
            content = [block for block in content if block is not None]
            role = "developer" if message.role == "system" else "user"
            if content:
                items.append({"type": "message", "role": role, "content": content})
    return items


def _neutral(message: Message, names: ToolNames, ids: dict[str, str]) -> list[Item]:
    items: list[Item] = []
    for part in message.parts:
        if isinstance(part, Text) and part.text:
            items.append({"type": "message", "role": "assistant", "content": part.text})
        elif isinstance(part, ToolCall):
            arguments = json.dumps(part.arguments, ensure_ascii=False) if part.malformed is None else part.malformed
            items.append(
                {
                    "type": "function_call",
                    "call_id": ids.get(part.id, part.id),
                    "name": names.to_wire(part.name),
                    "arguments": arguments,
                }
            )
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
