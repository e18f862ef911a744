"""What the official suite expects of a server by name, as a provider that stands beside the product's own.

The names, texts and behaviours are those that the suite's scenarios describe.
"""

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.uri_template import UriTemplate

from server.mcp.house import Call
from server.mcp.logs import log
from server.mcp.provider import Changes, Listed, Provider
from tests.conformance.inputs import INPUT_TOOLS, elicit, input_prompt
from tests.conformance.jobs import SCHEMAS, Jobs

Reply = types.CallToolResult | types.InputRequiredResult
Handler = Callable[[Call, types.CallToolRequestParams], Awaitable[Reply]]

PAUSE = 0.05
MISSING_CAPABILITY = -32021
TEMPLATE = UriTemplate.parse("test://template/{id}/data")


def _png() -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def _wav() -> str:
    samples = bytes(8)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8) + struct.pack("<4sI", b"data", len(samples))
    return base64.b64encode(struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8, b"WAVE") + form + samples).decode()


PNG, WAV = _png(), _wav()


def said(*content: types.ContentBlock | str, is_error: bool = False) -> types.CallToolResult:
    """An answer of texts and other content."""
    blocks = [types.TextContent(text=one) if isinstance(one, str) else one for one in content]
    return types.CallToolResult(content=blocks, is_error=is_error)


def embedded(uri: str, text: str, mime: str = "text/plain") -> types.EmbeddedResource:
    """A resource inside of an answer."""
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, text=text, mime_type=mime))


def always(result: types.CallToolResult) -> Handler:
    """A tool that always answers the same."""

    async def answer(call: Call, params: types.CallToolRequestParams) -> Reply:
        return result

    return answer


async def with_logging(call: Call, params: types.CallToolRequestParams) -> Reply:
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(call, "info", text)
        await asyncio.sleep(PAUSE)
    return said("Tool with logging executed")


async def with_progress(call: Call, params: types.CallToolRequestParams) -> Reply:
    for done in (0, 50, 100):
        await call.session.report_progress(done, 100, None)
        await asyncio.sleep(PAUSE)
    return said("Tool with progress executed")


async def sampling(call: Call, params: types.CallToolRequestParams) -> Reply:
    prompt = str((params.arguments or {}).get("prompt", ""))
    message = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
    request = types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100))
    related = ServerMessageMetadata(related_request_id=call.request_id)
    answer = await call.session.send_request(request, types.CreateMessageResult, metadata=related)
    return said(f"LLM response: {getattr(answer.content, 'text', '')}")


def asking(message: str, schema: Mapping[str, Any], words: str) -> Handler:
    """A tool that asks the user in the way of the older eras."""

    async def ask(call: Call, params: types.CallToolRequestParams) -> Reply:
        text = str((params.arguments or {}).get("message", message))
        found = await call.session.elicit_form(text, dict(schema), call.request_id)
        return said(f"{words}: action={found.action}, content={json.dumps(found.content)}")

    return ask


async def missing_capability(call: Call, params: types.CallToolRequestParams) -> Reply:
    capabilities = call.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(MISSING_CAPABILITY, "The tool needs sampling", {"requiredCapabilities": {"sampling": {}}})
    return said("sampling is there")


async def streaming_elicitation(call: Call, params: types.CallToolRequestParams) -> Reply:
    return elicit("confirm", "Go on?", {"ok": {"type": "boolean"}}) if not params.input_responses else said("went on")


async def failing(call: Call, params: types.CallToolRequestParams) -> Reply:
    return said("This tool intentionally returns an error for testing", is_error=True)


async def disconnecting(call: Call, params: types.CallToolRequestParams) -> Reply:
    if call.close_sse_stream is not None:
        await call.close_sse_stream()
    await asyncio.sleep(2 * PAUSE)
    return said("Reconnected")


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT = {"type": "string"}
DEFAULTS = _object(
    name={"type": "string", "default": "John Doe"},
    age={"type": "integer", "default": 30},
    score={"type": "number", "default": 95.5},
    status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    verified={"type": "boolean", "default": True},
)
OPTIONS = ["option1", "option2", "option3"]


