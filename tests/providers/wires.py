"""The wires, one row each: every row runs the failure suite, the referee's rules and the long transcript.

To add a wire, write its referee module (how a request is judged, how a turn is spoken) and one row here. The modules
of Gemini and Chat Completions are `referee_gemini` and `referee_chat`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.providers import referee_anthropic, referee_chat, referee_gemini, referee_openai

Json = dict[str, Any]


@dataclass(frozen=True)
class Wire:
    """What the suites need to know of one wire. The makers return native blocks, as `Turn.content` takes them.

    `llmock`, `referee`, `aimock`: the base path of the SDK on each of these servers; None where it doesn't speak the
    wire. `usage(total, read)`: what a call reports, in the wire's own words. `ends`: unified finish → `Turn.stop` that
    brings it about; a finish that is missing is unknown to the wire. `reveal`: how a learned tool becomes
    callable: by a reference to a deferred declaration, by an appended item with the declaration, by the names
    that are allowed of a fixed list, or not at all, so that `use_tool` carries it.
    """

    name: str
    llmock: str | None
    referee: str
    aimock: str | None
    say: Callable[[str], list[Json]]
    call: Callable[[str, str, Json], list[Json]]
    think: Callable[[int], list[Json]]
    usage: Callable[[int, int], Json]
    ends: dict[str, str]
    reveal: str = "use_tool"
    rate_headers: dict[str, str] = field(default_factory=dict[str, str])


WIRES = [
    Wire(
        name="anthropic",
        llmock="/anthropic",
        referee="",
        aimock="",
        say=referee_anthropic.say,
        call=referee_anthropic.call,
        think=referee_anthropic.think,
        usage=referee_anthropic.usage,
        ends={
            "done": "end_turn",
            "tool_calls": "tool_use",
            "length": "max_tokens",
            "paused": "pause_turn",
            "refusal": "refusal",
            "context_full": "model_context_window_exceeded",
        },
        reveal="reference",
        rate_headers={
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-input-tokens-remaining": "9000",
        },
    ),
    Wire(
        name="openai",
        llmock="/v1",
        referee="/v1",
        aimock="/v1",
        say=referee_openai.say,
        call=referee_openai.call,
        think=referee_openai.think,
        usage=referee_openai.usage,
        ends={
            "done": "completed",
            "tool_calls": "completed",
            "length": "max_output_tokens",
            "paused": "steered",
            "refusal": "content_filter",
        },
        reveal="item",
        rate_headers={
            "x-ratelimit-limit-requests": "50",
            "x-ratelimit-remaining-requests": "49",
            "x-ratelimit-remaining-tokens": "9000",
        },
    ),
    Wire(
        name="gemini",
        llmock="/gemini/v1beta",
        referee="/v1",
        aimock="/v1beta",
        say=referee_gemini.say,
        call=referee_gemini.call,
        think=referee_gemini.think,
        usage=referee_gemini.usage,
        ends={
            "done": "STOP",
            "tool_calls": "STOP",
            "length": "MAX_TOKENS",
            "paused": "CONTINUATION",
            "refusal": "SAFETY",
            "malformed": "MALFORMED_FUNCTION_CALL",
            "cut_off": "TOO_MANY_TOOL_CALLS",
        },
        reveal="names",
    ),
    Wire(
        name="chat",
        llmock="/v1",
        referee="/v1",
        aimock="/v1",
        say=referee_chat.say,
        call=referee_chat.call,
        think=referee_chat.think,
        usage=referee_chat.usage,
        ends={"done": "stop", "tool_calls": "tool_calls", "length": "length", "refusal": "content_filter"},
        rate_headers={
            "x-ratelimit-limit-requests": "50",
            "x-ratelimit-remaining-requests": "49",
            "x-ratelimit-remaining-tokens": "9000",
        },
    ),
]
"""The wires of the house that have a server of their own to speak to; the scripted provider has none."""

BY_NAME = {wire.name: wire for wire in WIRES}
