"""Interactions: prompts kept as named versions, rendered for a call, and the record of what ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from content.database import Database
from content.executions import Execution, ExecutionDraft, ExecutionFilters, ExecutionPage, ExecutionStore, Storage
from content.templates import Message as PromptMessage
from content.templates import PromptFile, parse_prompt
from content.versioned import Address, Version
from content.versions import VersionStore
from engine.errors import Invalid
from engine.transcript import Media, Message, Part, Text
from engine.values import Principal, Value

RouteOrigin = Literal["interaction", "default"]

_ROLES: Mapping[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "user": "user",
    "model": "assistant",
    "assistant": "assistant",
}


@dataclass(frozen=True)
class Interaction:
    """A prompt at one version; `version` is 0 for the draft, `digest` the SHA-256 of its text."""

    name: str
    version: int
    digest: str
    prompt: PromptFile

    @property
    def address(self) -> str:
        """The address that means this version."""
        return f"{self.name}@{self.version or 'draft'}"


class RenderedInteraction(Value):
    """What a model would get, and how it is to be called.

    `messages` are Dotprompt's: `{role, content: [{text} | {media: {url, contentType?}}]}`. The first
    `stable_messages` of them, and the first `stable_characters` of their text, are the same for all parameters.
    `route` is `provider/model` as the interaction names it, or None where the platform's default is to be used.
    """

    interaction: str
    version: int
    digest: str
    rendered_digest: str
    messages: tuple[dict[str, JsonValue], ...]
    stable_messages: int
    stable_characters: int
    route: str | None
    route_origin: RouteOrigin
    fallbacks: tuple[str, ...]
    options: dict[str, JsonValue]
    output_schema: dict[str, JsonValue] | None
    storage: Storage
    cache: Literal["off", "short", "long"]
    retry_invalid: int

    def transcript(self) -> tuple[Message, ...]:
        """Return the messages as a transcript, with a breakpoint where the stable ones end.

        The `ref` of a medium is the URL that the template gave; the caller puts the blob's digest in its place.

        Raises:
            Invalid: a message has a role that no model takes.
        """
        return tuple(
            _neutral(message, breakpoint=index == self.stable_messages - 1)
            for index, message in enumerate(self.messages)
        )


def _neutral(message: dict[str, Any], *, breakpoint: bool) -> Message:
    role = _ROLES.get(message["role"])
    if role is None:
        known = ", ".join(_ROLES)
        raise Invalid(f"no model takes a message of the role {message['role']!r}; use {known}", role=message["role"])
    parts: list[Part] = []
    for part in message["content"]:
        if "text" in part:
            parts.append(Text(text=part["text"]))
        elif "media" in part:
            medium = part["media"]
            mime = medium.get("contentType") or "application/octet-stream"
            parts.append(Media(ref=medium["url"], mime=mime))
    return Message(role=role, parts=tuple(parts), breakpoint=breakpoint)


def _accept(name: str, text: str) -> None:
    parse_prompt(text, name=name)


async def _check(_principal: Principal, name: str, text: str) -> None:
    findings = parse_prompt(text, name=name).check()
    if findings:
        raise Invalid(
            f"the interaction {name!r} has {len(findings)} findings, the first: {findings[0].message}",
            findings=[finding.as_json() for finding in findings],
        )


class Interactions(VersionStore):
    """The interactions of one database: versions of `.prompt` files, rendering, and the record of executions.

    A draft is kept if it can be parsed. It is published if its template reads nothing that its input schema does not
    have and names no helper that does not exist; `details["findings"]` of the `Invalid` has everything found.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, "interaction", accept=_accept, check=_check)
        self._executions = ExecutionStore(database)

    async def resolve(self, principal: Principal, address: str | Address) -> Interaction:
        """Return the prompt that an address means now.

        Raises:
            NotFound: there is no such name, version or label that the caller may read.
        """
        found = await self.find(principal, address)
        number = found.number if isinstance(found, Version) else 0
        return Interaction(found.name, number, found.digest, parse_prompt(found.text, name=found.name))

    async def render(
        self,
        principal: Principal,
        address: str | Address,
        parameters: Mapping[str, Any] | None = None,
        *,
        history: Sequence[PromptMessage] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> RenderedInteraction:
        """Return what a model would get for the parameters.

        Raises:
            Invalid: a parameter is missing or breaks the input schema; `details` list them.
            Exhausted: the template exceeds its bounds.
        """
        return render(await self.resolve(principal, address), parameters, history=history, context=context)

    async def record_execution(self, principal: Principal, draft: ExecutionDraft) -> Execution:
        """Record a call, once per key; see `ExecutionStore.record`."""
        return await self._executions.record(principal, draft)

    async def get_execution(self, principal: Principal, execution_id: str) -> Execution:
        """Return one record of a call."""
        return await self._executions.get(principal, execution_id)

    async def executions(
        self,
        principal: Principal,
        filters: ExecutionFilters | None = None,
        *,
        after: str | None = None,
        limit: int = 50,
    ) -> ExecutionPage:
        """Return records of calls, newest first; callers see their own, operators and publishers all."""
        return await self._executions.list(principal, filters, after=after, limit=limit)


def render(
    interaction: Interaction,
    parameters: Mapping[str, Any] | None = None,
    *,
    history: Sequence[PromptMessage] | None = None,
    context: Mapping[str, Any] | None = None,
) -> RenderedInteraction:
    """Render an interaction that was resolved before; pure."""
    prompt = interaction.prompt
    rendered = prompt.render(parameters, history=history, context=context)
    route = prompt.extension.route or prompt.model
    return RenderedInteraction(
        interaction=interaction.name,
        version=interaction.version,
        digest=interaction.digest,
        rendered_digest=rendered.digest,
        messages=rendered.messages,
        stable_messages=rendered.stable_prefix,
        stable_characters=rendered.stable_characters,
        route=route,
        route_origin="interaction" if route else "default",
        fallbacks=prompt.extension.fallbacks,
        options=prompt.config,
        output_schema=prompt.output_schema,
        storage=prompt.extension.storage,
        cache=prompt.extension.cache,
        retry_invalid=prompt.extension.retry_invalid,
    )
