"""Whether what a definition names outside itself exists, and whether its schemas are schemas."""

import difflib
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from engine.json_schema import violations
from engine.process.definition import ProcessDefinition
from engine.process.findings import Finding, error, pointer
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.verify_schema import misfit
from engine.process.verify_scopes import Graph
from engine.values import Value, canonical_json


class KnownNames(Value):
    """What exists outside the definition, by kind; None is not known and not checked."""

    interactions: frozenset[str] | None = None
    tools: frozenset[str] | None = None
    skills: frozenset[str] | None = None
    processes: frozenset[str] | None = None

    def of(self, kind: str) -> frozenset[str] | None:
        """Return the names of a kind."""
        known = {
            "interaction": self.interactions,
            "tool": self.tools,
            "skill": self.skills,
            "process": self.processes,
        }
        return known[kind]


def check_names(graph: Graph, names: KnownNames) -> Iterator[Finding]:
    """Yield the names that do not exist, with the nearest that do."""
    for name, node in graph.body.nodes.items():
        for kind, part in node.names():
            known = names.of(kind)
            wanted = str(part.value)
            if known is None or wanted in known or wanted.partition("@")[0] in known:
                continue
            near = difflib.get_close_matches(wanted.partition("@")[0], sorted(known), n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "create it first or correct the name"
            yield error(f"unknown_{kind}", f"{graph.where(name)}{part.path}", f"there is no {kind} {wanted!r}; {hint}")


def check_schemas(definition: ProcessDefinition) -> Iterator[Finding]:
    """Yield schemas that are none, and a context that its schema does not hold."""
    schema = definition.context.schema_
    yield from _schema(definition.input, "/input")
    broken = list(_schema(schema, "/context/schema"))
    yield from broken
    if schema.get("type", "object") != "object":
        yield error("context_not_object", "/context/schema/type", "the context is an object; set type to object")
        return
    properties = _properties(schema)
    for key, given in _properties(definition.input).items():
        at = f"/input/properties{pointer(key)}"
        if key not in properties:
            yield error(
                "unknown_write",
                at,
                f"the input seeds the context, whose schema has no {key!r}; add it to /context/schema/properties",
            )
            continue
        why = misfit(given, properties[key], definition.input, schema)
        if why is not None:
            yield error("input_misfit", at, f"the input seeds the context, whose schema refuses some of it: {why}")
    for key, value in definition.context.initial.items():
        at = f"/context/initial{pointer(key)}"
        if key not in properties:
            yield error(
                "unknown_write", at, f"the context's schema has no {key!r}; add it to /context/schema/properties"
            )
        elif not broken:
            for problem in violations({**schema, "required": []}, {key: value}):
                yield error("initial_invalid", at, f"it does not fit the context's schema: {problem.message[:200]}")


def check_forms(graph: Graph) -> Iterator[Finding]:
    """Yield forms that are no schemas."""
    for name, node in graph.body.nodes.items():
        if isinstance(node, SupervisorNode) and node.ask.form is not None:
            yield from _schema(node.ask.form, f"{graph.where(name)}/ask/form")


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _schema(schema: dict[str, Any], at: str) -> Iterator[Finding]:
    problem = _problem(canonical_json(schema))
    if problem is not None:
        where, message = problem
        yield error("schema_invalid", at + where, f"it is not a JSON Schema: {message}")


@lru_cache(maxsize=256)
def _problem(schema: str) -> tuple[str, str] | None:
    """Return where a schema is none, and why; kept, because a schema stays while the rest of a definition changes."""
    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as problem:
        return pointer(*problem.absolute_path), problem.message[:200]
    return None
