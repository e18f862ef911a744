"""litellm as a client of the benchmark, in an environment of its own: streamed, put together by its own builder.

Told what to do as `benchmarks.providers_loop` says. `LITELLM_LOCAL_MODEL_COST_MAP=True` keeps it from asking the
network for its price table.
"""

# pyright: basic, reportMissingImports=false

from typing import Any

import litellm

from benchmarks.providers_loop import MAX_TOKENS, MODEL, RESULT, Turn, serve
from benchmarks.providers_native import opening

PROVIDERS = {"anthropic": ("anthropic", ""), "chat": ("openai", "/v1")}
"""What litellm calls the provider of each wire, and what it wants behind the server's address."""


def begin(wire: str, url: str) -> Turn:
    """Begin a conversation in its one shape, that of Chat Completions."""
    provider, path = PROVIDERS[wire]
    body = opening("chat")
    fixed = {"model": f"{provider}/{MODEL}", "api_base": url + path, "api_key": "k", "max_tokens": MAX_TOKENS}
    # A model that is not in its table costs it time at every turn, and words on standard output.
    litellm.suppress_debug_info = True
    price = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "max_tokens": MAX_TOKENS}
    litellm.register_model({MODEL: {**price, "litellm_provider": provider, "mode": "chat"}})

    async def turn() -> str:
        asked = {**fixed, "messages": body["messages"], "tools": body["tools"]}
        stream = await litellm.acompletion(**asked, stream=True, num_retries=0)
        whole: Any = litellm.stream_chunk_builder([chunk async for chunk in stream], messages=body["messages"])
        message = whole.choices[0].message
        (call,) = message.tool_calls
        body["messages"] += [message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
        return call.id

    return turn


if __name__ == "__main__":
    serve(begin)
