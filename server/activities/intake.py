"""Activities of intake: read a version in a process of its own, then cut, embed, index and publish it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from content.collections import DEFAULT
from content.intake.detect import detect
from content.intake.run_extractor import extract_in_subprocess
from content.objects import ContentStore
from content.passages import Passage, cut_passages
from content.spool import Spooled
from content.structure import Structure
from engine.errors import Exhausted, Invalid
from engine.ports import IntakeReport, IntakeStep, IntakeTask, RunControl, extract_version, index_version
from engine.runs import Change, EventDraft, Run, StartRun
from engine.values import Principal
from server.activities.guard import implements
from server.embedding import Embedders, Made
from server.store.runs import SqlRunStore

STRUCTURE = "structure.json"


class IntakeParts(Protocol):
    """What the activities of intake need of the house."""

    @property
    def content(self) -> ContentStore:
        """The objects."""
        ...

    @property
    def runs(self) -> SqlRunStore:
        """The runs, whose artifacts hold what one step leaves for the next."""
        ...

    @property
    def embedder(self) -> Embedders:
        """The models of the vectors."""
        ...


async def receive_file(
    content: ContentStore,
    control: RunControl,
    principal: Principal,
    name: str,
    data: bytes | Spooled,
    mime: str | None = None,
    *,
    collection: str = DEFAULT,
) -> Run:
    """Keep a file as a version of the object `name` and start its intake; the same bytes give the same run."""
    version = await content.receive(principal, name, data, mime or "application/octet-stream", collection=collection)
    task = IntakeTask(object_id=version.object_id, version=version.number)
    return await control.start(
        principal,
        StartRun(
            kind="intake",
            definition="intake",
            title=name,
            input=task.model_dump(mode="json"),
            idempotency_key=f"intake/{version.object_id}/{version.number}",
        ),
    )


def intake_activities(parts: IntakeParts) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the house's parts."""

    @implements(extract_version)
    async def extract(step: IntakeStep) -> IntakeReport:
        return await _extract(parts, step)

    @implements(index_version)
    async def index(step: IntakeStep) -> IntakeReport:
        return await _index(parts, step)

    return [extract, index]


async def _extract(parts: IntakeParts, step: IntakeStep) -> IntakeReport:
    """Read the version; a file that can't be read is rejected with its reason, and nothing of it is published."""
    task, content = step.task, parts.content
    found = await content.get(step.principal, task.object_id, task.version)
    if found.version.published_at is not None:
        return _report_of(found.version.state, found.version.page_count, 0, found.version.passage_count)
    await _mark_processing(parts, step, found.version.state)
    data = await content.source(step.principal, task.object_id, task.version)
    try:
        detected = await asyncio.to_thread(detect, data, name=found.name, declared=found.version.mime)
        structure = await extract_in_subprocess(data, detected.mime)
    except (Invalid, Exhausted) as problem:
        await content.mark(step.principal, task.object_id, task.version, "rejected", problem.message)
        return IntakeReport(state="rejected", reasons=(problem.message,))
    if detected.mislabelled:
        reasons = (*structure.reasons, detected.mislabelled)
        structure = structure.model_copy(update={"reasons": reasons})
    await parts.runs.write_artifact(
        step.run,
        STRUCTURE,
        structure.model_dump_json().encode(),
        mime="application/json",
        key="extract",
    )
    return IntakeReport(
        state="processing",
        pages=len(structure.pages),
        blocks=len(structure.blocks),
        reasons=structure.reasons,
    )


async def _mark_processing(parts: IntakeParts, step: IntakeStep, state: str) -> None:
    if state == "received":
        task = step.task
        await parts.content.mark(step.principal, task.object_id, task.version, "processing")


async def _index(parts: IntakeParts, step: IntakeStep) -> IntakeReport:
    task = step.task
    found = await parts.content.get(step.principal, task.object_id, task.version)
    if found.version.published_at is not None:
        return _report_of(found.version.state, found.version.page_count, 0, found.version.passage_count)
    _, encoded = await parts.runs.read_artifact(step.principal, step.run.run_id, STRUCTURE)
    structure = Structure.model_validate_json(encoded)
    passages = await asyncio.to_thread(cut_passages, structure)
    made = await _vectors(parts, step, passages) if passages else None
    published = await parts.content.publish_version(
        step.principal,
        task.object_id,
        task.version,
        structure,
        passages,
        made.vectors if made else None,
        made.model_id if made else "",
    )
    return IntakeReport(
        state="needs_review" if published.state == "needs_review" else "ready",
        pages=len(structure.pages),
        blocks=len(structure.blocks),
        passages=len(passages),
        reasons=structure.reasons,
    )


async def _vectors(parts: IntakeParts, step: IntakeStep, passages: Sequence[Passage]) -> Made:
    made = await parts.embedder.embed(step.run.tenant, [passage.indexed_text for passage in passages])
    event = EventDraft(key="vectors", type="vectors.made", data=made.facts)
    await parts.runs.apply(Change(run=step.run, key="vectors", spent=made.spent, events=(event,)))
    return made


def _report_of(state: str, pages: int, blocks: int, passages: int) -> IntakeReport:
    return IntakeReport.model_validate({"state": state, "pages": pages, "blocks": blocks, "passages": passages})
