"""Checking the text of a definition: names, data flow, and what the engine carries out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from content.interactions import Interactions
from content.versions import VersionStore
from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.findings import Finding, error
from engine.process.nodes.script import ScriptNode
from engine.process.run.support import not_carried_out
from engine.process.verify import KnownNames, verify
from engine.process.verify_scopes import graphs
from engine.values import Principal
from server.activities.scripts import Scripts
from skills.toolbox import Toolbox


@dataclass(frozen=True)
class Outside:
    """What a definition may name outside itself, and the sandbox that reads its scripts."""

    toolbox: Toolbox
    interactions: Interactions
    processes: VersionStore
    scripts: Scripts


async def verify_text(outside: Outside, principal: Principal, text: str) -> Sequence[Finding]:
    """Return what is wrong with a definition for this principal; errors block its publication.

    Raises:
        Invalid: the text is no definition of format 1 at all.
    """
    definition = parse_definition(text)
    interactions = await outside.interactions.list_names(principal)
    processes = await outside.processes.list_names(principal)
    names = KnownNames(
        interactions=frozenset(one.name for one in interactions if one.newest is not None),
        tools=frozenset(spec.name for spec in outside.toolbox.flat(principal)),
        skills=frozenset(skill.key for skill in outside.toolbox.catalogue.visible(principal)),
        # A process may call itself, down to the depth at which a run refuses to go deeper.
        processes=frozenset([definition.process, *(one.name for one in processes if one.newest is not None)]),
    )
    missing = [_not_carried_out(place) for place in not_carried_out(definition)]
    found = verify(definition, names)
    broken = {finding.path for finding in found if finding.code == "script_syntax"}
    return [*found, *missing, *[flaw async for flaw in _scripts(outside.scripts, definition, broken)]]


async def _scripts(scripts: Scripts, definition: ProcessDefinition, broken: set[str]) -> AsyncIterator[Finding]:
    """Yield what the sandbox does not carry out; `broken` are the places that are no Python at all."""
    for graph in graphs(definition):
        for name, node in graph.body.nodes.items():
            at = f"{graph.where(name)}/code"
            if not isinstance(node, ScriptNode) or at in broken:
                continue
            sandbox = await scripts.sandbox()
            for flaw in await sandbox.check(node.code, list(node.input), name=name):
                yield error("script_refused", at, f"line {flaw.line}: {flaw.message}")


def _not_carried_out(place: str) -> Finding:
    at, _, what = place.partition(": ")
    return error("not_carried_out", at, f"this engine does not carry out {what}; remove it")
