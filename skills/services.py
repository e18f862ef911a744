"""What a tool may reach: the stores and controls of the house, handed in by the server."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import JsonValue

from content.definitions import ProcessDefinitions
from content.interactions import Interactions
from content.objects import ContentStore
from content.search import Hit
from engine.ports import Effects, RunControl, RunStore
from engine.process.verify import Finding
from engine.runs import Run, RunRef
from engine.values import Principal


class SearchContent(Protocol):
    """Search over what the principal may read."""

    async def __call__(
        self,
        principal: Principal,
        query: str,
        *,
        collection: str | None = None,
        filters: dict[str, Any] | None = None,
        mode: str = "hybrid",
        limit: int = 8,
    ) -> Sequence[Hit]:
        """Return the best passages with their citations."""
        ...


@dataclass(frozen=True)
class Services:
    """The house as tools see it. `ingest` starts an intake run; `verify` checks the text of a process definition."""

    content: ContentStore
    interactions: Interactions
    definitions: ProcessDefinitions
    runs: RunStore
    control: RunControl
    effects: Effects
    search: SearchContent
    ingest: Callable[[Principal, str, bytes, str | None], Awaitable[Run]]
    verify: Callable[[Principal, str], Awaitable[Sequence[Finding]]]
    run_url: Callable[[str], str]


@dataclass(frozen=True)
class ToolContext:
    """One call: who asks, from which run if from one, and the key that makes a repeat the same call.

    `progress(done, total, message)` reports to whoever watches; it may be called as often as is useful.
    """

    principal: Principal
    services: Services
    key: str
    run: RunRef | None = None
    progress: Callable[[float, float | None, str], Awaitable[None]] | None = None
    extra: dict[str, JsonValue] = field(default_factory=lambda: {})
