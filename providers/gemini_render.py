"""How a neutral request is written as a Gemini generateContent body (renderer 1).

Source: the types of the `google-genai` SDK 3.4. Own turns go back part by part as they came, thought signatures in the
part they arrived in. Tools can't be declared later without changing the cached prefix, so the list is fixed, and those
that are not learned yet are left out of the allowed names.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from pydantic import JsonValue

from engine.transcript import Media, Message, ModelRequest, Text, ToolCall, ToolResult, ToolSpec
from providers.base import LoadMedia
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

PROVIDER = "gemini"
API = "generateContent"
WRITTEN_HERE = ("model", "contents", "systemInstruction", "tools", "toolConfig", "stream", "continuationToken")
BODY_OPTIONS = ("safetySettings", "cachedContent", "serviceTier", "labels")
"""Options that stand beside `generationConfig`; every other one stands in it."""

FOREIGN_SIGNATURE = "skip_thought_signature_validator"
"""What the documentation says to send where a call was not made by Gemini and so never had a signature."""

CONTINUATION = "continuationToken"
"""A block of this name alone ends a turn that the provider cut at its limit per request; it is no part of the turn."""

MAX_DECLARATIONS = 512
IMAGES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")
DOCUMENTS = ("application/pdf",)
AUDIO = ("audio/wav", "audio/mpeg", "audio/mp3", "audio/aac", "audio/ogg", "audio/flac", "audio/aiff")
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}

Block = dict[str, Any]


async def render(request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> Block:
    """Return the body of one streamed generateContent request."""
    messages, token = unfinished(request.messages, API)
    options = dict(request.route.options)
    body: Block = {name: options.pop(name) for name in BODY_OPTIONS if name in options}
    writer = _Writer(request, names, load_media)
    await writer.write(messages)
    body["contents"] = writer.contents
    if writer.system:
        body["systemInstruction"] = {"parts": writer.system}
    tools = declared(request)
    if tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool, names) for tool in tools]}]
        body["toolConfig"] = {"functionCallingConfig": _calling(request, tools, names)}
    if token is not None:
        body[CONTINUATION] = token
    body["generationConfig"] = _generation(request, options)
    return body


Render = Callable[[ModelRequest, ToolNames, LoadMedia | None], Awaitable[Block]]
RENDERERS: dict[int, Render] = {1: render}
"""The renderer of each version; a run that started with one keeps it."""


def all_tools(request: ModelRequest) -> list[ToolSpec]:
    """Return the declared tools and, after them, those that were revealed without being declared."""
    known = {tool.name for tool in request.tools}
    return [*request.tools, *(tool for tool in revealed_tools(request.messages) if tool.name not in known)]


def callable_names(request: ModelRequest) -> set[str]:
    """Return the names of the tools that the model may call now: those not deferred and those learned."""
    shown_from_the_start = {tool.name for tool in request.tools if not tool.deferred}
    return shown_from_the_start | {tool.name for tool in revealed_tools(request.messages)}


def declared(request: ModelRequest) -> list[ToolSpec]:
    """Return the tools of the body. Beyond the wire's largest number, a tool is declared once it is learned."""
    tools = all_tools(request)
    if len(tools) <= MAX_DECLARATIONS:
        return tools
    allowed = callable_names(request)
    return [tool for tool in tools if tool.name in allowed]


def unfinished(messages: tuple[Message, ...], api: str) -> tuple[tuple[Message, ...], str | None]:
    """Return the messages without the pieces of an answer that is still to be continued, and the token to go on with.

    The provider is sent what it was sent before, and answers with the rest.
    """
    token: str | None = None
    while messages:
        blocks = own_blocks(messages[-1], PROVIDER, api)
        found = cast(Block, blocks[-1]).get(CONTINUATION) if blocks else None
        if not isinstance(found, str):
            break
        token = token or found
        messages = messages[:-1]
    return messages, token


def said(blocks: Sequence[JsonValue]) -> list[Block]:
    """Return the blocks of an own turn as they go back: all but a continuation token."""
    return [block for block in cast(Sequence[Block], blocks) if CONTINUATION not in block]


def _declaration(tool: ToolSpec, names: ToolNames) -> Block:
    return {
        "name": names.to_wire(tool.name),
        "description": tool.description,
        "parametersJsonSchema": as_object(tool.input_schema),
    }


