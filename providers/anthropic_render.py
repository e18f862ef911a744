"""How a neutral request is written as an Anthropic Messages body (renderer 1).

Source: the request types of the `anthropic` SDK 2.12. What was sent before is written again with the same bytes;
only cache markers move, and they are no part of what the provider compares.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from anthropic import transform_schema
from pydantic import JsonValue

from engine.transcript import Media, Message, ModelRequest, Native, Text, ToolCall, ToolResult, ToolSpec
from providers.base import LoadMedia
from providers.cache import Outgoing
from providers.errors import InvalidRequest
from providers.wire import (
    ToolNames,
    as_object,
    call_ids,
    media_base64,
    own_blocks,
    revealed_tools,
    shown,
    unreadable,
)

PROVIDER = "anthropic"
API = "messages"
MAX_BREAKPOINTS = 4
WRITTEN_HERE = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "max_tokens",
    "stream",
    "diagnostics",
    "compaction",
)
INLINE_TOOLS = "inline-tools-2026-09-15"
"""The beta under which a tool is defined in the middle of a conversation, by value."""
COMPACTION = "compact-2026-09-04"
"""The beta under which a request has the messages summarised into one signed block, which later ones begin with."""
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

Block = dict[str, Any]


def late_tools(request: ModelRequest) -> list[ToolSpec]:
    """Return the tools that were revealed without being declared at the start."""
    declared = {tool.name for tool in request.tools}
    return [tool for tool in revealed_tools(request.messages) if tool.name not in declared]


def all_tools(request: ModelRequest) -> list[ToolSpec]:
    """Return every tool the model may call: the declared ones and, after them as deferred ones, the late ones."""
    late = [tool.model_copy(update={"deferred": True}) for tool in late_tools(request)]
    return [*request.tools, *late]


def takes_inline_tools(request: ModelRequest) -> bool:
    """Tell whether the route's model takes definitions in the middle of a conversation; the option says so."""
    return request.route.options.get("inline_tools") is True


def beta_names(request: ModelRequest) -> list[str]:
    """Return the betas for the header: those of the route, and what defining tools in the conversation and compaction
    need."""
    given = request.route.options.get("betas")
    names = [str(name) for name in given] if isinstance(given, list) else []
    compacts = request.compact or any(is_compacted(message) for message in request.messages)
    own = [(INLINE_TOOLS, takes_inline_tools(request)), (COMPACTION, compacts)]
    return [*names, *(name for name, wanted in own if wanted and name not in names)]


def is_compacted(message: Message) -> bool:
    """Tell whether a message is the block that this wire has made of an earlier conversation."""
    first = (own_blocks(message, PROVIDER, API) or (None,))[0]
    return isinstance(first, dict) and first.get("type") == "compaction"