def _titled(noun: str) -> list[dict[str, str]]:
    return [{"const": f"value{n}", "title": f"{word} {noun}"} for n, word in enumerate(("First", "Second", "Third"), 1)]


ENUMS = _object(
    untitledSingle={"type": "string", "enum": OPTIONS},
    titledSingle={
        "type": "string",
        "oneOf": _titled("Option"),
    },
    legacyEnum={
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti={"type": "array", "items": {"type": "string", "enum": OPTIONS}},
    titledMulti={
        "type": "array",
        "items": {"anyOf": _titled("Choice")},
    },
)
PERSON = _object(
    "username",
    "email",
    username={"type": "string", "description": "User's response"},
    email={"type": "string", "description": "User's email address"},
)
WHOLE_VOCABULARY: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
IMAGE = types.ImageContent(data=PNG, mime_type="image/png")

TOOLS: dict[str, tuple[dict[str, Any], Handler]] = {
    "test_simple_text": (_object(), always(said("This is a simple text response for testing."))),
    "test_image_content": (_object(), always(said(IMAGE))),
    "test_audio_content": (_object(), always(said(types.AudioContent(data=WAV, mime_type="audio/wav")))),
    "test_embedded_resource": (
        _object(),
        always(said(embedded("test://embedded-resource", "This is an embedded resource content."))),
    ),
    "test_multiple_content_types": (
        _object(),
        always(
            said(
                "Multiple content types test:",
                IMAGE,
                embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
            )
        ),
    ),
    "test_tool_with_logging": (_object(), with_logging),
    "test_logging_tool": (_object(), with_logging),
    "test_tool_with_progress": (_object(), with_progress),
    "test_error_handling": (_object(), failing),
    "test_sampling": (_object("prompt", prompt=TEXT), sampling),
    "test_elicitation": (_object("message", message=TEXT), asking("", PERSON, "User response")),
    "test_elicitation_sep1034_defaults": (_object(), asking("Fill in", DEFAULTS, "Elicitation completed")),
    "test_elicitation_sep1330_enums": (_object(), asking("Choose", ENUMS, "Elicitation completed")),
    "test_missing_capability": (_object(), missing_capability),
    "test_streaming_elicitation": (_object(), streaming_elicitation),
    "test_reconnection": (_object(), disconnecting),
    "json_schema_2020_12_tool": (WHOLE_VOCABULARY, always(said("ok"))),
    "test_custom_header": (_object(region={**TEXT, "x-mcp-header": "Region"}), always(said("ok"))),
    **{name: (_object(), handler) for name, handler in INPUT_TOOLS.items()},
}

STATIC: dict[str, tuple[str, str, str | None]] = {
    "test://static-text": ("text/plain", "A text", "This is the content of the static text resource."),
    "test://static-binary": ("image/png", "A picture", None),
    "test://watched-resource": ("text/plain", "A text to watch", "watched"),
}

PROMPTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "test_simple_prompt": ("A prompt", ()),
    "test_prompt_with_arguments": ("A prompt with arguments", ("arg1", "arg2")),
    "test_prompt_with_embedded_resource": ("A prompt with a resource", ("resourceUri",)),
    "test_prompt_with_image": ("A prompt with a picture", ()),
    "test_input_required_result_prompt": ("A prompt that asks", ()),
}


