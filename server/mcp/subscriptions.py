"""Telling clients what changed: `resources/subscribe` in the older eras, `subscriptions/listen` since 2026-07-28.

A notification says that something changed, never what: the client reads it again, with its rights of that moment.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, TypeAlias, cast

import mcp_types as types
from mcp.server.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_to_notification

from engine.errors import Problem
from engine.values import Principal
from server.mcp.house import Call, principal_of
from server.mcp.provider import Changes, Listed, Provider
from server.mcp.session import connection_of
from server.mcp.tasks import RunTasks, WatchedTask

logger = logging.getLogger(__name__)

MAX_URIS = 64
"""How many resources one session or one stream may watch."""

MAX_STREAMS = 32
"""How many streams one caller may hold open at a time."""

MAX_URI = 2000
TASK_IDS = "taskIds"
"""The key under which the tasks extension adds its own to what a stream is asked for."""

STATE = "upstairs.subscriptions"

LIST_EVENTS: Mapping[Listed, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Subscriptions:
    """The handlers of both eras over the providers of a server."""

    def __init__(self, providers: Sequence[Provider], tasks: RunTasks) -> None:
        """Keep the providers, first asked first, and the tasks that streams can tell of."""
        self._providers = providers
        self._tasks = tasks
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
        left out, and so is a task that is not the caller's.
        """
        wanted = params.notifications
        uris = _several([str(uri) for uri in wanted.resource_subscriptions or ()], "resources")
        task_ids = _several((wanted.model_extra or {}).get(TASK_IDS) or (), "tasks")
        with self._stream(principal_of(call)):
            stream = Stream(call)
            watched = [uri for uri in uris if await self._watch(call, stream, uri)]
            tasks = await self._tasks.watched(call, task_ids) if task_ids else ()
            for task in tasks:
                stream.add(task.changes, partial(_task_state, task))
            asked: list[tuple[Listed, ServerEvent]] = [
                (listed, event) for listed, event in LIST_EVENTS.items() if getattr(wanted, f"{listed}_list_changed")
            ]
            for listed, event in asked:
                for provider in self._providers:
                    if (changes := await provider.list_changes(call, listed)) is not None:
                        stream.add(changes, event)
            return await stream.serve(
                types.SubscriptionFilter.model_validate(
                    {
                        **{f"{listed}_list_changed": True for listed, _ in asked},
                        "resource_subscriptions": watched or None,
                        **({TASK_IDS: [task.task_id for task in tasks]} if tasks else {}),
                    }
                )
            )

    async def _watch(self, call: Call, stream: "Stream", uri: str) -> bool:
        try:
            changes = await self._changes(call, uri)
        except MCPError:
            return False
        if changes is not None:
            stream.add(changes, ResourceUpdated(uri))
        return changes is not None

    def _stream(self, principal: Principal) -> "_Place":
        owner = (principal.tenant, principal.subject)
        if self._streams[owner] >= MAX_STREAMS:
            raise MCPError(
                types.INVALID_REQUEST,
                f"{principal.subject} holds {MAX_STREAMS} streams open already; name more resources on one of them",
            )
        return _Place(self._streams, owner)

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


class TaskNotification(types.Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """How a task stands now, as `tasks/get` would answer it."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: dict[str, Any]


Tell: TypeAlias = ServerEvent | Callable[[], Awaitable[types.Notification[Any, Any]]]
"""What a stream says when something changed: an event, or a notification made at that moment."""


class Stream:
    """The answer to one `subscriptions/listen`: what was acknowledged first, then a notification for each change.

    Changes of one thing that the client has not been told of yet are one: a slow client loses nothing but the steps.
    """

    def __init__(self, call: Call) -> None:
        """Start with nothing to watch."""
        self._call = call
        self._sources: list[tuple[Changes, Tell]] = []
        self._due: dict[int, None] = {}
        self._woken = asyncio.Event()

    def add(self, changes: Changes, tell: Tell) -> None:
        """Watch something more."""
        self._sources.append((changes, tell))

    async def serve(self, honoured: types.SubscriptionFilter) -> types.SubscriptionsListenResult:
        """Tell of changes until the client leaves; `honoured` is what it is told to expect."""
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: self._call.request_id}
        running = [
            asyncio.ensure_future(_forward(changes, partial(self._note, number)))
            for number, (changes, _) in enumerate(self._sources)
        ]
        try:
            said = types.SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=meta)
            await self._send(types.SubscriptionsAcknowledgedNotification(params=said))
            while True:
                await self._woken.wait()
                self._woken.clear()
                while self._due:
                    await self._tell(next(iter(self._due)), meta)
        finally:
            await _end(running)

    async def _note(self, number: int) -> None:
        self._due[number] = None
        self._woken.set()

    async def _tell(self, number: int, meta: dict[str, Any]) -> None:
        del self._due[number]
        tell = self._sources[number][1]
        if not callable(tell):
            return await self._send(event_to_notification(tell, meta))
        try:
            notification = await tell()
        except Problem as problem:
            return logger.debug("a task is not told of any more: %s", problem.message)
        notification.params["_meta"] = meta
        await self._send(notification)

    async def _send(self, notification: types.Notification[Any, Any]) -> None:
        await self._call.session.send_notification(cast(Any, notification), self._call.request_id)


def _several(names: object, what: str) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in cast("list[Any]", names)):
        raise MCPError(types.INVALID_PARAMS, f"The {what} to watch must be a list of texts")
    found = tuple(dict.fromkeys(_checked(name) for name in cast("list[str]", names)))
    if len(found) > MAX_URIS:
        raise MCPError(types.INVALID_PARAMS, f"A stream watches at most {MAX_URIS} {what}, not {len(found)}")
    return found


async def _task_state(task: WatchedTask) -> types.Notification[Any, Any]:
    return TaskNotification(params=await task.state())


def _checked(uri: str) -> str:
    if len(uri) > MAX_URI:
        raise MCPError(types.INVALID_PARAMS, f"The URI is longer than {MAX_URI} characters")
    return uri


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
