"""The steps of a run by their place in its definition, read from its audit.

A step is named by where it was made (`4.fork/left/1.read`, `3.each[INV-7]/2.pay`), so that the frames of parallel
bodies are told apart: each arm of a branch and each item of a foreach is one. Only the beginning of a very long place
is kept in the name; its frame is then told by a node that stands in one graph of the definition alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from engine.process.definition import ProcessDefinition
from engine.process.drawing.sketch import State
from engine.process.nodes.base import Body, NodeBase
from engine.process.nodes.branch import BranchNode
from engine.process.nodes.foreach import ForeachNode
from engine.process.patches import apply_patch
from engine.runs import AuditRecord

OUTCOMES: Mapping[str, State] = {
    "node.finished": "done",
    "node.failed": "failed",
    "node.skipped": "skipped",
    "node.retried": "failed",
}
"""What a record of a step says of its node; one that is done again had come to nothing."""

UNDOINGS: Mapping[str, State] = {
    "node.compensated": "done",
    "node.compensation_failed": "failed",
    "node.compensation_retried": "failed",
}
"""The same of the node that undoes a step."""

_STEP = re.compile(r"(\d+)\.([A-Za-z][A-Za-z0-9_-]*)")
_CUT = re.compile(r"~[0-9a-f]{20}/")

Key = tuple[str, str]
"""A frame and the path of a node in it."""


@dataclass(eq=False)
class Frame:
    """A graph being carried out: its place in the steps and in the definition, and the node it stands at.

    `around` is the frame, the step and the node that it is inside of; `current` is None where the graph is done.
    `shared`: its values are those of the run's context, not of an item. `gone`: the run went back before it.
    """

    prefix: str
    above: str
    body: Body
    around: "tuple[Frame, str, str] | None" = None
    current: str | None = None
    shared: bool = True
    gone: bool = False

    def path(self, node_id: str) -> str:
        """Return the path of a node in the definition."""
        return f"{self.above}nodes/{node_id}"

    def key(self, node_id: str) -> Key:
        """Return what tells a node in this frame from the same node in another."""
        return self.prefix, self.path(node_id)


@dataclass(eq=False)
class Visit:
    """One step that was made: its node's frame, its outcome, where it led, and what its record says beside."""

    frame: Frame
    node_id: str
    state: State
    to: str | None
    data: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """What tells the node in its frame."""
        return self.frame.key(self.node_id)

    @property
    def node(self) -> NodeBase:
        """The node."""
        return self.frame.body.nodes[self.node_id]


