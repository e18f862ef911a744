"""A small model of the engine: what a definition means, in a few hundred lines that share nothing with it.

Graphs are walked by generators; each yields the seconds it sleeps, or the condition it waits for. A clock of its own
takes them on, one moment after another.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from tests.engine.generated_values import Node
from tests.processes.engine_machine_plan import WORK, Happening, Plan

Waiting = float | Callable[[], bool]
Walk = Generator[Waiting, None, Any]
SECONDS = {"PT1H": 3600.0, "PT3H": 10_800.0, "P1D": 86_400.0, "P2D": 172_800.0}
UNTIL = 51 * 3600.0
"""From the beginning of every simulation to the moment that generated definitions wait for."""


class Fails(Exception):
    """A node failed with a kind."""


class Ends(Exception):
    """The run is over."""


class Left(Exception):
    """Nobody waits any more for a call that was seen to its end."""


@dataclass(eq=False)
class Walker:
    """A walk under way, with its children, and how it came to its end.

    `held`: it is at a call that can be undone, which is not torn down; `left`: it is over with the end of that.
    """

    walk: Walk
    children: list["Walker"] = field(default_factory=lambda: [])
    done: bool = False
    error: Exception | None = None
    value: Any = None
    until: Callable[[], bool] | None = None
    held: bool = False
    left: bool = False


class Clock:
    """Takes walks on until the first of them is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._sleeping: list[tuple[float, int, Walker]] = []
        self._ready: list[Walker] = []
        self._waiting: list[Walker] = []

    def begin(self, walk: Walk) -> Walker:
        """Begin a walk now."""
        walker = Walker(walk)
        self._ready.append(walker)
        return walker

    def leave(self, walker: Walker) -> list[Walker]:
        """Break a walk off, with all that it began; return what goes on until it can be broken off."""
        held = [one for child in walker.children for one in self.leave(child)]
        if walker.held and not walker.done:
            walker.left = True
            return [*held, walker]
        walker.done = True
        return held

    def run(self, walk: Walk) -> Any:
        """Return what a walk comes to."""
        main = self.begin(walk)
        while not main.done:
            while self._ready:
                self._on(self._ready.pop(0))
            woken = [one for one in self._waiting if not one.done and one.until is not None and one.until()]
            if woken:
                self._waiting = [one for one in self._waiting if one not in woken]
                self._ready += woken
            elif not main.done:
                self.now, _, walker = heapq.heappop(self._sleeping)
                self._ready.append(walker)
        if main.error is not None:
            raise main.error
        return main.value

    def _on(self, walker: Walker) -> None:
        if walker.done:
            return
        try:
            wanted = next(walker.walk)
        except StopIteration as end:
            walker.done, walker.value = True, end.value
        except Left:
            walker.done = True
        except (Fails, Ends) as error:
            walker.done, walker.error = True, error
        else:
            if callable(wanted):
                walker.until = wanted
                self._waiting.append(walker)
            else:
                heapq.heappush(self._sleeping, (self.now + wanted, next(self._order), walker))


@dataclass
class Scope:
    """The values that nodes write, over those of the scopes outside; `path` says that steps are of the outermost."""

    values: dict[str, Any]
    outer: dict[str, Any]
    outermost: bool
    walkers: list[Walker]
    walker: Walker | None = None
    visits: Counter[str] = field(default_factory=lambda: Counter[str]())

    def seen(self) -> dict[str, Any]:
        """Return all that guards may read."""
        return {**self.outer, **self.values}


