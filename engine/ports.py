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
from temporalio.common import RetryPolicy

from engine import stage
from engine.capacity import patiently
from engine.process.messages import (
    EventSent,
    MigrationOrder,
    MigrationPlan,
    RewindOrder,
    RewindPlan,
    ScriptDone,
    ScriptOrder,
    SendEvent,
    UndoOrder,
    UndoPage,
)
from engine.routes import ModelChoice, Route
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
    Seat,
    StartedWorkflow,
    StartRun,
    Task,
    TaskStatus,
)
from engine.transcript import Finish, ToolSpec
from engine.values import Budget, Empty, Principal, Spent, Value

In = TypeVar("In", bound=Value)
Out = TypeVar("Out", bound=Value)

Queue = Literal["engine", "tools", "content", "model", "scripts"]

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
        """Run the activity; `timeout` bounds one attempt, from its start. A model's capacity is waited for."""

        async def order(tried: int) -> Out:
            return await stage.execute_activity(
                self.name,
                message.model_copy(update={"tried": tried}) if "tried" in self.takes.model_fields else message,
                result_type=self.gives,
                task_queue=queue or sibling_queue(self.queue),
                start_to_close_timeout=timeout,
                heartbeat_timeout=heartbeat,
                retry_policy=retry,
                cancellation_type=stage.ActivityCancellationType.TRY_CANCEL,
            )

        return await (patiently(order) if self.queue == "model" else order(0))


def sibling_queue(kind: str) -> str:
    """Return the queue of `kind` that stands beside the workflow's own, which is named `<prefix>engine`."""
    return stage.task_queue().removesuffix("engine") + kind


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
    model: ModelChoice | None = None
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
open_process = Activity("open_process", ChildStart, RunRef)
run_script = Activity("run_script", ScriptOrder, ScriptDone, queue="scripts")
plan_undo = Activity("plan_undo", UndoOrder, UndoPage)
plan_rewind = Activity("plan_rewind", RewindOrder, RewindPlan)
plan_migration = Activity("plan_migration", MigrationOrder, MigrationPlan)


# --- agents -----------------------------------------------------------------------------------------------


ApprovalMode = Literal["ask", "auto_review", "full"]
"""Who allows an agent's calls with effects: a person each, a model that asks a person if unsure, or nobody is asked."""


class FirstCall(Value):
    """A call of a tool that only reads, made before the first turn."""

    tool: str
    arguments: dict[str, JsonValue] = {}


class Fork(Value):
    """The run whose transcript another one goes on with: as it was before `turn`, which the other makes anew.

    `message` is what a person says then.
    """

    run_id: str
    turn: int = Field(ge=1)
    message: str = ""


class AgentTask(Value):
    """What an agent run is asked for; it is the run's `input`.

    `facts` is information for the task, marked as data. `output_schema` makes the last answer an object of that
    schema. `skills` None: every skill the principal may use. `tools` None: the core tools that only read.
    `reviewer` is the model that judges calls under `auto_review`; without it the run's own does. `on_stuck` says
    whether a person is asked before a run that leads nowhere is stopped, `on_budget` whether it closes with an answer
    or waits for more when its budget is used up. It starts with the skills `learned` and the answers to `calls` in its
    transcript, or with that of another run (`forked_from`).
    """

    task: str
    instructions: str = ""
    facts: dict[str, JsonValue] = {}
    skills: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    exclude_tools: tuple[str, ...] = ()
    model: ModelChoice | None = None
    output_schema: dict[str, Any] | None = None
    attachments: tuple[str, ...] = ()
    approval: ApprovalMode = "ask"
    reviewer: ModelChoice | None = None
    on_stuck: Literal["stop", "ask"] = "stop"
    on_budget: Literal["close", "pause"] = "close"
    learned: tuple[str, ...] = ()
    calls: tuple[FirstCall, ...] = ()
    forked_from: Fork | None = None


