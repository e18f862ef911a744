"""What travels between a process and the house: scripts, events, and how a run is undone, rewound or moved."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from engine.process.findings import Finding
from engine.runs import RunRef
from engine.values import Principal, Value

MAX_EVENT_BYTES = 64 * 1024
"""How large the payload of an event may be; larger things are kept as artifacts and named in it."""


class ScriptOrder(Value):
    """Code to run in the sandbox over `input`, whose names are its variables; `seed` makes its chance repeatable."""

    run: RunRef
    principal: Principal
    name: str
    code: str
    input: dict[str, JsonValue] = {}
    seed: str
    at: datetime
    seconds: float


class ScriptDone(Value):
    """The last value of the code as JSON, the beginning of what it printed, and how long it ran."""

    value: JsonValue
    printed: str = ""
    seconds: float = 0.0


class SendEvent(Value):
    """Something that happened outside, for the processes that wait for it.

    An event goes to the run `run_id`, or else to every run of the tenant that waits for `name` and whose expressions
    equal the fields of `payload` and `match`. In the outermost graph of the run that it names, where only one step can
    be meant, fields that it leaves out are no matter; inside a foreach or a branch they say which step is meant. The
    same `key` of one sender again is the same event.
    """

    name: str = Field(min_length=1, max_length=128)
    payload: dict[str, JsonValue] = {}
    match: dict[str, JsonValue] = {}
    run_id: str | None = None
    key: str | None = Field(default=None, min_length=1, max_length=150)


class EventRefused(Value):
    """A run that waits for an event but can't take this one, with the reason."""

    run_id: str
    reason: str


class EventSent(Value):
    """What became of an event.

    `consumed` are runs whose wait it ended, `kept` the run that will take it when it comes to its wait. Both empty: no
    run waited for it, and nothing is kept.
    """

    key: str
    consumed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    refused: tuple[EventRefused, ...] = ()


class ProcessEvent(Value):
    """An event as it reaches one run; `keep` says that the run keeps it where it does not wait for it yet.

    `addressed` says that the sender has named the run.
    """

    key: str
    name: str
    fields: dict[str, JsonValue]
    payload: dict[str, JsonValue]
    by: str
    keep: bool
    addressed: bool = False


class EventTaken(Value):
    """What a run did with an event."""

    outcome: Literal["consumed", "kept", "repeated", "not_waiting"]
    step: str = ""


class KeptEvent(Value):
    """An event that came before its wait, and when it is dropped."""

    event: ProcessEvent
    until: str


class UndoOrder(Value):
    """Asks for the steps to undo, latest first: those behind the record `after` of the run's audit.

    With `of` they are the steps of that run, and `run` is the one that undoes them.
    """

    run: RunRef
    after: int = 0
    of: RunRef | None = None


class Undo(Value):
    """A completed step to undo: the node that does it, in which graph, and what the step saw and wrote.

    With `batch` it is a whole batch of a foreach: `run_id` is the batch, `node` and `step` are those of the foreach.
    """

    run_id: str
    step: str
    node: str
    at: str
    seen: dict[str, JsonValue]
    batch: int = 0


class UndoPage(Value):
    """The next steps to undo; `more` says that there are others behind them."""

    steps: tuple[Undo, ...] = ()
    more: bool = False


class Batch(Value):
    """A batch of a foreach that has run, and each node with its graph that would undo something in it."""

    run_id: str
    node: str
    step: str
    number: int
    undo: tuple[tuple[str, str], ...] = ()


class RewindOrder(Value):
    """Asks how a run stood before a step, by the step's name or its node's."""

    run: RunRef
    target: str


class Proposal(Value):
    """A person who has put a value into the context, and in which node: under four eyes they don't decide on it."""

    key: str
    node: str
    by: str


class RewindPlan(Value):
    """How a run stood before a step; `after` is the last audit record that stays, `patch` leads back to `context`.

    `proposals` are there where the order named no step: how the run stands now, for another one to go on with.
    """

    step: str
    node: str
    after: int
    context: dict[str, JsonValue]
    visits: dict[str, int]
    patch: list[JsonValue]
    proposals: tuple[Proposal, ...] = ()


class MigrationOrder(Value):
    """Asks whether a run may go on in another version: as it stands, before `node`, with this context."""

    run: RunRef
    principal: Principal
    process: str
    version: str
    target: str
    node: str
    context: dict[str, JsonValue]
    visits: dict[str, int]


class MigrationPlan(Value):
    """The version that is meant by number, and what keeps the run from going on in it; warnings don't."""

    version: str
    findings: tuple[Finding, ...]
