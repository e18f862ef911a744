"""The stage of a simulation: fixtures for work, the scenario's actors for people, and a clock of its own for time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn, cast
from uuid import UUID

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from engine.errors import Invalid
from engine.ports import (
    AgentAnswer,
    ChildStart,
    ForeachLaid,
    ForeachOrder,
    Gathered,
    GatherOrder,
    InteractionCall,
    InteractionResult,
    Texts,
    ToolInvocation,
    ToolOutcome,
)
from engine.process.definition import Fixture, ProcessDefinition, Scenario, parse_duration
from engine.process.messages import ProcessEvent, RewindOrder, RewindPlan, ScriptDone, ScriptOrder, UndoOrder, UndoPage
from engine.process.nodes.base import NodeBase
from engine.process.rewind import rewind, to_undo
from engine.process.run.child_process import ChildResult
from engine.process.run.frame import NodeFailed
from engine.process.simulate.clock import VirtualLoop
from engine.process.simulate.people import RUN, People, Unprepared, principal
from engine.process.workflow import ProcessInput, ProcessWorkflow
from engine.runs import AuditRecord, Change, EventWait, Recorded, Run, RunRef, TaskDraft, derived_id
from engine.transcript import Finish
from engine.values import Principal, Spent


class Onward(Exception):  # a result of a simulation: how a history ends that is not the last
    """The run goes on in a new history, with `start`."""

    def __init__(self, start: ProcessInput) -> None:
        super().__init__("the run goes on in a new history")
        self.start = start


Render = Callable[[str, Mapping[str, JsonValue]], str]
"""Fills a template in with data."""

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""When every simulation begins: a Monday morning."""

STARTER = "starter"


