"""The clients of the benchmark that run in the product's own environment: ours, bare HTTP, and the plain SDKs.

`python benchmarks/providers_clients.py ours|httpx2|sdk`, told what to do as `benchmarks.providers_loop` says.
"""

import json
import sys
from typing import Any, cast

import anthropic
import httpx2
import openai
from google.genai import Client
from google.genai.types import HttpOptions

from benchmarks.providers_loop import ASKED, MAX_TOKENS, MODEL, RESULT, SYSTEM, TOOLS, Begin, Json, Turn, serve
from benchmarks.providers_native import ADDRESSES, PATHS, Heard, append, opening
from engine.transcript import Message, ModelRequest, Route, ToolResult, ToolSpec, system, user
from providers.base import make_provider

TOOL_SPECS = tuple(
    ToolSpec(name=tool["name"], description=tool["description"], input_schema=tool["schema"]) for tool in TOOLS
)


def ours(wire: str, url: str) -> Turn:
    """Hold the loop as the agent does: neutral messages, and each turn's native blocks."""
    base = {"anthropic": "", "openai": "/v1", "chat": "/v1", "gemini": "/v1"}[wire]
    provider = make_provider(wire, api_key="k", base_url=url + base)
    request = ModelRequest(
        route=Route(provider=wire, model=MODEL),
        messages=(system(SYSTEM), user(ASKED)),
        tools=TOOL_SPECS,
        max_output_tokens=MAX_TOKENS,
    )

    async def turn() -> str:
        nonlocal request
        reply = await provider.generate(request)
        (call,) = reply.message.tool_calls
        answer = Message(role="tool", parts=(ToolResult(call_id=call.id, name=call.name, text=RESULT),))
        request = request.model_copy(update={"messages": (*request.messages, reply.message, answer)})
        return call.id

    return turn


def bare(wire: str, url: str) -> Turn:
    """Hold the loop over HTTP alone: post the body, read the events."""
    client = httpx2.AsyncClient(timeout=60)
    body = opening(wire) | ({} if wire == "gemini" else {"stream": True})
    hear = {"anthropic": _hear_anthropic, "openai": _hear_openai, "chat": _hear_chat, "gemini": _hear_gemini}[wire]

    async def turn() -> str:
        heard = Heard()
        async with client.stream("POST", url + PATHS[wire], json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    hear(heard, json.loads(line[6:]))
        _append(wire, body, heard)
        return heard.call_id

    return turn


def _append(wire: str, body: Json, heard: Heard) -> None:
    if wire == "anthropic":
        heard.arguments = json.loads(heard.arguments)
    append(wire, body, heard)


def _hear_anthropic(heard: Heard, event: Json) -> None:
    if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
        heard.call_id, heard.name = event["content_block"]["id"], event["content_block"]["name"]
    elif event["type"] == "content_block_delta":
        heard.text += event["delta"].get("text", "")
        heard.arguments += event["delta"].get("partial_json", "")


def _hear_openai(heard: Heard, event: Json) -> None:
    if event["type"] == "response.output_text.delta":
        heard.text += event["delta"]
    elif event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call":
        call = event["item"]
        heard.call_id, heard.name, heard.arguments = call["call_id"], call["name"], call["arguments"]


def _hear_chat(heard: Heard, event: Json) -> None:
    for choice in event["choices"]:
        heard.text += choice["delta"].get("content") or ""
        for call in choice["delta"].get("tool_calls") or []:
            heard.call_id = call.get("id") or heard.call_id
            heard.name = call["function"].get("name") or heard.name
            heard.arguments += call["function"]["arguments"]


def _hear_gemini(heard: Heard, event: Json) -> None:
    for part in event["candidates"][0]["content"]["parts"]:
        heard.text += part.get("text", "")
        if "functionCall" in part:
            call = part["functionCall"]
            heard.call_id, heard.name, heard.arguments = call["id"], call["name"], call["args"]


def sdk(wire: str, url: str) -> Turn:
    """Hold the loop with the official SDK as its documentation shows it; nothing but the retries is switched off."""
    begin = {"anthropic": _sdk_anthropic, "openai": _sdk_openai, "chat": _sdk_chat, "gemini": _sdk_gemini}[wire]
    return begin(url + ADDRESSES[wire])


def _sdk_anthropic(url: str) -> Turn:
    client = anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0)
    body = opening("anthropic")

    async def turn() -> str:
        heard = Heard()
        async for event in await client.messages.create(stream=True, **body):
            _hear_anthropic(heard, event.to_dict())
        _append("anthropic", body, heard)
        return heard.call_id

    return turn


def _sdk_openai(url: str) -> Turn:
    client = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
    body = opening("openai")

    async def turn() -> str:
        heard = Heard()
        async for event in await client.responses.create(stream=True, **body):
            if event.type == "response.output_text.delta":
                heard.text += event.delta
            elif event.type == "response.output_item.done" and event.item.type == "function_call":
                heard.call_id, heard.name, heard.arguments = event.item.call_id, event.item.name, event.item.arguments
        append("openai", body, heard)
        return heard.call_id

    return turn


def _sdk_chat(url: str) -> Turn:
    client = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
    body = opening("chat")

    async def turn() -> str:
        heard = Heard()
        async for event in await client.chat.completions.create(stream=True, **body):
            for choice in event.choices:
                heard.text += choice.delta.content or ""
                for call in choice.delta.tool_calls or []:
                    assert call.function is not None
                    heard.call_id = call.id or heard.call_id
                    heard.name = call.function.name or heard.name
                    heard.arguments += call.function.arguments or ""
        append("chat", body, heard)
        return heard.call_id

    return turn


def _sdk_gemini(url: str) -> Turn:
    client = Client(api_key="k", http_options=HttpOptions(base_url=url))
    body = opening("gemini")
    config: Json = {
        "system_instruction": body["systemInstruction"],
        "tools": body["tools"],
        "max_output_tokens": MAX_TOKENS,
        "automatic_function_calling": {"disable": True},
    }

    async def turn() -> str:
        heard = Heard()
        stream = await client.aio.models.generate_content_stream(
            model=MODEL, contents=body["contents"], config=cast(Any, config)
        )
        async for chunk in stream:
            for part in (chunk.candidates or [])[0].content.parts:  # pyright: ignore[reportOptionalMemberAccess, reportOptionalIterable]
                heard.text += part.text or ""
                if part.function_call is not None:
                    call = part.function_call
                    heard.call_id, heard.name, heard.arguments = str(call.id), str(call.name), call.args
        append("gemini", body, heard)
        return heard.call_id

    return turn


CLIENTS: dict[str, Begin] = {"ours": ours, "httpx2": bare, "sdk": sdk}

if __name__ == "__main__":
    serve(CLIENTS[sys.argv[1]])
