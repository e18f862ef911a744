"""pydantic-ai, run in an environment of its own: sends the requests that it is given as lines of JSON.

A line: `wire`, `base_url`, `request` (our neutral request) and `media` (base64 by reference). It is turned into the
messages of pydantic-ai and sent to the server at `base_url`, which refuses it and keeps what came. Answered with
`{"version": …}` once that is done.
"""

# pyright: basic, reportMissingImports=false

import asyncio
import base64
import json
import sys
from importlib.metadata import version
from typing import Any

from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import (
    BinaryContent,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolAvailabilityDeltaPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

Json = dict[str, Any]
SYSTEMS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "llamacpp": "openai-compatible"}
"""What pydantic-ai calls the providers; one that speaks Chat Completions is another than OpenAI itself."""

MODEL = "any-model"


class LocalProvider(OpenAIProvider):
    """A server of one's own that speaks Chat Completions."""

    @property
    def name(self) -> str:
        """Its name, by which its reasoning is told from OpenAI's."""
        return SYSTEMS["llamacpp"]


def model(wire: str, base_url: str) -> Model:
    """Return the model of `wire`, with the abilities of a current one: no model's name is known here."""
    if wire == "anthropic":
        able = {"tool_deferral_mode": "standalone", "tool_addition_mode": "by_reference", "supports_thinking": True}
        provider = AnthropicProvider(api_key="k", base_url=base_url)
        return AnthropicModel(MODEL, provider=provider, profile={**able, "supports_inline_system_prompts": True})
    if wire == "gemini":
        server = base_url.removesuffix("/v1")
        return GoogleModel(MODEL, provider=GoogleProvider(api_key="k", base_url=server))
    if wire == "openai":
        able = {"openai_supports_phase": True, "openai_supports_encrypted_reasoning_content": True}
        more = {"openai_supports_reasoning": True, "openai_supports_prompt_cache_breakpoints": True}
        provider = OpenAIProvider(api_key="k", base_url=base_url)
        return OpenAIResponsesModel(MODEL, provider=provider, profile={**able, **more})
    return OpenAIChatModel(MODEL, provider=LocalProvider(api_key="k", base_url=base_url))


SETTINGS: dict[str, Json] = {
    "anthropic": {"anthropic_cache_messages": True, "anthropic_cache_instructions": True},
    "openai": {"openai_store": False, "openai_cache_instructions": True},
    "gemini": {},
    "chat": {},
}
"""The settings with which a run that wants its cache is made; the rest are pydantic-ai's own."""


def wire_name(name: str) -> str:
    """Return a tool's name as wires take it."""
    return name.replace(".", "__")


def to_messages(request: Json, media: dict[str, str]) -> list[Any]:
    """Return the neutral messages as pydantic-ai keeps them."""
    messages: list[Any] = []
    for message in request["messages"]:
        if message["role"] == "assistant":
            messages.append(to_response(message))
            continue
        parts = [part for one in message["parts"] for part in to_request_parts(message["role"], one, media)]
        if messages and isinstance(messages[-1], ModelRequest):
            messages[-1] = ModelRequest(parts=[*messages[-1].parts, *parts])
        else:
            messages.append(ModelRequest(parts=parts))
    return messages


def to_request_parts(role: str, part: Json, media: dict[str, str]) -> list[Any]:
    """Return what stands for one part of a message that is not the model's."""
    if role == "system":
        return [SystemPromptPart(part["text"])]
    if part["type"] == "media":
        return [UserPromptPart([BinaryContent(base64.b64decode(media[part["ref"]]), media_type=part["mime"])])]
    if part["type"] == "text":
        return [UserPromptPart(part["text"])]
    answer = ToolReturnPart(
        tool_name=wire_name(part["name"]),
        content=part["text"],
        tool_call_id=part["call_id"],
        outcome="failed" if part["is_error"] else "success",
    )
    names = [wire_name(tool["name"]) for tool in part["reveals"]]
    return [answer, ToolAvailabilityDeltaPart(tools_added=names, tool_call_id=part["call_id"])] if names else [answer]


