"""The tools by which skills are found and learned: `find_tools`, `learn_<skill>`, `learn` and `use_tool`."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, cast

from pydantic import Field, JsonValue

from engine.errors import Invalid
from engine.values import Principal, Value
from skills.catalogue import Catalogue, Skill
from skills.lesson import learn
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply, tool

MAX_LEARN = 16
_SHOWN_DESCRIPTION = 100
_WORD = re.compile(r"[a-z0-9]+")
_WEAK = frozenset({"a", "an", "and", "for", "in", "is", "it", "my", "of", "on", "or", "the", "to", "with", "what"})


class FoundTool(Value):
    """A tool or a skill that fits."""

    name: str = Field(description="full name; empty where the skill as a whole fits")
    about: str
    learn: str = Field(description="what to call first; empty for a tool that is called directly")


class FoundTools(Value):
    """What fits, best first."""

    found: list[FoundTool]


@tool(name="use_tool", timeout_s=600)
async def _use_tool(
    ctx: ToolContext,
    ticket: Annotated[str, Field(description="the ticket that the lesson ends with")],
    tool: Annotated[str, Field(description="name as in the lesson", min_length=1)],
    arguments: Annotated[dict[str, JsonValue], Field(description="as the lesson describes")] = {},  # noqa: B006
) -> ToolReply:
    """Run a tool of a skill you have learned. Learn the skill first: its lesson gives the arguments and the ticket."""
    raise Invalid("use_tool is resolved to the tool it names before it runs")


USE_TOOL = cast(AnyTool, _use_tool)


def own_lessons(catalogue: Catalogue, principal: Principal, featured: Sequence[str]) -> tuple[tuple[Skill, ...], bool]:
    """Return the skills that have a `learn_<skill>` of their own in the list, and whether that is every skill.

    Beyond `MAX_LEARN` skills the first ones in `featured` keep theirs, then the others by name.
    """
    skills = catalogue.visible(principal)
    if len(skills) <= MAX_LEARN:
        return skills, True
    rank = {name: place for place, name in enumerate(featured)}
    chosen = sorted(skills, key=lambda skill: (rank.get(skill.key, rank.get(skill.name, len(rank))), skill.name))
    return tuple(sorted(chosen[: MAX_LEARN - 1], key=lambda skill: skill.name)), False


def learn_any_tool(catalogue: Catalogue) -> AnyTool:
    """Return `learn(skill)`, which serves the skills without a tool of their own."""

    @tool(name="learn")
    async def learn_any(
        ctx: ToolContext, skill: Annotated[str, Field(description="name of the skill, as find_tools gives it")]
    ) -> ToolReply:
        """Learn any skill by name: answers with its instructions, its tools and the ticket for use_tool."""
        return _teach(ctx.principal, catalogue.get(ctx.principal, skill))

    return learn_any


def learn_tool(catalogue: Catalogue, skill: Skill) -> AnyTool:
    """Return `learn_<skill>`; the lesson is made for whoever calls it."""

    @tool(name=f"learn_{skill.key}")
    async def learn_one(ctx: ToolContext) -> ToolReply:
        """Answer with the lesson."""
        return _teach(ctx.principal, catalogue.get(ctx.principal, skill.name))

    about = f"Learn: {shortened(skill.description)}"
    return cast(AnyTool, replace(learn_one, spec=learn_one.spec.model_copy(update={"description": about})))


def _teach(principal: Principal, skill: Skill) -> ToolReply:
    lesson = learn(principal, skill)
    return ToolReply(text=lesson.text, reveals=lesson.tools)


def find_tools_tool(catalogue: Catalogue, core: Sequence[AnyTool], featured: Sequence[str]) -> AnyTool:
    """Return `find_tools(query)` over `core` and every skill."""

    @tool(name="find_tools")
    async def find_tools(
        ctx: ToolContext,
        query: Annotated[str, Field(description="what you want to do, in a few words", min_length=1, max_length=500)],
        limit: Annotated[int, Field(ge=1, le=30)] = 8,
    ) -> FoundTools:
        """Find the tools and skills that fit a purpose, with the skill to learn for each."""
        own, _ = own_lessons(catalogue, ctx.principal, featured)
        listed = frozenset(f"learn_{skill.key}" for skill in own)
        return FoundTools(found=_ranked(catalogue, core, ctx.principal, query, listed)[:limit])

    return find_tools


def _ranked(
    catalogue: Catalogue, core: Sequence[AnyTool], principal: Principal, query: str, listed: frozenset[str]
) -> list[FoundTool]:
    """Return what fits `query` for `principal`, best first: by shared words, those of names counting three times."""
    wanted = _words(query)
    scored: list[tuple[float, str, FoundTool]] = []
    for one in core:
        if one.admits(principal):
            found = FoundTool(name=one.spec.name, about=_first_sentence(one.spec.description), learn="")
            scored.append((_score(wanted, one.spec.name, one.spec.description), one.spec.name, found))
    for skill in catalogue.visible(principal):
        first = f"learn_{skill.key}" if f"learn_{skill.key}" in listed else f'learn(skill="{skill.key}")'
        found = FoundTool(name="", about=shortened(skill.description), learn=first)
        scored.append((_score(wanted, skill.key, skill.description), skill.key, found))
        for one in skill.tools_for(principal):
            about = _first_sentence(one.spec.description)
            found = FoundTool(name=one.spec.name, about=about, learn=first)
            scored.append((_score(wanted, one.spec.name, one.spec.description), one.spec.name, found))
    best = sorted((item for item in scored if item[0] > 0), key=lambda item: (-item[0], item[1]))
    return [found for _, _, found in best]


def _score(wanted: frozenset[str], name: str, description: str) -> float:
    return 3.0 * _overlap(wanted, _words(name)) + _overlap(wanted, _words(description))


def _overlap(wanted: frozenset[str], having: frozenset[str]) -> float:
    """Count shared words; a shared stem of four letters or more counts half."""
    exact = len(wanted & having)
    stems = {word[:5] for word in having if len(word) > 3}
    return exact + 0.5 * sum(1 for word in wanted - having if len(word) > 3 and word[:5] in stems)


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _WEAK


def shortened(text: str, limit: int = _SHOWN_DESCRIPTION) -> str:
    """Return `text` cut at the end of a word."""
    # Three dots: transports write any other character in ways of their own, and lists are kept as the text they are.
    return text if len(text) <= limit else text[: limit - 3].rsplit(" ", 1)[0].rstrip(",;:.") + "..."


def _first_sentence(text: str) -> str:
    return shortened(" ".join(text.split("\n\n", 1)[0].split()))