class Model:
    """One run of a definition by a plan."""

    def __init__(self, definition: Node, plan: Plan) -> None:
        self.definition = definition
        self.plan = plan
        self.clock = Clock()
        self.path: list[str] = []
        self.came: Counter[str] = Counter()
        self.context: dict[str, Any] = {**definition["context"]["initial"], **plan.input}

    def run(self) -> tuple[str | None, str | None]:
        """Return the outcome, or the kind of the failure."""
        scope = Scope(self.context, {}, outermost=True, walkers=[])
        try:
            self.clock.run(self._graph(self.definition, scope))
        except Ends as ends:
            return str(ends), None
        except Fails as fails:
            return None, str(fails)
        raise AssertionError("the outermost graph only ends at an end or a failure")

    def _graph(self, graph: Node, scope: Scope) -> Walk:
        name: str | None = graph["start"]
        while name is not None:
            name = yield from self._step(name, graph["nodes"][name], scope)

    def _step(self, name: str, node: Node, scope: Scope) -> Generator[Waiting, None, str | None]:
        if self.plan.pause is not None:
            begin, end = self.plan.pause
            if begin <= self.clock.now < end:
                yield end - self.clock.now
        offered: list[str] = []
        to: str | None = None
        try:
            scope.visits[name] += 1
            if scope.visits[name] > node.get("max_visits", 10**9):
                raise Fails("max_visits")
            writes, chosen = yield from self._untorn(name, node, scope)
            scope.values.update(writes)
            if scope.walker is not None and scope.walker.left:
                raise Left
            to, offered = self._way(node, chosen, scope)
        except Fails as fails:
            self._note(name, scope)
            kind = str(fails)
            if kind == "timeout" and "on_timeout" in node:
                return node["on_timeout"]["to"]
            for way in node.get("on_error", ()):
                if not way.get("match") or kind in way["match"]:
                    return way["to"]
            raise
        except Ends:
            self._note(name, scope)
            raise
        self._note(name, scope)
        if offered:
            self.came[f"{name}/chosen"] += 1
            found = self.plan.chosen(name, self.came[f"{name}/chosen"], offered)
            yield found.seconds
            return found.decision
        return to

    def _untorn(
        self, name: str, node: Node, scope: Scope
    ) -> Generator[Waiting, None, tuple[dict[str, Any], str | None]]:
        walker = scope.walker
        if node["type"] != "tool" or "compensate" not in node or walker is None:
            return (yield from self._node(name, node, scope))
        walker.held = True
        try:
            return (yield from self._node(name, node, scope))
        except Fails:
            if walker.left:
                raise Left from None
            raise
        finally:
            walker.held = False

    def _note(self, name: str, scope: Scope) -> None:
        if scope.outermost:
            self.path.append(name)

    def _way(self, node: Node, chosen: str | None, scope: Scope) -> tuple[str | None, list[str]]:
        """Return where one goes on, or among which ways a person is to choose."""
        offered: list[str] = []
        for way in node.get("next", ()):
            trigger = way.get("trigger", "auto")
            if trigger == "agent" and way["to"] != chosen:
                continue
            if offered and trigger != "user":
                continue
            if "when" in way and not holds(way["when"], scope.seen()):
                continue
            if trigger != "user":
                return way["to"], []
            offered.append(way["to"])
        if node.get("next") and not offered:
            raise Fails("no_transition")
        return None, offered

    def _node(self, name: str, node: Node, scope: Scope) -> Generator[Waiting, None, tuple[dict[str, Any], str | None]]:
        kind = node["type"]
        if kind == "end":
            raise Ends(node["outcome"])
        if kind == "branch":
            yield from self._branch(node, scope)
            return {}, None
        if kind == "foreach":
            rows = yield from self._foreach(node, scope)
            return ({node["collect"]["into"]: rows} if "collect" in node else {}), None
        if kind == "supervisor":
            return (yield from self._supervisor(name, node))
        if kind == "wait":
            return (yield from self._wait(name, node)), None
        return (yield from self._work(name, node))

    def _happens(self, name: str) -> Happening:
        self.came[name] += 1
        return self.plan.at(name, self.came[name])

    def _work(self, name: str, node: Node) -> Generator[Waiting, None, tuple[dict[str, Any], str | None]]:
        assert node["type"] in WORK
        tries = node.get("retry", {}).get("max_attempts", 1) if node["type"] == "process" else 1
        while True:
            try:
                found = yield from self._tried(name, node)
                break
            except Fails:
                tries -= 1
                if not tries:
                    raise
                yield 1.0
        result, writes = found.result, node.get("writes", [])
        if node["type"] == "process":
            whole = isinstance(result, dict) and set(result) == {"outcome", "output"}
            output = result["output"] if whole else result
            result = output if node.get("returns") or len(writes) != 1 else {writes[0]: output}
        elif node["type"] == "tool" and len(writes) == 1:
            result = {writes[0]: result}
        values: dict[str, Any] = result
        return {key: values[key] for key in writes}, values.get("_next") if node["type"] == "agent" else None

    def _tried(self, name: str, node: Node) -> Generator[Waiting, None, Happening]:
        found = self._happens(name)
        limit = SECONDS[node["timeout"]] if "timeout" in node else None
        if limit is not None and found.seconds > limit:
            yield limit
            raise Fails("timeout")
        yield found.seconds
        if found.error is not None:
            raise Fails(found.error)
        return found

    def _supervisor(self, name: str, node: Node) -> Generator[Waiting, None, tuple[dict[str, Any], str | None]]:
        found = self._happens(name)
        limit = SECONDS[node["deadline"]]
        if found.never or found.seconds >= limit:
            yield limit
            raise Fails("timeout")
        yield found.seconds
        if not node["writes"]:
            return {}, found.decision
        said = {"decision": found.decision, "by": f"somebody for {name}", "comment": "", **found.result}
        return {node["writes"][0]: said, **found.result}, found.decision

    def _wait(self, name: str, node: Node) -> Generator[Waiting, None, dict[str, Any]]:
        if "event" not in node:
            yield SECONDS[node["for"]] if "for" in node else max(UNTIL - self.clock.now, 0.0)
            return {}
        found = self._happens(name)
        limit = SECONDS[node["deadline"]]
        if found.never or found.seconds >= limit:
            yield limit
            raise Fails("timeout")
        yield found.seconds
        writes = node["writes"]
        return {writes[0]: found.result} if len(writes) == 1 else {key: found.result[key] for key in writes}

    def _branch(self, node: Node, scope: Scope) -> Walk:
        arms = [arm for arm in node["arms"] if "when" not in arm or holds(arm["when"], scope.seen())]
        if node.get("take") != "every":
            arms = arms[:1]
        if not arms:
            raise Fails("no_arm")
        join = node.get("join", "all")
        needed = len(arms) if join == "all" else 1 if join == "any" else join["at_least"]
        if needed > len(arms):
            raise Fails("join")
        walkers: list[Walker] = []
        for arm in arms:
            # Arms write into the one context, side by side; each counts its own visits.
            inner = Scope(scope.values, scope.outer, outermost=False, walkers=[])
            walkers.append(self.clock.begin(self._graph(arm["body"], inner)))
            walkers[-1].children, inner.walker = inner.walkers, walkers[-1]
        scope.walkers += walkers
        yield lambda: joined(walkers, needed)
        failed = [one.error for one in walkers if one.done and one.error is not None]
        yield from self._leave(walkers, scope)
        ended = [error for error in failed if isinstance(error, Ends)]
        if ended or len(failed) > len(walkers) - needed:
            raise (ended or failed)[0]

    def _leave(self, walkers: list[Walker], scope: Scope) -> Walk:
        held = [one for walker in walkers for one in self.clock.leave(walker)]
        if held:
            yield lambda: all(one.done for one in held)
        for walker in walkers:
            scope.walkers.remove(walker)

    def _foreach(self, node: Node, scope: Scope) -> Generator[Waiting, None, list[Any]]:
        given = node["items"]
        items = given if isinstance(given, list) else scope.seen()[given["var"]]
        rows: list[Any] = [None] * len(items)
        free = [node.get("max_concurrency", 10)]
        walkers: list[Walker] = []
        failures: list[Exception] = []
        for number, item in enumerate(items):
            inner = Scope({}, {**scope.seen(), node["as"]: item, "index": number}, outermost=False, walkers=[])
            walk = self._item(node, inner, rows, number, free, failures)
            walkers.append(self.clock.begin(walk))
            walkers[-1].children, inner.walker = inner.walkers, walkers[-1]
        scope.walkers += walkers
        yield lambda: bool(failures) or all(one.done for one in walkers)
        yield from self._leave(walkers, scope)
        if failures:
            raise failures[0]
        return rows

    def _item(
        self, node: Node, inner: Scope, rows: list[Any], number: int, free: list[int], failures: list[Exception]
    ) -> Walk:
        while not free[0]:
            yield lambda: free[0] > 0
        free[0] -= 1
        item = inner.outer[node["as"]]
        try:
            yield from self._graph(node["body"], inner)
            rows[number] = {node["as"]: item}
        except Fails as fails:
            if node.get("on_item_error") != "collect":
                failures.append(fails)
                raise
            rows[number] = {"item": item, "error": str(fails)}
        except Ends as ends:
            failures.append(ends)
            raise
        free[0] += 1


