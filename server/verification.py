"""Checking the text of a definition: names, data flow, texts for people and models, what the sandbox carries out."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from content.interactions import Interactions
from content.templates import parse
from content.versions import VersionStore
from engine.errors import Exhausted, Invalid
from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.findings import Finding, error
from engine.process.nodes.script import ScriptNode
from engine.process.verify import KnownNames, verify
from engine.process.verify_scopes import graphs
from engine.values import Principal
from server.activities.scripts import Scripts
from skills.toolbox import Toolbox

UNFILLABLE = frozenset({"unknown_helper", "unknown_partial", "outside_of_loop"})
"""Flaws of a text that fail the run which fills it in, whatever is in the context."""


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
    found = verify(definition, names)
    broken = {finding.path for finding in found if finding.code == "script_syntax"}
    return [*found, *_texts(definition), *[flaw async for flaw in _scripts(outside.scripts, definition, broken)]]


def _texts(definition: ProcessDefinition) -> Iterator[Finding]:
    """Yield the texts that can not be filled in; what they may name of the context the verifier has looked at."""
    for graph in graphs(definition):
        for name, node in graph.body.nodes.items():
            for part in node.templates():
                at = graph.where(name) + part.path
                try:
                    flaws = parse(str(part.value), name=name).check({})
                except (Invalid, Exhausted) as problem:
                    yield error("text_refused", at, problem.message)
                    continue
                yield from (error("text_refused", at, flaw.message) for flaw in flaws if flaw.code in UNFILLABLE)


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
