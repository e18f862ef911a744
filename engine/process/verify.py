"""Verification of a definition before anything runs: the same for the designer, publishing and an inline start."""

from collections.abc import Iterator
from typing import Any

from engine.process.definition import ProcessDefinition
from engine.process.findings import Finding, Severity
from engine.process.logic import Path
from engine.process.nodes.base import NodeBase
from engine.process.verify_bounds import Bounds, bounds
from engine.process.verify_data import Flow, parallel_writes
from engine.process.verify_graph import check_graph
from engine.process.verify_names import KnownNames, check_forms, check_names, check_schemas
from engine.process.verify_scopes import graphs
from engine.process.verify_types import Typing
from engine.process.verify_values import check_values
from engine.process.verify_ways import Choices, check_node_ways

__all__ = ["Bounds", "Finding", "KnownNames", "Severity", "bounds", "has_errors", "verify", "writes_schema"]


def verify(definition: ProcessDefinition, names: KnownNames | None = None) -> list[Finding]:
    """Return everything that is wrong with a definition, errors and warnings, in the order of the definition.

    `names` says what exists outside it; kinds that are None there are not checked.
    """
    found = list(check_schemas(definition))
    decisions = _Decisions(definition)
    schema = definition.context.schema_
    for graph in graphs(definition):
        found += check_graph(graph)
        found += check_names(graph, names or KnownNames())
        found += check_forms(graph)
        found += parallel_writes(graph)
        local = frozenset(graph.local)
        typing = Typing(schema, local, decisions.values)
        for name, node in graph.body.nodes.items():
            at = graph.where(name)
            found += node.check(at)
            found += _typed(node, at, typing)
            found += check_node_ways(node, at, Choices(schema, decisions.values, local))
            found += check_values(node, at, schema, typing)
    found += Flow(definition).check()
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda finding: finding.severity)


def has_errors(findings: list[Finding]) -> bool:
    """Tell whether the findings keep a definition from being published or started."""
    return any(finding.severity == "error" for finding in findings)


def writes_schema(definition: ProcessDefinition, node: NodeBase) -> dict[str, Any]:
    """Return the JSON Schema of a node's result: the keys of `writes` as the schema of the context has them."""
    schema = definition.context.schema_
    properties = schema.get("properties")
    known: dict[str, Any] = properties if isinstance(properties, dict) else {}
    result: dict[str, Any] = {
        "type": "object",
        "properties": {key: known[key] for key in node.writes if key in known},
        "required": [key for key in node.writes if key in known],
        "additionalProperties": False,
    }
    return {**result, **{word: schema[word] for word in ("$defs", "definitions") if word in schema}}


class _Decisions:
    """Which paths of the context hold the decision of a supervisor, and which decisions there are."""

    def __init__(self, definition: ProcessDefinition) -> None:
        given = (*definition.context.initial, *(definition.input.get("properties") or ()))
        self._known: dict[str, set[str] | None] = dict.fromkeys(given)
        for graph in graphs(definition):
            for node in graph.body.nodes.values():
                for index, key in enumerate(node.writes):
                    self._add(key, () if index else node.decisions_of())

    def _add(self, key: str, decisions: tuple[str, ...]) -> None:
        known = self._known.setdefault(key, set())
        if not decisions or known is None:
            self._known[key] = None
        else:
            known.update(decisions)

    def values(self, path: Path) -> list[Any] | None:
        """Return the decisions a path may hold, or None where something else may stand there as well."""
        if len(path) != 2 or path[1] != "decision":
            return None
        known = self._known.get(path[0])
        return sorted(known) if known else None


def _typed(node: NodeBase, at: str, typing: Typing) -> Iterator[Finding]:
    for part in node.expressions():
        yield from typing.check(part.value, at + part.path)
    for index, way in enumerate(node.next):
        if way.when is not None:
            yield from typing.check(way.when, f"{at}/next/{index}/when")
