"""The conversation of the benchmark in the words of each wire, for clients that speak them without an abstraction."""

from dataclasses import dataclass
from typing import Any

from benchmarks.providers_loop import ASKED, MAX_TOKENS, MODEL, RESULT, SYSTEM, TOOLS, Json

PATHS = {
    "anthropic": "/v1/messages",
    "openai": "/v1/responses",
    "chat": "/v1/chat/completions",
    "gemini": f"/v1/models/{MODEL}:streamGenerateContent?alt=sse",
}
"""Where each wire is served, behind the server's address."""

ADDRESSES = {"anthropic": "", "openai": "/v1", "chat": "/v1", "gemini": ""}
"""What the SDK of each wire wants behind the server's address."""


@dataclass
class Heard:
    """What a turn has said so far."""

    text: str = ""
    call_id: str = ""
    name: str = ""
    arguments: Any = ""


def opening(wire: str) -> Json:
    """Return the body of the first request."""
    tools = [(tool["name"], tool["description"], tool["schema"]) for tool in TOOLS]
    if wire == "anthropic":
        declared: list[Json] = [{"name": name, "description": about, "input_schema": on} for name, about, on in tools]
        said: list[Json] = [{"role": "user", "content": ASKED}]
        return {"model": MODEL, "max_tokens": MAX_TOKENS, "system": SYSTEM, "tools": declared, "messages": said}
    if wire == "gemini":
        functions = [{"name": name, "description": about, "parametersJsonSchema": on} for name, about, on in tools]
        return {
            "systemInstruction": {"parts": [{"text": SYSTEM}]},
            "tools": [{"functionDeclarations": functions}],
            "contents": [{"role": "user", "parts": [{"text": ASKED}]}],
            "generationConfig": {"maxOutputTokens": MAX_TOKENS},
        }
    functions = [{"name": name, "description": about, "parameters": on} for name, about, on in tools]
    said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    if wire == "openai":
        declared = [{"type": "function", "strict": False, **function} for function in functions]
        return {"model": MODEL, "max_output_tokens": MAX_TOKENS, "store": False, "tools": declared, "input": said}
    declared = [{"type": "function", "function": function} for function in functions]
    return {"model": MODEL, "max_tokens": MAX_TOKENS, "tools": declared, "messages": said}


def append(wire: str, body: Json, heard: Heard) -> None:
    """Append a turn and the answer of its call; the arguments are an object on the wires that want one."""
    if wire == "anthropic":
        call = {"type": "tool_use", "id": heard.call_id, "name": heard.name, "input": heard.arguments}
        answer = {"type": "tool_result", "tool_use_id": heard.call_id, "content": RESULT}
        body["messages"] += [
            {"role": "assistant", "content": [{"type": "text", "text": heard.text}, call]},
            {"role": "user", "content": [answer]},
        ]
    elif wire == "openai":
        call = {"type": "function_call", "call_id": heard.call_id, "name": heard.name, "arguments": heard.arguments}
        answer = {"type": "function_call_output", "call_id": heard.call_id, "output": RESULT}
        body["input"] += [{"role": "assistant", "content": heard.text}, call, answer]
    elif wire == "gemini":
        call = {"id": heard.call_id, "name": heard.name, "args": heard.arguments}
        answer = {"id": heard.call_id, "name": heard.name, "response": {"output": RESULT}}
        body["contents"] += [
            {"role": "model", "parts": [{"text": heard.text}, {"functionCall": call}]},
            {"role": "user", "parts": [{"functionResponse": answer}]},
        ]
    else:
        function = {"name": heard.name, "arguments": heard.arguments}
        calls = [{"id": heard.call_id, "type": "function", "function": function}]
        body["messages"] += [
            {"role": "assistant", "content": heard.text, "tool_calls": calls},
            {"role": "tool", "tool_call_id": heard.call_id, "content": RESULT},
        ]
