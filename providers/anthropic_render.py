"""How a neutral request is written as an Anthropic Messages body (renderer 1).

Source: the request types of the `anthropic` SDK 2.12. What was sent before is written again with the same bytes;
only cache markers move, and they are no part of what the provider compares.
"""

from typing import Any

from anthropic import transform_schema
from pydantic import JsonValue

from engine.transcript import Media, Message, ModelRequest, Text, ToolCall, ToolResult, ToolSpec
from providers.base import LoadMedia
from providers.errors import InvalidRequest
from providers.wire import (
    ToolNames,
    as_object,
    call_ids,
    check_request,
    media_base64,
    own_blocks,
    revealed_tools,
    shown,
    unreadable,
)

PROVIDER = "anthropic"
API = "messages"
MAX_BREAKPOINTS = 4
WRITTEN_HERE = ("model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "diagnostics")
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

Block = dict[str, Any]


def all_tools(request: ModelRequest) -> list[ToolSpec]:
    """Return the declared tools and, after them as deferred ones, those that were revealed without being declared.

    A reference to a tool that the request does not declare is an error at this wire, and a deferred declaration is
    not part of the cached prefix.
    """
    declared = {tool.name for tool in request.tools}
    late = [tool for tool in revealed_tools(request.messages) if tool.name not in declared]
    return [*request.tools, *(tool.model_copy(update={"deferred": True}) for tool in late)]


async def render(request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> dict[str, Any]:
    """Return the body of one streamed Messages request, without `diagnostics`."""
    check_request(request, PROVIDER, WRITTEN_HERE)
    options = dict(request.route.options)
    ttl = options.pop("cache_ttl", None)
    options.pop("betas", None)
    body: dict[str, Any] = {"model": request.route.model, "max_tokens": request.max_output_tokens, "stream": True}
    tools = all_tools(request)
    deferrable = any(not tool.deferred for tool in tools)
    writer = _Writer(request, names, {tool.name for tool in tools if tool.deferred and deferrable}, load_media)
    await writer.write(request.messages)
    writer.mark({"type": "ephemeral", **({"ttl": ttl} if ttl else {})})
    body["messages"] = writer.turns
    if writer.system:
        body["system"] = writer.system
    if tools:
        body["tools"] = [_tool(tool, names, tool.deferred and deferrable) for tool in tools]
        body["tool_choice"] = {"type": {"auto": "auto", "none": "none", "required": "any"}[request.tool_choice]}
    config = _output_config(request, options)
    if config:
        body["output_config"] = config
    return {**options, **body}


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
    """Writes messages into the turns of the wire and keeps the blocks that may carry a cache marker."""

    def __init__(
        self, request: ModelRequest, names: ToolNames, referable: set[str], load_media: LoadMedia | None
    ) -> None:
        self.system: list[Block] = []
        self.turns: list[dict[str, Any]] = []
        self._model = request.route.model
        self._names = names
        self._ids = call_ids(request.messages, PROVIDER, API)
        self._referable = referable
        self._load_media = load_media
        self._wished: list[Block] = []

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

    def mark(self, control: dict[str, Any]) -> None:
        """Order the user turns and put cache markers, at most four: on the system's end, on the last two user turns
        and on the latest wished places.

        The end of the turn before is marked again because a long turn lies beyond the look-back of 20 blocks.
        """
        for turn in self.turns:
            if turn["role"] == "user":
                turn["content"].sort(key=_after_results)
        ends = [turn["content"][-1] for turn in self.turns if turn["role"] == "user"]
        system_end = [block for block in self._wished if any(block is known for known in self.system)][-1:]
        chosen: list[Block] = []
        for block in [*ends[-1:], *system_end, *ends[-2:-1], *reversed(self._wished)]:
            if len(chosen) < MAX_BREAKPOINTS and not any(block is other for other in chosen):
                chosen.append(block)
        for block in chosen:
            block["cache_control"] = control

    def _end(self, target: list[Block], blocks: list[Block], message: Message) -> None:
        target.extend(blocks)
        if message.breakpoint and blocks:
            self._wished.append(blocks[-1])

    def _user_turn(self) -> list[Block]:
        if not self.turns or self.turns[-1]["role"] != "user":
            self.turns.append({"role": "user", "content": []})
        return self.turns[-1]["content"]

    def _assistant(self, message: Message) -> None:
        native = own_blocks(message, PROVIDER, API)
        blocks = list(native) if native is not None else self._neutral(message)
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
