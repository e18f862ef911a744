"""The one chain every tool call goes through, whoever makes it: a client over MCP, an agent, a node of a process.

Find (a tool one may not see does not exist), check the arguments, run under a timeout, check the answer, cut it at a
stated size. What goes wrong is a `Problem`; an unexpected exception becomes one with a reference id and is logged.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from engine.errors import Invalid, NotFound, Problem
from engine.ports import ToolOutcome
from engine.runs import RunRef
from engine.transcript import ToolSpec
from engine.values import Principal, new_id
from skills.arguments import near_names
from skills.catalogue import Catalogue, Skill
from skills.discovery import USE_TOOL, find_tools_tool, learn_any_tool, learn_tool, own_lessons
from skills.lesson import check_ticket, learn, ticket_skill
from skills.schemas import outline
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply

logger = logging.getLogger(__name__)

MAX_CHARS = 48_000
BEGINNING = 2_000

Keep = Callable[[str], Awaitable[str]]
"""Stores a whole text and returns where it can be read, as a URI."""


class StaleTicket(Problem):
    """The ticket is missing or no longer the skill's; `details` carry the lesson and the right ticket."""

    code = "stale_ticket"


class TimedOut(Problem):
    """The tool did not finish in its time."""

    code = "timed_out"


class Defect(Problem):
    """The tool failed in a way it was not made for; the log has the details under `details.reference`."""

    code = "internal"


@dataclass(frozen=True)
class Resolved:
    """A call as it will be made: `use_tool` is already replaced by the tool it names."""

    tool: AnyTool
    arguments: Mapping[str, JsonValue]

    @property
    def spec(self) -> ToolSpec:
        """The tool's spec, for approval and retry rules."""
        return self.tool.spec


@dataclass(frozen=True)
class Ran:
    """How a call with a recorded effect ended, and the tools that its answer reveals."""

    outcome: ToolOutcome
    reveals: tuple[ToolSpec, ...] = ()