async def render(request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> dict[str, Any]:
    """Return the body of one streamed Messages request, without `diagnostics`.

    A reference to a tool that the request does not declare is an error at this wire. So a late tool is declared as a
    deferred one, which is not part of the cached prefix, unless the model takes its definition where it is revealed.
    """
    options = dict(request.route.options)
    ttl = options.pop("cache_ttl", None)
    inline = takes_inline_tools(request)
    for own in ("betas", "inline_tools"):
        options.pop(own, None)
    body: dict[str, Any] = {"model": request.route.model, "max_tokens": request.max_output_tokens, "stream": True}
    tools = list(request.tools) if inline else all_tools(request)
    deferrable = any(not tool.deferred for tool in tools)
    writer = _Writer(request, names, {tool.name for tool in tools if tool.deferred and deferrable}, load_media)
    if inline:
        writer.inline = {tool.name for tool in late_tools(request)}
    await writer.write(request.messages)
    writer.mark({"type": "ephemeral", **({"ttl": ttl} if ttl else {})})
    body["messages"] = writer.turns
    thinking = options.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled" and _loop_without_thinking(writer.turns):
        options["thinking"] = {"type": "disabled"}
    if writer.system:
        body["system"] = writer.system
    if tools:
        body["tools"] = [_tool(tool, names, tool.deferred and deferrable) for tool in tools]
        body["tool_choice"] = {"type": {"auto": "auto", "none": "none", "required": "any"}[request.tool_choice]}
    config = _output_config(request, options)
    if config:
        body["output_config"] = config
    if request.compact:
        body["compaction"] = {"type": "summarize"}
        # The wire takes one way of managing the context in a request.
        options.pop("context_management", None)
    return {**options, **body}


def _loop_without_thinking(turns: list[dict[str, Any]]) -> bool:
    """Tell whether the open tool loop was begun without thinking, by another provider or before it was switched on.

    The wire refuses to think on in such a loop (`adaptive` may); the next turn after it thinks again.
    """
    *_, asked, answered = [{}, {}, *(turn for turn in turns if turn["role"] != "system")]
    open_loop = asked.get("role") == "assistant" and any(
        block["type"] == "tool_result" for block in answered["content"]
    )
    return open_loop and asked["content"][0]["type"] not in ("thinking", "redacted_thinking")


Render = Callable[[ModelRequest, ToolNames, LoadMedia | None], Awaitable[dict[str, Any]]]
RENDERERS: dict[int, Render] = {1: render}
"""The renderer of each version; a run that started with one keeps it."""


def outgoing(request: ModelRequest, before: Native | None, body: dict[str, Any]) -> Outgoing:
    """Return the digests of a body for the comparison with the turn before; markers and hidden tools don't count."""
    shown = [tool for tool in body.get("tools", []) if not tool.get("defer_loading")]
    entries = [
        {**turn, "content": _unmarked(turn["content"])} if _is_marked(turn) else turn for turn in body["messages"]
    ]
    return Outgoing.of(request, before, tools=shown, system=_unmarked(body.get("system", [])), entries=entries)


def _is_marked(turn: dict[str, Any]) -> bool:
    return any("cache_control" in block for block in turn["content"])


def _unmarked(blocks: list[Block]) -> list[Block]:
    return [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]


def _tool(tool: ToolSpec, names: ToolNames, deferred: bool) -> Block:
    block: Block = {
        "name": names.to_wire(tool.name),
        "description": tool.description,
        "input_schema": as_object(tool.input_schema),
    }
    return {**block, "defer_loading": True} if deferred else block


def _output_config(request: ModelRequest, options: dict[str, JsonValue]) -> dict[str, Any]:
    given = options.pop("output_config", None)
    config: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if "effort" in options:
        config["effort"] = options.pop("effort")
    if request.output_schema is not None:
        try:
            schema = transform_schema(request.output_schema)
        except (ValueError, AttributeError, AssertionError) as error:
            raise InvalidRequest(
                f"The output schema can't be written for this wire: {error}",
                provider=PROVIDER,
                model=request.route.model,
            ) from error
        config["format"] = {"type": "json_schema", "schema": schema}
    return config


class _Writer:
    """Writes messages into the turns of the wire and keeps the blocks that may carry a cache marker.

    `inline` holds the tools whose definition still has to be written where they are first revealed.
    """

    def __init__(
        self, request: ModelRequest, names: ToolNames, referable: set[str], load_media: LoadMedia | None
    ) -> None:
        self.system: list[Block] = []
        self.turns: list[dict[str, Any]] = []
        self.inline: set[str] = set()
        self._model = request.route.model
        self._names = names
        self._ids = call_ids(request.messages, PROVIDER, API)
        self._referable = referable
        self._load_media = load_media
        self._wished: list[Block] = []
        self._added: list[Block] = []
        self._latest = 0

    async def write(self, messages: tuple[Message, ...]) -> None:
        """Write every message; a system message after the first turn is said in the user's turn, as an operator."""
        for message in messages:
            if message.role == "system" and not self.turns:
                self._end(
                    self.system, [_text(shown(part)) for part in message.parts if isinstance(part, Text)], message
                )
            elif message.role == "assistant":
                self._assistant(message)
            else:
                blocks = await self._user_blocks(message)
                if blocks:
                    self._end(self._user_turn(), blocks, message)
        self._finish_user_turn()

    def mark(self, control: dict[str, Any]) -> None:
        """Put cache markers, at most four: on the end of all, on the system's end, where the request of the turn
        before ended, and on the latest wished places.

        That earlier end is marked again because a long turn lies beyond the look-back of 20 blocks.
        """
        system_end = [block for block in self._wished if any(block is known for known in self.system)][-1:]
        chosen: list[Block] = []
        for block in [*self._asked(len(self.turns)), *system_end, *self._asked(self._latest), *reversed(self._wished)]:
            if len(chosen) < MAX_BREAKPOINTS and not any(block is other for other in chosen):
                chosen.append(block)
        for block in chosen:
            block["cache_control"] = control

    def _asked(self, until: int) -> list[Block]:
        """Return the last block before turn `until` that is not the model's, in a list of one, or an empty list."""
        asked = [turn for turn in self.turns[:until] if turn["role"] != "assistant"]
        return asked[-1]["content"][-1:] if asked else []

    def _end(self, target: list[Block], blocks: list[Block], message: Message) -> None:
        target.extend(blocks)
        if message.breakpoint and blocks:
            self._wished.append(blocks[-1])

    def _user_turn(self) -> list[Block]:
        if not self.turns or self.turns[-1]["role"] != "user":
            self.turns.append({"role": "user", "content": []})
        return self.turns[-1]["content"]

    def _finish_user_turn(self) -> None:
        """Put the results of the turn first, as the wire wants them, and what its answers define behind it."""
        if self.turns and self.turns[-1]["role"] == "user":
            self.turns[-1]["content"].sort(key=_after_results)
        if self._added:
            self.turns.append({"role": "system", "content": self._added})
            self._added = []

    def _assistant(self, message: Message) -> None:
        native = own_blocks(message, PROVIDER, API)
        blocks = list(native) if native is not None else self._neutral(message)
        self._finish_user_turn()
        if native is not None:
            self._latest = len(self.turns)
        if blocks:
            self.turns.append({"role": "assistant", "content": blocks})

    def _neutral(self, message: Message) -> list[Any]:
        blocks: list[Block] = []
        for part in message.parts:
            if isinstance(part, Text) and part.text:
                blocks.append(_text(part.text))
            elif isinstance(part, ToolCall):
                given = part.arguments if part.malformed is None else unparsed(part.malformed)
                blocks.append(
                    {
                        "type": "tool_use",
                        "id": self._ids.get(part.id, part.id),
                        "name": self._names.to_wire(part.name),
                        "input": given,
                    }
                )
        return blocks

    async def _user_blocks(self, message: Message) -> list[Block]:
        blocks: list[Block] = []
        learned: list[Block] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                blocks.append(self._result(part, learned))
            elif isinstance(part, Media):
                blocks.append(await self._media(part))
            elif isinstance(part, Text) and part.text:
                said = shown(part)
                blocks.append(_text(f"<operator>\n{said}\n</operator>" if message.role == "system" else said))
        return [*blocks, *learned]

    def _result(self, part: ToolResult, learned: list[Block]) -> Block:
        """Write one result. References stand alone in it, so the text of a revealing answer follows the results."""
        block: Block = {"type": "tool_result", "tool_use_id": self._ids.get(part.call_id, part.call_id)}
        references = [
            {"type": "tool_reference", "tool_name": self._names.to_wire(tool.name)}
            for tool in part.reveals
            if tool.name in self._referable
        ]
        for tool in part.reveals:
            if tool.name in self.inline:
                self.inline.remove(tool.name)
                definition = {"type": "tool_definition", "definition": _tool(tool, self._names, deferred=False)}
                self._added.append({"type": "tool_addition", "tool": definition})
        if references:
            block["content"] = references
            if part.text:
                learned.append(_text(f'<answer of="{part.name}">\n{part.text}\n</answer>'))
        elif part.text:
            block["content"] = [_text(part.text)]
        return {**block, "is_error": True} if part.is_error else block

    async def _media(self, part: Media) -> Block:
        kind = "image" if part.mime in IMAGES else "document" if part.mime == "application/pdf" else None
        if kind is None:
            return _text(unreadable(part))
        data = await media_base64(part, self._load_media, PROVIDER, self._model)
        block: Block = {"type": kind, "source": {"type": "base64", "media_type": part.mime, "data": data}}
        return {**block, "title": part.name} if kind == "document" and part.name else block


def unparsed(text: str) -> dict[str, JsonValue]:
    """Return the object that stands for arguments that were no JSON; this wire takes nothing but objects."""
    return {"INVALID_JSON": text}


def _after_results(block: Block) -> bool:
    """Sort key: the wire wants the results of a turn before everything else in it."""
    return block["type"] != "tool_result"


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
