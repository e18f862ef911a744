"""The `foreach` node: its body once per item. A few items are worked on here, more in batches with their own histories.

Which it is shows neither in the result nor in the names of the steps: the items keep their order, and each has its own
scope and path. What is collected is a list where the context's schema has one, and the URI of a file with one JSON
value in each line where it has a string.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import JsonValue

from engine import stage
from engine.ports import (
    MAX_INLINE,
    MAX_ITEMS,
    ForeachLaid,
    ForeachOrder,
    ForeachPlace,
    GatherOrder,
    gather_collected,
    lay_out,
)
from engine.ports.foreach import same_key
from engine.process.nodes.foreach import ForeachNode
from engine.process.run.batches import BatchDone, Batches
from engine.process.run.calls import attempt
from engine.process.run.flow import EXECUTORS, NodeResult, run_body
from engine.process.run.frame import Frame, NodeFailed
from engine.process.run.supervision import catches
from engine.process.run.undoing import compensations, graph_of

LAYING = timedelta(minutes=10)
"""How long laying out the items may take, or putting together what they have collected."""


@dataclass(frozen=True)
class ItemDone:
    """What an item leaves behind: its line of what is collected, and whether it failed."""

    line: JsonValue
    failed: bool = False


async def run_foreach_node(frame: Frame, node_id: str, node: ForeachNode, step: str) -> NodeResult:
    """Run the body once per item, at most `max_concurrency` at a time; items keep their order in the result.

    Raises:
        NodeFailed: of kind `expression`, `duplicate_key`, `too_many_items`, `item_too_large` or `invalid` for the
            items, `context_full` for what they collect, or as an item failed that is not lived with.
    """
    conduct, items = frame.conduct, frame.evaluate(node.items, f"{node_id}.items")
    if isinstance(items, list) and (len(items) <= MAX_INLINE or stage.simulated()):
        return await _inline(frame, node_id, node, step, items)
    if isinstance(items, list) and len(items) > MAX_ITEMS:
        raise NodeFailed("too_many_items", f"{node_id} has {len(items):,} items; one foreach takes {MAX_ITEMS:,}")
    laid = await _laid_out(frame, node_id, node, step, items)
    if laid.items is not None:
        return await _inline(frame, node_id, node, step, laid.items)
    # A batch may be left in its middle, and then it says nothing: whatever might be undone in one is noted before.
    conduct.undo |= dict.fromkeys(compensations(conduct.definition, node))
    done = await Batches(conduct, node_id, step, laid.sizes, node.max_concurrency).run()
    if conduct.posts.ended_by is not None:
        # Somebody in a seat has ended the run from inside a batch: the workflow leaves this step.
        await stage.wait_condition(lambda: False)
    facts: dict[str, JsonValue] = {"items": laid.count, "batches": len(laid.sizes), "failed": done.failed}
    return await _result(frame, node_id, node, step, facts, done)


async def _laid_out(frame: Frame, node_id: str, node: ForeachNode, step: str, items: JsonValue) -> ForeachLaid:
    conduct = frame.conduct
    place = ForeachPlace(
        node=node_id,
        at=graph_of(conduct.definition, node_id, node).at,
        step=step,
        item=node.as_,
        key=node.key,
        values=frame.visible(),
        caught=frame.caught or catches(node),
        collects=node.collect is not None,
        proposals=conduct.proposals,
    )
    order = ForeachOrder(
        run=conduct.run,
        principal=conduct.principal,
        snapshot=conduct.snapshot,
        definition=conduct.definition.process,
        budget=conduct.budget,
        place=place,
        items=items,
    )
    laid = await attempt(lay_out(order, timeout=LAYING))
    if laid.problem is not None:
        raise NodeFailed(*laid.problem)
    return laid


async def _inline(frame: Frame, node_id: str, node: ForeachNode, step: str, items: list[JsonValue]) -> NodeResult:
    gate = asyncio.Semaphore(node.max_concurrency)
    frames = [item_frame(frame, node, step, number, item) for number, item in enumerate(items)]
    _check_keys(node_id, node, step, frames)

    over = Over()

    async def one(inner: Frame, item: JsonValue) -> ItemDone:
        async with gate, over:
            return await run_item(inner, node, item)

    tasks = [asyncio.ensure_future(one(inner, item)) for inner, item in zip(frames, items, strict=True)]
    try:
        done = list(await asyncio.gather(*tasks))
    except (Exception, asyncio.CancelledError):
        await stage.cancel_all(tasks)
        raise
    return await _result(frame, node_id, node, step, {"items": len(items)}, None, [one.line for one in done])


class Over:
    """Around the items of a foreach: none is begun any more in the moment in which one has failed or ended the run."""

    def __init__(self) -> None:
        """Begin with all well."""
        self._over = False

    async def __aenter__(self) -> None:
        """Let an item begin, or not.

        Raises:
            CancelledError: another one was the last.
        """
        if self._over and stage.patched("no-item-after-the-last"):
            raise asyncio.CancelledError

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Look at how it came to its end."""
        self._over = self._over or kind is not None