class AgentPlan(Value):
    """What was found at the start and stays fixed: the route and the queue it is called on.

    `depth` is how many runs stand above this one. `turn` is the last one that its transcript begins with, after so many
    `checkpoints`, and `calls` are to be made before the next.
    """

    route: Route
    output_required: bool
    approval: ApprovalMode
    reviewer: Route | None = None
    on_stuck: Literal["stop", "ask"] = "stop"
    on_budget: Literal["close", "pause"] = "close"
    depth: int = 0
    turn: int = 0
    checkpoints: int = 0
    calls: "tuple[CallRef, ...]" = ()


class Left(Value):
    """What is left of a budget for one call, at most; None leaves a dimension open."""

    tokens: int | None = None
    usd: float | None = None


class TurnOrder(Value):
    """One model turn to make. `closing`: no tools any more, the run must end with this answer.

    `fresh`: a checkpoint was made for this very turn, so it is made now or not at all. `tried` are the attempts that
    were made of it before it had to wait for the model's capacity. `left` is all that it may take.
    """

    run: RunRef
    principal: Principal
    turn: int
    route: Route
    closing: bool = False
    note: str = ""
    fresh: bool = False
    tried: int = 0
    left: Left = Left()


class CallRef(Value):
    """A tool call of a turn by reference: its arguments are in the run's log.

    `target` tells the arguments in short; `covers` is what a grant of this call is for, where that is less.
    """

    call_id: str
    tool: str
    effect: Literal["read_only", "side_effecting", "control", "always_ask"] = "read_only"
    repeatable: bool = True
    timeout_s: float = 60.0
    target: str = ""
    covers: str = ""
    polls: bool = False


class TurnMade(Value):
    """What a turn came to. `contract_error`: the final answer breaks the output schema, with the reason.

    `seen` is the number of the last event of the run that the turn was made from. `checkpoint`: the turn was not made,
    and the transcript is to be made smaller first: by estimate it is `full`, the model found it so (`context_full`), or
    the cache of the provider has `expired` anyway. `short_of`: it was not made, for this bound of the budget has no
    room for it, as the raw finish says.
    """

    turn: int
    seen: int = 0
    checkpoint: Literal["", "full", "context_full", "expired"] = ""
    short_of: Literal["", "tokens", "usd"] = ""
    finish: Finish
    calls: tuple[CallRef, ...] = ()
    spent: Spent
    model: str
    provider: str
    contract_error: str | None = None


class CheckpointOrder(Value):
    """The transcript is to be made smaller before turn `turn`; `number` counts the checkpoints of the run from 1.

    `plan` is the agent's own, line by line. `models`: the budget has room for a model that sums up what was; `left` is
    all that this may take.
    """

    run: RunRef
    principal: Principal
    number: int
    turn: int
    route: Route
    reason: str
    plan: tuple[str, ...] = ()
    models: bool = True
    left: Left = Left()


class CheckpointMade(Value):
    """How the transcript was made smaller, its estimated tokens before and after, and what that took."""

    kind: Literal["native", "masked", "summary"]
    before: int
    after: int
    spent: Spent = Spent()


class GivenAnswer(Value):
    """The answer to a call that the workflow gives itself."""

    text: str
    is_error: bool = False


class AgentToolCalls(Value):
    """Calls of one turn to run side by side: one with effects alone, or any number that only read.

    The key of a call is `run/turn/call`. `given` answers them without running them. No more than `at_once` of them
    run in the same moment.
    """

    run: RunRef
    principal: Principal
    turn: int
    calls: tuple[CallRef, ...]
    given: GivenAnswer | None = None
    at_once: int = 8


class AgentToolDone(Value):
    """How a call of a turn ended; its text is in the run's log.

    `call` and `result` are digests: of tool and arguments, and of what came back without what changes by itself.
    `fault` is the digest of why it was refused before it was made, the same for the same reason. `order`: it is not
    answered yet; the workflow is to do this, and to give the answer.
    """

    call_id: str
    outcome: Literal["ok", "error", "unknown"]
    call: str = ""
    result: str = ""
    fault: str = ""
    order: dict[str, JsonValue] | None = None