class Steps:
    """What a run has done: `visits` by step, `frames` by their place, and the context as it stands.

    `bodies` are all graphs of the definition, each with what leads the paths of its nodes.
    """

    def __init__(self, definition: ProcessDefinition, position: str, records: Iterable[AuditRecord]) -> None:
        """Read the records; `position` is where the row of the run says that it stands."""
        start = position if position in definition.nodes else definition.start
        self.root = Frame("", "", definition, current=start)
        self.frames: dict[str, Frame] = {"": self.root}
        self.visits: dict[str, Visit] = {}
        self.context: dict[str, JsonValue] = {}
        self.bodies = list(_bodies(definition, ""))
        for record in records:
            self._take(record)

    def _take(self, record: AuditRecord) -> None:
        data: dict[str, Any] = record.data
        if data.get("patch") and not data.get("scope"):
            self.context = apply_patch(self.context, data["patch"])
        if record.action in OUTCOMES:
            self._step(str(data.get("step", "")), OUTCOMES[record.action], data)
        elif record.action == "node.advanced" and str(data["at_step"]) in self.visits:
            visit = self.visits[str(data["at_step"])]
            visit.to = visit.frame.current = str(data["to"])
        elif record.action in UNDOINGS:
            self._undone(record, UNDOINGS[record.action])
        elif record.action == "process.rewound":
            self._back(str(data["to_step"]), str(data["to_node"]))
        elif record.action == "process.migrated":
            self.root.current = str(data["node"])

    def _step(self, step: str, state: State, data: Mapping[str, Any]) -> None:
        prefix, _, last = step.rpartition("/")
        found = _STEP.fullmatch(last)
        frame = self._frame(f"{prefix}/" if prefix else "", found[2]) if found else None
        if found is None or frame is None or found[2] not in frame.body.nodes:
            return
        to, node = data.get("to"), frame.body.nodes[found[2]]
        self.visits[step] = Visit(frame, found[2], state, to, data)
        # A step that left several ways to a person stands where it is until one is chosen; one in which an end was
        # reached leads nowhere.
        ended = "outcome" in data and any(node.bodies())
        chooses = to is None and state in ("done", "skipped") and bool(node.next) and not ended
        frame.current = found[2] if chooses else to

    def _undone(self, record: AuditRecord, state: State) -> None:
        undone = self.visits.get(str(record.data["undone"]))
        if undone is None:
            return
        if state == "done":
            undone.state = "undone"
        if record.node in undone.frame.body.nodes:
            self.visits[str(record.data["step"])] = Visit(undone.frame, record.node, state, None, record.data)

    def _back(self, to_step: str, to_node: str) -> None:
        first = outermost_number(to_step)
        for step, visit in self.visits.items():
            if outermost_number(step) >= first:
                visit.state, visit.to = "undone", None
        for prefix, frame in self.frames.items():
            frame.gone = frame.gone or (frame is not self.root and outermost_number(prefix) >= first)
        self.root.current = to_node

    def _frame(self, prefix: str, node_id: str) -> Frame | None:
        """Return the frame of a place; None where the definition has no such place."""
        if prefix not in self.frames:
            made = next(self._frames_at(self.root, prefix), None) or self._cut_frame(prefix, node_id)
            if made is None:
                return None
            self.frames[prefix] = made
        return self.frames[prefix]

    def _frames_at(self, frame: Frame, prefix: str) -> Iterator[Frame]:
        """Yield the frames inside `frame` that a place can mean: keys of items hold any character."""
        if frame.prefix == prefix:
            yield frame
            return
        found = _STEP.match(prefix, len(frame.prefix))
        node = frame.body.nodes.get(found[2]) if found else None
        if found is None or node is None:
            return
        for index, end in _inside(node, prefix, found.end()):
            inner = self._inner(frame, prefix[: found.end()], found[2], index, prefix[:end])
            for meant in self._frames_at(inner, prefix):
                # Only what a step was made in is kept: another reading of the keys would be a frame of nothing.
                self.frames[inner.prefix] = inner
                yield meant

    def _inner(self, frame: Frame, step: str, node_id: str, index: int, prefix: str) -> Frame:
        known = self.frames.get(prefix)
        if known is not None:
            return known
        node = frame.body.nodes[node_id]
        nested = list(node.bodies())[index]
        shared = frame.shared and not isinstance(node, ForeachNode)
        above = f"{frame.path(node_id)}{nested.path}/"
        return Frame(prefix, above, nested.body, (frame, step, node_id), nested.body.start, shared)

    def _cut_frame(self, prefix: str, node_id: str) -> Frame | None:
        holding = [(above, body) for above, body in self.bodies if node_id in body.nodes]
        if len(holding) != 1 or _CUT.search(prefix) is None:
            return None
        above, body = holding[0]
        return Frame(prefix, above, body, None, body.start, shared=False)


def _bodies(body: Body, above: str) -> Iterator[tuple[str, Body]]:
    yield above, body
    for name, node in body.nodes.items():
        for nested in node.bodies():
            yield from _bodies(nested.body, f"{above}nodes/{name}{nested.path}/")


def _inside(node: NodeBase, prefix: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield which body of a node the text at `at` may lead into, and where its own steps begin."""
    if isinstance(node, BranchNode):
        for index, arm in enumerate(node.arms):
            if prefix.startswith(f"/{arm.name}/", at):
                yield index, at + len(arm.name) + 2
    elif isinstance(node, ForeachNode) and prefix.startswith("[", at):
        end = prefix.find("]/", at)
        while end >= 0:
            yield 0, end + 2
            end = prefix.find("]/", end + 1)


def outermost_number(step: str) -> int:
    """Return the number of the outermost step around a step; 0 for compensations."""
    found = _STEP.match(step)
    return int(found[1]) if found else 0


def place_of(step: str) -> tuple[str, str]:
    """Return the frame of a step and its node."""
    prefix, cut, last = step.rpartition("/")
    return f"{prefix}{cut}", last.partition(".")[2]


def own_number(step: str) -> int:
    """Return the number of a step in its own frame."""
    found = _STEP.fullmatch(step.rpartition("/")[2])
    return int(found[1]) if found else 0
