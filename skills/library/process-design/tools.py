"""Writing processes: verify, draw, play, keep drafts, publish, compare, move labels."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from content.definitions import rendered
from content.versioned import Draft, Version
from engine.errors import Exhausted, Invalid, NotFound, Problem
from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.difference import difference_text
from engine.process.drawing import mermaid
from engine.process.imports import Imported, Needs, Note, import_vertesia
from engine.process.simulate import Played, Report, play_all
from engine.process.verify import Bounds, bounds
from engine.values import Value
from skills.arguments import near_names
from skills.services import ToolContext
from skills.tool import ToolReply, tool

AUTHORS = ("author", "publisher")
PUBLISHERS = ("publisher",)

Text = Annotated[str, Field(description="the definition in YAML or JSON", min_length=1, max_length=400_000)]
Name = Annotated[str, Field(description="as in the definition's `process`", min_length=1, max_length=64)]
Address = Annotated[str, Field(description="name, name@version, name@label or name@draft", min_length=1)]


class FindingRow(Value):
    """One thing to mend."""

    severity: Literal["error", "warning"]
    code: str
    path: str = Field(description="JSON pointer into the definition")
    message: str


class Verdict(Value):
    """What the verifier says; a definition without errors can be published."""

    publishable: bool
    findings: list[FindingRow]
    worst_case: str = Field(description="bound of model calls, money and time, or which node has none")


class SavedDraft(Value):
    """The draft as it stands now."""

    process: str
    revision: int = Field(description="save and publish with it, so that nobody's edit is lost")
    digest: str
    verdict: Verdict


class DefinitionText(Value):
    """A definition as it was written."""

    process: str
    version: int | None = Field(description="null for the draft")
    revision: int | None = Field(description="of the draft")
    author: str
    text: str


class ScenarioRow(Value):
    """How a scenario went."""

    scenario: str
    passed: bool
    problems: list[str] = Field(description="where it was not as expected, or why it could not be played on")
    status: str
    outcome: str | None
    path: list[str] = Field(description="nodes of the outermost graph, in order")
    tasks: list[str] = Field(description="nodes that asked somebody")
    seconds: float = Field(description="of the simulation's own time")
    steps: str = Field(description="each step with its guards and the values they saw")


class CoverageRow(Value):
    """What all scenarios cover together."""

    percent: float
    missing: list[str] = Field(description="JSON pointers")


class Simulated(Value):
    """The scenarios of a definition, played."""

    passed: bool
    scenarios: list[ScenarioRow]
    nodes: CoverageRow
    transitions: CoverageRow
    guards: CoverageRow = Field(description="each guard both ways")


class PublishedVersion(Value):
    """A version that never changes again."""

    address: str
    version: int
    comment: str
    author: str
    publisher: str
    published_at: datetime


class Versions(Value):
    """All that is kept under a name."""

    process: str
    labels: dict[str, int]
    draft_revision: int | None
    versions: list[PublishedVersion] = Field(description="oldest first")


class Difference(Value):
    """A unified difference; empty if the texts are the same."""

    before: str
    after: str
    diff: str
    changes: str = Field(description="what it means: each place that differs, and what runs under way may not fit")


class Taken(Value):
    """A definition of another engine as one of ours, and what became of each part of it."""

    process: str
    text: str = Field(description="ours; save it with save_draft")
    notes: list[Note] = Field(description="mapped, approximated or not_mapped; source is a JSON pointer into theirs")
    needs: Needs = Field(description="what has to exist before it can be published")
    verdict: Verdict


class TakenOver(Value):
    """What came of a definition of another engine."""

    definitions: list[Taken] = Field(description="publish them in this order; the last one is what was given")


class MovedLabel(Value):
    """Where a label points now."""

    label: str
    version: int
    before: int | None
    moved: bool


@tool(roles=AUTHORS)
async def verify_process(ctx: ToolContext, text: Text) -> Verdict:
    """Check a definition: schema, names, reachability, data flow, guards, loops, joins, worst case. Runs nothing."""
    return await _verdict(ctx, text)


async def _verdict(ctx: ToolContext, text: str) -> Verdict:
    try:
        findings = await ctx.services.verify(ctx.principal, text)
    except (Invalid, Exhausted) as problem:
        return Verdict(publishable=False, findings=_syntax(problem), worst_case="")
    rows = [FindingRow(severity=one.severity, code=one.code, path=one.path, message=one.message) for one in findings]
    return Verdict(
        publishable=not any(row.severity == "error" for row in rows),
        findings=rows,
        worst_case=_worst_case(bounds(parse_definition(text))),
    )


def _worst_case(found: Bounds) -> str:
    said = [
        "no bound of model calls" if found.model_calls is None else f"at most {found.model_calls:,} model calls",
        "no bound of money" if found.usd is None else f"at most {found.usd:g} USD",
        "no bound of time" if found.seconds is None else f"at most {timedelta(seconds=round(found.seconds))}",
    ]
    blamed = [f"{one.path} ({one.dimension}): {one.reason}" for one in found.unbounded]
    return "; ".join([", ".join(said), *blamed])


def _syntax(problem: Problem) -> list[FindingRow]:
    """Return the findings of a text that is no definition at all."""
    problems = problem.details.get("problems") or [{"path": "", "message": problem.message}]
    return [FindingRow(severity="error", code="format", path=one["path"], message=one["message"]) for one in problems]


@tool(roles=AUTHORS)
async def draw_process(
    ctx: ToolContext,
    text: Annotated[str | None, Field(description="a definition; or name a process", max_length=400_000)] = None,
    process: Annotated[str | None, Field(description="name, name@version, name@label or name@draft")] = None,
) -> ToolReply:
    """Draw a definition as a Mermaid flowchart."""
    return ToolReply(text=mermaid(await _given(ctx, text, process)))


async def _given(ctx: ToolContext, text: str | None, process: str | None) -> ProcessDefinition:
    if (text is None) == (process is None):
        raise Invalid("give either text or process")
    if process is not None:
        text = (await ctx.services.definitions.find(ctx.principal, process)).text
    return parse_definition(text or "")


@tool(roles=AUTHORS, timeout_s=120)
async def simulate_process(
    ctx: ToolContext,
    text: Annotated[str | None, Field(description="a definition; or name a process", max_length=400_000)] = None,
    process: Annotated[str | None, Field(description="name, name@version, name@label or name@draft")] = None,
    scenario: Annotated[str | None, Field(description="only this one")] = None,
) -> Simulated:
    """Play the scenarios of a definition: the real engine, with fixtures for work, people and time. Costs nothing."""
    definition = await _given(ctx, text, process)
    chosen = [one for one in definition.scenarios if scenario is None or one.name == scenario]
    if not chosen:
        known = ", ".join(one.name for one in definition.scenarios) or "none"
        raise NotFound(f"there is no such scenario; the definition has {known}", scenario=scenario)
    # It has an event loop of its own, in which time passes at once.
    report = await asyncio.to_thread(
        play_all, definition.model_copy(update={"scenarios": tuple(chosen)}), render=rendered
    )
    return _simulated(report)


def _simulated(report: Report) -> Simulated:
    covered = report.coverage
    rows = {
        name: CoverageRow(percent=one.percent, missing=list(one.missing))
        for name, one in (("nodes", covered.nodes), ("transitions", covered.transitions), ("guards", covered.guards))
    }
    return Simulated(passed=report.passed, scenarios=[_scenario(one) for one in report.played], **rows)


def _scenario(played: Played) -> ScenarioRow:
    return ScenarioRow(
        scenario=played.scenario,
        passed=played.passed,
        problems=list(played.problems),
        status=played.status,
        outcome=played.outcome,
        path=list(played.path),
        tasks=list(played.tasks),
        seconds=played.seconds,
        steps="\n".join(step.text for step in played.steps),
    )


@tool(roles=AUTHORS, timeout_s=120)
async def import_process(
    ctx: ToolContext,
    text: Annotated[str, Field(description="theirs, in JSON or YAML", min_length=1, max_length=400_000)],
    deadline: Annotated[str, Field(description="of questions to people, which have none in the source")] = "P30D",
    names: Annotated[
        dict[str, str] | None, Field(description="what their tools, interactions, skills and processes are called here")
    ] = None,
) -> TakenOver:
    """Take over a process of Vertesia (format_version 1), with a report of what is not the same. Saves nothing."""
    # It verifies several times: too long for the event loop.
    imported = await asyncio.to_thread(import_vertesia, text, deadline=deadline, names=names)
    return TakenOver(definitions=[await _taken(ctx, one) for one in imported.family])


async def _taken(ctx: ToolContext, imported: Imported) -> Taken:
    return Taken(
        process=imported.process,
        text=imported.text,
        notes=list(imported.notes),
        needs=imported.needs,
        verdict=await _verdict(ctx, imported.text),
    )


@tool(roles=AUTHORS)
async def get_definition(ctx: ToolContext, process: Address) -> DefinitionText:
    """Read a definition as it was written, with the revision to save a draft from."""
    found = await ctx.services.definitions.find(ctx.principal, process)
    draft = isinstance(found, Draft)
    return DefinitionText(
        process=found.name,
        version=None if draft else found.number,
        revision=found.revision if draft else None,
        author=found.author,
        text=found.text,
    )


@tool(effect="side_effecting", honours_key=True, roles=AUTHORS, target="name")
async def save_draft(
    ctx: ToolContext,
    name: Name,
    text: Text,
    revision: Annotated[int | None, Field(description="the revision you edited; none for the first", ge=1)] = None,
) -> SavedDraft:
    """Save the draft of a process; an unfinished one is kept too, with what is wrong with it.

    Refused when somebody saved another revision since: read it by get_definition("name@draft") and merge.
    """
    saved = await ctx.services.definitions.put_draft(ctx.principal, name, text, revision=revision)
    verdict = await _verdict(ctx, text)
    return SavedDraft(process=saved.name, revision=saved.revision, digest=saved.digest, verdict=verdict)


@tool(effect="side_effecting", honours_key=True, roles=PUBLISHERS)
async def publish_process(
    ctx: ToolContext,
    name: Name,
    comment: Annotated[str, Field(description="what changed and why, for people", min_length=1, max_length=2000)],
    revision: Annotated[int | None, Field(description="of the draft that was reviewed", ge=1)] = None,
    despite: Annotated[
        str, Field(description="why it is published though scenarios fail; kept with the version", max_length=1000)
    ] = "",
) -> PublishedVersion:
    """Publish the draft as the next version; errors and failing scenarios block it. Labels stay where they are."""
    found = await ctx.services.definitions.publish(
        ctx.principal, name, comment=comment, revision=revision, despite=despite
    )
    return _published(found)


def _published(found: Version) -> PublishedVersion:
    return PublishedVersion(
        address=found.address,
        version=found.number,
        comment=found.comment,
        author=found.author,
        publisher=found.publisher,
        published_at=found.published_at,
    )


@tool(effect="side_effecting", honours_key=True, roles=PUBLISHERS)
async def move_label(
    ctx: ToolContext,
    name: Name,
    label: Annotated[str, Field(description="production is what a bare name means", min_length=1, max_length=64)],
    version: Annotated[int, Field(ge=1)],
    comment: Annotated[str, Field(max_length=2000)] = "",
) -> MovedLabel:
    """Point a label at a published version: how a version goes live, and how it is rolled back."""
    move = await ctx.services.definitions.move_label(ctx.principal, name, label, version, comment=comment)
    before = version if move is None else move.from_number
    return MovedLabel(label=label, version=version, before=before, moved=move is not None)


@tool(roles=AUTHORS)
async def list_versions(ctx: ToolContext, name: Name) -> Versions:
    """List the published versions of a process, its labels and its draft."""
    listed = {one.name: one for one in await ctx.services.definitions.list_names(ctx.principal)}
    if name not in listed:
        near = near_names(name, listed)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(listed) or 'none'}"
        raise NotFound(f"there is no process {name!r}; {hint}", near=list(near))
    found = await ctx.services.definitions.list_versions(ctx.principal, name)
    return Versions(
        process=name,
        labels=listed[name].labels,
        draft_revision=listed[name].draft_revision,
        versions=[_published(one) for one in found],
    )


@tool(roles=AUTHORS)
async def diff_versions(ctx: ToolContext, before: Address, after: Address) -> Difference:
    """Compare two definitions line by line, as in before="name@3", after="name@draft"."""
    text = await ctx.services.definitions.diff(ctx.principal, before, after)
    old, new = [
        parse_definition((await ctx.services.definitions.find(ctx.principal, one)).text) for one in (before, after)
    ]
    return Difference(before=before, after=after, diff=text, changes=difference_text(old, new))
