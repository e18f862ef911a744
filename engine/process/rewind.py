"""What the audit of a process says of its past: how it stood before a step, and what it did that is not undone.

Pure rules over the records of one run. The steps of the outermost graph follow one another, so the context before a
step is what the records before it come to.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import JsonValue

from engine.errors import Invalid
from engine.process.messages import Batch, RewindPlan, Undo
from engine.process.patches import apply_patch, difference
from engine.runs import AuditRecord

STEPS = ("node.finished", "node.failed", "node.skipped")
BETWEEN = ("process.started", "process.rewound", "process.migrated")
UNDONE = ("node.compensated", "node.compensation_failed")


class Before(NamedTuple):
    """How a run stood before a step: the node, the number of the last record before it, the context and the visits."""

    node: str
    seq: int
    context: dict[str, JsonValue]
    visits: dict[str, int]


class Standing:
    """How a run stood at a record: its context and how often each node was visited, and before which steps it stood so.

    `before` holds the steps of the outermost graph that still count, in their order.
    """

    def __init__(self) -> None:
        """Stand before everything."""
        self.context: dict[str, JsonValue] = {}
        self.visits: dict[str, int] = {}
        self.before: dict[str, Before] = {}
        self._begun: tuple[int, dict[str, JsonValue]] = (0, {})

    def take(self, record: AuditRecord) -> None:
        """Go on to the state after `record`."""
        data: dict[str, Any] = record.data
        step = str(data.get("step", ""))
        if record.action == "process.rewound":
            self._go_back(str(data["to_step"]))
        if data.get("patch") and not data.get("scope"):
            self.context = apply_patch(self.context, data["patch"])
            if not step:
                self._set_meanwhile(data["patch"])
        if record.action in STEPS and is_outermost(step) and step not in self.before:
            self.before[step] = Before(record.node, *self._begun, dict(self.visits))
            self.visits[record.node] = self.visits.get(record.node, 0) + 1
            self._begun = (record.seq, self.context)
        elif record.action in (*BETWEEN, *STEPS) and (not step or is_outermost(step)):
            # A step that failed and was then skipped by hand has two records; the second brings the writes.
            self._begun = (record.seq, self.context)

    def _go_back(self, step: str) -> None:
        self.visits = dict(self.before[step].visits)
        self.before = dict(itertools.takewhile(lambda one: one[0] != step, self.before.items()))

    def _set_meanwhile(self, patch: list[JsonValue]) -> None:
        # What a person sets while a step is under way stays when the step is done again; what the step itself wrote
        # by then does not, so a change of that alone has nothing to hold on to.
        seq, context = self._begun
        with suppress(Invalid):
            self._begun = (seq, apply_patch(context, patch))


def is_outermost(step: str) -> bool:
    """Tell whether a step stands in the outermost graph, not inside a node or a compensation."""
    return bool(step) and "/" not in step


def standing(records: Iterable[AuditRecord]) -> Standing:
    """Return how the run stands after its records."""
    found = Standing()
    for record in records:
        found.take(record)
    return found


def rewind(records: Sequence[AuditRecord], target: str) -> RewindPlan:
    """Return how the run stood before a step: `target` is its name, or its node's for the latest step of that node.

    Raises:
        Invalid: there is no such step, it is not over, it stands inside another node, or the run went back before it.
    """
    now = standing(records)
    steps = list(now.before)
    found = next((step for step in reversed(steps) if target in (step, now.before[step].node)), None)
    if found is None:
        shown = ", ".join(steps[-20:]) or "none yet"
        raise Invalid(
            f"{target!r} is no completed step of the outermost graph that still counts; they are {shown}",
            field="target",
        )
    node, after, context, visits = now.before[found]
    patch = difference(now.context, context)
    return RewindPlan(step=found, node=node, after=after, context=context, visits=visits, patch=patch)


def to_undo(
    records: Sequence[AuditRecord],
    after: int = 0,
    batches: Sequence[Batch] = (),
    by: Sequence[AuditRecord] = (),
) -> Iterator[Undo]:
    """Yield the completed steps with a compensation behind record `after` that were not undone yet, latest first.

    `batches` are those of the run's foreaches: each comes as a whole, where its foreach stands. `by` are the records
    of another run that undoes this one.
    """
    over = {str(record.data.get("undone")) for record in (*records, *by) if record.action in UNDONE}
    latest = sorted((one for one in batches if one.undo and one.run_id not in over), key=lambda one: -one.number)
    recorded = {str(record.data.get("step", "")) for record in records}
    # A foreach that was left in its middle has no record: nothing came after it.
    yield from (_whole(one) for one in latest if one.step not in recorded)
    for record in reversed(records):
        if record.seq <= after:
            return
        step = str(record.data.get("step", ""))
        if record.action in STEPS:
            yield from (_whole(one) for one in latest if one.step == step)
            latest = [one for one in latest if one.step != step]
        undo: Any = record.data.get("undo")
        if record.action != "node.finished" or not undo or step in over:
            continue
        yield Undo(
            run_id=record.run_id,
            step=str(record.data["step"]),
            node=undo["node"],
            at=undo["at"],
            seen=undo["seen"],
        )


def _whole(batch: Batch) -> Undo:
    return Undo(run_id=batch.run_id, step=batch.step, node=batch.node, at="", seen={}, batch=batch.number)
