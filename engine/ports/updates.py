"""The updates that workflows answer: answers and moves of tasks, control verbs, messages."""

from typing import Literal

from pydantic import JsonValue

from engine.routes import ModelChoice, Route
from engine.runs import (
    Seat,
)
from engine.values import Budget, Principal, Value

ApprovalMode = Literal["ask", "auto_review", "full"]
"""Who allows an agent's calls with effects: a person each, a model that asks a person if unsure, or nobody is asked."""


class TaskAnswer(Value):
    """An answer to an open task, already checked against its seat, its decisions and its form."""

    task_id: str
    by: Principal
    decision: str | None = None
    values: dict[str, JsonValue] = {}
    comment: str = ""


class TaskMove(Value):
    """Who is to see to an open task: claimed or released by a person in the seat, given away (`delegate`), or
    given to others by an operator (`reassign`). `to` is who, for the last two.
    """

    task_id: str
    action: Literal["claim", "release", "delegate", "reassign"]
    by: Principal
    to: Seat = Seat()
    reason: str = ""


ControlAction = Literal[
    "stop",
    "pause",
    "resume",
    "cancel",
    "retry",
    "skip",
    "advance",
    "set_context",
    "fork",
    "rewind",
    "migrate",
    "model",
    "approval",
    "revoke",
    "checkpoint",
    "budget",
]


class Control(Value):
    """A control verb for a run; which ones it takes depends on its kind.

    `by` is audited. `approval` is the mode that counts from now on (the verb `approval`). `budget` is what is added to
    the bounds that an agent has (the verb `budget`). `target` is a node or step, for `retry`, `skip`, `advance` and
    `rewind`, a version (`migrate`), or a grant that is withdrawn (`revoke`).
    `to` is the node that `advance` leads to. `values` are what a skipped node would have written, or keys to set in the
    context; `patch` changes the context by JSON Patch instead. `fork` starts another run from the turn `target`, with
    `message` if it is to be told something, once for each `key`.
    `model` is what an agent is to go on with (the verb `model`); `changed` is what it means, as the run is told.
    """

    action: ControlAction
    by: Principal
    target: str | None = None
    to: str | None = None
    values: dict[str, JsonValue] | None = None
    patch: list[JsonValue] | None = None
    reason: str = ""
    model: ModelChoice | None = None
    changed: "ModelChanged | None" = None
    approval: ApprovalMode | None = None
    budget: Budget | None = None
    message: str = ""
    key: str = ""


class ModelChanged(Value):
    """Another model for a running agent, from its next turn on; `origin` says where the choice came from."""

    route: Route
    origin: str


class Say(Value):
    """A user message for a running agent; `attachments` are objects that `by` may read."""

    by: Principal
    text: str
    key: str
    attachments: tuple[str, ...] = ()
