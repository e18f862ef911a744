"""The vendors and servers that speak OpenAI Chat Completions, one row each: where they are and how they differ.

Another one is one row here. Sources: the vendors' API references and the open issues of their clients, read in
November 2026. A quirk that is not sure is set to what every server understands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.transcript import FinishKind


@dataclass(frozen=True)
class Vendor:
    """One speaker of the wire.

    Attributes:
        name: the provider's name in routes.
        base_url: where it is; None where only the installation knows.
        needs_key: whether a call without a key is refused before it is sent; the secret is `<name>_api_key`.
        priced_as: its id in `genai-prices`; None for servers of one's own, whose calls are unpriced.
        auth: the header that carries the key.
        max_tokens: the field that bounds the answer.
        asks_usage: takes `stream_options.include_usage`; others report the usage without being asked, or never.
        system: the role of instructions. `later_system`: takes it after the first message as well.
        required: the word of `tool_choice` for "some tool must be called".
        parallel: takes `parallel_tool_calls`.
        structured: how an answer is bound to a schema; without it the schema is told and the answer checked.
        structured_with_tools: binds the answer also in a request that declares tools.
        images, documents, audio: takes such parts in the user's messages.
        call_id: the only form of a call's id that it takes.
        json_arguments: parses the arguments of earlier calls, so that they must be JSON even where its model failed.
        bridge: takes no user message directly after tool results; an assistant's word stands between.
        replay_reasoning: wants the reasoning of earlier turns back (it is kept in any case).
        cache_key: takes `prompt_cache_key`.
        effort: where the option `effort` goes.
        finishes: its own words for the end of a turn, beyond the common ones.
        cost: the field of `usage` in which it says what the call cost, in dollars.
    """

    name: str
    base_url: str | None = None
    needs_key: bool = True
    priced_as: str | None = None
    auth: Literal["bearer", "api-key"] = "bearer"
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_usage: bool = True
    system: Literal["system", "developer"] = "system"
    later_system: bool = True
    required: str = "required"
    parallel: bool = True
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    structured_with_tools: bool = False
    images: bool = True
    documents: bool = False
    audio: bool = False
    call_id: str = r"[a-zA-Z0-9_-]{1,64}"
    json_arguments: bool = True
    bridge: bool = False
    replay_reasoning: bool = False
    cache_key: bool = False
    effort: Literal["reasoning_effort", "reasoning"] = "reasoning_effort"
    finishes: Mapping[str, FinishKind] = field(default_factory=dict[str, FinishKind])
    cost: str | None = None


_ROWS = (
    Vendor(
        name="openai_chat",
        base_url="https://api.openai.com/v1",
        priced_as="openai",
        max_tokens="max_completion_tokens",
        system="developer",
        structured_with_tools=True,
        documents=True,
        audio=True,
        json_arguments=False,
        cache_key=True,
    ),
    Vendor(
        # The address holds the resource, and a query is sent with every call: `…/openai/v1?api-version=preview`.
        name="azure",
        priced_as="azure",
        auth="api-key",
        max_tokens="max_completion_tokens",
        structured_with_tools=True,
        json_arguments=False,
    ),
    Vendor(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        priced_as="mistral",
        asks_usage=False,
        later_system=False,
        required="any",
        call_id=r"[a-zA-Z0-9]{9}",
        bridge=True,
        replay_reasoning=True,
        cache_key=True,
        finishes={"model_length": "context_full"},
    ),
    Vendor(
        # Structured outputs work there neither in streams nor with tools.
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        priced_as="groq",
        max_tokens="max_completion_tokens",
        structured="none",
    ),
    Vendor(
        name="xai",
        base_url="https://api.x.ai/v1",
        priced_as="x-ai",
        max_tokens="max_completion_tokens",
        structured_with_tools=True,
        finishes={"end_turn": "done"},
    ),
    Vendor(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        priced_as="openrouter",
        documents=True,
        audio=True,
        replay_reasoning=True,
        effort="reasoning",
        cost="cost",
    ),
    Vendor(
        # In thinking mode a tool call without its `reasoning_content` is refused.
        name="deepseek",
        base_url="https://api.deepseek.com",
        priced_as="deepseek",
        parallel=False,
        structured="json_object",
        images=False,
        replay_reasoning=True,
    ),
    Vendor(
        name="together",
        base_url="https://api.together.xyz/v1",
        priced_as="together",
        parallel=False,
        finishes={"eos": "done"},
    ),
    Vendor(
        name="vllm",
        needs_key=False,
        later_system=False,
        replay_reasoning=True,
        finishes={"abort": "cut_off"},
    ),
    Vendor(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        needs_key=False,
        later_system=False,
        parallel=False,
    ),
    Vendor(
        name="llamacpp",
        base_url="http://127.0.0.1:8080/v1",
        needs_key=False,
        later_system=False,
        replay_reasoning=True,
    ),
    Vendor(
        # Any other server, by its address: only what all of them understand.
        name="chat",
        needs_key=False,
        later_system=False,
        parallel=False,
        structured="none",
    ),
)

VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in _ROWS}
"""The rows by the provider's name."""
