"""Data flow: what is read exists in the context's schema, and is there on every path that leads to the reading."""

import re
from collections.abc import Iterator
from typing import Any

from engine.errors import Problem
from engine.process.definition import ProcessDefinition
from engine.process.findings import Finding, error, warning
from engine.process.logic import Path, compile_rule
from engine.process.nodes.base import NodeBase
from engine.process.nodes.branch import BranchNode
from engine.process.nodes.foreach import ForeachNode
from engine.process.verify_schema import look_up
from engine.process.verify_scopes import Edge, Graph
from engine.process.verify_values import certainly_written

Known = frozenset[str]

_TAG = re.compile(r"\{\{\{?\s*(?P<tag>[^{}]+?)\s*\}?\}\}")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_HELPERS = frozenset({"else", "this", "true", "false", "null", "undefined"})


def seeded(definition: ProcessDefinition) -> Known:
    """Return the keys that the context has from the start: its initial values and what the input must bring."""
    required = definition.input.get("required")
    names = required if isinstance(required, list) else []
    properties = definition.input.get("properties")
    defaulted = [
        name
        for name, schema in (properties.items() if isinstance(properties, dict) else ())
        if isinstance(schema, dict) and "default" in schema
    ]
    return frozenset([*definition.context.initial, *map(str, names), *defaulted])


class Flow:
    """The data flow of one definition: per graph, what is certainly assigned where."""

    def __init__(self, definition: ProcessDefinition) -> None:
        self.definition = definition
        self.schema = definition.context.schema_
        properties = self.schema.get("properties")
        self.keys: Known = frozenset(properties if isinstance(properties, dict) else ())
        self.findings: list[Finding] = []
        self._done: dict[tuple[str, Known], Known | None] = {}

    def check(self) -> list[Finding]:
        """Return the findings of the whole definition."""
        self._graph(Graph(self.definition, "", False), seeded(self.definition), report=True)
        return self.findings

    def check_from(self, node: str, given: Known) -> list[Finding]:
        """Return the findings for a run that stands before `node` of the outermost graph and has `given` assigned."""
        self._graph(Graph(self.definition, "", False), given, report=True, start=node)
        return self.findings

    def _graph(self, graph: Graph, given: Known, report: bool, start: str | None = None) -> Known | None:
        """Return what is assigned when the graph is done, or None when it never is."""
        first = start or graph.body.start
        if not graph.has(first):
            return given
        if not report and (graph.at, given) in self._done:
            return self._done[graph.at, given]
        entry: dict[str, Known] = {first: given}
        pending = [first]
        while pending:
            name = pending.pop(0)
            after = self._after(graph, name, entry[name], report=False)
            for edge in graph.edges(name):
                outcome = self._along(edge, entry[name], after)
                if outcome is None:
                    continue
                known = entry.get(edge.target)
                merged = outcome if known is None else known & outcome
                if merged != known:
                    entry[edge.target] = merged
                    pending.append(edge.target)
            self._undoing(graph, name, after, entry, pending)
        if report:
            for name in graph.body.nodes:
                if name in entry:
                    self._node(graph, name, entry[name])
        exits = [
            after
            for name in graph.body.nodes
            if name in entry and graph.is_exit(name) and graph.body.nodes[name].type != "end"
            if (after := self._after(graph, name, entry[name], report=False)) is not None
        ]
        self._done[graph.at, given] = frozenset[str].intersection(*exits) if exits else None
        return self._done[graph.at, given]

    @staticmethod
    def _undoing(graph: Graph, name: str, after: Known | None, entry: dict[str, Known], pending: list[str]) -> None:
        """Let what undoes the node see what the node saw and wrote."""
        undo = graph.body.nodes[name].compensate
        if undo is None or after is None or not graph.has(undo):
            return
        merged = entry[undo] & after if undo in entry else after
        if merged != entry.get(undo):
            entry[undo] = merged
            pending.append(undo)

    @staticmethod
    def _along(edge: Edge, before: Known, after: Known | None) -> Known | None:
        return after if edge.kind == "next" else before

    def _after(self, graph: Graph, name: str, before: Known, report: bool) -> Known | None:
        """Return what is assigned after the node, or None when it never comes to an end of its own."""
        node = graph.body.nodes[name]
        inner: list[tuple[Known | None, bool]] = []
        for nested in node.bodies():
            local = (*graph.local, *nested.local)
            inside = Graph(nested.body, graph.where(name) + nested.path, True, local)
            done = self._graph(inside, before | set(nested.local), report)
            always = not isinstance(node, BranchNode) or node.arms[len(inner)].when is None
            inner.append((done, always))
        if isinstance(node, BranchNode):
            return _after_branch(node, before, inner)
        if isinstance(node, ForeachNode):
            return before | ({node.collect.into} if node.collect is not None else set[str]())
        return before | set(certainly_written(node))

    def _node(self, graph: Graph, name: str, before: Known) -> None:
        node, at = graph.body.nodes[name], graph.where(name)
        after = self._after(graph, name, before, report=True) or before
        local = frozenset(graph.local)
        self._writes(node, at, local)
        for index, key in enumerate(node.reads or ()):
            self._path((key,), True, f"{at}/reads/{index}", before, local)
        visible = None if node.reads is None else frozenset(node.reads) | local
        for part in node.expressions():
            self._expression(part.value, at + part.path, before, local)
        if isinstance(node, ForeachNode) and node.key is not None:
            self._expression(node.key, f"{at}/key", before | {node.as_}, local | {node.as_})
        for part in node.templates():
            self._template(str(part.value), at + part.path, before, local, visible)
        for index, way in enumerate(node.next):
            if way.when is not None:
                self._expression(way.when, f"{at}/next/{index}/when", after, local)
        for index, failure in enumerate(node.on_error):
            if failure.when is not None:
                self._expression(failure.when, f"{at}/on_error/{index}/when", before, local)

    def _writes(self, node: NodeBase, at: str, local: Known) -> None:
        for index, key in enumerate(node.writes):
            if key not in self.keys:
                self.findings.append(
                    error(
                        "unknown_write",
                        f"{at}/writes/{index}",
                        f"the context's schema has no {key!r}; add it to /context/schema/properties",
                    )
                )
            elif key in local:
                self.findings.append(
                    warning("shadowed", f"{at}/writes/{index}", f"{key!r} is also the item of a foreach; rename it")
                )

    def _expression(self, rule: Any, at: str, known: Known, local: Known) -> None:
        try:
            compiled = compile_rule(rule, strict=True)
        except Problem as problem:
            self.findings.append(error("expression", at, f"{problem.message}"))
            return
        for reference in compiled.references:
            if reference.path:
                self._path(reference.path, reference.required, at + reference.at, known, local)

    def _template(self, template: str, at: str, known: Known, local: Known, visible: Known | None) -> None:
        for path, required in template_paths(template):
            if visible is not None and path[0] not in visible and path[0] in self.keys:
                self.findings.append(
                    error("not_in_reads", at, f"the template names {path[0]!r}, which reads leaves out; add it there")
                )
            self._path(path, required, at, known, local)

    def _path(self, path: Path, required: bool, at: str, known: Known, local: Known) -> None:
        key, name = path[0], ".".join(path)
        if key in local and key not in self.keys:
            return
        found = look_up(self.schema, path)
        if found.state == "unknown":
            where = "/context/schema/properties" if len(path) == 1 or key not in self.keys else f"the schema of {key!r}"
            self.findings.append(
                error(
                    "unknown_name", at, f"the context's schema has no {name!r}; correct the name or add it to {where}"
                )
            )
        elif required and key not in known:
            self.findings.append(
                error(
                    "read_before_assigned",
                    at,
                    f"{name!r} is not assigned on every path that leads here; write it before, give it in "
                    "/context/initial or in the input's required, or read it with a default",
                )
            )
        elif required and found.state == "optional":
            self.findings.append(
                warning(
                    "optional_read", at, f"{name!r} may be absent by its schema; require it or read it with a default"
                )
            )


