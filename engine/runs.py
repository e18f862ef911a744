"""The one run model: what agents, processes, intakes, interactions and evaluations have in common.

A run has one id, one status set, one event log with consecutive numbers, one audit chain, one budget and one way
to wait for a person. Every append carries a key that is unique within its run and independent of the attempt, so
that an activity that is repeated after a crash adds nothing twice.
"""

import hashlib
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, JsonValue

from engine.values import Budget, Principal, Spent, Value

RunKind = Literal["agent", "process", "intake", "interaction", "evaluation", "batch"]
RunStatus = Literal["starting", "running", "waiting", "paused", "completed", "failed", "cancelled"]
TERMINAL: frozenset[RunStatus] = frozenset({"completed", "failed", "cancelled"})
TaskKind = Literal["decision", "question", "approval"]
TaskStatus = Literal["open", "answered", "expired", "cancelled"]


class RunRef(Value):
    """A run by tenant and id; both are in every key."""

    tenant: str
    run_id: str

    @property
    def workflow_id(self) -> str:
        """The id under which the durable engine knows the run."""
        return f"{self.tenant}/{self.run_id}"


def derived_id(prefix: str, *parts: str) -> str:
    """Return an id that the same parts always give: what workflow code may mint."""
    number = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:17]) >> 6
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return f"{prefix}_" + "".join(alphabet[(number >> shift) & 31] for shift in range(125, -1, -5))


class StartRun(Value):
    """What a start asks for; `input` is kept with the run and loaded by its workflow.

    `continues` is a failed run: the new one goes on from the node at which that one failed.
    """

    kind: RunKind
    definition: str
    version: str = ""
    title: str = ""
    input: dict[str, JsonValue] = {}
    budget: Budget = Budget()
    parent_id: str | None = None
    idempotency_key: str | None = None
    continues: str | None = None


class StartedWorkflow(Value):
    """The input of every workflow: who and which run; the rest is loaded by an activity."""

    run: RunRef
    principal: Principal


class Run(Value):
    """A run as its row stands."""

    run_id: str
    tenant: str
    kind: RunKind
    definition: str
    version: str
    title: str
    status: RunStatus
    principal: Principal
    parent_id: str | None = None
    root_id: str
    input: dict[str, JsonValue] = {}
    budget: Budget = Budget()
    spent: Spent = Spent()
    position: str = ""
    waits_for: str = ""
    result: JsonValue = None
    error: str | None = None
    events: int = 0
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    continues: str | None = None

    @property
    def ref(self) -> RunRef:
        """The run's key."""
        return RunRef(tenant=self.tenant, run_id=self.run_id)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in TERMINAL


class EventDraft(Value):
    """An event to append: `key` is unique in the run, so that a repeat adds nothing."""

    key: str = Field(min_length=1, max_length=200)
    type: str = Field(min_length=1, max_length=64)
    data: dict[str, JsonValue] = {}


class Event(Value):
    """A durable event; `seq` counts from 1 without gap or double within its run."""

    run_id: str
    seq: int
    key: str
    type: str
    at: datetime
    data: dict[str, JsonValue] = {}


class AuditDraft(Value):
    """An audit record to append; `key` as for events."""

    key: str = Field(min_length=1, max_length=200)
    actor: str
    action: str
    node: str = ""
    attempt: int = 1
    at: datetime | None = None
    data: dict[str, JsonValue] = {}


class AuditRecord(Value):
    """One link of a run's chain: `hash` covers every other field and the hash of the record before it."""

    run_id: str
    seq: int
    at: datetime
    actor: str
    action: str
    node: str
    attempt: int
    data: dict[str, JsonValue]
    previous_hash: str
    hash: str


class Seat(Value):
    """Who may answer: any of these; `excluded` subjects may not, whatever their roles (four eyes).

    `delegated` are those who have given the task to somebody else.
    """

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    delegated: tuple[str, ...] = ()

    def admits(self, principal: Principal) -> bool:
        """Tell whether `principal` may sit here; an administrator is not let in by that role alone."""
        if principal.subject in (*self.excluded, *self.delegated):
            return False
        return (
            principal.subject in self.users
            or bool(principal.roles & set(self.roles))
            or bool(principal.groups & set(self.groups))
        )

    def plus(self, other: "Seat") -> "Seat":
        """Return the seat with those of `other` let in as well; nobody is excluded or let back in by that."""
        return self.model_copy(
            update={
                name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name))))
                for name in ("users", "roles", "groups")
            }
        )

    def in_words(self) -> str:
        """Return who may answer, for a message."""
        named = [*self.users, *(f"role {role}" for role in self.roles), *(f"group {group}" for group in self.groups)]
        return ", ".join(named) or "nobody"


