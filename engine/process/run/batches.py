"""The batches of a large `foreach`, from the side of the run they belong to: started, told to pause, waited for.

`max_concurrency` is shared out in slots. A batch gets half of them, so that two overlap, and never more than
`MAX_SLOTS`; one whose last items take long gives back those it does not need, and the next batch starts with them.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import JsonValue
from temporalio.exceptions import FailureError

from engine import stage
from engine.ports import BatchOrder, Control, batch_ref, load_run, undoing_ref
from engine.process.messages import Proposal, Undo
from engine.process.run.calls import attempt
from engine.process.run.frame import Conduct, Ended, NodeFailed
from engine.runs import RunRef, StartedWorkflow
from engine.values import Spent, Value

MAX_SLOTS = 20
"""How many items one batch works on at once: what they do between two answers of the store is done in one go, and an
engine that is kept busy for seconds by one workflow takes that for a fault."""


class Hold(Value):
    """Tells a batch that its run is paused, or goes on."""

    paused: bool


class GivenBack(Value):
    """Tells a run that one of its batches needs no more than so many slots from now on."""

    batch: str
    slots: int


class BatchStart(Value):
    """The input of a batch's workflow: which batch, how many items at once, and whether others come after it.

    `why` is there where the batch is undone.
    """

    run: StartedWorkflow
    order: BatchOrder
    slots: int = 1
    more: bool = False
    paused: bool = False
    why: str = ""


class BatchDone(Value):
    """How a batch ended: the items that failed and were lived with, or the end, failure or order that stops the rest.

    `undo` are the nodes that would undo something in it, each with its graph.
    """

    failed: int = 0
    spent: Spent = Spent()
    ended: tuple[str, JsonValue] | None = None
    failure: tuple[str, str] | None = None
    ended_by: Control | None = None
    proposals: tuple[Proposal, ...] = ()
    undo: tuple[tuple[str, str], ...] = ()


@dataclass
class Batches:
    """The batches of one foreach under way. `sizes` is how many items each has, `total` what those over came to."""

    conduct: Conduct
    node: str
    step: str
    sizes: tuple[int, ...]
    slots: int
    total: BatchDone = field(default_factory=BatchDone)
    _next: int = 1
    _held: dict[int, int] = field(default_factory=lambda: {})
    _tasks: "dict[int, asyncio.Task[BatchDone]]" = field(default_factory=lambda: {})
    _begun: dict[int, "stage.Child[BatchDone]"] = field(default_factory=lambda: {})
    _paused: bool = False

    async def run(self) -> BatchDone:
        """Carry out all batches and return what they came to together.

        Raises:
            Ended: an item came to an end node; the other batches were cancelled.
            NodeFailed: an item failed, and with it the foreach.
        """
        try:
            while self._next <= len(self.sizes) or self._tasks:
                self._start_what_fits()
                await stage.wait_condition(self._something_new)
                await self._tell_of_pause()
                await self._take_what_is_over()
        except (NodeFailed, Ended) as over:
            await self._leave()
            for number in self._tasks:
                # What was left has been paid for all the same.
                self.total = self.total.model_copy(update={"spent": self.total.spent.plus(await self._spent(number))})
            over.spent = self.total.spent
            raise
        except (Exception, asyncio.CancelledError):
            await self._leave()
            raise
        return self.total

    async def _leave(self) -> None:
        await stage.cancel_all(self._tasks.values())

    async def _spent(self, number: int) -> Spent:
        try:
            return (await attempt(load_run(self._ref(number)))).spent
        except NodeFailed:
            # It was left before it had begun.
            return Spent()

    def _free(self) -> int:
        given = self.conduct.given_back
        at_work = [min(held, given.get(self._ref(number).run_id, held)) for number, held in self._held.items()]
        return self.slots - sum(at_work)

    def _ref(self, number: int) -> RunRef:
        return batch_ref(self.conduct.run, self.step, number)

    def _fits(self) -> bool:
        # With fewer than half of its share a batch would be slow for all its items, and soon there are more.
        least = (self._share() + 1) // 2
        return self._next <= len(self.sizes) and self._free() >= least and not self.conduct.paused

    def _share(self) -> int:
        return min((self.slots + 1) // 2, MAX_SLOTS)

    def _start_what_fits(self) -> None:
        while self._fits():
            number, self._next = self._next, self._next + 1
            self._held[number] = slots = min(self._share(), self._free(), self.sizes[number - 1])
            self._tasks[number] = asyncio.ensure_future(self._one(number, slots))

    def _something_new(self) -> bool:
        told = self._paused == self.conduct.paused or not self._begun
        return not told or self._fits() or any(task.done() for task in self._tasks.values())

    async def _tell_of_pause(self) -> None:
        paused = self.conduct.paused
        if self._paused == paused:
            return
        self._paused = paused
        for child in list(self._begun.values()):
            await _hold(child, paused)

    async def _one(self, number: int, slots: int) -> BatchDone:
        conduct = self.conduct
        order = BatchOrder(
            parent=conduct.run,
            run=self._ref(number),
            principal=conduct.principal,
            step=self.step,
            node=self.node,
            number=number,
            slots=slots,
        )
        start = BatchStart(
            run=StartedWorkflow(run=order.run, principal=conduct.principal),
            order=order,
            slots=slots,
            more=number < len(self.sizes),
            paused=conduct.paused,
        )
        child = await attempt(_begin(start))
        self._begun[number] = child
        if start.paused != conduct.paused:
            await _hold(child, conduct.paused)
        try:
            return await attempt(child)
        finally:
            self._begun.pop(number, None)

    async def _take_what_is_over(self) -> None:
        for number in [number for number, task in self._tasks.items() if task.done()]:
            done = await self._tasks[number]
            del self._tasks[number], self._held[number]
            self.conduct.given_back.pop(self._ref(number).run_id, None)
            self._add(done)

    def _add(self, done: BatchDone) -> None:
        conduct = self.conduct
        conduct.proposals = tuple(dict.fromkeys((*conduct.proposals, *done.proposals)))
        self.total = BatchDone(
            failed=self.total.failed + done.failed,
            spent=self.total.spent.plus(done.spent),
        )
        if done.ended_by is not None:
            conduct.posts.ended_by = conduct.posts.ended_by or done.ended_by
        if done.ended is not None:
            raise Ended(*done.ended)
        if done.failure is not None:
            raise NodeFailed(*done.failure)


async def _begin(start: BatchStart) -> "stage.Child[BatchDone]":
    return await stage.start_child_workflow("BatchWorkflow", start, id=start.run.run.workflow_id, result_type=BatchDone)


async def _hold(child: "stage.Child[BatchDone]", paused: bool) -> None:
    # One that has just ended takes nothing any more.
    with suppress(FailureError):
        await child.signal("hold", Hold(paused=paused))


async def undo_batch(conduct: Conduct, one: Undo, of: RunRef, why: str) -> RunRef:
    """Undo a batch of the run `of`, in a run of its own, so that no history grows with the number of items.

    Raises:
        NodeFailed: that run was lost.
    """
    order = BatchOrder(
        parent=of,
        run=undoing_ref(conduct.run, one.run_id),
        principal=conduct.principal,
        step=one.step,
        node=one.node,
        number=one.batch,
        undone=RunRef(tenant=conduct.run.tenant, run_id=one.run_id),
    )
    run = StartedWorkflow(run=order.run, principal=conduct.principal)
    child = await attempt(_begin(BatchStart(run=run, order=order, why=why)))
    done = await attempt(child)
    conduct.spent = conduct.spent.plus(done.spent)
    return order.run
