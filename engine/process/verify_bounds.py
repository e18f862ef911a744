"""The worst case of a run: model calls, money and time, from budgets, retries, deadlines and the bounds of loops."""

import math
from dataclasses import dataclass
from typing import Any

from engine.errors import Problem
from engine.process.definition import ProcessDefinition
from engine.process.durations import parse_duration
from engine.process.logic import compile_rule
from engine.process.nodes.agent import AgentNode
from engine.process.nodes.base import NodeBase, Retry
from engine.process.nodes.branch import BranchNode
from engine.process.nodes.foreach import ForeachNode
from engine.process.nodes.interaction import InteractionNode
from engine.process.nodes.process import ProcessNode
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.nodes.wait import WaitNode
from engine.process.verify_schema import look_up
from engine.process.verify_scopes import Graph, cycles
from engine.process.verify_types import variable
from engine.values import Budget, Value

DEFAULT_ATTEMPTS = 3
DEFAULT_TIMEOUT_S = 600.0
_DIMENSIONS = ("model_calls", "usd", "seconds")


class Unbounded(Value):
    """Why there is no bound: the dimension, the node to blame, and what would give one."""

    dimension: str
    path: str
    reason: str


class Bounds(Value):
    """The most a run can use, None where there is no bound; `unbounded` says which nodes are to blame."""

    model_calls: int | None
    usd: float | None
    seconds: float | None
    unbounded: tuple[Unbounded, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cost:
    """Model calls, dollars and seconds; infinite where there is no bound."""

    amounts: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def plus(self, other: "_Cost") -> "_Cost":
        return _Cost(_triple([mine + theirs for mine, theirs in zip(self.amounts, other.amounts, strict=True)]))

    def times(self, factor: float) -> "_Cost":
        return _Cost(_triple([amount * factor if amount else 0.0 for amount in self.amounts]))

    def most(self, other: "_Cost") -> "_Cost":
        return _Cost(_triple([max(pair) for pair in zip(self.amounts, other.amounts, strict=True)]))


def _triple(amounts: list[float]) -> tuple[float, float, float]:
    first, second, third = amounts
    return first, second, third


def bounds(definition: ProcessDefinition) -> Bounds:
    """Return the worst case of a run of the definition, or which nodes leave it without one."""
    reckoning = _Reckoning(definition)
    calls, usd, seconds = reckoning.graph(Graph(definition, "", False)).amounts
    return Bounds(
        model_calls=None if math.isinf(calls) else int(calls),
        usd=None if math.isinf(usd) else round(usd, 6),
        seconds=None if math.isinf(seconds) else seconds,
        unbounded=tuple(dict.fromkeys(reckoning.blamed)),
    )


class _Reckoning:
    def __init__(self, definition: ProcessDefinition) -> None:
        self.definition = definition
        self.blamed: list[Unbounded] = []

    def blame(self, dimension: str, at: str, reason: str) -> float:
        self.blamed.append(Unbounded(dimension=dimension, path=at, reason=reason))
        return math.inf

    def graph(self, graph: Graph) -> _Cost:
        """Return the cost of the dearest way through a graph: cycles count with all their rounds."""
        costs = {name: self.node(graph, name) for name in graph.body.nodes}
        follow = {name: [edge.target for edge in graph.edges(name)] for name in graph.body.nodes}
        owner = {name: name for name in costs}
        weight = dict(costs)
        for group in cycles(set(costs), follow):
            total = _Cost()
            for name, rounds in self._rounds(graph, group, follow).items():
                total = total.plus(costs[name].times(rounds))
            for name in group:
                owner[name] = group[0]
            weight[group[0]] = total
        return _dearest(owner[graph.body.start], owner, weight, follow) if graph.has(graph.body.start) else _Cost()

    def _rounds(self, graph: Graph, group: list[str], follow: dict[str, list[str]]) -> dict[str, float]:
        """Return how often each node of a cycle can run."""
        limits = {name: graph.body.nodes[name].max_visits for name in group}
        total = sum(limit for limit in limits.values() if limit is not None)
        free = {name for name, limit in limits.items() if limit is None}
        rounds: float = total + 1
        for endless in cycles(free, follow):
            reason = f"the cycle of {', '.join(endless)} has no max_visits"
            for dimension in _DIMENSIONS:
                rounds = self.blame(dimension, graph.where(endless[0]), reason)
        return {name: rounds if limit is None else float(limit) for name, limit in limits.items()}

    def node(self, graph: Graph, name: str) -> _Cost:
        """Return the cost of one visit of a node."""
        node, at = graph.body.nodes[name], graph.where(name)
        if isinstance(node, (InteractionNode, AgentNode)):
            return self._model(node, at)
        if isinstance(node, SupervisorNode):
            return self._waiting(node.deadline, at, node.seat.agent is not None)
        if isinstance(node, WaitNode):
            return self._waiting(node.for_ or node.deadline, at, False)
        if isinstance(node, BranchNode):
            arms = [self._inside(graph, name, index) for index in range(len(node.arms))]
            cost = _Cost()
            for arm in arms:
                calls, usd, _ = cost.plus(arm).amounts
                most = cost.most(arm)
                cost = most if node.take == "first" else _Cost((calls, usd, most.amounts[2]))
            return cost
        if isinstance(node, ForeachNode):
            return self._each(node, self._inside(graph, name, 0), at)
        if isinstance(node, ProcessNode):
            reason = "what the child process uses is not known here; set a budget on the run"
            return _Cost(_triple([self.blame(dimension, at, reason) for dimension in _DIMENSIONS]))
        return _Cost((0, 0, 0 if node.type == "end" else self._time(node)))

    def _inside(self, graph: Graph, name: str, index: int) -> _Cost:
        nested = list(graph.body.nodes[name].bodies())[index]
        return self.graph(Graph(nested.body, graph.where(name) + nested.path, True))

    def _model(self, node: InteractionNode | AgentNode, at: str) -> _Cost:
        budget = node.budget or self.definition.defaults.budget or Budget()
        attempts = self._retry(node).max_attempts
        usd = budget.usd if budget.usd is not None else self.blame("usd", at, "it has no budget; set budget.usd")
        if isinstance(node, InteractionNode):
            return _Cost((attempts, usd * attempts, self._time(node)))
        turns = budget.turns if budget.turns is not None else self.blame("model_calls", at, "set budget.turns")
        return _Cost((turns * attempts, usd * attempts, self._time(node, budget.seconds)))

    def _retry(self, node: NodeBase) -> Retry:
        return node.retry or self.definition.defaults.retry or Retry(max_attempts=DEFAULT_ATTEMPTS)

    def _time(self, node: NodeBase, seconds: float | None = None) -> float:
        """Return the seconds that all attempts and the pauses between them can take."""
        retry = self._retry(node)
        text = node.timeout or self.definition.defaults.timeout
        limit = parse_duration(text).total_seconds() if text else DEFAULT_TIMEOUT_S
        one = limit if seconds is None else min(seconds, limit) if node.timeout else seconds
        pause, total = parse_duration(retry.initial_interval).total_seconds(), 0.0
        longest = parse_duration(retry.max_interval).total_seconds() if retry.max_interval else 100 * pause
        for _ in range(retry.max_attempts - 1):
            total += min(pause, longest)
            pause = min(pause * retry.backoff, longest)
        return one * retry.max_attempts + total

    def _waiting(self, limit: str | None, at: str, asks_model: bool) -> _Cost:
        reason = "the wait has no deadline; add one"
        seconds = parse_duration(limit).total_seconds() if limit else self.blame("seconds", at, reason)
        calls = usd = 0.0
        if asks_model:
            calls = self.blame("model_calls", at, "an agent in a seat has no budget; set one on the run")
            usd = self.blame("usd", at, "an agent in a seat has no budget; set one on the run")
        return _Cost((calls, usd, seconds))

    def _each(self, node: ForeachNode, one: _Cost, at: str) -> _Cost:
        count = self._count(node)
        if count is None:
            for dimension, amount in zip(_DIMENSIONS, one.amounts, strict=True):
                if amount:
                    self.blame(dimension, at, "the number of items has no bound; give their list maxItems")
            return one.times(math.inf)
        calls, usd, _ = one.times(count).amounts
        return _Cost((calls, usd, one.times(math.ceil(count / node.max_concurrency)).amounts[2]))

    def _count(self, node: ForeachNode) -> int | None:
        """Return the most items there can be, from a literal list or the schema of the variable."""
        items: Any = node.items
        if isinstance(items, list):
            return len(items)
        try:
            path = variable(compile_rule(items).tree) if isinstance(items, dict) else None
        except Problem:
            return None
        most = look_up(self.definition.context.schema_, path).schema.get("maxItems") if path else None
        return most if isinstance(most, int) else None


def _dearest(start: str, owner: dict[str, str], weight: dict[str, _Cost], follow: dict[str, list[str]]) -> _Cost:
    """Return the greatest cost from a node on, cycles taken together as one, without recursion."""
    ahead: dict[str, list[str]] = {}
    for name, targets in follow.items():
        ahead.setdefault(owner[name], []).extend(owner[target] for target in targets if owner[target] != owner[name])
    known: dict[str, _Cost] = {}
    pending = [start]
    while pending:
        name = pending[-1]
        waiting = [other for other in ahead.get(name, ()) if other not in known]
        if waiting:
            pending.extend(waiting)
            continue
        pending.pop()
        best = _Cost()
        for other in ahead.get(name, ()):
            best = best.most(known[other])
        known[name] = weight[name].plus(best)
    return known[start]
