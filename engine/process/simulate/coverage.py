"""What of a definition its scenarios have gone through: nodes, transitions, and each guard both ways."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from engine.process.definition import ProcessDefinition
from engine.process.findings import pointer
from engine.process.nodes.base import NodeBase
from engine.process.nodes.branch import BranchNode
from engine.runs import AuditRecord
from engine.values import Value

STEPS = ("node.finished", "node.failed", "node.retried", "node.skipped")
_PLACE = re.compile(r"(?:^|/)(?:([A-Za-z][\w-]*)/)?\d+\.([A-Za-z][\w-]*)")


class Covered(Value):
    """How many there are of a kind, and the pointers of those that no scenario came to."""

    total: int
    missing: tuple[str, ...] = ()

    @property
    def percent(self) -> float:
        """The share that was covered, of 100; nothing to cover is all covered."""
        return 100.0 if not self.total else round(100.0 * (self.total - len(self.missing)) / self.total, 1)


class Coverage(Value):
    """Nodes that were visited, transitions that were taken, guards that were seen to hold and not to hold."""

    nodes: Covered
    transitions: Covered
    guards: Covered

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return not (self.nodes.missing or self.transitions.missing or self.guards.missing)


def coverage(definition: ProcessDefinition, runs: Iterable[Iterable[AuditRecord]]) -> Coverage:
    """Return what the records of several runs have covered."""
    seen: set[str] = set()
    for records in runs:
        for record in records:
            seen.update(_seen(definition, record))
    everything = list(_everything(definition.nodes, ""))
    return Coverage(
        nodes=_covered((one for kind, one in everything if kind == "node"), seen),
        transitions=_covered((one for kind, one in everything if kind == "way"), seen),
        guards=_covered((one for kind, one in everything if kind == "guard"), seen),
    )


def _covered(wanted: Iterable[str], seen: set[str]) -> Covered:
    found = list(wanted)
    return Covered(total=len(found), missing=tuple(one for one in found if one not in seen))


def _everything(nodes: Mapping[str, NodeBase], above: str) -> Iterator[tuple[str, str]]:
    for node_id, node in nodes.items():
        at = f"{above}{pointer('nodes', node_id)}"
        yield "node", at
        for index, way in enumerate(node.next):
            yield "way", f"{at}/next/{index}"
            if way.when is not None:
                yield from _both(f"{at}/next/{index}/when")
        for index in range(len(node.on_error)):
            yield "way", f"{at}/on_error/{index}"
        if node.on_timeout is not None:
            yield "way", f"{at}/on_timeout"
        if isinstance(node, BranchNode):
            for index, arm in enumerate(node.arms):
                if arm.when is not None:
                    yield from _both(f"{at}/arms/{index}/when")
        for nested in node.bodies():
            yield from _everything(cast("Mapping[str, NodeBase]", nested.body.nodes), f"{at}{nested.path}")


def _both(guard: str) -> Iterator[tuple[str, str]]:
    yield "guard", f"{guard} true"
    yield "guard", f"{guard} false"


def _seen(definition: ProcessDefinition, record: AuditRecord) -> Iterator[str]:
    """Yield what one record covers."""
    if record.action == "node.advanced":
        found = _place(definition, str(record.data["at_step"]))
    elif record.action in STEPS:
        found = _place(definition, str(record.data["step"]))
    elif record.action == "node.compensated":
        found = _place(definition, str(record.data["undone"]))
        if found is not None:
            yield f"{found[0].rpartition('/nodes/')[0]}{pointer('nodes', record.node)}"
        return
    else:
        return
    if found is None:
        return
    at, node = found
    yield at
    yield from _guards(at, node, record.data)
    way = _way(node, record.data)
    if way:
        yield f"{at}/{way}"


def _guards(at: str, node: NodeBase, data: Mapping[str, Any]) -> Iterator[str]:
    held = list(data.get("guards", ()))
    for index, way in enumerate(node.next):
        # They were looked at in this order, each at most once.
        if way.when is not None and held and held[0]["to"] == way.to:
            yield f"{at}/next/{index}/when {'true' if held.pop(0)['holds'] else 'false'}"
    if isinstance(node, BranchNode):
        arms = {arm["arm"]: arm["holds"] for arm in data.get("arms", ())}
        for index, arm in enumerate(node.arms):
            if arm.when is not None and arm.name in arms:
                yield f"{at}/arms/{index}/when {'true' if arms[arm.name] else 'false'}"


def _way(node: NodeBase, data: Mapping[str, Any]) -> str:
    """Return the transition that was taken, as a pointer below the node."""
    to = data.get("to")
    error = data.get("error")
    if to is None:
        return ""
    if isinstance(error, dict):
        kind = error["kind"]
        if kind == "timeout" and node.on_timeout is not None:
            return "on_timeout"
        for index, edge in enumerate(node.on_error):
            if edge.to == to and (not edge.match or kind in edge.match):
                return f"on_error/{index}"
        return ""
    held = {guard["to"] for guard in data.get("guards", ()) if guard["holds"]}
    for index, way in enumerate(node.next):
        if way.to == to and (way.when is None or to in held):
            return f"next/{index}"
    return ""


def _place(definition: ProcessDefinition, step: str) -> tuple[str, NodeBase] | None:
    """Return pointer and node of a step: `4.fork/left/1.read` is `read` in the arm `left` of `fork`."""
    nodes: Mapping[str, NodeBase] = definition.nodes
    at, node = "", None
    for arm, node_id in _PLACE.findall(step):
        if node is not None:
            body = _body_of(node, arm)
            if body is None:
                return None
            at, nodes = f"{at}{body[0]}", body[1]
        node = nodes.get(node_id)
        if node is None:
            return None
        at = f"{at}{pointer('nodes', node_id)}"
    return None if node is None else (at, node)


def _body_of(node: NodeBase, arm: str) -> tuple[str, Mapping[str, NodeBase]] | None:
    arms = [one.name for one in node.arms] if isinstance(node, BranchNode) else []
    for index, nested in enumerate(node.bodies()):
        if not arms or (arm and arms[index] == arm):
            return nested.path, cast("Mapping[str, NodeBase]", nested.body.nodes)
    return None
