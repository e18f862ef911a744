"""Taking over a process definition of Vertesia (`format_version` 1).

Source of the format: the public contract of the product, its package `@vertesia/common` and its generated client. What
the contract does not say is read so: guards are looked at in their order, and a missing value is null in them, as in
JSON Logic as published.
"""

from collections.abc import Mapping
from typing import Any, cast

from engine.errors import Exhausted, Invalid
from engine.process.definition import parse_duration
from engine.process.document import check_json, read_document
from engine.process.findings import pointer
from engine.process.imports.draft import Draft, Named, Script
from engine.process.imports.names import unique
from engine.process.imports.repair import repaired
from engine.process.imports.report import MAX_PROBLEMS, Fields, Imported, Notes
from engine.process.imports.vertesia_flow import NODES, linked
from engine.process.imports.vertesia_ways import ways
from engine.process.writing import written

FORMAT = 1
ENDED = "ended"
MAX_NODES = 2000


def import_vertesia(
    source: str | bytes | Mapping[str, Any], *, deadline: str = "P30D", names: Mapping[str, str] | None = None
) -> Imported:
    """Return a definition of format 1 here, with a note on each part of the source and the verifier's findings.

    `source` is the body of a definition or what is stored around it, as YAML, JSON or its value. `deadline` is given to
    every question, which has none in the source; `names` says what tools, interactions, skills and processes are called
    here.

    Raises Invalid, whose `problems` name each path and what is expected there, and Exhausted for a text beyond 1 MiB,
    64 levels or 100,000 values.
    """
    parse_duration(deadline)
    if isinstance(source, Mapping):
        data: Any = dict(source)
        check_json(data)
    else:
        data = read_document(source)
    return _Import(names or {}, deadline, set()).read(data, "", "")


class _Import:
    """One import: the options and the names of processes that are given away already."""

    def __init__(self, names: Mapping[str, str], deadline: str, processes: set[str]) -> None:
        self.names = names
        self.deadline = deadline
        self.processes = processes

    def read(self, data: Any, at: str, name: str) -> Imported:
        """Return what becomes of the definition at a pointer of the source; `name` is what its parent calls it."""
        notes = Notes()
        draft = Draft(notes, self.names, self.deadline, processes=self.processes)
        top = Fields(data, at, notes)
        if "definition" in top and "nodes" not in top:
            stored, top = top, Fields(top.any("definition"), f"{at}/definition", notes)
            stored.leave("version", "versions are counted anew here")
            stored.close()
        _check_format(top)
        made = self._head(draft, top, name)
        nodes = _nodes(draft, top)
        initial = top.text("initial", needed=True)
        if initial and nodes and initial not in draft.ids:
            notes.problem(
                top.where("initial"), f"there is no node {initial!r}; it has {', '.join(list(draft.ids)[:20])}"
            )
        for script in draft.scripts.keys() - draft.run:
            notes.lost(top.where("resources", "scripts", script), "no node runs it, so it was left out")
        top.close()
        if notes.problems:
            first = notes.problems[0]
            more = f" (and {len(notes.problems) - 1} more)" if len(notes.problems) > 1 else ""
            raise Invalid(
                f"the source is no definition that can be imported: {first['path'] or '/'}: {first['message']}{more}",
                problems=notes.problems[:MAX_PROBLEMS],
            )
        children = tuple(self.read(inner, where, child) for child, inner, where in draft.inline)
        start, graph = _graph(draft, top, initial, nodes)
        whole = {**made, **_context(draft, graph, top.where("context")), "start": start, "nodes": graph}
        finished, findings = repaired(whole, notes)
        return Imported(
            process=made["process"],
            text=written(finished),
            notes=tuple(notes.notes),
            needs=draft.needs(),
            findings=tuple(findings),
            children=children,
        )

    def _head(self, draft: Draft, top: Fields, name: str) -> dict[str, Any]:
        """Take what stands before the nodes: name, description, model, context, scripts."""
        given = top.text("process", needed=True)
        process = name or unique(given.lower(), self.processes)
        self.processes.add(process)
        if process != given:
            draft.notes.approximated(top.where("process"), "/process", f"{given!r} is called {process!r} here")
        made: dict[str, Any] = {"format": 1, "process": process}
        about = top.text("description")
        if about:
            made["about"] = about[:10_000]
        if len(about) > 10_000:
            draft.notes.approximated(top.where("description"), "/about", "cut to 10000 characters")
        top.leave(
            "model", "the id of a model is no route here; set defaults.model to one of the settings, or leave it out"
        )
        top.leave(
            "metadata", "lanes, phases and other metadata have no place here; the drawing lays the graph out itself"
        )
        _take_scripts(draft, top)
        _take_context(draft, top)
        return made


def _check_format(top: Fields) -> None:
    version = top.any("format_version")
    if isinstance(version, bool) or version != FORMAT:
        told = "is missing" if version is None else f"is {version!r}"
        top.notes.problem(
            top.where("format_version"), f"format_version {told}; definitions of format_version 1 are read"
        )


def _take_scripts(draft: Draft, top: Fields) -> None:
    """Take the scripts that come with the source."""
    resources = Fields(top.object("resources"), top.where("resources"), draft.notes)
    for name, one in resources.object("scripts").items():
        fields = Fields(one, resources.where("scripts", name), draft.notes)
        source = Fields(fields.object("source"), fields.where("source"), draft.notes)
        kind = source.text("type")
        if kind not in ("", "inline"):
            draft.notes.lost(source.where("type"), f"code is read from the definition itself, not from {kind!r}")
        draft.scripts[name] = Script(
            language=fields.text("language"),
            entrypoint=fields.text("entrypoint"),
            files=source.object("files"),
            packages=fields.texts("packages"),
        )
        source.close()
        fields.close()
    resources.close()


