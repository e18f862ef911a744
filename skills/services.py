"""What a tool may reach: the stores and controls of the house, handed in by the server."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from content.definitions import ProcessDefinitions
from content.interactions import Interactions
from content.objects import ContentStore
from content.records import Filters, Hit
from content.spool import Spooled
from engine.capacity import GateReport
from engine.errors import Unavailable
from engine.ports import Effects, RunControl, RunStore
from engine.process.verify import Finding
from engine.routes import ModelChoice, resolve
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
        filters: Filters | None = None,
        mode: Literal["hybrid", "semantic", "lexical"] = "hybrid",
        limit: int = 8,
        tokens: int = 4000,
    ) -> Sequence[Hit]:
        """Return the best passages with their citations, together within a budget of estimated tokens."""
        ...


class Ingest(Protocol):
    """Receiving a file: it is kept as a version of the object of its name, and an intake run reads it."""

    async def __call__(
        self,
        principal: Principal,
        name: str,
        data: bytes | Spooled,
        mime: str | None = None,
        *,
        collection: str = "default",
    ) -> Run:
        """Start the intake; the same bytes under the same name give the same run."""
        ...


class AuditVerdict(Protocol):
    """Whether a chain is whole: `first_bad` is the number of the first record that is not, with the reason."""

    @property
    def valid(self) -> bool:
        """Whether every record is as it was written and none is missing."""
        ...

    @property
    def records(self) -> int:
        """How many records the chain has."""
        ...

    @property
    def head(self) -> str:
        """The hash of the last record."""
        ...

    @property
    def anchored(self) -> bool:
        """Whether the head is in the tenant's signed chain."""
        ...

    @property
    def first_bad(self) -> int | None:
        """The number of the first record that doesn't fit."""
        ...

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        ...


async def no_audit_verifier(principal: Principal, run_id: str) -> AuditVerdict:
    """Refuse: what a process without the key ring answers when it is asked to verify a chain."""
    raise Unavailable("this process can't verify audit chains; ask the server of the data folder", run_id=run_id)


def only_models(principal: Principal, model: ModelChoice) -> None:
    """Accept `provider/model` and lists of them: what a process without settings knows of routes."""
    resolve(model, {})


async def no_gates(principal: Principal) -> Sequence[GateReport]:
    """Return nothing: what a process without gates in front of its models knows of them."""
    return ()


@dataclass(frozen=True)
class Services:
    """The house as tools see it.

    `ingest` starts an intake run. `verify` checks the text of a process definition. `run_url` is the page of a run,
    `task_url` that of a task, which whoever may answer may open, whether or not they may see the run.
    `verify_audit` recomputes the audit chain of a run. `check_model` raises `Invalid` for a model or a route that the
    principal's tenant doesn't have. `capacity` tells what is known of the limits of models; it is for operators.
    """

    content: ContentStore
    interactions: Interactions
    definitions: ProcessDefinitions
    runs: RunStore
    control: RunControl
    effects: Effects
    search: SearchContent
    ingest: Ingest
    verify: Callable[[Principal, str], Awaitable[Sequence[Finding]]]
    run_url: Callable[[str], str]
    task_url: Callable[[str], str]
    verify_audit: Callable[[Principal, str], Awaitable[AuditVerdict]] = no_audit_verifier
    check_model: Callable[[Principal, ModelChoice], None] = only_models
    capacity: Callable[[Principal], Awaitable[Sequence[GateReport]]] = no_gates


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
