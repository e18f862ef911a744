"""The table of contents of the product: every activity that workflows call, and every port the engine needs.

A workflow calls a stub from here; the package that owns the work registers the real activity under the stub's
name; tests register others. So workflows know no implementation, and the implementations know each other only
through the values here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field, JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy

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
    StartedWorkflow,
    StartRun,
    Task,
    TaskStatus,
)
from engine.transcript import Finish, Route, ToolSpec
from engine.values import Budget, Principal, Spent, Value

In = TypeVar("In", bound=Value)
Out = TypeVar("Out", bound=Value)

Queue = Literal["engine", "tools", "content", "model"]

STORE_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
"""Our own store comes back: its activities are repeated for as long as it takes."""

ONCE = RetryPolicy(maximum_attempts=1)

HEARTBEAT = timedelta(seconds=10)
"""How long an activity may be silent before it counts as dead: it is what a crash of a worker costs."""


@dataclass(frozen=True)
class Activity(Generic[In, Out]):
    """A typed stub: calling it inside a workflow schedules the activity of that name and awaits its answer."""

    name: str
    takes: type[In]
    gives: type[Out]
    queue: Queue = "engine"

    async def __call__(
        self,
        message: In,
        *,
        timeout: timedelta = timedelta(seconds=30),
        retry: RetryPolicy = STORE_RETRY,
        heartbeat: timedelta | None = HEARTBEAT,
        queue: str | None = None,
    ) -> Out:
        """Run the activity; `timeout` bounds one attempt, from its start."""
        return await workflow.execute_activity(
            self.name,
            message,
            result_type=self.gives,
            task_queue=queue or sibling_queue(self.queue),
            start_to_close_timeout=timeout,
            heartbeat_timeout=heartbeat,
            retry_policy=retry,
            cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
        )


def sibling_queue(kind: str) -> str:
    """Return the queue of `kind` that stands beside the workflow's own, which is named `<prefix>engine`."""
    return workflow.info().task_queue.removesuffix("engine") + kind


# --- what every run needs ---------------------------------------------------------------------------------


class Texts(Value):
    """Handlebars templates by name with the data they see, or the rendered texts by the same names."""

    texts: dict[str, str]
    data: dict[str, JsonValue] = {}


class ChildStart(Value):
    """A child run to be created by its parent: `run_id` is derived by the workflow, so a repeat finds the same row."""

    parent: RunRef
    principal: Principal
    run_id: str
    start: StartRun


load_run = Activity("load_run", RunRef, Run)
apply_change = Activity("apply_change", Change, Recorded)
create_child = Activity("create_child", ChildStart, RunRef)
render_texts = Activity("render_texts", Texts, Texts)


# --- processes --------------------------------------------------------------------------------------------


class ProcessAddress(Value):
    """Which definition a run is pinned to: a published version by number, or the text that the run was started with."""

    run: RunRef
    principal: Principal
    name: str
    version: str


class ProcessSnapshot(Value):
    """The definition as data with everything it names pinned: the same for the whole life of a run."""

    definition: dict[str, Any]
    digest: str
    version: str
    tools: dict[str, ToolSpec] = {}


class InteractionCall(Value):
    """One model call through a versioned interaction; `key` is unique per step of the run."""

    run: RunRef
    principal: Principal
    key: str
    interaction: str
    parameters: dict[str, JsonValue] = {}
    result_schema: dict[str, Any] | None = None
    route: Route | None = None
    budget: Budget = Budget()


class InteractionResult(Value):
    """The validated output and what it took."""

    output: JsonValue
    interaction: str
    version: str
    digest: str
    provider: str
    model: str
    finish: Finish
    spent: Spent
    tries: int = 1
    execution_id: str


class ToolInvocation(Value):
    """One tool call; `key` is its idempotency key, the same for every attempt."""

    run: RunRef
    principal: Principal
    key: str
    tool: str
    arguments: dict[str, JsonValue] = {}
    node: str = ""


class ToolOutcome(Value):
    """How a call ended: `ok`, `error` (it says why), or `unknown` (begun, interrupted, and must not be repeated).

    `value` is the result where it is small, else a stub with the artifact that holds it.
    """

    outcome: Literal["ok", "error", "unknown"]
    value: JsonValue = None
    text: str = ""
    artifact: str | None = None


load_process = Activity("load_process", ProcessAddress, ProcessSnapshot)
run_interaction = Activity("run_interaction", InteractionCall, InteractionResult, queue="model")
call_tool = Activity("call_tool", ToolInvocation, ToolOutcome, queue="tools")


# --- agents -----------------------------------------------------------------------------------------------


