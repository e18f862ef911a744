"""Mending what the other engine lets pass and this one refuses: values that may be missing, cases left open."""

from collections.abc import Iterator
from typing import Any

from engine.errors import Problem
from engine.process.definition import parse_definition
from engine.process.findings import Finding
from engine.process.imports.names import unique
from engine.process.imports.report import Notes
from engine.process.logic import compile_rule
from engine.process.verify import verify
from engine.process.verify_data import template_paths

ROUNDS = 12
MAX_VISITS = 100
NO_WAY = "no_transition"


def repaired(data: dict[str, Any], notes: Notes) -> tuple[dict[str, Any], list[Finding]]:
    """Return the definition with what can be mended mended, each with a note, and the findings that are left.

    What a run of the other engine would read as null begins as null here; where none of its guards may hold, the run
    ends with the outcome `no_transition`; a cycle is gone through at most 100 times.
    """
    findings: list[Finding] = []
    for _ in range(ROUNDS):
        findings = verify(parse_definition(data))
        mended = [_mend(data, finding, notes) for finding in findings if finding.severity == "error"]
        if not any(mended):
            break
    return data, findings


def _mend(data: dict[str, Any], finding: Finding, notes: Notes) -> bool:
    if finding.code in ("read_before_assigned", "unknown_name"):
        return any([_begins(data, key, finding, notes) for key in list(_named(data, finding.path))])
    if finding.code in ("not_total", "no_default") and finding.path.endswith("/next"):
        node = _at(data, finding.path.removesuffix("/next"))[0]
        return _default(data, node, finding, notes)
    if finding.code == "unbounded_loop":
        node = _at(data, finding.path)[0]
        node["max_visits"] = MAX_VISITS
        notes.approximated(
            "", finding.path, f"nothing bounds the cycle; the node is gone through at most {MAX_VISITS} times"
        )
        return True
    return False


def _begins(data: dict[str, Any], key: str, finding: Finding, notes: Notes) -> bool:
    """Let a key be there from the start: as an input where only a start can give it, else as null."""
    properties, initial = data["context"]["schema"]["properties"], data["context"]["initial"]
    required: list[str] = data["input"].setdefault("required", [])
    target = f"/context/schema/properties/{key}"
    if key in initial or key in required:
        return False
    if key not in properties:
        properties[key] = {}
        notes.approximated(
            "", target, f"{key!r} is named at {finding.path} and was declared nowhere; it begins as null"
        )
    elif key in data["input"]["properties"]:
        required.append(key)
        notes.approximated("", f"/input/properties/{key}", "a start has to give it: it is read and no node writes it")
        return True
    else:
        properties[key] = _nullable(properties[key])
        notes.approximated("", target, f"{key!r} may be read before a node has written it; it begins as null, as there")
    initial[key] = None
    return True


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict) or not schema:
        return schema
    kind = schema.get("type")
    if any(word in schema for word in ("$ref", "anyOf", "oneOf", "allOf", "const")):
        return {"anyOf": [schema, {"type": "null"}]}
    changed = dict(schema)
    if kind is not None:
        kinds = list(kind) if isinstance(kind, list) else [kind]
        changed["type"] = [*kinds, *(["null"] if "null" not in kinds else [])]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        changed["enum"] = [*schema["enum"], None]
    return changed


def _default(data: dict[str, Any], node: Any, finding: Finding, notes: Notes) -> bool:
    nodes = data["nodes"]
    ends = [name for name, one in nodes.items() if one["type"] == "end" and one.get("outcome") == NO_WAY]
    end = ends[0] if ends else unique(NO_WAY, nodes)
    if any(way["to"] == end for way in node["next"]):
        return False
    nodes[end] = {"type": "end", "outcome": NO_WAY}
    node["next"].append({"to": end})
    notes.approximated(
        "", finding.path, f"it may be that no guard holds; the run ends there, with the outcome {NO_WAY!r}"
    )
    return True


def _at(data: Any, path: str) -> tuple[Any, str]:
    """Return what stands at a pointer, or the innermost thing on the way to it that is there, and its field."""
    here, parent, field = data, data, ""
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        parent, field = here, name
        if isinstance(here, dict) and name in here:
            here = here[name]
        elif isinstance(here, list) and name.isdigit() and int(name) < len(here):
            here = here[int(name)]
        else:
            return parent, field
    return here, field


def _named(data: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the keys that are named at a pointer: in a list of reads, an expression or a template."""
    value, field = _at(data, path)
    if "/reads/" in path and isinstance(value, str):
        yield value
    elif isinstance(value, str) and field in ("title", "description", "instructions"):
        yield from dict.fromkeys(found[0] for found, _ in template_paths(value))
    else:
        rule = {"var": value} if isinstance(value, str) and field in ("var", "0") else value
        try:
            yield from dict.fromkeys(one.path[0] for one in compile_rule(rule).references if one.path)
        except Problem:
            return