class Toolbox:
    """The tools of a server: the core ones, those of the skills, and the few by which skills are found.

    `featured` names the skills that keep a `learn_<skill>` of their own where there are more than `MAX_LEARN`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        core: Sequence[AnyTool],
        *,
        featured: Sequence[str] = (),
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Hold the tools; nothing in it changes afterwards."""
        self.catalogue = catalogue
        self._featured = tuple(featured)
        self._max_chars = max_chars
        self._core = {tool.spec.name: tool for tool in (*core, find_tools_tool(catalogue, core, featured))}
        self._learn_any = learn_any_tool(catalogue)
        self._learn = {(skill.tenant, skill.key): learn_tool(catalogue, skill) for skill in catalogue.skills}

    def learn_tools(self, principal: Principal) -> tuple[ToolSpec, ...]:
        """Return the `learn_<skill>` tools of `principal`, and `learn` where not every skill has its own."""
        skills, all_have_one = own_lessons(self.catalogue, principal, self._featured)
        own = (self._learn[skill.tenant, skill.key].spec for skill in skills)
        return tuple(own) if all_have_one else (*own, self._learn_any.spec)

    def surface(self, principal: Principal) -> tuple[ToolSpec, ...]:
        """Return the short list that every client sees: it depends on the caller's rights and on nothing else.

        Of the answers it has only the outline; `find` has the whole schemas.
        """
        core = (_outlined(tool.spec) for tool in self._core.values() if tool.admits(principal))
        return (*self.learn_tools(principal), *core, USE_TOOL.spec)

    def flat(self, principal: Principal, skill: str | None = None) -> tuple[ToolSpec, ...]:
        """Return the tools of one skill, or the core tools and those of every skill, without lessons and tickets."""
        if skill is not None:
            return tuple(tool.spec for tool in self.catalogue.get(principal, skill).tools_for(principal))
        return tuple(tool.spec for tool in self._visible(principal).values())

    def find(self, principal: Principal, name: str) -> AnyTool:
        """Return a core tool, a `learn…` tool or a skill's tool by full name.

        Raises:
            NotFound: there is none that `principal` may call; the message names the nearest.
        """
        if name == self._learn_any.spec.name:
            return self._learn_any
        if name.startswith("learn_"):
            skill = self.catalogue.get(principal, name.removeprefix("learn_"))
            return self._learn[skill.tenant, skill.key]
        visible = self._visible(principal)
        if name in visible:
            return visible[name]
        near = near_names(name, [*visible, *(spec.name for spec in self.learn_tools(principal))])
        hint = f"did you mean {' or '.join(near)}?" if near else "find_tools(query) searches what there is"
        raise NotFound(f"there is no tool {name!r} for you; {hint}", near=list(near))

    def resolve(self, principal: Principal, name: str, arguments: Mapping[str, JsonValue]) -> Resolved:
        """Return the tool that a call really means, and its arguments; `use_tool` is looked through.

        Raises:
            NotFound, Invalid, StaleTicket: there is no such call for `principal`.
        """
        if name != USE_TOOL.spec.name:
            return Resolved(self.find(principal, name), arguments)
        parsed = USE_TOOL.parse(arguments)
        return self._by_ticket(principal, parsed["ticket"], parsed["tool"], parsed["arguments"])

    async def call(
        self, ctx: ToolContext, name: str, arguments: Mapping[str, JsonValue], *, keep: Keep | None = None
    ) -> ToolReply:
        """Run one call through the whole chain; `keep` stores the full text of an answer that has to be cut.

        Raises:
            Problem: everything that can go wrong, never anything else.
        """
        resolved = self.resolve(ctx.principal, name, arguments)
        return await self._run(ctx, resolved.tool, resolved.tool.parse(resolved.arguments), keep)

    async def use_tool(
        self,
        ctx: ToolContext,
        ticket: str,
        tool: str,
        arguments: Mapping[str, JsonValue],
        *,
        keep: Keep | None = None,
    ) -> ToolReply:
        """Run a tool of the skill that `ticket` names; as `call` of `use_tool`."""
        resolved = self._by_ticket(ctx.principal, ticket, tool, arguments)
        return await self._run(ctx, resolved.tool, resolved.tool.parse(resolved.arguments), keep)

    async def run_with_effects(
        self, ctx: ToolContext, name: str, arguments: Mapping[str, JsonValue], *, keep: Keep | None = None
    ) -> Ran:
        """Run a call of a run so that its effect happens at most once for `ctx.key`, whatever is repeated.

        An intent is written before the call and its outcome after it. A finished call is answered from the record.
        One that was begun and never finished is made again only where the tool only reads or honours its key;
        else its outcome is unknown. Problems are outcomes here, not exceptions.
        """
        try:
            resolved = self.resolve(ctx.principal, name, arguments)
            parsed = resolved.tool.parse(resolved.arguments)
        except Problem as problem:
            return Ran(failed(problem))
        if ctx.run is None or resolved.spec.effect == "read_only":
            return await self._once(ctx, resolved.tool, parsed, keep)
        return await self._recorded(ctx, ctx.run, resolved.tool, parsed, keep)

    async def _recorded(
        self, ctx: ToolContext, run: RunRef, tool: AnyTool, parsed: dict[str, Any], keep: Keep | None
    ) -> Ran:
        begun = await ctx.services.effects.begin(run, ctx.key)
        if begun.state == "done":
            return Ran(ToolOutcome.model_validate(begun.outcome))
        if begun.state == "repeat" and not tool.spec.repeatable:
            ran = Ran(_unknown(tool, "an earlier attempt was interrupted"))
        else:
            ran = await self._once(ctx, tool, parsed, keep)
        # A failed call that may be repeated stays open, so that the next attempt under the same key is made.
        if ran.outcome.outcome == "ok" or not tool.spec.repeatable:
            await ctx.services.effects.finish(run, ctx.key, ran.outcome.model_dump(mode="json"))
        return ran

    async def _once(self, ctx: ToolContext, tool: AnyTool, parsed: dict[str, Any], keep: Keep | None) -> Ran:
        try:
            reply = await self._run(ctx, tool, parsed, keep)
        except (TimedOut, Defect) as problem:
            return Ran(failed(problem) if tool.spec.repeatable else _unknown(tool, problem.message))
        except Problem as problem:
            return Ran(failed(problem))
        value: JsonValue = reply.value
        if reply.rest is not None:
            value = {"artifact": reply.rest, "beginning": reply.text[:BEGINNING]}
        return Ran(ToolOutcome(outcome="ok", value=value, text=reply.text, artifact=reply.rest), reply.reveals)

    async def _run(self, ctx: ToolContext, tool: AnyTool, parsed: dict[str, Any], keep: Keep | None) -> ToolReply:
        name, seconds = tool.spec.name, tool.spec.timeout_s
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                result = await tool.function(ctx, **parsed)
            return await self._cut(tool.reply(result), keep)
        except Problem:
            raise
        except Exception as error:
            if scope.expired():
                raise TimedOut(f"{name} did not finish within {seconds:g} s{_advice(tool)}", tool=name) from error
            reference = new_id("ref")
            logger.exception("tool %s failed for tenant %s, reference %s", name, ctx.principal.tenant, reference)
            raise Defect(
                f"{name} failed unexpectedly{_advice(tool)}. The log of the server has the cause under {reference}.",
                tool=name,
                reference=reference,
            ) from error

    async def _cut(self, reply: ToolReply, keep: Keep | None) -> ToolReply:
        length, limit = len(reply.text), self._max_chars
        if length <= limit:
            return reply
        rest = await keep(reply.text) if keep else None
        where = f"the whole text is at {rest}" if rest else "ask for less to see the rest"
        text = f"{reply.text[:limit]}\n[cut: the first {limit:,} of {length:,} characters; {where}]"
        return replace(reply, text=text, value=None, rest=rest)

    def _visible(self, principal: Principal) -> dict[str, AnyTool]:
        found = {name: tool for name, tool in self._core.items() if tool.admits(principal)}
        for skill in self.catalogue.visible(principal):
            found |= {tool.spec.name: tool for tool in skill.tools_for(principal)}
        return found

    def _by_ticket(self, principal: Principal, ticket: str, tool: str, arguments: Mapping[str, JsonValue]) -> Resolved:
        skill = self._skill_of(principal, ticket, tool)
        tools = {one.spec.name: one for one in skill.tools_for(principal)}
        found = tools.get(tool) or tools.get(f"{skill.key}.{tool}")
        if found is None:
            raise self._foreign(principal, skill, tool, tools)
        if not check_ticket(principal, skill, ticket):
            lesson = learn(principal, skill)
            state = "is stale: the skill or your rights have changed" if ticket.strip() else "is missing"
            raise StaleTicket(
                f"the ticket for the skill {skill.key} {state}. Nothing was run. Read the lesson and make the call "
                f"again with the ticket {lesson.ticket}",
                skill=skill.key,
                ticket=lesson.ticket,
                lesson=lesson.text,
            )
        return Resolved(found, arguments)

    def _skill_of(self, principal: Principal, ticket: str, tool: str) -> Skill:
        named = ticket_skill(ticket)
        if named:
            return self.catalogue.get(principal, named)
        if "." in tool:
            return self.catalogue.get(principal, tool.partition(".")[0])
        having = [
            skill
            for skill in self.catalogue.visible(principal)
            if any(one.spec.name.endswith(f".{tool}") for one in skill.tools_for(principal))
        ]
        if len(having) == 1:
            return having[0]
        names = [skill.key for skill in having or self.catalogue.visible(principal)]
        raise Invalid(
            f"the ticket {ticket!r} names no skill; learn the skill of {tool!r} first (one of: {', '.join(names)}) "
            "and pass the ticket that its lesson ends with",
            skills=names,
        )

    def _foreign(self, principal: Principal, skill: Skill, tool: str, tools: Mapping[str, AnyTool]) -> Problem:
        """Return the refusal of a tool that the ticket's skill does not have."""
        others = self._visible(principal)
        other = others.get(tool)
        if other is not None and other.spec.skill is not None:
            return Invalid(
                f"{tool} is not a tool of the skill {skill.key}; learn {other.spec.skill} and use its ticket",
                skill=other.spec.skill,
            )
        if other is not None:
            return Invalid(f"{tool} is a tool of its own; call it directly, without use_tool", tool=tool)
        near = near_names(tool, [name.partition(".")[2] for name in tools]) or near_names(tool, tools)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(tools) or 'no tools'}"
        return NotFound(f"the skill {skill.key} has no tool {tool!r}; {hint}", near=list(near), tools=list(tools))


