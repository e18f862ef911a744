"""Telling clients what changed: `resources/subscribe` in the older eras, `subscriptions/listen` since 2026-07-28.

A notification says that something changed, never what: the client reads it again, with its rights of that moment.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import mcp_types as types
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError

from engine.errors import Problem
from engine.values import Principal
from server.mcp.house import Call, principal_of
from server.mcp.provider import Changes, Listed, Provider
from server.mcp.session import connection_of

logger = logging.getLogger(__name__)

MAX_URIS = 64
"""How many resources one session or one stream may watch."""

MAX_STREAMS = 32
"""How many streams one caller may hold open at a time."""

MAX_URI = 2000
STATE = "upstairs.subscriptions"

LIST_EVENTS: Mapping[Listed, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Subscriptions:
    """The handlers of both eras over the providers of a server."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        """Keep the providers, first asked first."""
        self._providers = providers
        self._streams: Counter[tuple[str, str]] = Counter()

    async def subscribe(self, call: Call, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Watch a resource for a session; one that never changes is accepted and never told about."""
        uri = _checked(str(params.uri))
        watching = self._watching(call)
        if uri in watching:
            return types.EmptyResult()
        if len(watching) >= MAX_URIS:
            raise MCPError(
                types.INVALID_PARAMS, f"A session watches at most {MAX_URIS} resources; unsubscribe from one first"
            )
        changes = await self._changes(call, uri)
        connection = connection_of(call)

        async def tell() -> None:
            await connection.send_resource_updated(uri)

        watching[uri] = None if changes is None else asyncio.ensure_future(_forward(changes, tell))
        return types.EmptyResult()

    async def unsubscribe(self, call: Call, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Watch a resource no longer."""
        running = self._watching(call).pop(str(params.uri), None)
        if running is not None:
            await _end([running])
        return types.EmptyResult()

    def _watching(self, call: Call) -> "dict[str, asyncio.Task[None] | None]":
        connection = connection_of(call)
        if STATE not in connection.state:
            watching: dict[str, asyncio.Task[None] | None] = {}
            connection.state[STATE] = watching

            async def end() -> None:
                await _end([running for running in watching.values() if running is not None])

            connection.exit_stack.push_async_callback(end)
        return connection.state[STATE]

    async def listen(
        self, call: Call, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Hold a stream open that tells what it was asked to, until the client leaves.

        What is acknowledged is what is watched: a resource that never changes, or is not there for the caller, is
        left out.
        """
        wanted = params.notifications
        uris = tuple(dict.fromkeys(_checked(str(uri)) for uri in wanted.resource_subscriptions or ()))
        if len(uris) > MAX_URIS:
            raise MCPError(types.INVALID_PARAMS, f"A stream watches at most {MAX_URIS} resources, not {len(uris)}")
        sources: list[tuple[ServerEvent, Changes]] = []
        bus = InMemorySubscriptionBus()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._stream(principal_of(call)))
            watched: list[str] = []
            for uri in uris:
                if (changes := await self._found(call, uri)) is not None:
                    watched.append(uri)
                    sources.append((ResourceUpdated(uri), changes))
            sources += [
                (LIST_EVENTS[listed], changes)
                for listed, asked in _lists(wanted)
                if asked
                for provider in self._providers
                if (changes := await provider.list_changes(call, listed)) is not None
            ]
            await stack.enter_async_context(_publishing(bus, sources))
            honoured = wanted.model_copy(update={"resource_subscriptions": watched or None})
            return await ListenHandler(bus)(call, params.model_copy(update={"notifications": honoured}))

    def _stream(self, principal: Principal) -> "_Place":
        owner = (principal.tenant, principal.subject)
        if self._streams[owner] >= MAX_STREAMS:
            raise MCPError(
                types.INVALID_REQUEST,
                f"{principal.subject} holds {MAX_STREAMS} streams open already; name more resources on one of them",
            )
        return _Place(self._streams, owner)

    async def _found(self, call: Call, uri: str) -> Changes | None:
        try:
            return await self._changes(call, uri)
        except MCPError:
            return None

    async def _changes(self, call: Call, uri: str) -> Changes | None:
        for provider in self._providers:
            if (changes := await provider.changes(call, uri)) is not None:
                return changes
        return None


class _Place:
    """One of the streams that a caller may hold open."""

    def __init__(self, streams: "Counter[tuple[str, str]]", owner: tuple[str, str]) -> None:
        self._streams = streams
        self._owner = owner

    def __enter__(self) -> None:
        self._streams[self._owner] += 1

    def __exit__(self, *_: object) -> None:
        self._streams[self._owner] -= 1
        if not self._streams[self._owner]:
            del self._streams[self._owner]


def _lists(wanted: types.SubscriptionFilter) -> tuple[tuple[Listed, bool], ...]:
    return (
        ("tools", bool(wanted.tools_list_changed)),
        ("prompts", bool(wanted.prompts_list_changed)),
        ("resources", bool(wanted.resources_list_changed)),
    )


def _checked(uri: str) -> str:
    if len(uri) > MAX_URI:
        raise MCPError(types.INVALID_PARAMS, f"The URI is longer than {MAX_URI} characters")
    return uri


@asynccontextmanager
async def _publishing(
    bus: InMemorySubscriptionBus, sources: Sequence[tuple[ServerEvent, Changes]]
) -> AsyncGenerator[None]:
    """Publish each change while the block runs."""

    def publish(event: ServerEvent) -> Callable[[], Awaitable[None]]:
        return lambda: bus.publish(event)

    running = [asyncio.ensure_future(_forward(changes, publish(event))) for event, changes in sources]
    try:
        yield
    finally:
        await _end(running)


async def _forward(changes: Changes, tell: Callable[[], Awaitable[None]]) -> None:
    async with aclosing(changes):
        try:
            async for _ in changes:
                await tell()
        except Problem as problem:
            # As when the caller may no longer see what it watched: to it, nothing happens there any more.
            logger.debug("a subscription ended: %s", problem.message)
        except Exception:
            logger.exception("a subscription failed")


async def _end(running: "Sequence[asyncio.Task[None]]") -> None:
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
