"""The one chain every tool call goes through, whoever makes it: a client over MCP, an agent, a node of a process.

Find (a tool one may not see does not exist), check the arguments, run under a timeout, check the answer, cut it at a
stated size. What goes wrong is a `Problem`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from engine.errors import Invalid, NotFound, Problem
from engine.ports import ToolOutcome
from engine.runs import RunRef
from engine.transcript import ToolSpec
from engine.values import Principal
from skills.arguments import near_names
from skills.catalogue import Catalogue, Skill
from skills.discovery import USE_TOOL, find_tools_tool, learn_any_tool, learn_tool, own_lessons
from skills.lesson import check_ticket, learn, ticket_skill
from skills.running import MAX_CHARS, Defect, Keep, Late, Running, TimedOut, failed, outcome_of, unknown
from skills.schemas import brief, outline
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply


class StaleTicket(Problem):
    """The ticket is missing or no longer the skill's; `details` carry the lesson and the right ticket."""

    code = "stale_ticket"


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
    """How a call of a run ended, the tools that its answer reveals, and what the run's workflow is to do instead."""

    outcome: ToolOutcome
    reveals: tuple[ToolSpec, ...] = ()
    order: dict[str, JsonValue] | None = None


class Toolbox:
    """The tools of a server: the core ones, those of the skills, and the few by which skills are found.

    `featured` names the skills that keep a `learn_<skill>` of their own where there are more than `MAX_LEARN`. `loop`
    are the tools by which an agent steers its own run; nobody else sees them.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        core: Sequence[AnyTool],
        *,
        featured: Sequence[str] = (),
        loop: Sequence[AnyTool] = (),
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Hold the tools; nothing in it changes afterwards."""
        self._loop = {tool.spec.name: tool for tool in loop}
        self.catalogue = catalogue
        self._featured = tuple(featured)
        self._running = Running(max_chars)
        self._core = {tool.spec.name: tool for tool in (*core, find_tools_tool(catalogue, core, featured))}
        self._learn_any = learn_any_tool(catalogue)
        self._learn = {(skill.tenant, skill.key): learn_tool(catalogue, skill) for skill in catalogue.skills}
        self._outlined = {name: _outlined(tool.spec) for name, tool in self._core.items()}

    def learn_tools(self, principal: Principal) -> tuple[ToolSpec, ...]:
        """Return the `learn_<skill>` tools of `principal`, and `learn` where not every skill has its own."""
        skills, all_have_one = own_lessons(self.catalogue, principal, self._featured)
        own = (self._learn[skill.tenant, skill.key].spec for skill in skills)
        return tuple(own) if all_have_one else (*own, self._learn_any.spec)

    def surface(self, principal: Principal) -> tuple[ToolSpec, ...]:
        """Return the short list that every client sees: it depends on the caller's rights and on nothing else.

        Of the answers it has only the outline; `find` has the whole schemas.
        """
        core = (self._outlined[name] for name, tool in self._core.items() if tool.admits(principal))
        return (*self.learn_tools(principal), *core, USE_TOOL.spec)

    def loop_tools(self) -> tuple[ToolSpec, ...]:
        """Return the tools by which an agent steers its own run."""
        return tuple(tool.spec for tool in self._loop.values())

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
        core = self._core.get(name) or (self._loop.get(name) if principal.kind == "agent" else None)
        if core is not None and core.admits(principal):
            return core
        found = self.catalogue.tool(principal, name)
        if found is not None:
            return found
        visible = self._visible(principal)
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
        return await self._running(ctx, resolved.tool, resolved.tool.parse(resolved.arguments), keep)

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
        return await self._running(ctx, resolved.tool, resolved.tool.parse(resolved.arguments), keep)

    async def run_with_effects(
        self,
        ctx: ToolContext,
        name: str,
        arguments: Mapping[str, JsonValue],
        *,
        keep: Keep | None = None,
        late: Late | None = None,
    ) -> Ran:
        """Run a call of a run so that its effect happens at most once for `ctx.key`, whatever is repeated.

        An intent is written before the call and its outcome after it. A finished call is answered from the record.
        One that was begun and never finished is made again only where the tool only reads or honours its key;
        else its outcome is unknown. Problems are outcomes here, not exceptions. `late` is told of a result that comes
        after its time was up.
        """
        try:
            resolved = self.resolve(ctx.principal, name, arguments)
            parsed = resolved.tool.parse(resolved.arguments)
        except Problem as problem:
            return Ran(failed(problem))
        if ctx.run is None or resolved.spec.effect == "read_only" or resolved.spec.name in self._loop:
            return await self._once(ctx, resolved.tool, parsed, keep, late)
        return await self._recorded(ctx, ctx.run, resolved.tool, parsed, keep, late)

    async def _recorded(
        self,
        ctx: ToolContext,
        run: RunRef,
        tool: AnyTool,
        parsed: dict[str, Any],
        keep: Keep | None,
        late: Late | None,
    ) -> Ran:
        begun = await ctx.services.effects.begin(run, ctx.key)
        if begun.state == "done":
            return Ran(ToolOutcome.model_validate(begun.outcome))
        if begun.state == "repeat" and not tool.spec.repeatable:
            ran = Ran(unknown(tool, "an earlier attempt was interrupted"))
        else:
            ran = await self._once(ctx, tool, parsed, keep, late)
        # A failed call that may be repeated stays open, so that the next attempt under the same key is made.
        if ran.outcome.outcome == "ok" or not tool.spec.repeatable:
            await ctx.services.effects.finish(run, ctx.key, ran.outcome.model_dump(mode="json"))
        return ran

    async def _once(
        self, ctx: ToolContext, tool: AnyTool, parsed: dict[str, Any], keep: Keep | None, late: Late | None
    ) -> Ran:
        try:
            reply = await self._running(ctx, tool, parsed, keep, late)
        except (TimedOut, Defect) as problem:
            return Ran(failed(problem) if tool.spec.repeatable else unknown(tool, problem.message))
        except Problem as problem:
            return Ran(failed(problem))
        return Ran(outcome_of(reply), reply.reveals, reply.order)

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
    answer = None if spec.output_schema is None else outline(spec.output_schema)
    return spec.model_copy(update={"input_schema": brief(spec.input_schema), "output_schema": answer})