class AgentToolsDone(Value):
    """How the calls ended, in their order."""

    done: tuple[AgentToolDone, ...]


class ReviewOrder(Value):
    """A call with effects that a model is to judge against the task; `route` is that model.

    `left` is all that judging may take.
    """

    run: RunRef
    principal: Principal
    turn: int
    call: CallRef
    route: Route
    left: Left = Left()


class Reviewed(Value):
    """The verdict on a call: what it may do, why, by which model, and what judging took."""

    verdict: Literal["allow", "ask", "deny"]
    reason: str
    model: str = ""
    spent: Spent = Spent()


class StuckFound(Value):
    """A run that leads nowhere: the rule that says so, in words, what is done about it, and the calls it rests on.

    `calls` are turn and call id; their arguments and results are in the log.
    """

    run: RunRef
    turn: int
    rule: str
    what: str
    step: Literal["nudge", "refuse", "ask", "stop"]
    tools: tuple[str, ...] = ()
    turns: tuple[int, ...] = ()
    calls: tuple[tuple[int, str], ...] = ()


class StuckNoted(Value):
    """The evidence in a few lines, for the person who is asked."""

    text: str


class AgentAnswer(Value):
    """The result of a finished agent run: the object of its schema, or its last text."""

    value: JsonValue = None


class UserMessage(Value):
    """A message of a person to a running agent; `key` makes a repeat the same message."""

    run: RunRef
    principal: Principal
    key: str
    text: str
    attachments: tuple[str, ...] = ()


class ChildOrder(Value):
    """A run that an agent starts beside itself: what it is to do stands in the call, `budget` is its share."""

    run: RunRef
    principal: Principal
    turn: int
    call_id: str
    run_id: str
    name: str
    budget: Budget = Budget()


class ChildNews(Value):
    """How a run that an agent has started stands, as the agent is told by signal."""

    run_id: str
    status: RunStatus
    waits_for: str = ""


class ChildTold(Value):
    """A child as its agent knows it. `tell`: the model is told of it by a message in the transcript."""

    name: str
    run_id: str
    ended: bool
    waits_for: str = ""
    tell: bool = False


class ChildrenOrder(Value):
    """Children of an agent that are to be counted, told of, or ended."""

    run: RunRef
    principal: Principal
    children: tuple[ChildTold, ...]


class ChildrenReport(ChildrenOrder):
    """The same for the answer to a call that has waited for them."""

    turn: int
    call: CallRef


class ChildrenSettled(Value):
    """What each child that has ended took, by its run; `last_seq` is the number of the last message, 0 without one."""

    spent: dict[str, Spent] = {}
    last_seq: int = 0


plan_agent = Activity("plan_agent", StartedWorkflow, AgentPlan)
model_turn = Activity("model_turn", TurnOrder, TurnMade, queue="model")
agent_tools = Activity("agent_tools", AgentToolCalls, AgentToolsDone, queue="tools")
make_checkpoint = Activity("make_checkpoint", CheckpointOrder, CheckpointMade, queue="model")
review_call = Activity("review_call", ReviewOrder, Reviewed, queue="model")
note_stuck = Activity("note_stuck", StuckFound, StuckNoted, queue="tools")
append_message = Activity("append_message", UserMessage, Recorded)
agent_answer = Activity("agent_answer", RunRef, AgentAnswer)
start_child = Activity("start_child", ChildOrder, ChildNews)
settle_children = Activity("settle_children", ChildrenOrder, ChildrenSettled)
report_children = Activity("report_children", ChildrenReport, ChildrenSettled)
cancel_children = Activity("cancel_children", ChildrenOrder, Empty)


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
