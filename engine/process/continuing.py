"""How a new run goes on with a failed one: its context and visits from the audit, and who put what into the context.

Pure rules over the records of one run.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from engine.process.messages import Proposal, RewindPlan
from engine.process.rewind import UNDONE, standing
from engine.runs import AuditRecord


def stand(records: Sequence[AuditRecord]) -> RewindPlan:
    """Return how a run stands after all its records; the node is where its row says that it stands."""
    now = standing(records)
    return RewindPlan(
        step="",
        node="",
        after=records[-1].seq if records else 0,
        context=now.context,
        visits=now.visits,
        patch=[],
        proposals=tuple(dict.fromkeys(proposals(records))),
    )


def proposals(records: Iterable[AuditRecord]) -> Iterator[Proposal]:
    """Yield what people have put into the context by hand: by a decision, in the place of a node, or directly."""
    for record in records:
        data: dict[str, Any] = record.data
        by = str(data.get("by", "")) if data.get("type") == "supervisor" else ""
        if record.action in ("context.set", "node.skipped"):
            by = record.actor
        if by and not by.startswith("agent:"):
            for operation in data.get("patch") or ():
                yield Proposal(key=str(operation["path"])[1:].split("/")[0], node=record.node, by=by)


def undone(records: Iterable[AuditRecord]) -> bool:
    """Tell whether what a run had done was undone when it failed: nothing can go on from there."""
    return any(record.action in UNDONE for record in records)
