"""How far large foreaches are: counted from the rows of their batches, and from the audit of those not completed."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ports import ForeachProgress
from engine.process.paths import short_path
from engine.runs import TERMINAL
from server.store import tables

STEPS = ("node.finished", "node.failed", "node.skipped", "node.retried", "node.advanced")
"""The records of which the last one in an item says whether it is over."""

_NESTED = re.compile(r"]/\d+\.[A-Za-z]")


async def foreaches(
    connection: AsyncConnection, tenant: str, seen: Sequence[sa.ColumnElement[bool]], run_ids: Sequence[str]
) -> dict[str, list[ForeachProgress]]:
    """Return the foreaches in batches of the runs, by run in the order of their steps' names; `seen` bounds the rows.

    The items of a batch that was completed stand in its result. Those of the others are counted in its audit.
    """
    table = tables.runs
    query = sa.select(table.c.run_id, table.c.parent_id, table.c.status, table.c.input, table.c.result).where(
        table.c.tenant == tenant, table.c.kind == "batch", table.c.parent_id.in_(run_ids), *seen
    )
    batches = [row for row in await connection.execute(query) if "undoes" not in row.input]
    open_ones = {row.run_id: str(row.input["step"]) for row in batches if not _whole(row.status, row.result)}
    counted = await _count(connection, tenant, open_ones) if open_ones else {}
    found: dict[str, dict[str, ForeachProgress]] = defaultdict(dict)
    for row in batches:
        step = str(row.input["step"])
        before = found[row.parent_id].get(step) or ForeachProgress(step=step, node=str(row.input["node"]))
        result = row.result or {}
        over, failed = (
            (result["items"], result["failed"]) if _whole(row.status, result) else counted.get(row.run_id, (0, 0))
        )
        at_once = 0 if row.status in TERMINAL else min(row.input.get("slots", 0), row.input["count"] - over)
        found[row.parent_id][step] = before.model_copy(
            update={
                "items": row.input.get("of", 0),
                "over": before.over + over,
                "failed": before.failed + failed,
                "running": before.running + at_once,
            }
        )
    return {run_id: [steps[step] for step in sorted(steps)] for run_id, steps in found.items()}


def _whole(status: str, result: dict[str, Any] | None) -> bool:
    """Tell whether all items of a batch are over: it was completed, and by none that ended the whole run."""
    return status == "completed" and result is not None and "outcome" not in result


async def _count(connection: AsyncConnection, tenant: str, steps: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return for each batch, given with the step of its foreach, how many items are over and how many of them failed.

    An item is over when the last record of its own graph leads nowhere, and leaves no way to a person.
    """
    table = tables.audit
    fields = [table.c.data[name].as_string().label(name) for name in ("step", "scope", "to", "offered", "at_step")]
    query = (
        sa.select(table.c.run_id, table.c.action, *fields)
        .where(table.c.tenant == tenant, table.c.run_id.in_(steps), table.c.action.in_(STEPS))
        .order_by(table.c.run_id, table.c.seq)
    )
    items: dict[str, dict[str, str]] = defaultdict(dict)
    chooses: dict[tuple[str, str], str] = {}
    for row in await connection.execute(query):
        if row.action == "node.advanced":
            scope = chooses.get((row.run_id, row.at_step))
        else:
            scope = row.scope if _is_of_item(row.step, row.scope or "", steps[row.run_id]) else None
        if scope is None:
            continue
        if row.offered is not None:
            chooses[row.run_id, row.step] = scope
        ended = row.to is None and row.offered is None
        items[row.run_id][scope] = row.action if ended else ""
    counts = {run_id: [action for action in ended.values() if action] for run_id, ended in items.items()}
    return {run_id: (len(actions), actions.count("node.failed")) for run_id, actions in counts.items()}


def _is_of_item(step: str, scope: str, foreach: str) -> bool:
    """Tell whether a step stands in the graph of an item of the foreach itself, not in one nested in that."""
    prefix = short_path(scope)
    own = scope.startswith(f"{foreach}[") and not _NESTED.search(scope, len(foreach))
    return own and step.startswith(prefix) and "/" not in step[len(prefix) :]
