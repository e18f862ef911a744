"""Published interactions as MCP prompts: typed arguments, completion of those with a fixed choice, the messages."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import mcp_types as types
from pydantic import JsonValue

from content.interactions import Interaction
from engine.errors import Invalid, NotFound
from server.json_types import single_type
from server.mcp.house import Call, House, principal_of
from server.mcp.provider import Changes, Listed, Provider
from server.mcp.watch import watch_published

MAX_COMPLETIONS = 100


class InteractionPrompts(Provider):
    """Every published interaction that the caller may read, under its name; `name@version` gets another version.

    The protocol's arguments are texts: an argument of another type is read as JSON.
    """

    def __init__(self, house: House) -> None:
        """Keep what is needed."""
        self._interactions = house.services.interactions

    async def prompts(self, call: Call) -> Sequence[types.Prompt]:
        """Return the prompts by name."""
        principal = principal_of(call)
        names = [one.name for one in await self._interactions.list_names(principal) if one.newest is not None]
        return [_described(await self._interactions.resolve(principal, name)) for name in names]

    async def list_changes(self, call: Call, listed: Listed) -> Changes | None:
        """Return the changes of the prompts: one is published, or another version of one."""
        if listed != "prompts":
            return None
        principal = principal_of(call)

        async def look() -> tuple[tuple[str, int], ...]:
            listed = await self._interactions.list_names(principal)
            return tuple((one.name, one.newest) for one in listed if one.newest is not None)

        return watch_published(look, await look())

    async def get_prompt(self, call: Call, params: types.GetPromptRequestParams) -> types.GetPromptResult | None:
        """Render a prompt: the messages as a model would get them."""
        found = await self._find(call, params.name)
        if found is None:
            return None
        parameters = read_arguments(found.prompt.input_schema, params.arguments or {})
        rendered = await self._interactions.render(principal_of(call), found.address, parameters)
        messages = [
            types.PromptMessage(role=_role(message["role"]), content=_content(cast("dict[str, Any]", part)))
            for message in rendered.messages
            for part in cast("list[JsonValue]", message["content"])
        ]
        about = {
            "upstairs/version": rendered.version,
            "upstairs/digest": rendered.rendered_digest,
            "upstairs/route": rendered.route,
        }
        return types.GetPromptResult(description=found.prompt.description, messages=messages, _meta=about)

    async def complete(self, call: Call, params: types.CompleteRequestParams) -> types.CompleteResult | None:
        """Complete an argument whose schema lists its values."""
        if not isinstance(params.ref, types.PromptReference):
            return None
        found = await self._find(call, params.ref.name)
        if found is None:
            return None
        node = _properties(found.prompt.input_schema).get(params.argument.name, {})
        choices = ("true", "false") if single_type(node) == "boolean" else cast("list[Any]", node.get("enum", []))
        texts = [choice if isinstance(choice, str) else json.dumps(choice) for choice in choices]
        fitting = [text for text in texts if text.lower().startswith(params.argument.value.lower())]
        completion = types.Completion(
            values=fitting[:MAX_COMPLETIONS], total=len(fitting), has_more=len(fitting) > MAX_COMPLETIONS
        )
        return types.CompleteResult(completion=completion)

    async def _find(self, call: Call, name: str) -> Interaction | None:
        try:
            return await self._interactions.resolve(principal_of(call), name)
        except (NotFound, Invalid):
            return None


def _properties(schema: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", (schema or {}).get("properties", {}))


def _described(found: Interaction) -> types.Prompt:
    schema = found.prompt.input_schema or {}
    required = cast("list[str]", schema.get("required", []))
    arguments = [
        types.PromptArgument(
            name=name,
            description=_explained(node),
            required=name in required and name not in found.prompt.input_default,
        )
        for name, node in _properties(schema).items()
    ]
    return types.Prompt(name=found.name, description=found.prompt.description, arguments=arguments)


def _explained(node: Mapping[str, Any]) -> str | None:
    kind = single_type(node)
    as_json = None if kind == "string" or "enum" in node else f"as JSON: {kind or 'any value'}"
    return "; ".join(part for part in (node.get("description"), as_json) if part) or None


def read_arguments(schema: Mapping[str, Any] | None, arguments: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the parameters that the texts of a prompt's arguments mean by the input schema.

    Raises:
        Invalid: a text can't be read as its argument's type; the message names it.
    """
    properties = _properties(schema)
    return {name: _read(name, properties.get(name, {}), text) for name, text in arguments.items()}


def _read(name: str, node: Mapping[str, Any], text: str) -> JsonValue:
    kind = single_type(node)
    if kind == "string" or text in node.get("enum", ()):
        return text
    try:
        return cast(JsonValue, json.loads(text))
    except ValueError:
        if kind is None:
            return text
        raise Invalid(
            f'{name}: {text[:80]!r} is not {kind} as JSON; write it like 3, true or ["a"]', field=name
        ) from None


def _role(role: JsonValue) -> types.Role:
    # The protocol knows no system role; what a system message says is part of what the user sends.
    return "assistant" if role in ("model", "assistant") else "user"


def _content(part: Mapping[str, Any]) -> types.ContentBlock:
    if "media" not in part:
        return types.TextContent(text=str(part.get("text", "")))
    url = str(part["media"]["url"])
    head, comma, data = url.partition(",")
    mime = str(part["media"].get("contentType") or head.removeprefix("data:").partition(";")[0])
    if url.startswith("data:") and comma and head.endswith(";base64"):
        if mime.startswith("image/"):
            return types.ImageContent(data=data, mime_type=mime)
        if mime.startswith("audio/"):
            return types.AudioContent(data=data, mime_type=mime)
        inline = types.BlobResourceContents(uri=f"data:{mime}", mime_type=mime, blob=data)
        return types.EmbeddedResource(resource=inline)
    return types.ResourceLink(uri=url, name=url.rpartition("/")[2] or url, mime_type=mime or None)
