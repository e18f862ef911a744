"""How a neutral request is written as a Gemini Interactions body (renderer 1).

Source: the types of the `google-genai` SDK 3.4. Nothing is stored at the provider: every request sends all steps, the
provider's own verbatim. This is the Gemini wire on which tools can be learned without losing the cached prefix: they
are declared with `defer_loading`, and an answer brings their definitions.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from engine.transcript import Media, Message, ModelRequest, Text, ToolCall, ToolResult, ToolSpec
from providers.base import LoadMedia
from providers.cache import Outgoing, last_own
from providers.gemini_render import PROVIDER, said, unfinished
from providers.wire import ToolNames, as_object, call_ids, media_base64, own_blocks, shown, unreadable

API = "interactions"
WRITTEN_HERE = (
    "model",
    "input",
    "system_instruction",
    "tools",
    "tool_choice",
    "store",
    "stream",
    "background",
    "response_format",
    "previous_interaction_id",
    "continuation_token",
)
BODY_OPTIONS = ("safety_settings", "service_tier", "labels", "environment")
"""Options that stand beside `generation_config`; every other one stands in it."""

IMAGES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "image/gif", "image/bmp", "image/tiff")
DOCUMENTS = ("application/pdf", "text/csv")
SHORT_CHARS = 120
CHOICES = {"auto": "auto", "none": "none", "required": "any"}

Step = dict[str, Any]


async def render(request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> Step:
    """Return the body of one streamed interaction that the provider keeps nothing of."""
    messages, token = unfinished(request.messages, API)
    options = {name: value for name, value in request.route.options.items() if name not in ("api", "api_version")}
    body: Step = {name: options.pop(name) for name in BODY_OPTIONS if name in options}
    writer = _Writer(request, names, load_media)
    await writer.write(messages)
    body |= {"model": request.route.model, "input": writer.steps, "store": False, "stream": True}
    if writer.system:
        body["system_instruction"] = "\n\n".join(writer.system)
    if request.tools:
        body["tools"] = _tools(request, names)
    if token is not None:
        body["continuation_token"] = token
    if request.output_schema is not None:
        body["response_format"] = {"type": "text", "mime_type": "application/json", "schema": request.output_schema}
    given = options.pop("generation_config", None)
    config: Step = {**(given if isinstance(given, dict) else {}), **options}
    if "effort" in config:
        config["thinking_level"] = str(config.pop("effort")).lower()
    config["max_output_tokens"] = request.max_output_tokens
    if request.tools:
        config["tool_choice"] = CHOICES[request.tool_choice]
    body["generation_config"] = config
    return body


Render = Callable[[ModelRequest, ToolNames, LoadMedia | None], Awaitable[Step]]
RENDERERS: dict[int, Render] = {1: render}
"""The renderer of each version; a run that started with one keeps it."""


def outgoing(request: ModelRequest, body: Step) -> Outgoing:
    """Digest a rendered request for the comparison with the one after it."""
    return Outgoing.of(
        request,
        last_own(request.messages, PROVIDER, API),
        tools=[tool for tool in body.get("tools", []) if not tool.get("defer_loading")],
        system=body.get("system_instruction"),
        entries=body["input"],
    )


def function(tool: ToolSpec, names: ToolNames) -> Step:
    """Return the definition of one function."""
    return {
        "type": "function",
        "name": names.to_wire(tool.name),
        "description": tool.description,
        "parameters": as_object(tool.input_schema),
    }


def _tools(request: ModelRequest, names: ToolNames) -> list[Step]:
    """Return the declarations. With deferred ones among them the search is declared to be ours: the provider shows
    their short descriptions and loads none of them by itself."""
    tools: list[Step] = []
    for tool in request.tools:
        step = function(tool, names)
        if tool.deferred:
            first_line = tool.description.strip().partition("\n")[0]
            step |= {"defer_loading": True, "short_description": first_line[:SHORT_CHARS]}
        tools.append(step)
    if any(tool.deferred for tool in request.tools):
        tools.append({"type": "tool_search", "execution": "client"})
    return tools


class _Writer:
    """Writes messages into the steps of the wire."""

    def __init__(self, request: ModelRequest, names: ToolNames, load_media: LoadMedia | None) -> None:
        self.system: list[str] = []
        self.steps: list[Step] = []
        self._model = request.route.model
        self._names = names
        self._ids = call_ids(request.messages, PROVIDER, API)
        self._load_media = load_media
        self._searches: set[str] = set()
        self._visible = {tool.name for tool in request.tools if not tool.deferred}

    async def write(self, messages: tuple[Message, ...]) -> None:
        """Write every message; a system message after the first step is said in the user's input, as an operator."""
        for message in messages:
            if message.role == "assistant":
                native = own_blocks(message, PROVIDER, API)
                steps = said(native) if native is not None else self._neutral(message)
                self._searches |= {step["id"] for step in steps if step["type"] == "tool_search_call"}
                self.steps.extend(steps)
            elif message.role == "tool":
                self._results(message)
            elif message.role == "system" and not self.steps:
                self.system.extend(shown(part) for part in message.parts if isinstance(part, Text))
            else:
                content = [block for part in message.parts for block in await self._content(part, message.role)]
                if content:
                    self.steps.append({"type": "user_input", "content": content})

    def _neutral(self, message: Message) -> list[Step]:
        steps: list[Step] = []
        for part in message.parts:
            if isinstance(part, Text) and part.text:
                steps.append({"type": "model_output", "content": [_text(part.text)]})
            elif isinstance(part, ToolCall):
                given = part.arguments if part.malformed is None else unparsed(part.malformed)
                wire_id = self._ids.get(part.id, part.id)
                name = self._names.to_wire(part.name)
                steps.append({"type": "function_call", "id": wire_id, "name": name, "arguments": given})
        return steps

    def _results(self, message: Message) -> None:
        """Write the answers of a turn. A search is answered with definitions alone, so its text follows them."""
        lessons: list[Step] = []
        for part in message.parts:
            if not isinstance(part, ToolResult):
                continue
            call_id = self._ids.get(part.call_id, part.call_id)
            if call_id in self._searches:
                found = [function(tool, self._names) for tool in part.reveals]
                self.steps.append({"type": "tool_search_result", "call_id": call_id, "result": found})
                lessons.append(_text(f'<answer of="{part.name}">\n{part.text}\n</answer>'))
            else:
                self.steps.append(self._result(part, call_id))
            self._visible |= {tool.name for tool in part.reveals}
        if lessons:
            self.steps.append({"type": "user_input", "content": lessons})

    def _result(self, part: ToolResult, call_id: str) -> Step:
        learned = [function(tool, self._names) for tool in part.reveals if tool.name not in self._visible]
        step: Step = {
            "type": "function_result",
            "call_id": call_id,
            "name": self._names.to_wire(part.name),
            "result": [_text(part.text), *learned],
        }
        return {**step, "is_error": True} if part.is_error else step

    async def _content(self, part: Any, role: str) -> list[Step]:
        if isinstance(part, Text) and part.text:
            text = shown(part)
            return [_text(f"<operator>\n{text}\n</operator>" if role == "system" else text)]
        if not isinstance(part, Media):
            return []
        kind = "image" if part.mime in IMAGES else "document" if part.mime in DOCUMENTS else None
        if kind is None:
            return [_text(unreadable(part))]
        data = await media_base64(part, self._load_media, PROVIDER, self._model)
        return [{"type": kind, "data": data, "mime_type": part.mime}]


def unparsed(text: str) -> Step:
    """Return the object that stands for arguments that were no JSON; this wire takes nothing but objects."""
    return cast(Step, {"INVALID_JSON": text})


def _text(text: str) -> Step:
    return {"type": "text", "text": text}
