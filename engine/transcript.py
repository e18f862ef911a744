"""What is said to a model and what it says back, neutral of providers; the native form is carried along untouched.

A transcript is an append-only list of `Message`. An assistant message keeps the provider's own blocks verbatim in
`native`: it goes back to that provider byte for byte, and any other provider is given the neutral parts instead.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from engine.routes import Route
from engine.values import Spent, Value


class Text(Value):
    """Plain text; `data` marks text that comes from documents or tools, which is information and never instruction."""

    type: Literal["text"] = "text"
    text: str
    data: bool = False


class Media(Value):
    """An image or document by reference: `ref` is the digest of a blob, loaded only where a wire is rendered."""

    type: Literal["media"] = "media"
    ref: str
    mime: str
    name: str | None = None


class Reasoning(Value):
    """What the model thought, as far as the provider shows it; never shown to another provider."""

    type: Literal["reasoning"] = "reasoning"
    text: str


class ToolCall(Value):
    """A call the model asks for; `arguments` parsed strictly, or `malformed` holds the text that did not parse."""

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: dict[str, JsonValue] = {}
    malformed: str | None = None


class ToolResult(Value):
    """The one answer to a call. `reveals` names tools that this answer makes callable (a learned skill)."""

    type: Literal["tool_result"] = "tool_result"
    call_id: str
    name: str
    text: str
    is_error: bool = False
    reveals: tuple["ToolSpec", ...] = ()


class ToolSpec(Value):
    """A tool as models see it, with the rules the loop keeps for it.

    `effect` is the approval class. `honours_key`: repeating a call with the same idempotency key has no second
    effect. `deferred`: declared from the start but shown only once revealed, where the wire can do that. `target`
    names the argument that says what a call acts on: a grant for the run is for this tool on that. `polls`: calling
    it again and again with the same arguments is its use.
    """

    name: str = Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    effect: Literal["read_only", "side_effecting", "control", "always_ask"] = "read_only"
    honours_key: bool = False
    timeout_s: float = 60.0
    deferred: bool = False
    skill: str | None = None
    target: str | None = None
    polls: bool = False

    @property
    def repeatable(self) -> bool:
        """Tell whether an interrupted call may be repeated: it only reads, or it honours its key."""
        return self.effect == "read_only" or self.honours_key


Part = Annotated[Text | Media | Reasoning | ToolCall | ToolResult, Field(discriminator="type")]


class Sent(Value):
    """The request behind a turn as the wire wrote it: digests of its parts, and how many messages there were.

    The next request of the same wire compares itself with it, in any process, and so knows what it has changed.
    `reusable` is what a cache could give the next request at best, in tokens.
    """

    model: str
    tools: str
    system: str
    settings: str
    messages: str
    count: int
    reusable: int = 0


class Native(Value):
    """A provider's own blocks, verbatim and in order; `renderer` is the version that wrote the request around them.

    `reply_id` is the provider's own id of the answer, by which the next request asks why its cache was missed.
    """

    provider: str
    api: str
    model: str
    blocks: tuple[JsonValue, ...]
    renderer: int = 1
    reply_id: str | None = None
    sent: Sent | None = None


class Message(Value):
    """One message; a `tool` message holds only tool results. `breakpoint`: a stable prefix ends after it."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]
    native: Native | None = None
    breakpoint: bool = False

    @property
    def text(self) -> str:
        """The text parts joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def system(text: str) -> Message:
    """Return a system message, a stable prefix by itself."""
    return Message(role="system", parts=(Text(text=text),), breakpoint=True)


def user(text: str) -> Message:
    """Return a user message of one text."""
    return Message(role="user", parts=(Text(text=text),))


class Usage(Value):
    """Tokens of one call in one shape; `raw` is what the provider reported, verbatim.

    `input_total` includes cache reads and writes; `output_total` includes reasoning.
    """

    input_total: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write_short: int = 0
    cache_write_long: int = 0
    output_total: int = 0
    reasoning: int = 0
    tool_prompt: int = 0
    server_tools: dict[str, int] = {}
    raw: dict[str, JsonValue] = {}


class CacheFacts(Value):
    """What the prompt cache gave to one call. `hit`: all that an earlier turn had made reusable was read.

    After a miss `missed_tokens` says how much was not read, as far as it is known, and `reason` why: the provider's
    own word where it gives one (`tools_changed`, …), else what the comparison with the last turn's request shows.
    """

    hit: bool
    read: int
    missed_tokens: int | None = None
    reason: str | None = None


class Quota(Value):
    """One quota of an account: how much in a window, what is left of it, in how many seconds it is full again."""

    limit: int | None = None
    remaining: int | None = None
    resets_in_s: float | None = None


class RateFacts(Value):
    """What the headers of an answer tell about the account's quotas; None where they tell nothing.

    `tokens` is a quota on input and output together.
    """

    requests: Quota | None = None
    input_tokens: Quota | None = None
    output_tokens: Quota | None = None
    tokens: Quota | None = None


FinishKind = Literal[
    "done", "tool_calls", "length", "context_full", "refusal", "paused", "compacted", "malformed", "cut_off", "error"
]


class Finish(Value):
    """Why the model stopped, unified, beside the provider's own word."""

    unified: FinishKind
    raw: str


class Price(Value):
    """What a call cost and by which table; `usd` is None when the model is unpriced, which is not zero."""

    usd: float | None = None
    source: str = "unpriced"
    input_per_million: float | None = None
    output_per_million: float | None = None


class ModelRequest(Value):
    """One call of a model. `tools` is the whole stable list; `cache_key` names the conversation for the cache.

    `compact`: the provider is to make the messages smaller in its own way, and to answer nothing; the reply's native
    blocks then stand for them.
    """

    route: Route
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    output_schema: dict[str, Any] | None = None
    max_output_tokens: int = 4096
    cache_key: str | None = None
    renderer: int = 1
    compact: bool = False


class ModelReply(Value):
    """What came back whole: the assistant message with its native blocks, usage, finish and price."""

    message: Message
    usage: Usage
    finish: Finish
    price: Price = Price()
    provider: str
    model: str
    request_id: str | None = None
    output: JsonValue = None
    cache: CacheFacts | None = None
    rates: RateFacts | None = None
    diagnostics: dict[str, JsonValue] = {}

    @property
    def spent(self) -> Spent:
        """The call as it counts against a budget."""
        return Spent(
            turns=1,
            input_tokens=self.usage.input_total,
            output_tokens=self.usage.output_total,
            usd=self.price.usd or 0.0,
            unpriced_turns=0 if self.price.usd is not None else 1,
        )


class Delta(Value):
    """A live piece of a reply; never durable. `kind` says which event it becomes."""

    kind: Literal["text", "reasoning", "tool"]
    text: str
    call_id: str | None = None