class AgentTask(Value):
    """What an agent run is asked for; it is the run's `input`.

    `facts` is information for the task, marked as data. `output_schema` makes the last answer an object of that
    schema. `skills` None: every skill the principal may use. `tools` None: the core tools that only read.
    """

    task: str
    instructions: str = ""
    facts: dict[str, JsonValue] = {}
    skills: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    exclude_tools: tuple[str, ...] = ()
    model: str | None = None
    output_schema: dict[str, Any] | None = None
    attachments: tuple[str, ...] = ()
    approval: Literal["ask", "full"] = "ask"


class AgentPlan(Value):
    """What was found at the start and stays fixed: the route and the queue it is called on."""

    route: Route
    output_required: bool
    approval: Literal["ask", "full"]
    depth: int = 0


class TurnOrder(Value):
    """One model turn to make. `closing`: no tools any more, the run must end with this answer."""

    run: RunRef
    principal: Principal
    turn: int
    route: Route
    closing: bool = False
    note: str = ""


class CallRef(Value):
    """A tool call of a turn by reference: its arguments are in the run's log."""

    call_id: str
    tool: str
    effect: Literal["read_only", "side_effecting", "control", "always_ask"] = "read_only"
    repeatable: bool = True
    timeout_s: float = 60.0
    target: str = ""


class TurnMade(Value):
    """What a turn came to. `contract_error`: the final answer breaks the output schema, with the reason.

    `seen` is the number of the last event of the run that the turn was made from.
    """

    turn: int
    seen: int = 0
    finish: Finish
    calls: tuple[CallRef, ...] = ()
    spent: Spent
    model: str
    provider: str
    contract_error: str | None = None


class AgentToolCall(Value):
    """One call of a turn to run; `key` is `run/turn/call`. `refusal` answers it without running it."""

    run: RunRef
    principal: Principal
    turn: int
    call: CallRef
    attempt_is_first: bool = True
    refusal: str | None = None


class AgentToolDone(Value):
    """How a call of a turn ended; its text is in the run's log."""

    call_id: str
    outcome: Literal["ok", "error", "unknown"]
    fingerprint: str = ""


class AgentAnswer(Value):
    """The result of a finished agent run: the object of its schema, or its last text."""

    value: JsonValue = None


class UserMessage(Value):
    """A message of a person to a running agent; `key` makes a repeat the same message."""

    run: RunRef
    principal: Principal
    key: str
    text: str


plan_agent = Activity("plan_agent", StartedWorkflow, AgentPlan)
model_turn = Activity("model_turn", TurnOrder, TurnMade, queue="model")
agent_tool = Activity("agent_tool", AgentToolCall, AgentToolDone, queue="tools")
append_message = Activity("append_message", UserMessage, Recorded)
agent_answer = Activity("agent_answer", RunRef, AgentAnswer)


# --- intake -----------------------------------------------------------------------------------------------


class IntakeTask(Value):
    """What an intake run works on; it is the run's `input`."""

    object_id: str
    version: int


class IntakeStep(Value):
    """One step of an intake; what it makes stays in the store."""

    run: RunRef
    principal: Principal
    task: IntakeTask


class IntakeReport(Value):
    """What a step found: pages, passages, and why a version needs review or was rejected, if so."""

    state: Literal["processing", "ready", "needs_review", "rejected"]
    pages: int = 0
    blocks: int = 0
    passages: int = 0
    reasons: tuple[str, ...] = ()


extract_version = Activity("extract_version", IntakeStep, IntakeReport, queue="content")
index_version = Activity("index_version", IntakeStep, IntakeReport, queue="content")


# --- updates that workflows answer ------------------------------------------------------------------------


class TaskAnswer(Value):
    """An answer to an open task, already checked against its seat, its decisions and its form."""

    task_id: str
    by: Principal
    decision: str | None = None
    values: dict[str, JsonValue] = {}
    comment: str = ""


class Control(Value):
    """A control verb for a run: `stop`, `pause`, `resume`, `cancel`, `retry`, `skip`; `by` is audited."""

    action: Literal["stop", "pause", "resume", "cancel", "retry", "skip"]
    by: Principal
    target: str | None = None
    reason: str = ""


class Say(Value):
    """A user message for a running agent."""

    by: Principal
    text: str
    key: str


# --- stores -----------------------------------------------------------------------------------------------


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
        self, principal: Principal, *, status: TaskStatus | None = "open", run_id: str | None = None, limit: int = 100
    ) -> Sequence[Task]:
        """Return the tasks the principal may see, oldest first."""
        ...

    async def task(self, principal: Principal, task_id: str) -> Task:
        """Return one task, or raise NotFound."""
        ...

    async def audit(self, principal: Principal, run_id: str) -> Sequence[AuditRecord]:
        """Return the whole chain of a run."""
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

    async def control(self, principal: Principal, run_id: str, control: Control) -> Run:
        """Carry out a control verb."""
        ...

    async def say(self, principal: Principal, run_id: str, say: Say) -> Run:
        """Hand a message to a running agent."""
        ...