def _calling(request: ModelRequest, tools: list[ToolSpec], names: ToolNames) -> Block:
    """Return who may be called. Once a tool of the list is deferred the mode stays `VALIDATED`, so that learning the
    last one does not change it."""
    mode = MODES[request.tool_choice]
    if not any(tool.deferred for tool in request.tools) or mode == "NONE":
        return {"mode": mode}
    allowed = callable_names(request)
    wire_names = [names.to_wire(tool.name) for tool in tools if tool.name in allowed]
    if not wire_names:
        return {"mode": "NONE"}
    return {"mode": "VALIDATED" if mode == "AUTO" else mode, "allowedFunctionNames": wire_names}


def _generation(request: ModelRequest, options: dict[str, JsonValue]) -> Block:
    options = {name: value for name, value in options.items() if name not in ("api", "api_version")}
    effort = options.pop("effort", None)
    given = options.pop("generationConfig", None)
    config: Block = {**(given if isinstance(given, dict) else {}), **options}
    config["maxOutputTokens"] = request.max_output_tokens
    if effort is not None:
        config["thinkingConfig"] = {**config.get("thinkingConfig", {}), "thinkingLevel": str(effort).upper()}
    if request.output_schema is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = request.output_schema
    return config


class _Writer:
    """Writes messages into the contents of the wire: model turns, answers in the order of their calls, user turns."""

    def __init__(self, request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> None:
        self.system: list[Block] = []
        self.contents: list[Block] = []
        self._model = request.route.model
        self._names = names
        self._ids = call_ids(request.messages, PROVIDER, API)
        self._load_media = load_media
        self._calls: dict[str, tuple[str | None, str]] = {}
        self._answers: dict[str, Block] = {}

    async def write(self, messages: tuple[Message, ...]) -> None:
        """Write every message; a system message after the first turn is said in the user's turn, as an operator."""
        for message in messages:
            if message.role == "tool":
                self._result(message)
                continue
            self._settle()
            if message.role == "assistant":
                self._assistant(message)
            elif message.role == "system" and not self.contents:
                self.system.extend({"text": shown(part)} for part in message.parts if isinstance(part, Text))
            else:
                parts = [block for part in message.parts for block in await self._user(part, message.role)]
                self._say("user", parts)
        self._settle()

    def _assistant(self, message: Message) -> None:
        native = own_blocks(message, PROVIDER, API)
        parts = said(native) if native is not None else self._neutral(message)
        written = [part["functionCall"] for part in parts if "functionCall" in part]
        for call, made in zip(message.tool_calls, written, strict=False):
            self._calls[call.id] = (made.get("id"), made["name"])
        self._say("model", parts)

    def _say(self, role: str, parts: list[Block]) -> None:
        """Append the parts to the contents, whose roles alternate."""
        if parts and (not self.contents or self.contents[-1]["role"] != role):
            self.contents.append({"role": role, "parts": []})
        if parts:
            self.contents[-1]["parts"].extend(parts)

    def _neutral(self, message: Message) -> list[Block]:
        parts: list[Block] = []
        for part in message.parts:
            if isinstance(part, Text) and part.text:
                parts.append({"text": part.text})
            elif isinstance(part, ToolCall):
                given = part.arguments if part.malformed is None else {"INVALID_JSON": part.malformed}
                wire_id = self._ids.get(part.id, part.id)
                call = {"id": wire_id, "name": self._names.to_wire(part.name), "args": given}
                signed = any("functionCall" in other for other in parts)
                parts.append({"functionCall": call, **({} if signed else {"thoughtSignature": FOREIGN_SIGNATURE})})
        return parts

    def _result(self, message: Message) -> None:
        for part in message.parts:
            if isinstance(part, ToolResult):
                wire_id, name = self._calls[part.call_id]
                response = {"error": part.text} if part.is_error else {"output": part.text}
                known = {} if wire_id is None else {"id": wire_id}
                self._answers[part.call_id] = {"functionResponse": {**known, "name": name, "response": response}}

    def _settle(self) -> None:
        """Write the answers of a turn into one content, as many as calls and in their order: the wire counts them."""
        if self._answers:
            self._say("user", [self._answers[call_id] for call_id in self._calls])
            self._calls, self._answers = {}, {}

    async def _user(self, part: Any, role: str) -> list[Block]:
        if isinstance(part, Text) and part.text:
            text = shown(part)
            return [{"text": f"<operator>\n{text}\n</operator>" if role == "system" else text}]
        if not isinstance(part, Media):
            return []
        if part.mime not in (*IMAGES, *DOCUMENTS, *AUDIO):
            return [{"text": unreadable(part)}]
        data = await media_base64(part, self._load_media, PROVIDER, self._model)
        return [{"inlineData": {"mimeType": part.mime, "data": data}}]
