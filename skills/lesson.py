"""Lessons: what learning a skill answers, and the ticket that proves it was learned.

A ticket is `skill@digest`. The digest covers the instructions and the schemas that this caller may see, so nothing
is stored: any replica can check it, it survives restarts, summaries and hand-overs, and it goes stale by itself
when the skill or the caller's rights change. It is no permission: every call is authorised by itself.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from engine.transcript import ToolSpec
from engine.values import Principal, digest
from skills.catalogue import Skill, skill_key
from skills.schemas import render

TICKET_LENGTH = 16

_EFFECTS = {
    "read_only": "only reads",
    "side_effecting": "has effects",
    "control": "steers runs",
    "always_ask": "has effects; a person is asked each time",
}


@dataclass(frozen=True)
class Lesson:
    """The text to hand to a model, the ticket it ends with, and the tools it describes."""

    text: str
    ticket: str
    tools: tuple[ToolSpec, ...]


_lessons: WeakKeyDictionary[Skill, dict[tuple[bool, ...], Lesson]] = WeakKeyDictionary()


def learn(principal: Principal, skill: Skill) -> Lesson:
    """Return the lesson of `skill` for `principal`: the same bytes in every process for the same rights."""
    kept = _lessons.setdefault(skill, {})
    # Who may see what is asked anew each time, and is the key: two callers share a lesson only where it shows the same.
    shown = tuple(tool.admits(principal) for tool in skill.tools)
    lesson = kept.get(shown)
    if lesson is None:
        lesson = kept[shown] = _lesson(skill, tuple(tool.spec for tool in skill.tools_for(principal)))
    return lesson


def _lesson(skill: Skill, tools: tuple[ToolSpec, ...]) -> Lesson:
    ticket = f"{skill.key}@{_digest(skill, tools)}"
    # The ticket stands first as well: the end of a long lesson may be cut off by whoever shows it.
    parts = [f"# Skill {skill.key}\nticket: {ticket}", skill.description, skill.instructions]
    if tools:
        parts.append(
            "## Tools\n"
            f'Call them with use_tool(ticket="{ticket}", tool="<name>", arguments={{…}}), '
            "or directly where your client lists them by name."
        )
        parts += [render_tool(spec) for spec in tools]
    parts.append(f"ticket: {ticket}")
    return Lesson(text="\n\n".join(part for part in parts if part) + "\n", ticket=ticket, tools=tools)


def check_ticket(principal: Principal, skill: Skill, ticket: str) -> bool:
    """Tell whether `ticket` is the one that `skill` gives `principal` now."""
    name, _, given = ticket.strip().partition("@")
    return f"{skill_key(name)}@{given}" == learn(principal, skill).ticket


def ticket_skill(ticket: str) -> str:
    """Return the skill that a ticket names, or an empty text."""
    name, at, _ = ticket.strip().partition("@")
    return skill_key(name) if at else ""


def render_tool(spec: ToolSpec) -> str:
    """Return one tool with its arguments and its answer as short Markdown."""
    lines = [f"### {spec.name} ({_EFFECTS[spec.effect]})", spec.description]
    arguments = render(spec.input_schema)
    lines += ["arguments:", *arguments] if arguments else ["no arguments"]
    if spec.output_schema is not None:
        answer = render(spec.output_schema, answers=True)
        lines += ["answers:", *answer] if answer else ["answers an object"]
    return "\n".join(lines)


def _digest(skill: Skill, tools: tuple[ToolSpec, ...]) -> str:
    covered = {
        "skill": skill.key,
        "description": skill.description,
        "instructions": skill.instructions,
        "tools": [spec.model_dump(mode="json", exclude={"timeout_s", "deferred"}) for spec in tools],
    }
    return digest(covered)[:TICKET_LENGTH]
