"""The activities of an agent and what they take and give."""

from typing import Any, Literal

from pydantic import Field, JsonValue

from engine.phases import Phases
from engine.ports.base import Activity
from engine.ports.updates import ApprovalMode
from engine.routes import ModelChoice, Route
from engine.runs import (
    Recorded,
    RunRef,
    RunStatus,
    StartedWorkflow,
)
from engine.transcript import Finish
from engine.values import Budget, Empty, Principal, Spent, Value


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
    transcript, or with that of another run (`forked_from`). `phases` say in which order its tools may be called.
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
    phases: Phases = ()


class PlanStep(Value):
    """One step of the plan that an agent keeps of its own work."""

    title: str
    status: Literal["open", "doing", "done", "dropped"] = "open"


class AgentPlan(Value):
    """What was found at the start and stays fixed: the route and the queue it is called on.

    `depth` is how many runs stand above this one. `turn` is the last one that its transcript begins with, after so many
    `checkpoints` and with `steps` as the agent's own plan, and `calls` are to be made before the next. `beside` are the
    tools that no phase says anything of.
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
    steps: tuple[PlanStep, ...] = ()
    calls: "tuple[CallRef, ...]" = ()
    phases: Phases = ()
    beside: tuple[str, ...] = ()


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
