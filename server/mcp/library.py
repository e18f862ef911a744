"""What people keep as resources: content with the passages that citations name, interactions, process definitions."""

import json
from collections.abc import Sequence
from typing import cast

import mcp_types as types
from pydantic import JsonValue

from content.versions import VersionStore
from engine.errors import Invalid
from engine.values import Principal, new_id
from server.mcp.contents import JSON, WINDOW, Body, number
from server.mcp.house import Call, House, principal_of
from server.mcp.provider import Changes, Listed
from server.mcp.resources import Form, Forms, Values
from server.mcp.watch import watch_published
from server.strict_json import BadJson, check_json
from skills.core import render_interaction, search_content
from skills.services import ToolContext

PROMPT = "text/x-dotprompt"
YAML = "application/yaml"


class LibraryResources(Forms):
    """`content://…`, `interaction://…` and `process://…`; without a version, the one that readers get now."""

    def __init__(self, house: House) -> None:
        """Name the forms; a longer one stands before the one it contains."""
        services = house.services
        self._services = services
        self._content = services.content
        self._interactions = services.interactions
        self._definitions = services.definitions
        super().__init__([*self._content_forms(), *self._versioned_forms()], house.settings.limits.max_result_bytes)

    def _content_forms(self) -> Sequence[Form]:
        return [
            Form.of(
                "content://{object}@{version}/text" + WINDOW,
                "content-version-text",
                "The text that was read from one version of an object",
                "text/plain",
                self._text,
            ),
            Form.of(
                "content://{object}/text" + WINDOW,
                "content-text",
                "The text that was read from an object",
                "text/plain",
                self._text,
            ),
            Form.of(
                "content://{object}@{version}{#place}",
                "content-passage",
                "The exact text at a citation's anchor",
                "text/plain",
                self._passage,
            ),
            Form.of(
                "content://search{?query,collection}",
                "content-search",
                "Passages that answer `query`, with citations; `collection` by id or name",
                JSON,
                self._search,
            ),
            Form.of("content://{object}@{version}", "content-version", "An object at one version", JSON, self._object),
            Form.of("content://{object}", "content", "An object: type, properties, version", JSON, self._object),
        ]

    def _versioned_forms(self) -> Sequence[Form]:
        prompt, process = self._prompt, self._process
        return [
            Form.of(
                "interaction://{name}@{version}/rendered{?parameters}",
                "prompt-version-rendered",
                "The messages of a prompt at one version; `parameters` is a JSON object",
                JSON,
                self._rendered,
            ),
            Form.of(
                "interaction://{name}/rendered{?parameters}",
                "prompt-rendered",
                "The messages of a prompt as it is called now; `parameters` is a JSON object",
                JSON,
                self._rendered,
            ),
            Form.of("interaction://{name}@{version}", "prompt-version", "A prompt at one version", PROMPT, prompt),
            Form.of("interaction://{name}", "prompt", "A prompt as it is called now", PROMPT, prompt),
            Form.of("process://{name}@{version}", "process-version", "A definition at one version", YAML, process),
            Form.of("process://{name}", "process", "A definition as it is started now", YAML, process),
        ]

    async def resources(self, call: Call) -> Sequence[types.Resource]:
        """Return the published interactions and processes at the version that is called now."""
        principal = principal_of(call)
        found: list[types.Resource] = []
        for scheme, store, mime in (("interaction", self._interactions, PROMPT), ("process", self._definitions, YAML)):
            found += [
                types.Resource(uri=f"{scheme}://{name}", name=name, description=f"published {scheme}", mime_type=mime)
                for name in await _published(store, principal)
            ]
        return found

    async def list_changes(self, call: Call, listed: Listed) -> Changes | None:
        """Return the changes of what is published."""
        if listed != "resources":
            return None
        principal = principal_of(call)

        async def look() -> tuple[str, ...]:
            return (
                *await _published(self._interactions, principal),
                "",
                *await _published(self._definitions, principal),
            )

        return watch_published(look, await look())

    async def _object(self, principal: Principal, values: Values) -> Body:
        found = await self._content.get(principal, values["object"], _version(values))
        text = f"content://{found.object_id}@{found.version.number}/text"
        return Body.of_json({**found.model_dump(mode="json"), "text_uri": text})

    async def _passage(self, principal: Principal, values: Values) -> Body:
        anchor = f"{values['object']}@{values['version']}#{values['place']}"
        return Body.of_text(await self._content.resolve(principal, anchor))

    async def _text(self, principal: Principal, values: Values) -> Body:
        return Body.of_text((await self._content.structure(principal, values["object"], _version(values))).text)

    async def _prompt(self, principal: Principal, values: Values) -> Body:
        return Body.of_text((await self._interactions.find(principal, _address(values))).text, PROMPT)

    async def _search(self, principal: Principal, values: Values) -> Body:
        query = values.get("query")
        if not query:
            raise Invalid("the URI names no query; write content://search?query=…", field="query")
        found = await search_content(self._context(principal), query=query, collection=values.get("collection"))
        return Body.of_json(found.model_dump(mode="json"))

    async def _rendered(self, principal: Principal, values: Values) -> Body:
        parameters = _parameters(values.get("parameters") or "{}")
        found = await render_interaction(self._context(principal), interaction=_address(values), parameters=parameters)
        return Body.of_json(found.model_dump(mode="json"))

    def _context(self, principal: Principal) -> ToolContext:
        return ToolContext(principal=principal, services=self._services, key=new_id("call"))

    async def _process(self, principal: Principal, values: Values) -> Body:
        return Body.of_text((await self._definitions.find(principal, _address(values))).text, YAML)


def _parameters(text: str) -> dict[str, JsonValue]:
    try:
        check_json(text.encode())
        parameters = json.loads(text)
    except BadJson as error:
        raise Invalid(f"parameters of the URI: {error}", field="parameters") from None
    if not isinstance(parameters, dict):
        raise Invalid("parameters of the URI must be a JSON object", field="parameters")
    return cast("dict[str, JsonValue]", parameters)


def _version(values: Values) -> int | None:
    return number(values, "version") if "version" in values else None


def _address(values: Values) -> str:
    return f"{values['name']}@{values['version']}" if "version" in values else values["name"]


async def _published(store: VersionStore, principal: Principal) -> list[str]:
    return [listed.name for listed in await store.list_names(principal) if listed.newest is not None]