def _check_keys(node_id: str, node: ForeachNode, step: str, frames: list[Frame]) -> None:
    if node.key is None:
        return
    first: dict[str, int] = {}
    for number, inner in enumerate(frames):
        if inner.scope in first:
            key = inner.scope.removeprefix(f"{step}[").removesuffix("]/")
            raise NodeFailed("duplicate_key", same_key(node_id, key, first[inner.scope], number))
        first[inner.scope] = number


def item_frame(frame: Frame, node: ForeachNode, step: str, number: int, item: JsonValue) -> Frame:
    """Return the scope of one item, whose number counts from 0 through the whole list."""
    scope: dict[str, JsonValue] = {node.as_: item, "index": number}
    inner = Frame(conduct=frame.conduct, values={}, outer=frame, locals=scope, caught=frame.caught or catches(node))
    key = number if node.key is None else inner.evaluate(node.key, "key")
    inner.path = inner.scope = f"{step}[{key}]/"
    return inner


async def run_item(inner: Frame, node: ForeachNode, item: JsonValue) -> ItemDone:
    """Run the body for one item.

    Raises:
        NodeFailed: it failed, and the node does not collect failures.
        Ended: it came to an end node.
    """
    try:
        await run_body(inner, node.body.start, node.body.nodes)
    except NodeFailed as failed:
        if node.on_item_error != "collect":
            raise
        return ItemDone({"item": item, "error": {"kind": failed.kind, "message": failed.message}}, failed=True)
    if node.collect is None:
        return ItemDone(None)
    visible = inner.visible()
    return ItemDone({name: visible.get(name) for name in node.collect.fields})


async def _result(
    frame: Frame,
    node_id: str,
    node: ForeachNode,
    step: str,
    facts: dict[str, JsonValue],
    done: BatchDone | None,
    lines: list[JsonValue] | None = None,
) -> NodeResult:
    result = NodeResult(facts=facts) if done is None else NodeResult(facts=facts, spent=done.spent)
    if node.collect is None:
        return result
    as_file = _collects_file(frame, node.collect.into)
    if lines is not None and not as_file:
        result.writes = {node.collect.into: lines}
        return result
    order = GatherOrder(
        run=frame.conduct.run, step=step, node=node_id, batches=_batches(facts), lines=lines, as_file=as_file
    )
    found = await attempt(gather_collected(order, timeout=LAYING))
    if found.uri is None and found.items is None:
        failed = NodeFailed(
            "context_full",
            f"{node_id} collects {found.size} bytes, and {found.limit} is the most; "
            + ("collect fewer fields" if as_file else f"declare {node.collect.into!r} as a string, and it is a file"),
        )
        failed.spent = result.spent
        raise failed
    result.writes = {node.collect.into: found.uri if as_file else found.items}
    return result


def _batches(facts: dict[str, JsonValue]) -> int:
    count: Any = facts.get("batches", 0)
    return count


def _collects_file(frame: Frame, into: str) -> bool:
    properties: Any = frame.conduct.definition.context.schema_.get("properties", {})
    return properties.get(into, {}).get("type") == "string"


EXECUTORS["foreach"] = run_foreach_node