def _after_branch(node: BranchNode, before: Known, inner: list[tuple[Known | None, bool]]) -> Known | None:
    """Return what is assigned after a branch: what every way through it assigns."""
    # Where no arm holds the node fails, so that one of them has been gone through to its end.
    ways = [done for done, _ in inner if done is not None]
    if not ways:
        return None
    one = frozenset.intersection(*ways)
    if node.take == "first" or node.join != "all":
        return one
    certain = [done for done, always in inner if always]
    if any(done is None for done in certain):
        return None
    return one.union(before, *(done for done in certain if done is not None))


def template_paths(template: str) -> Iterator[tuple[Path, bool]]:
    """Yield the context paths a template names, and whether they must be there; inside each and with none are known."""
    opened: list[tuple[str, bool]] = []
    for match in _TAG.finditer(template):
        tag = match["tag"].strip("~ ")
        if tag.startswith(("!", ">", "@", "else")):
            continue
        if tag.startswith("/"):
            if opened:
                opened.pop()
            continue
        words = tag.lstrip("#^&").split()
        hidden = any(changes for _, changes in opened)
        block = tag[0] in "#^"
        if block:
            opened.append((words[0], words[0] in ("each", "with") or len(words) == 1))
        names = words[1:] if len(words) > 1 else words
        for word in names:
            bare = word.strip("()")
            if not hidden and _PATH.fullmatch(bare) and bare.partition(".")[0] not in _HELPERS:
                yield tuple(bare.split(".")), not (block or any(name in ("if", "unless") for name, _ in opened))


def parallel_writes(graph: Graph) -> Iterator[Finding]:
    """Yield the keys that two arms of a branch write at the same time."""
    for name, node in graph.body.nodes.items():
        if not isinstance(node, BranchNode) or node.take != "every":
            continue
        owners: dict[str, str] = {}
        for index, arm in enumerate(node.arms):
            for key in sorted(written(arm.body.nodes)):
                other = owners.setdefault(key, arm.name)
                if other != arm.name:
                    yield error(
                        "parallel_write",
                        f"{graph.where(name)}/arms/{index}/body",
                        f"the arms {other!r} and {arm.name!r} both write {key!r}; give each a key of its own",
                    )


def written(nodes: dict[str, NodeBase]) -> set[str]:
    """Return the keys of the context that nodes write, those inside their bodies included; a foreach keeps its own."""
    keys: set[str] = set()
    for node in nodes.values():
        keys.update(node.writes)
        if not isinstance(node, ForeachNode):
            for nested in node.bodies():
                keys |= written(nested.body.nodes)
    return keys
