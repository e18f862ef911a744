"""The real engine on a real Temporal, with a plan for everything that comes from outside; time passes when it must."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio

from engine.ports import InteractionCall, TaskAnswer, ToolInvocation, ToolOutcome
from engine.process.messages import SendEvent
from engine.process.simulate.coverage import STEPS
from engine.runs import Event, Run, Task
from engine.values import Principal
from tests.engine.generated_values import Node
from tests.processes.engine_machine import Ran
from tests.processes.engine_machine_plan import Happening, Plan
from tests.server.engine_house import EngineHouse

KINDS = ("interaction", "tool", "script", "wait", "supervisor", "foreach")
"""The node types that need no model and no other process."""

FAY = Principal(tenant="local", subject="fay", roles=frozenset({"finance", "operator"}))
WORKING = 0.5
"""How long a run is given to go on by itself before time is made to pass, in seconds."""


class AtOnce(Plan):
    """A plan in which all that happens happens at once; what would come late never comes."""

    def __init__(self, seed: int, definition: Node) -> None:
        super().__init__(seed, definition)
        self.pause = None

    def at(self, name: str, number: int) -> Happening:
        node = self.nodes[name]
        self.faults = 0.3 if node["type"] in ("tool", "supervisor", "wait") else 0.0
        found = super().at(name, number)
        late = found.seconds > 100_000
        return replace(found, seconds=0.0, error="tool_error" if found.error else None, never=found.never or late)

    def chosen(self, name: str, number: int, targets: list[str]) -> Happening:
        return replace(super().chosen(name, number, targets), seconds=0.0)


class Outside:
    """What people, tools and models do to one run, as planned."""

    def __init__(self, house: EngineHouse, plan: Plan) -> None:
        self.house = house
        self.plan = plan
        self._came: Counter[str] = Counter()
        self._given: dict[str, Happening] = {}

    def happening(self, key: str, name: str) -> Happening:
        """Return what happens at a step, the same however often it is asked."""
        if key not in self._given:
            self._came[name] += 1
            self._given[key] = self.plan.at(name, self._came[name])
        return self._given[key]

    def answer(self, call: InteractionCall) -> Any:
        """Answer a model call."""
        return self.happening(call.key, call.key.rpartition("/")[2].partition(".")[2]).result

    def use(self, call: ToolInvocation) -> ToolOutcome:
        """Answer a tool call."""
        found = self.happening(call.key, call.node)
        return (
            ToolOutcome(outcome="error", text=found.error)
            if found.error
            else ToolOutcome(outcome="ok", value=found.result)
        )

    async def decide(self, task: Task) -> None:
        """Answer a task, unless nobody does."""
        own = self.plan.nodes[task.node].get("decisions")
        if own is not None and list(task.decisions) == own:
            found = self.happening(task.task_id, task.node)
        else:
            name = f"{task.node}/chosen"
            self._came[name] += 1
            found = self.plan.chosen(task.node, self._came[name], list(task.decisions))
        if not found.never:
            answer = TaskAnswer(task_id=task.task_id, by=FAY, decision=found.decision, values=found.result or {})
            await self.house.control.answer(FAY, task.task_id, answer)

    async def send(self, who: Principal, run: Run, awaited: Event) -> None:
        """Send the event that a run waits for, unless it never comes."""
        data: Any = awaited.data
        found = self.happening(f"event {awaited.seq}", data["node"])
        if not found.never:
            payload = found.result if isinstance(found.result, dict) else {}
            event = SendEvent(
                name=data["name"], payload=payload, match=data["match"], run_id=run.run_id, key=f"e{awaited.seq}"
            )
            await self.house.control.send_event(who, event)


async def run_on_temporal(house: EngineHouse, who: Principal, definition: Node, plan: Plan) -> Ran:
    """Carry a definition out as planned."""
    outside = Outside(house, plan)
    house.answers["ask"] = outside.answer
    for name in ("erp.do", *(name for name in plan.nodes if name.startswith("undo"))):
        house.tools[name] = outside.use
    run = await house.start(who, json.dumps(definition), plan.input)
    seen: set[str] = set()
    with anyio.fail_after(100):
        while not (run := await house.store.wait(who, run.run_id, after=run.events, timeout_s=WORKING)).finished:
            tasks = [one for one in await house.store.tasks(who, run_id=run.run_id) if one.task_id not in seen]
            awaited = await house.store.events(who, run.run_id, types=["event.awaited"])
            waits = [one for one in awaited if f"event {one.seq}" not in seen]
            seen |= {one.task_id for one in tasks} | {f"event {one.seq}" for one in waits}
            for task in tasks:
                await outside.decide(task)
            for wait in waits:
                await outside.send(who, run, wait)
            if not tasks and not waits:
                await house.pass_time(timedelta(hours=3, seconds=1))
    return await _told(house, who, run)


async def _told(house: EngineHouse, who: Principal, run: Run) -> Ran:
    audit = await house.store.audit(who, run.run_id)
    steps = [record for record in audit if record.action in STEPS and "/" not in str(record.data["step"])]
    (ended,) = await house.store.events(who, run.run_id, types=["process.finished"])
    result: Any = run.result or {}
    error = run.error.partition(":")[0] if run.error else None
    context: Any = ended.data["context"]
    return Ran(run.status, result.get("outcome"), error, tuple(record.node for record in steps), context, 0.0)
