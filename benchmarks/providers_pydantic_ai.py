"""pydantic-ai as a client of the benchmark, in an environment of its own: its direct call, streamed.

Told what to do as `benchmarks.providers_loop` says.
"""

# pyright: basic, reportMissingImports=false

from typing import Any

from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest, SystemPromptPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from benchmarks.providers_loop import ASKED, MAX_TOKENS, MODEL, RESULT, SYSTEM, TOOLS, Turn, serve
from benchmarks.providers_native import ADDRESSES

DECLARED = [
    ToolDefinition(name=tool["name"], parameters_json_schema=tool["schema"], description=tool["description"])
    for tool in TOOLS
]


def model_of(wire: str, url: str) -> Model:
    """Return the model that speaks `wire`."""
    if wire == "anthropic":
        return AnthropicModel(MODEL, provider=AnthropicProvider(api_key="k", base_url=url))
    if wire == "gemini":
        return GoogleModel(MODEL, provider=GoogleProvider(api_key="k", base_url=url))
    kind = OpenAIResponsesModel if wire == "openai" else OpenAIChatModel
    return kind(MODEL, provider=OpenAIProvider(api_key="k", base_url=url))


def begin(wire: str, url: str) -> Turn:
    """Begin a conversation."""
    model = model_of(wire, url + ADDRESSES[wire])
    parameters = ModelRequestParameters(function_tools=DECLARED)
    messages: list[Any] = [ModelRequest(parts=[SystemPromptPart(SYSTEM), UserPromptPart(ASKED)])]

    async def turn() -> str:
        settings: Any = {"max_tokens": MAX_TOKENS}
        async with model_request_stream(
            model, messages, model_settings=settings, model_request_parameters=parameters
        ) as stream:
            async for _ in stream:
                pass
        reply = stream.get()
        (call,) = reply.tool_calls
        answer = ToolReturnPart(tool_name=call.tool_name, content=RESULT, tool_call_id=call.tool_call_id)
        messages.extend([reply, ModelRequest(parts=[answer])])
        return call.tool_call_id

    return turn


if __name__ == "__main__":
    serve(begin)
