"""The ports of stores and of the control of runs, that the packages above fill."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import Field, JsonValue

from engine.ports.foreach import ForeachProgress
from engine.ports.updates import Control, Say, TaskAnswer, TaskMove
from engine.process.messages import (
    EventSent,
    SendEvent,
)
from engine.runs import (
    Artifact,
    AuditRecord,
    Begun,
    Change,
    Event,
    Recorded,
    Run,
    RunRef,
    RunStatus,
    StartRun,
    Task,
    TaskStatus,
)
from engine.values import Principal, Value


class RunFilter(Value):
    """Which runs to list; newest first. `after` is the id of the last run of the page before."""

    kind: str | None = None
    status: RunStatus | None = None
    definition: str | None = None
    parent_id: str | None = None
    after: str | None = None
    limit: int = Field(default=50, ge=1, le=500)


class RunStore(Protocol):
    """Rows of runs, their events, tasks, audit and artifacts. Every method takes the principal; deny is the default."""

    async def create(self, principal: Principal, start: StartRun, *, run_id: str | None = None) -> tuple[Run, bool]:
        """Write the row as `starting` and tell whether it is new.

        Raises:
            Conflict: the idempotency key was used with another input.
        """
        ...

    async def get(self, principal: Principal, run_id: str) -> Run:
        """Return the run.

        Raises:
            NotFound: there is none in the principal's tenant that the principal may see.
        """
        ...

    async def list(self, principal: Principal, wanted: RunFilter) -> Sequence[Run]:
        """Return a page of runs, newest first."""
        ...

    async def foreaches(self, principal: Principal, run_ids: Sequence[str]) -> Mapping[str, Sequence[ForeachProgress]]:
        """Return how far the foreaches in batches are, of those of the runs that have any, by run."""
        ...

    async def apply(self, change: Change) -> Recorded:
        """Apply a change once; a repeat of the same key changes nothing."""
        ...

    async def events(
        self, principal: Principal, run_id: str, *, after: int = 0, limit: int = 500, types: Sequence[str] = ()
    ) -> Sequence[Event]:
        """Return the events behind `after`, in order."""
        ...

    async def wait(self, principal: Principal, run_id: str, *, after: int, timeout_s: float) -> Run:
        """Return the run as soon as it has an event behind `after` or is finished, or when time is up."""
        ...

    async def tasks(
        self,
        principal: Principal,
        *,
        status: TaskStatus | None = "open",
        run_id: str | None = None,
        family: bool = False,
        limit: int = 100,
    ) -> Sequence[Task]:
        """Return the tasks the principal may see, oldest first; with `family` those of the runs below `run_id` too."""
        ...

    async def task(self, principal: Principal, task_id: str) -> Task:
        """Return one task, or raise NotFound."""
        ...

    async def audit(self, principal: Principal, run_id: str, *, item: str = "") -> Sequence[AuditRecord]:
        """Return the whole chain of a run, or all records of one item of its foreaches, whichever batch it was in."""
        ...

    async def write_artifact(self, run: RunRef, path: str, content: bytes, *, mime: str, key: str) -> Artifact:
        """Write a version of `path`; the same `key` again returns what was written first."""
        ...

    async def artifacts(self, principal: Principal, run_id: str) -> Sequence[Artifact]:
        """Return the newest version of each path."""
        ...

    async def read_artifact(self, principal: Principal, run_id: str, path: str) -> tuple[Artifact, bytes]:
        """Return the newest version of `path` and its bytes."""
        ...


class Effects(Protocol):
    """The record of effects: an intent is written before a call that may have one, its outcome after it."""

    async def begin(self, run: RunRef, key: str) -> Begun:
        """Write the intent, or tell that one exists."""
        ...

    async def finish(self, run: RunRef, key: str, outcome: dict[str, JsonValue]) -> None:
        """Write the outcome."""
        ...


class Secrets(Protocol):
    """Named secrets of a tenant; only references to them travel, values are resolved inside an activity."""

    async def resolve(self, tenant: str, name: str) -> str:
        """Return the value.

        Raises:
            NotFound: the tenant has no secret of that name.
        """
        ...


class RunControl(Protocol):
    """Starting and steering runs: what skills, pages and the MCP surface share."""

    async def start(self, principal: Principal, start: StartRun) -> Run:
        """Start a run, or return the one that the same idempotency key started."""
        ...

    async def answer(self, principal: Principal, task_id: str, answer: TaskAnswer) -> Task:
        """Hand an answer to the run that waits for it; the first valid answer wins."""
        ...

    async def move_task(self, principal: Principal, move: TaskMove) -> Task:
        """Say who is to see to an open task."""
        ...

    async def control(self, principal: Principal, run_id: str, control: Control) -> Run:
        """Carry out a control verb."""
        ...

    async def say(self, principal: Principal, run_id: str, say: Say) -> Run:
        """Hand a message to a running agent."""
        ...

    async def send_event(self, principal: Principal, event: SendEvent) -> EventSent:
        """Hand an event to the processes that wait for it."""
        ...
