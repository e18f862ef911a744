"""Activities of a large `foreach`: its items laid out in files, batches opened and closed, and what they collected.

A foreach has a folder among the artifacts of its run: `plan.json` says what every batch must know, `items/00001.jsonl`
has the items of the first batch. A batch is a run of its own; what it collects lies in its `collected.jsonl`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from pydantic import JsonValue

from engine.errors import Invalid, NotFound, Problem
from engine.ports import (
    MAX_INLINE,
    MAX_ITEMS,
    BatchClose,
    BatchOpened,
    BatchOrder,
    Collected,
    ForeachLaid,
    ForeachOrder,
    ForeachPlace,
    Gathered,
    GatherOrder,
    batch_ref,
    close_batch,
    gather_collected,
    keep_collected,
    lay_out,
    open_batch,
)
from engine.ports.foreach import BATCH_BYTES, BATCH_ITEMS, MAX_FILE_BYTES, MAX_ITEM_BYTES, same_key
from engine.process.logic import Rule, compile_rule
from engine.runs import AuditDraft, Change, EventDraft, Recorded, RunRef, StartRun
from engine.values import Principal, canonical_json, digest
from server.activities.guard import implements
from server.store.runs import SqlRunStore

Source = Callable[[Principal, str], Awaitable[bytes]]
"""Returns the bytes of an object that the principal may read, or raises `NotFound`."""

JSONL = "application/jsonl"
SCHEME = "run://"
RESULT = "collected.jsonl"


class _Wrong(Exception):
    """The items can't be worked on: `kind` is what `on_error` of the node matches."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def foreach_activities(runs: SqlRunStore, source: Source) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the runs and the objects."""

    @implements(lay_out)
    async def lay(order: ForeachOrder) -> ForeachLaid:
        return await _lay_out(runs, source, order)

    @implements(open_batch)
    async def opening(order: BatchOrder) -> BatchOpened:
        return await _open(runs, order)

    @implements(keep_collected)
    async def keep(kept: Collected) -> Recorded:
        await _keep(runs, kept)
        return Recorded(last_seq=0)

    @implements(close_batch)
    async def close(order: BatchClose) -> Recorded:
        if order.collected is not None:
            await _merge(runs, order.collected)
        recorded = await runs.apply(order.change)
        await _tell_parent(runs, order.change)
        return recorded

    @implements(gather_collected)
    async def gather(order: GatherOrder) -> Gathered:
        return await _gather(runs, order)

    return [lay, opening, keep, close, gather]


def _folder(node: str, step: str) -> str:
    return f"foreach/{node}-{digest(step)[:12]}"


async def _lay_out(runs: SqlRunStore, source: Source, order: ForeachOrder) -> ForeachLaid:
    """Write each batch's items and the plan; a few items are given back instead."""
    place = order.place
    data = None if isinstance(order.items, list) else await _file(runs, source, order)
    try:
        items = order.items if isinstance(order.items, list) else _parsed(data or b"", str(order.items))
        pages = await asyncio.to_thread(_pages, items, place)
    except _Wrong as wrong:
        return ForeachLaid(problem=(wrong.kind, wrong.message))
    count = sum(size for size, _ in pages)
    if count <= MAX_INLINE and len(pages) <= 1:
        return ForeachLaid(count=count, items=[json.loads(line) for _, page in pages for line in page.splitlines()])
    folder, first = _folder(place.node, place.step), 0
    plan: dict[str, Any] = {
        "definition": order.definition,
        "snapshot": order.snapshot.model_dump(mode="json"),
        "place": place.model_dump(mode="json"),
        "budget": order.budget.model_dump(mode="json"),
        "pages": [],
    }
    for number, (size, page) in enumerate(pages, start=1):
        path = f"{folder}/items/{number:05}.jsonl"
        await runs.write_artifact(order.run, path, page, mime=JSONL, key=path)
        plan["pages"].append([first, size])
        first += size
    path = f"{folder}/plan.json"
    await runs.write_artifact(
        order.run, path, canonical_json(plan).encode(), mime="application/json", key=f"{path}/{digest(place.step)}"
    )
    return ForeachLaid(count=count, sizes=tuple(size for size, _ in pages))