class World:
    """One simulated run: what it asked for, what it was given, and the record that it left."""

    def __init__(self, definition: ProcessDefinition, scenario: Scenario, loop: VirtualLoop, render: Render) -> None:
        """Prepare the scenario; nothing happens yet."""
        self._definition = definition
        self._scenario = scenario
        self._loop = loop
        self._render = render
        self._used: Counter[str] = Counter()
        self._ids = 0
        self._children: dict[str, tuple[str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.trouble: asyncio.Future[None] = loop.create_future()
        self.records: list[AuditRecord] = []
        self.times: list[float] = []
        self.asked: list[TaskDraft] = []
        self._latest: dict[str, Fixture] = {}
        self.people = People(scenario, partial(_find, definition.nodes), self._take, self._latest)
        self.status = "starting"
        self._played: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "load_run": self._load_run,
            "apply_change": self._apply,
            "render_texts": self._texts,
            "run_interaction": self._interaction,
            "call_tool": self._tool,
            "run_script": self._script,
            "create_child": self._create_child,
            "open_process": self._create_child,
            "plan_undo": self._undo,
            "plan_rewind": self._rewind,
            "lay_out": self._items,
            "gather_collected": self._collected,
        }

    @property
    def flow(self) -> ProcessWorkflow | None:
        """The run that is played, once it has begun."""
        return self.people.flow

    def begin(self, flow: ProcessWorkflow) -> None:
        """Let a run begin, and what people do to it by hand."""
        self.people.flow = flow
        for operation in self._scenario.operations:
            self._later(self.people.operate(operation))

    def starter(self) -> Principal:
        """Return who has started the run: the actor of that name, if the scenario has one."""
        if STARTER in self._scenario.actors:
            return self.people.actor(STARTER)
        return principal(STARTER, ("operator",), ())

    def context(self) -> dict[str, JsonValue]:
        """Return the context as the run has it now."""
        return self.flow.context() if self.flow is not None else {}

    def now(self) -> datetime:
        """Return the present moment of the simulation."""
        return START + timedelta(seconds=self._loop.time())

    def uuid4(self) -> UUID:
        """Return the next id."""
        self._ids += 1
        return UUID(int=self._ids, version=4)

    def continue_as_new(self, message: ProcessInput) -> NoReturn:
        """End a history: the run has gone back, and goes on from there."""
        raise Onward(message)

    async def wait_condition(self, holds: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        await self._loop.until(holds)

    async def execute_activity(self, name: str, message: Any) -> Any:
        """Play an activity."""
        if name not in self._played:
            raise Unprepared(f"the activity {name} has no part in a simulation")
        return await self._played[name](message)

    async def execute_child_workflow(self, name: str, message: Any, *, id: str) -> Any:
        """Play a child run by the fixture of the node that started it."""
        kind, node_id = self._children[id.rpartition("/")[2]]
        fixture = await self._work(node_id)
        if kind == "process":
            given = fixture.result
            if isinstance(given, dict) and "outcome" in given and set(given) <= {"outcome", "output"}:
                return ChildResult(outcome=str(given["outcome"]), output=given.get("output"))
            return ChildResult(outcome="done", output=given)
        if fixture.decision is not None:
            values = {"values": fixture.values} if fixture.values else {}
            return AgentAnswer(value={"decision": fixture.decision, "comment": "as the scenario has it", **values})
        return AgentAnswer(value=fixture.result)

    def _take(self, node_id: str) -> Fixture | None:
        given = self._scenario.fixtures.get(node_id)
        if given is None:
            return None
        if not isinstance(given, Fixture):
            number = self._used[node_id]
            self._used[node_id] += 1
            if number >= len(given):
                raise Unprepared(f"the scenario has {len(given)} fixtures for {node_id}, which came {number + 1} times")
            given = given[number]
        self._latest[node_id] = given
        return given

    async def _work(self, node_id: str) -> Fixture:
        """Return the fixture of a node once its time has passed.

        Raises:
            NodeFailed: as the fixture says, or because it takes longer than the node may.
        """
        fixture = self._take(node_id)
        if fixture is None:
            raise Unprepared(f"the scenario has no fixture for {node_id}; give its result or its error")
        elapsed = parse_duration(fixture.elapsed) if fixture.elapsed else timedelta()
        limit = self._limit(node_id)
        if limit is not None and elapsed > limit:
            await asyncio.sleep(limit / timedelta(seconds=1))
            raise NodeFailed("timeout", "the node took longer than its time limit")
        await asyncio.sleep(elapsed / timedelta(seconds=1))
        if fixture.error is not None:
            raise NodeFailed(fixture.error, "the scenario has it so")
        return fixture

    def _limit(self, node_id: str) -> timedelta | None:
        node = _find(self._definition.nodes, node_id)
        text = (node.timeout if node is not None else None) or self._definition.defaults.timeout
        return parse_duration(text) if text else None

    async def _load_run(self, ref: RunRef) -> Run:
        return Run(
            run_id=ref.run_id,
            tenant=ref.tenant,
            kind="process",
            definition=self._definition.process,
            version="",
            title=self._definition.title,
            status="running",
            principal=self.starter(),
            root_id=RUN.run_id,
            input=self._scenario.input if ref == RUN else {},
            created_at=START,
            updated_at=self.now(),
        )

    async def _apply(self, change: Change) -> Recorded:
        self.status = change.status or self.status
        for draft in change.audit:
            seq = len(self.records) + 1
            fields = draft.model_dump(exclude={"key", "at"})
            at = draft.at or self.now()
            self.records.append(
                AuditRecord(run_id=RUN.run_id, seq=seq, at=at, previous_hash=str(seq - 1), hash=str(seq), **fields)
            )
            self.times.append(self._loop.time())
        for task in change.opened:
            self.asked.append(task)
            self._later(self.people.answer(task))
        for moved in change.moved:
            self.people.seats[moved.task_id] = moved.seat
        for wait in change.awaited:
            self._later(self._send(wait))
        return Recorded(last_seq=len(self.records))

    def _later(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.trouble.done():
            self.trouble.set_exception(error)

    async def _send(self, wait: EventWait) -> None:
        """Bring the event that a node waits for; without a fixture it never comes."""
        fixture = self._take(wait.node)
        if fixture is None:
            if wait.until is None:
                raise Unprepared(f"the scenario has no event for {wait.node}, and its wait has no deadline")
            return
        await asyncio.sleep(parse_duration(fixture.elapsed) / timedelta(seconds=1) if fixture.elapsed else 0)
        await self._bring(wait, fixture)

    async def _bring(self, wait: EventWait, fixture: Fixture) -> None:
        payload: dict[str, JsonValue] = (
            fixture.result if isinstance(fixture.result, dict) else {"value": fixture.result}
        )
        event = ProcessEvent(
            key=f"{wait.step}/event",
            name=wait.name,
            fields={**payload, **wait.match},
            payload=payload,
            by=fixture.by or "outside",
            keep=False,
        )
        assert self.flow is not None
        try:
            await cast("Awaitable[Any]", ProcessWorkflow.event(self.flow, event))
        except ApplicationError as refusal:
            raise Unprepared(f"the event for {wait.node} is refused: {refusal.message}") from None

    async def _texts(self, wanted: Texts) -> Texts:
        return wanted.model_copy(
            update={"texts": {name: self._render(text, wanted.data) for name, text in wanted.texts.items()}}
        )

    async def _interaction(self, call: InteractionCall) -> InteractionResult:
        fixture = await self._work(_node_of(call.key))
        return InteractionResult(
            output=fixture.result,
            interaction=call.interaction,
            version="",
            digest="",
            provider="simulation",
            model="fixture",
            finish=Finish(unified="done", raw="fixture"),
            spent=Spent(),
            execution_id="",
        )

    async def _tool(self, call: ToolInvocation) -> ToolOutcome:
        fixture = await self._work(call.node)
        return ToolOutcome(outcome="ok", value=fixture.result)

    async def _script(self, order: ScriptOrder) -> ScriptDone:
        return ScriptDone(value=(await self._work(order.name)).result)

    async def _items(self, order: ForeachOrder) -> ForeachLaid:
        """Give the items of a file: the fixture of the foreach has them as a list."""
        given = (await self._work(order.place.node)).result
        if not isinstance(given, list):
            raise Unprepared(f"the result of the fixture for {order.place.node} must be the list of its items")
        return ForeachLaid(count=len(given), items=given)

    async def _collected(self, order: GatherOrder) -> Gathered:
        return Gathered(size=0, limit=0, uri=f"run://{RUN.run_id}/artifacts/{order.node}.jsonl")

    async def _create_child(self, child: ChildStart) -> RunRef:
        kind = child.start.kind
        if kind == "agent":
            node_id = child.start.definition.removeprefix(f"{self._definition.process}.")
        else:
            node_id = self._starter_of(child.run_id)
        self._children[child.run_id] = (kind, node_id)
        return RunRef(tenant=RUN.tenant, run_id=child.run_id)

    def _starter_of(self, run_id: str) -> str:
        """Return the node under way whose step the id of its child comes from."""
        assert self.flow is not None
        for post in self.flow.under_way():
            tries = ("", *(str(number) for number in range(2, 101)))
            if any(derived_id("run", RUN.workflow_id, post.step, *([one] if one else [])) == run_id for one in tries):
                return post.node_id
        raise Unprepared("a child run was started by no node under way")

    async def _undo(self, order: UndoOrder) -> UndoPage:
        return UndoPage(steps=tuple(to_undo(self.records, order.after)))

    async def _rewind(self, order: RewindOrder) -> RewindPlan:
        try:
            return rewind(self.records, order.target)
        except Invalid as problem:
            raise ApplicationError(problem.message, type=problem.code, non_retryable=True) from problem


def _node_of(key: str) -> str:
    """Return the node of a step: `step/4.each[2]/1.read` is of `read`."""
    return key.rpartition("/")[2].partition(".")[2]


def _find(nodes: Mapping[str, NodeBase], node_id: str) -> NodeBase | None:
    if node_id in nodes:
        return nodes[node_id]
    for node in nodes.values():
        for nested in node.bodies():
            found = _find(cast("Mapping[str, NodeBase]", nested.body.nodes), node_id)
            if found is not None:
                return found
    return None