class Fixtures(Provider):
    """The suite's tools, resources and prompts."""

    def __init__(self, jobs: Jobs) -> None:
        """Keep the tools that start runs; nobody watches the lists yet."""
        self._jobs = jobs
        self._watching: dict[str, set[asyncio.Event]] = {"tools": set(), "prompts": set()}

    async def tools(self, call: Call) -> Sequence[types.Tool]:
        """Return the tools."""
        triggers = {f"test_trigger_{kind}_change": _object() for kind in ("tool", "prompt")}
        schemas = {name: schema for name, (schema, _) in TOOLS.items()} | triggers | SCHEMAS
        return [types.Tool(name=name, description=f"Fixture {name}", input_schema=one) for name, one in schemas.items()]

    async def call_tool(self, call: Call, params: types.CallToolRequestParams) -> Reply | None:
        """Run a tool."""
        if params.name in ("test_trigger_tool_change", "test_trigger_prompt_change"):
            for event in self._watching[params.name.split("_")[2] + "s"]:
                event.set()
            return said("changed")
        found = TOOLS.get(params.name)
        return await self._jobs.call(call, params) if found is None else await found[1](call, params)

    async def list_changes(self, call: Call, listed: Listed) -> Changes | None:
        """Return the changes that the triggers make."""
        if listed not in self._watching:
            return None
        event = asyncio.Event()
        self._watching[listed].add(event)
        return self._triggered(listed, event)

    async def _triggered(self, listed: Listed, event: asyncio.Event) -> Changes:
        try:
            while True:
                await event.wait()
                event.clear()
                yield
        finally:
            self._watching[listed].discard(event)

    async def resources(self, call: Call) -> Sequence[types.Resource]:
        """Return the resources."""
        return [
            types.Resource(uri=uri, name=uri.removeprefix("test://"), description=about, mime_type=mime)
            for uri, (mime, about, _) in STATIC.items()
        ]

    async def templates(self, call: Call) -> Sequence[types.ResourceTemplate]:
        """Return the template."""
        about = "Data by id"
        return [types.ResourceTemplate(uri_template=str(TEMPLATE), name="data", description=about)]

    async def read_resource(
        self, call: Call, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | None:
        """Read a resource."""
        uri = str(params.uri)
        if uri in STATIC:
            mime, _, text = STATIC[uri]
            contents: types.TextResourceContents | types.BlobResourceContents = (
                types.BlobResourceContents(uri=uri, mime_type=mime, blob=PNG)
                if text is None
                else types.TextResourceContents(uri=uri, mime_type=mime, text=text)
            )
            return types.ReadResourceResult(contents=[contents])
        values = TEMPLATE.match(uri)
        if values is None:
            return None
        number = cast(str, values["id"])
        text = json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})
        filled = types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
        return types.ReadResourceResult(contents=[filled])

    async def prompts(self, call: Call) -> Sequence[types.Prompt]:
        """Return the prompts."""
        return [
            types.Prompt(
                name=name,
                description=about,
                arguments=[types.PromptArgument(name=one, description=one, required=True) for one in arguments],
            )
            for name, (about, arguments) in PROMPTS.items()
        ]

    async def get_prompt(
        self, call: Call, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult | None:
        """Render a prompt."""
        given = params.arguments or {}
        if params.name == "test_input_required_result_prompt":
            return input_prompt(params)
        if params.name not in PROMPTS:
            return None
        if missing := [name for name in PROMPTS[params.name][1] if name not in given]:
            raise MCPError(types.INVALID_PARAMS, f"missing: {', '.join(missing)}")
        content: dict[str, list[types.ContentBlock]] = {
            "test_simple_prompt": [types.TextContent(text="This is a simple prompt for testing.")],
            "test_prompt_with_arguments": [
                types.TextContent(text="Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format_map(_Given(given)))
            ],
            "test_prompt_with_embedded_resource": [
                embedded(given.get("resourceUri", ""), "Embedded resource content for testing."),
                types.TextContent(text="Please process the embedded resource above."),
            ],
            "test_prompt_with_image": [IMAGE, types.TextContent(text="Please analyze the image above.")],
        }
        messages = [types.PromptMessage(role="user", content=one) for one in content[params.name]]
        return types.GetPromptResult(messages=messages)

    async def complete(self, call: Call, params: types.CompleteRequestParams) -> types.CompleteResult | None:
        """Complete the argument of the suite's prompt."""
        if not isinstance(params.ref, types.PromptReference) or params.ref.name != "test_prompt_with_arguments":
            return None
        fitting = [one for one in ("paris", "park", "party") if one.startswith(params.argument.value)]
        return types.CompleteResult(completion=types.Completion(values=fitting, total=len(fitting), has_more=False))


class _Given(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