async def _file(runs: SqlRunStore, source: Source, order: ForeachOrder) -> bytes:
    """Return the bytes of the file that `items` names, if the principal may read it.

    Raises:
        Invalid: it names none, or a file that is too large.
        NotFound: there is none, or the principal may not see it.
    """
    name = order.items
    if not isinstance(name, str) or not name:
        raise Invalid(
            f"the items are {type(name).__name__}; give a list, or a file: run://<run>/artifacts/<path>, a path, obj_…"
        )
    data = await (source(order.principal, name) if name.startswith("obj_") else _artifact(runs, order, name))
    if len(data) > MAX_FILE_BYTES:
        raise Invalid(f"{name} has {len(data)} bytes; a file of items has at most {MAX_FILE_BYTES}", bytes=len(data))
    return data


async def _artifact(runs: SqlRunStore, order: ForeachOrder, name: str) -> bytes:
    run_id, path = order.run.run_id, name
    if name.startswith(SCHEME):
        run_id, _, path = name.removeprefix(SCHEME).partition("/artifacts/")
        return (await runs.read_artifact(order.principal, run_id, path))[1]
    while True:
        try:
            return (await runs.read_artifact(order.principal, run_id, path))[1]
        except NotFound:
            run = await runs.load(RunRef(tenant=order.run.tenant, run_id=run_id))
            # A path in the body of a batch means a file of the batch, or of the run that it belongs to.
            if run.kind != "batch" or run.parent_id is None:
                raise
            run_id = run.parent_id