class Vote(Value):
    """One person's decision on a task that several must decide alike."""

    by: str
    decision: str | None
    values: dict[str, JsonValue] = {}
    comment: str = ""
    at: str


class TaskDraft(Value):
    """A wait for a person, to be opened. `form` is a JSON Schema of an object; deadlines are moments.

    `quorum` people must decide alike; `votes` are those who have. `delegation`: whoever may answer may give it away.
    """

    task_id: str
    kind: TaskKind
    node: str
    title: str
    description: str = ""
    form: dict[str, Any] | None = None
    decisions: tuple[str, ...] = ()
    seat: Seat = Seat()
    context: dict[str, JsonValue] = {}
    deadline: datetime | None = None
    quorum: int = 1
    votes: tuple[Vote, ...] = ()
    delegation: bool = False


class Answer(Value):
    """What a person said: a decision, values of the form, a comment."""

    decision: str | None = None
    values: dict[str, JsonValue] = {}
    comment: str = ""


class TaskClosed(Value):
    """How a task ended; `by` is the subject that answered."""

    task_id: str
    status: Literal["answered", "expired", "cancelled"]
    answer: Answer | None = None
    by: str | None = None


class Task(Value):
    """The one object of waiting for a person: supervisor decisions, questions of agents, approvals of tools."""

    task_id: str
    run_id: str
    tenant: str
    kind: TaskKind
    node: str
    title: str
    description: str
    form: dict[str, Any] | None
    decisions: tuple[str, ...]
    seat: Seat
    context: dict[str, JsonValue]
    status: TaskStatus
    created_at: datetime
    deadline: datetime | None
    answer: Answer | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    quorum: int = 1
    votes: tuple[Vote, ...] = ()
    delegation: bool = False
    claimed_by: str | None = None


class TaskMoved(Value):
    """A new seat for an open task: it was claimed, released, escalated, delegated or reassigned."""

    task_id: str
    seat: Seat
    reason: str
    claimed_by: str | None = None


class TaskVoted(Value):
    """A decision on an open task that needs others like it."""

    task_id: str
    vote: Vote


class EventWait(Value):
    """A step that waits for an event: `match` is what fields of the event must equal, `until` when it gives up."""

    step: str
    node: str
    name: str
    match: dict[str, JsonValue] = {}
    until: datetime | None = None


class Change(Value):
    """Everything that one step changes in the record of a run, in one transaction.

    A change is applied once per `key`; fields left at None stay as they are. `spent` is added, not set. A run that is
    running or waiting is `waiting` as long as it has open tasks, and `waits_for` then names them. `awaited` are waits
    for events that begin, `arrived` the steps of those that are over; `version` is set when a run moves to another one.
    """

    run: RunRef
    key: str
    status: RunStatus | None = None
    position: str | None = None
    waits_for: str | None = None
    result: JsonValue = None
    error: str | None = None
    spent: Spent = Spent()
    budget: Budget | None = None
    events: tuple[EventDraft, ...] = ()
    audit: tuple[AuditDraft, ...] = ()
    opened: tuple[TaskDraft, ...] = ()
    closed: tuple[TaskClosed, ...] = ()
    moved: tuple[TaskMoved, ...] = ()
    voted: tuple[TaskVoted, ...] = ()
    awaited: tuple[EventWait, ...] = ()
    arrived: tuple[str, ...] = ()
    version: str | None = None


class Recorded(Value):
    """The number of the last event of the run after a change."""

    last_seq: int


class Artifact(Value):
    """A file in the space of one run; each write of a path is a new version with its content's digest."""

    run_id: str
    path: str
    version: int
    digest: str
    mime: str
    size: int
    created_at: datetime


class Begun(Value):
    """Whether an effect may be tried: `first` now, `repeat` a try was begun and never finished, `done` it is done."""

    state: Literal["first", "repeat", "done"]
    outcome: dict[str, JsonValue] | None = None