def joined(walkers: list[Walker], needed: int) -> bool:
    """Tell whether enough have finished, or one has ended the run, or too many have failed."""
    over = [one for one in walkers if one.done]
    failed = [one for one in over if one.error is not None]
    ended = any(isinstance(one.error, Ends) for one in failed)
    return ended or len(failed) > len(walkers) - needed or len(over) - len(failed) >= needed


def holds(rule: Any, seen: dict[str, Any]) -> bool:
    """Tell whether a guard holds: the few operators that generated guards have."""
    value = worth(rule, seen)
    return bool(value)


def worth(rule: Any, seen: dict[str, Any]) -> Any:
    """Return the value of a rule."""
    if not isinstance(rule, dict):
        return rule
    ((operator, given),) = rule.items()
    if operator == "var":
        path, default = (given, None) if isinstance(given, str) else given
        here: Any = seen
        for part in path.split("."):
            if not isinstance(here, dict) or part not in here:
                return default
            here = here[part]
        return here
    if operator == "exists":
        return given in seen
    args = [worth(one, seen) for one in given]
    match operator:
        case "and":
            return all(args)
        case "or":
            return any(args)
        case "!":
            return not args[0]
        case "==":
            return args[0] == args[1]
        case "!=":
            return args[0] != args[1]
        case "<":
            return args[0] < args[1]
        case ">":
            return args[0] > args[1]
        case ">=":
            return args[0] >= args[1]
        case "in":
            return args[0] in args[1]
        case "+":
            return args[0] + args[1]
        case _:
            raise AssertionError(f"the model has no {operator}")
