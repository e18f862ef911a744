"""Completion of what the templates of resources name: processes, interactions, collections, runs, tasks, skills."""

from collections.abc import Awaitable, Callable, Sequence

import mcp_types as types
from mcp_types import CompletionContext

from content.collections import Collections
from content.versions import VersionStore
from engine.ports import RunFilter
from engine.values import Principal
from server.mcp.house import Call, House, principal_of
from server.mcp.provider import Provider

MOST = 100
"""How many suggestions an answer has at most, as the protocol bounds them."""

LOOKED = 500

Suggest = Callable[[Principal, CompletionContext | None], Awaitable[Sequence[str]]]


class NameCompletions(Provider):
    """Suggests the names that the caller may read, by the scheme of the template and the variable in it."""

    def __init__(self, house: House) -> None:
        """Name the variables."""
        services = house.services
        self._services = services
        self._catalogue = house.toolbox.catalogue
        self._suggest: dict[tuple[str, str], Suggest] = {
            ("run", "run_id"): self._runs,
            ("task", "task_id"): self._tasks,
            ("skill", "name"): self._skills,
            ("content", "collection"): self._collections,
        }
        for scheme, store in (("interaction", services.interactions), ("process", services.definitions)):
            self._suggest[scheme, "name"] = _names(store)
            self._suggest[scheme, "version"] = _versions(store)

    async def complete(self, call: Call, params: types.CompleteRequestParams) -> types.CompleteResult | None:
        """Suggest what begins with what was typed."""
        if not isinstance(params.ref, types.ResourceTemplateReference):
            return None
        suggest = self._suggest.get((params.ref.uri.partition("://")[0], params.argument.name))
        if suggest is None:
            return None
        typed = params.argument.value.lower()
        found = [one for one in await suggest(principal_of(call), params.context) if one.lower().startswith(typed)]
        completion = types.Completion(values=found[:MOST], total=len(found), has_more=len(found) > MOST)
        return types.CompleteResult(completion=completion)

    async def _runs(self, principal: Principal, context: CompletionContext | None) -> Sequence[str]:
        runs = await self._services.runs.list(principal, RunFilter(limit=LOOKED))
        return [run.run_id for run in runs]

    async def _tasks(self, principal: Principal, context: CompletionContext | None) -> Sequence[str]:
        tasks = await self._services.runs.tasks(principal, limit=LOOKED)
        return [task.task_id for task in tasks]

    async def _skills(self, principal: Principal, context: CompletionContext | None) -> Sequence[str]:
        return [skill.name for skill in self._catalogue.visible(principal)]

    async def _collections(self, principal: Principal, context: CompletionContext | None) -> Sequence[str]:
        collections = await Collections(self._services.content.database).list_collections(principal)
        return [one.name for one in collections]


def _names(store: VersionStore) -> Suggest:
    async def suggest(principal: Principal, context: CompletionContext | None) -> Sequence[str]:
        return [listed.name for listed in await store.list_names(principal) if listed.newest is not None]

    return suggest


def _versions(store: VersionStore) -> Suggest:
    async def suggest(principal: Principal, context: CompletionContext | None) -> Sequence[str]:
        """Newest first, of the name that was chosen before."""
        name = ((context.arguments if context is not None else None) or {}).get("name")
        if not name:
            return ()
        return [str(version.number) for version in reversed(await store.list_versions(principal, name))]

    return suggest