def _parsed(data: bytes, name: str) -> Iterator[JsonValue]:
    """Yield the values of the lines; empty lines are passed over."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise _Wrong("invalid", f"line {number} of {name} is no JSON: {error}") from error


def _pages(items: Iterable[JsonValue], place: ForeachPlace) -> list[tuple[int, bytes]]:
    """Return the items in lines, batch by batch, each with their count."""
    rule = None if place.key is None else compile_rule(place.key, strict=True)
    keys: dict[str, int] = {}
    pages: list[tuple[int, bytes]] = []
    lines: list[bytes] = []
    size = 0
    for number, item in enumerate(items):
        if number >= MAX_ITEMS:
            raise _Wrong("too_many_items", f"{place.node} has more than {MAX_ITEMS:,} items, the most of one foreach")
        line = canonical_json(item).encode()
        if len(line) > MAX_ITEM_BYTES:
            raise _Wrong(
                "item_too_large",
                f"item {number} of {place.node} has {len(line)} bytes; at most {MAX_ITEM_BYTES}: name a file in it",
            )
        _check_key(place, rule, keys, number, item)
        if lines and (len(lines) >= BATCH_ITEMS or size + len(line) > BATCH_BYTES):
            pages.append((len(lines), b"\n".join(lines)))
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    return [*pages, (len(lines), b"\n".join(lines))] if lines else pages


def _check_key(place: ForeachPlace, rule: Rule | None, keys: dict[str, int], number: int, item: JsonValue) -> None:
    if rule is None:
        return
    try:
        key = str(rule({**place.values, place.item: item, "index": number}))
    except Problem as problem:
        raise _Wrong("expression", f"key: {problem.message}") from problem
    if key in keys:
        raise _Wrong("duplicate_key", same_key(place.node, key, keys[key], number))
    keys[key] = number


async def _open(runs: SqlRunStore, order: BatchOrder) -> BatchOpened:
    """Write the row of a batch and that it has begun, and return what it works on; done again it adds nothing."""
    folder = _folder(order.node, order.step)
    plan: dict[str, Any] = json.loads(await _own(runs, order.principal, order.parent, f"{folder}/plan.json"))
    first, count = plan["pages"][order.number - 1]
    facts: dict[str, JsonValue] = {
        "step": order.step,
        "node": order.node,
        "number": order.number,
        "first": first,
        "count": count,
        "of": sum(size for _, size in plan["pages"]),
        "slots": order.slots,
        **({"undoes": order.undone.run_id} if order.undone else {}),
    }
    opened = BatchOpened(snapshot=plan["snapshot"], place=plan["place"], budget=plan["budget"], first=first)
    start = StartRun(
        kind="batch",
        definition=plan["definition"],
        version=opened.snapshot.version,
        title=f"{order.node}: {'undoing ' if order.undone else ''}items {first} to {first + count - 1}",
        input=facts,
        budget=opened.budget,
        parent_id=order.parent.run_id,
    )
    await runs.create(order.principal, start, run_id=order.run.run_id)
    audit = AuditDraft(
        key="started",
        actor=f"process:{plan['definition']}",
        action="batch.started",
        node=order.node,
        data={**facts, "digest": opened.snapshot.digest},
    )
    event = EventDraft(key="started", type="batch.started", data=facts)
    await runs.apply(
        Change(run=order.run, key="started", status="running", position=order.node, audit=(audit,), events=(event,))
    )
    if order.undone is not None:
        return opened
    page = await _own(runs, order.principal, order.parent, f"{folder}/items/{order.number:05}.jsonl")
    return opened.model_copy(update={"items": [json.loads(line) for line in page.splitlines()]})


async def _tell_parent(runs: SqlRunStore, ending: Change) -> None:
    """Let whoever follows the run that a batch belongs to hear of its end: one event a batch, none in any history."""
    batch = await runs.load(ending.run)
    if batch.parent_id is None or "undoes" in batch.input:
        return
    parent = await runs.load(RunRef(tenant=batch.tenant, run_id=batch.parent_id))
    if parent.finished:
        return
    key = f"batch/{batch.run_id}"
    named = {name: batch.input[name] for name in ("step", "node", "number", "first", "count")}
    data: dict[str, JsonValue] = {"batch": batch.run_id, **named, "status": batch.status}
    await runs.apply(Change(run=parent.ref, key=key, events=(EventDraft(key=key, type="foreach.batch", data=data),)))


async def _own(runs: SqlRunStore, principal: Principal, run: RunRef, path: str) -> bytes:
    return (await runs.read_artifact(principal, run.run_id, path))[1]


async def _keep(runs: SqlRunStore, kept: Collected) -> None:
    path = f"collected/{kept.part:04}.jsonl"
    lines = b"\n".join(canonical_json([number, line]).encode() for number, line in kept.lines)
    await runs.write_artifact(kept.run, path, lines, mime=JSONL, key=path)


async def _merge(runs: SqlRunStore, last: Collected) -> None:
    """Write what a batch has collected at all times into one file, in the order of its items."""
    principal = (await runs.load(last.run)).principal
    lines = dict(last.lines)
    for part in range(last.part):
        page = await _own(runs, principal, last.run, f"collected/{part:04}.jsonl")
        lines |= dict(json.loads(line) for line in page.splitlines())
    content = b"\n".join(canonical_json(lines[number]).encode() for number in sorted(lines))
    await runs.write_artifact(last.run, RESULT, content, mime=JSONL, key=RESULT)


async def _gather(runs: SqlRunStore, order: GatherOrder) -> Gathered:
    """Return what was collected as one file of the run, or as a list where it is small enough for a context."""
    limit = MAX_FILE_BYTES if order.as_file else MAX_ITEM_BYTES
    principal = (await runs.load(order.run)).principal
    pages = [canonical_json(line).encode() for line in order.lines or ()]
    size = sum(len(page) + 1 for page in pages)
    for number in range(1, order.batches + 1):
        page = await _own(runs, principal, batch_ref(order.run, order.step, number), RESULT)
        size += len(page) + 1
        if size <= limit:
            pages.append(page)
    if size > limit:
        return Gathered(size=size, limit=limit)
    content = b"\n".join(pages)
    if not order.as_file:
        return Gathered(size=size, limit=limit, items=[json.loads(line) for line in content.splitlines()])
    path = f"{_folder(order.node, order.step)}/{RESULT}"
    await runs.write_artifact(order.run, path, content, mime=JSONL, key=path)
    return Gathered(size=size, limit=limit, uri=f"{SCHEME}{order.run.run_id}/artifacts/{path}")