def _take_context(draft: Draft, top: Fields) -> None:
    """Take the schema of the context and its first values; keys that are no names here get other ones."""
    context = Fields(top.object("context", needed=True), top.where("context"), draft.notes)
    schema = Fields(context.object("schema", needed=True), context.where("schema"), draft.notes)
    for key, value in schema.object("properties").items():
        draft.keys[key] = unique(key, draft.schema, dashes=False)
        draft.schema[draft.keys[key]] = value
        if draft.keys[key] != key:
            target = f"/context/schema/properties/{draft.keys[key]}"
            draft.notes.approximated(
                schema.where("properties", key), target, f"{key!r} is called {draft.keys[key]!r} here"
            )
    for words in ("$defs", "definitions"):
        if words in schema:
            draft.words[words] = schema.any(words)
    schema.text("type")
    if schema.any("additionalProperties") is not False:
        at = schema.where("additionalProperties")
        draft.notes.approximated(
            at, "/context/schema", "the context is closed here: a key that is not declared can't be written"
        )
    schema.leave("required", "whether a value is there when it is read is proved by the verifier, on every path")
    schema.close()
    for key, value in context.object("initial", needed=True).items():
        draft.initial[draft.key(key, context.where("initial", key))] = value
    context.close()


def _nodes(draft: Draft, top: Fields) -> list[tuple[str, list[Named], list[dict[str, Any]]]]:
    """Return each node of the source with the nodes that it becomes and its transitions."""
    given = top.object("nodes", needed=True)
    if len(given) > MAX_NODES:
        raise Exhausted(f"the source has {len(given)} nodes; one of at most {MAX_NODES} is imported", bound=MAX_NODES)
    if not given:
        draft.notes.problem(top.where("nodes"), "a definition has at least one node")
    for source_id in given:
        draft.ids[source_id] = draft.node_id(source_id)
        if draft.ids[source_id] != source_id:
            at, target = top.where("nodes", source_id), f"/nodes/{draft.ids[source_id]}"
            draft.notes.approximated(at, target, f"the node {source_id!r} is called {draft.ids[source_id]!r} here")
    found: list[tuple[str, list[Named], list[dict[str, Any]]]] = []
    for source_id, one in given.items():
        fields = Fields(one, top.where("nodes", source_id), draft.notes)
        kind, node_id = fields.text("type", needed=True), draft.ids[source_id]
        if kind not in NODES:
            if kind:
                draft.notes.problem(
                    fields.where("type"), f"{kind!r} is no type of a node; it is one of {', '.join(NODES)}"
                )
            continue
        chain = NODES[kind](draft, fields, node_id)
        after = ways(draft, fields, kind)
        fields.close()
        target = f"/nodes/{node_id}"
        draft.notes.mapped(fields.at, target, f"{kind} is {dict(chain)[node_id]['type']} here")
        if not after and kind != "final":
            after = [{"to": draft.end(ENDED)}]
            draft.notes.approximated(
                fields.at, f"{target}/next", f"nothing comes after it; the run ends there, as {ENDED!r}"
            )
        found.append((source_id, chain, after))
    return found


def _graph(
    draft: Draft, top: Fields, initial: str, made: list[tuple[str, list[Named], list[dict[str, Any]]]]
) -> tuple[str, dict[str, Any]]:
    """Return the start and the nodes, without those that nothing leads to."""
    first = {draft.ids[source_id]: chain[0][0] for source_id, chain, _ in made}
    nodes: dict[str, Any] = {}
    for _, chain, after in made:
        nodes |= linked(chain, [{**way, "to": first.get(way["to"], way["to"])} for way in after])
    nodes |= {node_id: {"type": "end", "outcome": outcome} for outcome, node_id in draft.ends.items()}
    start = first[draft.ids[initial]]
    reached = _reached(nodes, start)
    for source_id, chain, _ in made:
        if chain[0][0] not in reached:
            draft.notes.lost(top.where("nodes") + pointer(source_id), "no transition leads to it, so it was left out")
    return start, {node_id: node for node_id, node in nodes.items() if node_id in reached}


def _reached(nodes: dict[str, Any], start: str) -> set[str]:
    reached, pending = {start}, [start]
    while pending:
        node = nodes[pending.pop()]
        for way in (*node.get("next", ()), *([node["on_timeout"]] if "on_timeout" in node else [])):
            if way["to"] not in reached:
                reached.add(way["to"])
                pending.append(way["to"])
    return reached


def _context(draft: Draft, nodes: dict[str, Any], at: str) -> dict[str, Any]:
    """Return input and context: a start seeds the context there, so every key that no node writes may be given."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, **draft.words}
    made = keys_written(nodes)
    kept = {key: value for key, value in draft.schema.items() if key in made or key not in draft.own}
    context = {**schema, "properties": kept}
    given = {key: draft.schema[key] for key in draft.keys.values() if key not in made}
    draft.notes.approximated(
        at, "/input", "a start gives values of the context; the input takes those that no node writes"
    )
    return {"input": {**schema, "properties": given}, "context": {"schema": context, "initial": draft.initial}}


def keys_written(nodes: Mapping[str, Any]) -> set[str]:
    """Return all keys that nodes write, those inside their bodies included."""
    found: set[str] = set()
    for node in nodes.values():
        found.update(node.get("writes", ()))
        bodies = [node["body"]] if "body" in node else [arm["body"] for arm in node.get("arms", ())]
        for body in bodies:
            found |= keys_written(cast("Mapping[str, Any]", body["nodes"]))
    return found
