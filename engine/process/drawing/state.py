"""How far a run is, on the picture of its process: read from its audit and its open tasks alone.

A node shows how it stands in the frames that count now: those of the latest visit of the nodes around it, as far as
the run did not go back. What is under way is no record yet; it is where the records lead to.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from engine.errors import Problem
from engine.ports import MAX_INLINE, ForeachProgress
from engine.process.definition import ProcessDefinition
from engine.process.drawing.sketch import State
from engine.process.drawing.steps import Frame, Key, Steps, Visit, own_number, place_of
from engine.process.logic import compile_rule
from engine.process.nodes.branch import BranchNode
from engine.process.nodes.foreach import ForeachNode
from engine.runs import AuditRecord, RunStatus

FIRST: tuple[State, ...] = ("waiting", "running", "failed", "stopped", "done", "skipped", "undone")
"""Of several frames, what a node shows: what needs somebody comes before what is over."""

ENDED: Mapping[RunStatus, State] = {"completed": "stopped", "cancelled": "stopped", "failed": "failed"}
"""What becomes of a node that was under way when its run ended so."""


NOTHING = ForeachProgress(step="", node="")
"""Of a node that is no foreach, or one whose items nobody has counted yet."""


@dataclass(frozen=True)
class RunState:
    """What a picture says of a run; all by the path of a node, as in `nodes/pay` or `nodes/each/body/nodes/pay`.

    A node that the run has not come to is in none of the mappings. `counts` is for people, as "17 of 20, 1 failed";
    `visits` are those that still count; `taken` are pairs of paths whose transition was taken.
    """

    states: Mapping[str, State] = field(default_factory=lambda: {})
    counts: Mapping[str, str] = field(default_factory=lambda: {})
    visits: Mapping[str, int] = field(default_factory=lambda: {})
    taken: frozenset[tuple[str, str]] = frozenset()


def run_state(
    definition: ProcessDefinition,
    records: Sequence[AuditRecord],
    *,
    status: RunStatus,
    position: str = "",
    asked: Iterable[str] = (),
    foreaches: Iterable[ForeachProgress] = (),
) -> RunState:
    """Return how far a run is.

    `position` is where its row says that it stands, `asked` the node of each of its open tasks, `foreaches` how far
    those in batches are, of which nothing is on its own record while they are under way. Records of nodes that
    the definition does not have, as of a version before a migration, are left out.
    """
    reading = _Reading(Steps(definition, position, records), foreaches)
    reading.look(status)
    if status not in ENDED:
        reading.ask(Counter(asked))
    return reading.result()


class _Reading:
    """`_now` is the state of each node in each frame that counts; `_fresh` are those whose visit has no record yet."""

    def __init__(self, steps: Steps, foreaches: Iterable[ForeachProgress]) -> None:
        self._steps = steps
        self._batched = {one.step: one for one in foreaches}
        self._in_batches: dict[Key, ForeachProgress] = {}
        self._latest = _latest(steps)
        self._inside: defaultdict[str, list[Frame]] = defaultdict(list)
        for frame in steps.frames.values():
            if frame.around is not None and not frame.gone:
                self._inside[frame.around[1]].append(frame)
        self._last = {visit.frame: visit for visit in steps.visits.values()}
        self._now: dict[Key, State] = {}
        self._fresh: set[Key] = set()
        self._totals: dict[Key, int] = {}

    def look(self, status: RunStatus) -> None:
        """Find out how the nodes stand: those with a record, those under way, those that were given up."""
        for visit in self._steps.visits.values():
            if self._counts(visit.frame):
                self._now[visit.key] = visit.state
        root = self._steps.root
        if root.current is not None:
            self._under_way(root, root.current, ENDED.get(status, "running"))
        for frame in self._steps.frames.values():
            self._given_up(frame)
        for step, visit in self._steps.visits.items():
            if visit.state == "done" and visit.key not in self._fresh and self._counts(visit.frame):
                self._losers(step, visit)

    def _counts(self, frame: Frame) -> bool:
        while frame.around is not None:
            outer, step, node_id = frame.around
            if self._latest.get(outer.key(node_id)) != step:
                return False
            frame = outer
        return True

    def _under_way(self, frame: Frame, node_id: str, state: State) -> None:
        node = frame.body.nodes.get(node_id)
        if node is None:
            return
        key = frame.key(node_id)
        step = self._latest.get(key, "")
        made = self._steps.visits.get(step)
        self._now[key] = state
        if made is not None and made.to is None and made.state != "undone":
            # Its work is over; only the way on from it is open.
            return
        self._fresh.add(key)
        if made is not None:
            # It is visited anew: what stood inside it belongs to the visit before.
            self._now = {
                one: said for one, said in self._now.items() if not one[0].startswith((f"{step}/", f"{step}["))
            }
        inside = [] if made is not None else self._inside[step]
        for inner in inside:
            if inner.current is not None:
                self._under_way(inner, inner.current, state)
        if isinstance(node, ForeachNode):
            self._begun_items(frame, node_id, node, inside, state)
        elif isinstance(node, BranchNode):
            self._begun_arms(frame, node_id, node, inside, state)

    def _begun_items(
        self, frame: Frame, node_id: str, node: ForeachNode, inside: Sequence[Frame], state: State
    ) -> None:
        """Mark the items without a record: which they are is not written down, so they stand at the first node."""
        here = [one for one in self._batched.values() if place_of(one.step) == (frame.prefix, node_id)]
        begun = [one for one in here if one.step not in self._steps.visits]
        if begun:
            self._in_batches[frame.key(node_id)] = max(begun, key=lambda one: own_number(one.step))
            return
        items = self._value(frame, node.items)
        if not isinstance(items, list) or (len(items) > MAX_INLINE and not inside):
            # They are just being laid out in batches.
            return
        self._totals[frame.key(node_id)] = len(items)
        busy = sum(one.current is not None for one in inside)
        for number in range(max(min(node.max_concurrency - busy, len(items) - len(inside)), 0)):
            prefix, above = f"{frame.prefix}\0{node_id}[{number}]/", f"{frame.path(node_id)}/body/"
            inner = Frame(prefix, above, node.body, None, node.body.start, shared=False)
            self._under_way(inner, node.body.start, state)

    def _begun_arms(self, frame: Frame, node_id: str, node: BranchNode, inside: Sequence[Frame], state: State) -> None:
        seen = {one.above for one in inside}
        for index, arm in enumerate(node.arms):
            if arm.when is not None and not self._value(frame, arm.when):
                continue
            above = f"{frame.path(node_id)}/arms/{index}/body/"
            if above not in seen and (node.take == "every" or not seen):
                inner = Frame(f"{frame.prefix}\0{node_id}/{arm.name}/", above, arm.body, shared=frame.shared)
                self._under_way(inner, arm.body.start, state)
            if node.take == "first":
                return

    def _value(self, frame: Frame, rule: JsonValue) -> Any:
        """Return what an expression comes to now; None where it reads what only an item has."""
        if not frame.shared:
            return None
        try:
            return compile_rule(rule, strict=True)(self._steps.context)
        except Problem:
            return None

    def _given_up(self, frame: Frame) -> None:
        """Mark where a frame stood when the node around it was over: a race was lost, another item failed."""
        if frame.around is None or frame.current is None or frame.gone or not self._counts(frame):
            return
        around = self._steps.visits.get(frame.around[1])
        if around is not None and around.state != "undone" and around.key not in self._fresh:
            self._now[frame.key(frame.current)] = "stopped"

    def _losers(self, step: str, visit: Visit) -> None:
        """Mark the arms that lost a race before they had made a step."""
        if not isinstance(visit.node, BranchNode):
            return
        lost = set(visit.data.get("taken", ())) - set(visit.data.get("finished", ()))
        for index, arm in enumerate(visit.node.arms):
            prefix = f"{step}/{arm.name}/"
            if arm.name in lost and prefix not in self._steps.frames:
                above = f"{visit.frame.path(visit.node_id)}/arms/{index}/body/"
                self._now[Frame(prefix, above, arm.body).key(arm.body.start)] = "stopped"

    def ask(self, asked: Counter[str]) -> None:
        """Mark what waits for a person: nodes under way first, else those whose failure or way on somebody decides."""
        for node_id, count in asked.items():
            named = [key for key in self._now if key[1].endswith(f"nodes/{node_id}")]
            meant = [key for key in named if self._now[key] == "running"] or named
            # In an arm whose guard only an item can tell, nothing but the task says that the node was reached.
            paths = (
                []
                if named
                else [f"{above}nodes/{node_id}" for above, body in self._steps.bodies if node_id in body.nodes]
            )
            meant += [(f"\0{number}", path) for path in paths[:1] for number in range(count)]
            for key in meant[-count:]:
                self._now[key] = "waiting"

    def result(self) -> RunState:
        """Return what the picture says."""
        by_path: defaultdict[str, list[Key]] = defaultdict(list)
        for key in self._now:
            by_path[key[1]].append(key)
        made = [visit for visit in self._steps.visits.values() if visit.state != "undone"]
        visits = Counter([visit.key[1] for visit in made] + [path for _, path in self._fresh])
        counts = {path: self._progress(keys) or self._tally(keys, visits[path]) for path, keys in by_path.items()}
        states: dict[str, State] = {
            path: FIRST[min(FIRST.index(self._now[key]) for key in keys)] for path, keys in by_path.items()
        }
        return RunState(
            states=states,
            counts={path: said for path, said in counts.items() if said},
            visits=dict(visits),
            taken=frozenset((visit.key[1], visit.frame.path(visit.to)) for visit in made if visit.to is not None),
        )

    def _tally(self, keys: Sequence[Key], visits: int) -> str:
        if len(keys) > 1:
            found = Counter(self._now[key] for key in keys)
            return ", ".join(f"{found[state]} {state}" for state in FIRST if found[state])
        return f"{visits} visits" if visits > 1 else ""

    def _progress(self, keys: Sequence[Key]) -> str:
        """Return how far a foreach is in its items, over all frames in which it stands; empty for other nodes."""
        whole = NOTHING
        for key in keys:
            whole = _plus(whole, self._in_batches.get(key) or self._items_of(key))
        return whole.in_words() if whole.items else ""

    def _items_of(self, key: Key) -> ForeachProgress:
        """Return how far a foreach is by the records of the run itself."""
        step = self._latest.get(key, "")
        if key in self._fresh and step in self._steps.visits:
            # Visited anew, and nothing inside it is on record yet.
            step = ""
        visit = self._steps.visits.get(step)
        items = self._totals.get(key) if visit is None else visit.data.get("items")
        if not isinstance(items, int):
            # It came to nothing, maybe in batches.
            return self._batched.get(step) or NOTHING
        ended = [one for one in self._inside[step] if one.current is None]
        last = [self._last[one] for one in ended if one in self._last]
        failed = sum(one.state == "failed" and one.to is None for one in last)
        if visit is None:
            return _items(items, len(ended), failed)
        return _items(items, items, visit.data["failed"] if "batches" in visit.data else failed)


def _items(items: int, over: int, failed: int, running: int = 0) -> ForeachProgress:
    return ForeachProgress(step="", node="", items=items, over=over, failed=failed, running=running)


def _plus(one: ForeachProgress, other: ForeachProgress) -> ForeachProgress:
    return _items(
        one.items + other.items, one.over + other.over, one.failed + other.failed, one.running + other.running
    )


def _latest(steps: Steps) -> dict[Key, str]:
    """Return the latest step of each node in each frame, made or under way."""
    found: dict[Key, str] = {}
    around = [frame.around for frame in steps.frames.values() if frame.around is not None and not frame.gone]
    made = [(visit.frame, step, visit.node_id) for step, visit in steps.visits.items() if not step.startswith("undo/")]
    for frame, step, node_id in (*around, *made):
        key = frame.key(node_id)
        if key not in found or own_number(step) > own_number(found[key]):
            found[key] = step
    return found
