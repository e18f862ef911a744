"""The people of a scenario: they answer what they are asked, choose ways on, and steer the run by hand."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, cast

from temporalio.exceptions import ApplicationError

from engine.ports import Control, TaskAnswer
from engine.process.definition import Answer, Fixture, Operation, Scenario, parse_duration
from engine.process.nodes.base import NodeBase
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.workflow import ProcessWorkflow
from engine.runs import RunRef, Seat, TaskDraft, derived_id
from engine.values import Principal

RUN = RunRef(tenant="simulation", run_id="run_00000000000000000000000000")


class Unprepared(Exception):  # a result of a simulation: the scenario is at fault
    """The scenario does not say what the process needs to go on."""


class People:
    """Who acts in a scenario, and what of it has been done.

    `take` gives the next fixture of a node and `latest` the one that it got last; `flow` is the run that is played.
    """

    def __init__(
        self,
        scenario: Scenario,
        nodes: Callable[[str], NodeBase | None],
        take: Callable[[str], Fixture | None],
        latest: Mapping[str, Fixture],
    ) -> None:
        """Take the scenario; nobody does anything yet."""
        self._scenario = scenario
        self._nodes = nodes
        self._take = take
        self._latest = latest
        self._thens: Counter[str] = Counter()
        self.flow: ProcessWorkflow | None = None
        self.seats: dict[str, Seat] = {}
        self.waiting = list(scenario.operations)
        """What nobody has got to do yet."""

    async def answer(self, task: TaskDraft) -> None:
        """Answer a task as the scenario has it; without a decision, its deadline passes."""
        if self._behind(task):
            await self._say(task, self._then(task.node))
            return
        fixture = self._take(task.node)
        if fixture is None or fixture.decision is None:
            if task.deadline is None:
                raise Unprepared(f"the scenario has no decision for {task.node}, and its question has no deadline")
            return
        own = Answer(decision=fixture.decision, values=fixture.values, by=fixture.by, elapsed=fixture.elapsed)
        await asyncio.gather(*(self._say(task, one) for one in (own, *fixture.also)))

    def _then(self, node_id: str) -> Answer:
        fixture = self._latest.get(node_id)
        then = fixture.then if fixture is not None else None
        if isinstance(then, tuple):
            number = self._thens[node_id]
            self._thens[node_id] += 1
            then = then[number] if number < len(then) else None
        if then is None:
            raise Unprepared(f"the scenario does not say what a person decides after {node_id}; give `then`")
        return then

    def _behind(self, task: TaskDraft) -> bool:
        """Tell whether a task is not the question of its node, but what comes after it: a way on, or its failure."""
        if not isinstance(self._nodes(task.node), SupervisorNode):
            return True
        assert self.flow is not None
        ids = {derived_id("task", RUN.workflow_id, post.step, "failed") for post in self.flow.under_way()}
        chosen = {post.task_id for post in self.flow.under_way() if post.phase == "choosing"}
        return task.task_id in ids | chosen

    async def _say(self, task: TaskDraft, said: Answer) -> None:
        await _passes(said.elapsed)
        by = self._decider(task, said.by)
        answer = TaskAnswer(task_id=task.task_id, by=by, decision=said.decision, values=said.values)
        shown = f"the decision {said.decision!r} of {by.subject}"
        await self._done(shown, said.refused, lambda flow: ProcessWorkflow.answer(flow, answer))

    def _decider(self, task: TaskDraft, name: str | None) -> Principal:
        seat = self.seats.get(task.task_id, task.seat)
        if name is not None:
            by = self.actor(name)
            if not seat.admits(by):
                shown = seat.model_dump_json(exclude_defaults=True)
                raise Unprepared(f"{name} has no seat at {task.node}; it is {shown}")
            return by
        users = [user for user in seat.users if user not in seat.excluded]
        return principal(users[0] if users else f"somebody for {task.node}", seat.roles, seat.groups)

    def actor(self, name: str) -> Principal:
        """Return an actor of the scenario."""
        actor = self._scenario.actors.get(name)
        if actor is None:
            known = ", ".join(self._scenario.actors) or "none"
            raise Unprepared(f"the scenario has no actor {name!r}; it has {known}")
        return principal(name, actor.roles, actor.groups)

    async def operate(self, operation: Operation) -> None:
        """Steer the run by hand at the moment that the scenario names."""
        await _passes(operation.after)
        fields: dict[str, Any] = operation.model_dump(exclude={"after", "by", "refused"})
        control = Control(by=self.actor(operation.by), **fields)
        self.waiting.remove(operation)

        async def order(flow: ProcessWorkflow) -> None:
            flow.check_control(control)
            await cast("Awaitable[Any]", ProcessWorkflow.control(flow, control))

        shown = f"to {operation.action}{' ' + operation.target if operation.target else ''} by {operation.by}"
        await self._done(shown, operation.refused, order)

    async def _done(self, shown: str, refused: bool, act: Callable[[ProcessWorkflow], Any]) -> None:
        assert self.flow is not None
        try:
            await cast("Awaitable[Any]", act(self.flow))
        except ApplicationError as refusal:
            if not refused:
                raise Unprepared(f"{shown} is refused: {refusal.message}") from None
            return
        if refused:
            raise Unprepared(f"{shown} should be refused, and was taken")


def principal(name: str, roles: tuple[str, ...], groups: tuple[str, ...]) -> Principal:
    """Return somebody of the simulation."""
    return Principal(tenant=RUN.tenant, subject=name, roles=frozenset(roles), groups=frozenset(groups))


async def _passes(elapsed: str | None) -> None:
    await asyncio.sleep(parse_duration(elapsed) / timedelta(seconds=1) if elapsed else 0)
