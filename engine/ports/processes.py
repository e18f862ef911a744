"""The activities of a process and what they take and give."""

from typing import Any, Literal

from pydantic import JsonValue

from engine.ports.base import Activity
from engine.ports.runs import ChildStart
from engine.process.messages import (
    MigrationOrder,
    MigrationPlan,
    RewindOrder,
    RewindPlan,
    ScriptDone,
    ScriptOrder,
    UndoOrder,
    UndoPage,
)
from engine.routes import ModelChoice
from engine.runs import (
    RunRef,
)
from engine.transcript import Finish, ToolSpec
from engine.values import Budget, Principal, Spent, Value


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