def to_response(message: Json) -> ModelResponse:
    """Return the model's turn out of its native blocks, each of which becomes the part that pydantic-ai reads it as."""
    native = message["native"]
    read = {"anthropic": anthropic_parts, "openai": openai_parts, "gemini": gemini_parts, "llamacpp": chat_parts}
    name = SYSTEMS[native["provider"]]
    parts = [part for block in native["blocks"] for part in read[native["provider"]](block, name)]
    reply_id = native["reply_id"]
    return ModelResponse(parts=parts, model_name=MODEL, provider_name=name, provider_response_id=reply_id)


def anthropic_parts(block: Json, name: str) -> list[Any]:
    if block["type"] == "thinking":
        return [ThinkingPart(block["thinking"], signature=block["signature"], provider_name=name)]
    if block["type"] == "redacted_thinking":
        return [ThinkingPart("", id="redacted_thinking", signature=block["data"], provider_name=name)]
    if block["type"] == "text":
        return [TextPart(block["text"])]
    return [ToolCallPart(block["name"], block["input"], tool_call_id=block["id"])]


def openai_parts(item: Json, name: str) -> list[Any]:
    if item["type"] == "reasoning":
        (summary,) = item["summary"]
        signature = item["encrypted_content"]
        return [ThinkingPart(summary["text"], id=item["id"], signature=signature, provider_name=name)]
    if item["type"] == "message":
        (content,) = item["content"]
        phase = {"phase": item["phase"]}
        return [TextPart(content["text"], id=item["id"], provider_name=name, provider_details=phase)]
    own = {"id": item["id"], "provider_name": name}
    if "namespace" in item:
        own["provider_details"] = {"namespace": item["namespace"]}
    return [ToolCallPart(item["name"], item["arguments"], tool_call_id=item["call_id"], **own)]


def gemini_parts(part: Json, name: str) -> list[Any]:
    signature = part.get("thoughtSignature")
    signed = {"provider_name": name, "provider_details": {"thought_signature": signature}} if signature else {}
    if "functionCall" in part:
        call = part["functionCall"]
        return [ToolCallPart(call["name"], call["args"], tool_call_id=call["id"], **signed)]
    if part.get("thought"):
        return [ThinkingPart(part["text"], provider_name=name, **signed)]
    return [TextPart(part["text"], **signed)]


def chat_parts(said: Json, name: str) -> list[Any]:
    parts: list[Any] = [ThinkingPart(said["reasoning_content"], id="reasoning_content", provider_name=name)]
    if said["content"]:
        parts.append(TextPart(said["content"]))
    for call in said.get("tool_calls") or []:
        name, given = call["function"]["name"], json.loads(call["function"]["arguments"])
        if name == "use_tool":
            # pydantic-ai declares a learned tool, so that its model would have called it by its name.
            name, given = wire_name(given["tool"]), given["arguments"]
        parts.append(ToolCallPart(name, given, tool_call_id=call["id"]))
    return parts


def to_parameters(request: Json) -> ModelRequestParameters:
    """Return the tools, and which of them the messages have revealed."""
    revealed = {
        wire_name(tool["name"])
        for message in request["messages"]
        for part in message["parts"]
        for tool in part.get("reveals", [])
    }
    tools = [
        ToolDefinition(
            name=wire_name(tool["name"]),
            description=tool["description"],
            parameters_json_schema=tool["input_schema"],
            defer_loading=tool["deferred"],
        )
        for tool in request["tools"]
    ]
    return ModelRequestParameters(function_tools=tools, revealed_tool_names=revealed)


async def send(wire: str, base_url: str, request: Json, media: dict[str, str]) -> None:
    """Send the request as an agent of pydantic-ai would: prepared for its model, then rendered."""
    asked = model(wire, base_url)
    parameters = to_parameters(request)
    messages = asked.prepare_messages(to_messages(request, media), parameters)
    try:
        await asked.request(messages, SETTINGS[wire], parameters)
    except ModelAPIError:
        return
    raise RuntimeError("the server was to refuse the request")


def main() -> None:
    for line in sys.stdin:
        asyncio.run(send(**json.loads(line)))
        print(json.dumps({"version": version("pydantic-ai-slim")}), flush=True)


if __name__ == "__main__":
    main()
