"""Checking the text of a definition: names, data flow, and what the engine carries out."""

from collections.abc import Sequence

from content.interactions import Interactions
from engine.process.definition import parse_definition
from engine.process.findings import Finding, error
from engine.process.run.support import not_carried_out
from engine.process.verify import KnownNames, verify
from engine.values import Principal
from skills.toolbox import Toolbox


async def verify_text(
    toolbox: Toolbox, interactions: Interactions, principal: Principal, text: str
) -> Sequence[Finding]:
    """Return what is wrong with a definition for this principal; errors block its publication.

    Raises:
        Invalid: the text is no definition of format 1 at all.
    """
    definition = parse_definition(text)
    listed = await interactions.list_names(principal)
    names = KnownNames(
        interactions=frozenset(one.name for one in listed if one.newest is not None),
        tools=frozenset(spec.name for spec in toolbox.flat(principal)),
        skills=frozenset(skill.key for skill in toolbox.catalogue.visible(principal)),
    )
    missing = [_not_carried_out(place) for place in not_carried_out(definition)]
    return [*verify(definition, names), *missing]


def _not_carried_out(place: str) -> Finding:
    at, _, what = place.partition(": ")
    return error("not_carried_out", at, f"this engine does not carry out {what}; remove it")
