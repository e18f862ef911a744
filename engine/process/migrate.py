"""Whether a run that is under way may go on in another version of its process: pure rules, and why not."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from engine.json_schema import violations
from engine.process.definition import ProcessDefinition
from engine.process.findings import Finding, error, pointer, warning
from engine.process.messages import Undo
from engine.process.run.undoing import body_at
from engine.process.verify_data import Flow


def misfits(
    old: ProcessDefinition,
    new: ProcessDefinition,
    *,
    node: str,
    context: Mapping[str, JsonValue],
    visits: Mapping[str, int],
    undo: Sequence[Undo] = (),
) -> tuple[Finding, ...]:
    """Return what keeps a run that stands before `node` with this context from going on in `new`; warnings don't.

    `undo` are its completed steps that can be undone: what undoes them must be there in the new version.
    """
    found = [
        *_at_node(old, new, node),
        *_context(new, context),
        *_visits(new, visits),
        *_undoing(new, undo),
    ]
    if node in new.nodes:
        found += Flow(new).check_from(node, frozenset(context))
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.severity))


def _at_node(old: ProcessDefinition, new: ProcessDefinition, node: str) -> Iterator[Finding]:
    if old.process != new.process:
        yield error("other_process", "/process", f"a run of {old.process!r} can't go on as {new.process!r}")
    if node not in new.nodes:
        known = ", ".join(sorted(new.nodes)[:10])
        yield error("node_gone", "/nodes", f"the run stands at {node!r}, which the version has not; it has {known}")
        return
    was, now = old.nodes[node].type if node in old.nodes else "", new.nodes[node].type
    if was and was != now:
        yield warning("node_changed", f"/nodes{pointer(node)}", f"{node!r} was of type {was} and is of type {now}")


def _context(new: ProcessDefinition, context: Mapping[str, JsonValue]) -> Iterator[Finding]:
    schema = {**new.context.schema_, "required": []}
    for found in violations(schema, dict(context)):
        at = found.path.removeprefix("$").replace(".", "/")
        yield error("context_misfit", f"/context/schema{at}", f"the run's context does not fit: {found.message[:200]}")


def _visits(new: ProcessDefinition, visits: Mapping[str, int]) -> Iterator[Finding]:
    for name, count in visits.items():
        limit = new.nodes[name].max_visits if name in new.nodes else None
        if limit is not None and count >= limit:
            yield warning(
                "visits_used_up",
                f"/nodes{pointer(name)}/max_visits",
                f"{name!r} was visited {count} times already; reached once more it fails",
            )


def _undoing(new: ProcessDefinition, undo: Sequence[Undo]) -> Iterator[Finding]:
    for one in undo:
        body = body_at(new, one.at)
        if body is None or one.node not in body.nodes:
            yield error(
                "undo_gone",
                f"{one.at}/nodes",
                f"step {one.step} is undone by {one.node!r}, which the version has not there; keep that node",
            )