def _outlined(spec: ToolSpec) -> ToolSpec:
    if spec.output_schema is None:
        return spec
    return spec.model_copy(update={"output_schema": outline(spec.output_schema)})


def failed(problem: Problem) -> ToolOutcome:
    """Return a problem as the outcome of a call."""
    value = json.loads(json.dumps(problem.as_json(), default=str))
    return ToolOutcome(outcome="error", value=value, text=problem_text(problem))


def problem_text(problem: Problem) -> str:
    """Return a problem as a model is to read it: the message, and the lesson or the details where there are any."""
    lesson = problem.details.get("lesson")
    if lesson:
        return f"{problem.message}\n\n{lesson}"
    details = {key: value for key, value in problem.details.items() if value not in (None, [], {}, "")}
    if not details:
        return problem.message
    return f"{problem.message}\n{json.dumps(details, ensure_ascii=False, sort_keys=True, default=str)}"


def _advice(tool: AnyTool) -> str:
    if tool.spec.repeatable:
        return "; the same call may be made again"
    return ", and whether it had its effect is not known: look before you repeat it"


def _unknown(tool: AnyTool, reason: str) -> ToolOutcome:
    text = (
        f"outcome unknown: {reason}. {tool.spec.name} may or may not have had its effect and was not repeated; "
        "find out what the state is before you call it again."
    )
    return ToolOutcome(outcome="unknown", text=text)
