"""The child workflow of one batch of a large `foreach`: some hundred items in a run and a history of their own.

It is steered through the run it belongs to: that one pauses, cancels and undoes it. What happens inside it does so as
in any process: its tasks, events and the orders for a node under way come to it directly.
"""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from engine import stage
from engine.errors import Conflict
from engine.people import Closed
from engine.ports import BatchClose, BatchOpened, Collected, Control, close_batch, keep_collected, open_batch
from engine.process.definition import ProcessDefinition
from engine.process.messages import KeptEvent, Proposal
from engine.process.nodes.foreach import ForeachNode
from engine.process.run.batches import BatchDone, BatchStart, GivenBack, Hold
from engine.process.run.compensation import Why, undo
from engine.process.run.flow import actor_of
from engine.process.run.foreach import Over, item_frame, run_item
from engine.process.run.frame import Conduct, Ended, Frame, NodeFailed
from engine.process.run.grouping import Grouped
from engine.process.run.operations import ORDERS, check_order
from engine.process.run.posts import NotYet, Posts
from engine.process.run.steering import Steered
from engine.process.run.supervision import check_steers
from engine.process.run.undoing import body_at
from engine.runs import AuditDraft, Change, EventDraft, RunStatus
from engine.values import Spent, Value, canonical_json

PART_BYTES = 256 * 1024
"""How much of what its items collect a batch holds before it is written down."""

GIVING_BACK = timedelta(seconds=5)
"""How long a batch keeps slots for which it has no more items; then twice as long, and so on."""


class BatchState(Value):
    """The memory of a batch between two histories, taken when no item is under way: all before `next` are over."""

    next: int
    part: int
    failed: int
    spent: Spent
    undo: tuple[tuple[str, str], ...]
    closed: dict[str, Closed]
    kept: tuple[KeptEvent, ...]
    heard: dict[str, str]
    paused: bool
    proposals: tuple[Proposal, ...]
    by_agent: dict[str, int]


class BatchInput(BatchStart):
    """The input of the workflow: which batch, and what an earlier part of it carried over."""

    state: BatchState | None = None


@workflow.defn(name="BatchWorkflow")
class BatchWorkflow(Steered):
    """The items of one batch, from its first to its last."""

    @workflow.init
    def __init__(self, start: BatchInput) -> None:
        """Take up what an earlier part of the batch carried over."""
        state = start.state
        memory = (state.closed, state.kept, state.heard, state.paused) if state else ({}, (), {}, start.paused)
        super().__init__(start.run, *memory)
        self._start = start
        self._records = Grouped(self._run)
        self._next = state.next if state else 0
        self._part = state.part if state else 0
        self._failed = state.failed if state else 0
        self._items_over = Over()
        self._size = 0
        self._lines: dict[int, JsonValue] = {}
        self._slots = start.slots
        self._active = 0
        self._collects = False

    @workflow.run
    async def run(self, start: BatchInput) -> BatchDone:
        """Work on the items; how that ended is told to the run that the batch belongs to, which decides what comes."""
        main = asyncio.ensure_future(self._undo() if start.order.undone is not None else self._items())
        try:
            return await self._until_over(main)
        except Ended as ended:
            return await self._finish("completed", BatchDone(ended=(ended.outcome, ended.output)))
        except NodeFailed as failed:
            return await self._finish("failed", BatchDone(failure=(failed.kind, failed.message)))
        except ActivityError as error:
            reason = str(error.cause or error)
            await self._finish("failed", BatchDone(failure=("process_failed", reason)))
            raise ApplicationError(reason, type="process_failed", non_retryable=True) from error
        except asyncio.CancelledError:
            await stage.cancel_all([main])
            await self._finish("cancelled", BatchDone())
            raise

    @workflow.signal
    async def hold(self, hold: Hold) -> None:
        """Pause before the next step of each item, or go on."""
        self._paused = hold.paused
        if self._conduct is not None:
            self._conduct.paused = hold.paused

    async def _until_over(self, main: "asyncio.Future[BatchDone]") -> BatchDone:
        await stage.wait_condition(lambda: main.done() or self._ordered_end() is not None)
        if main.done():
            return await main
        await stage.cancel_all([main])
        return await self._finish("cancelled", BatchDone(ended_by=self._ordered_end()))

    def _ordered_end(self) -> Control | None:
        return self._conduct.posts.ended_by if self._conduct is not None else None

    async def _open(self) -> tuple[BatchOpened, Frame]:
        opened = await open_batch(self._start.order, timeout=timedelta(minutes=2))
        state, place = self._start.state, opened.place
        self._collects = place.collects
        conduct = Conduct(
            run=self._run,
            principal=self._principal,
            snapshot=opened.snapshot,
            definition=ProcessDefinition.model_validate(opened.snapshot.definition),
            people=self._people,
            events=self._events,
            budget=opened.budget,
            spent=state.spent if state else Spent(),
            paused=self._paused,
            position=place.node,
            posts=Posts(parks=True, by_agent=dict(state.by_agent) if state else {}),
            proposals=state.proposals if state else place.proposals,
            record=self._records,
            undo=dict.fromkeys(state.undo) if state else {},
        )
        frame = Frame(conduct, dict(place.values), path=place.step, caught=place.caught)
        self._conduct, self._frame = conduct, frame
        return opened, frame

    async def _undo(self) -> BatchDone:
        _, frame = await self._open()
        why: Any = self._start.why
        kind: Why = why
        await stage.to_its_end(undo(frame.conduct, kind, of=self._start.order.undone), heed=False)
        return await self._finish("completed", BatchDone())

    async def _items(self) -> BatchDone:
        opened, frame = await self._open()
        place = opened.place
        body = body_at(frame.conduct.definition, place.at)
        node = body.nodes[place.node] if body is not None else None
        assert isinstance(node, ForeachNode), "the plan was made from this definition"
        await self._work(frame, node, opened)
        if self._next < len(opened.items):
            await self._carry_over(frame.conduct)
        return await self._finish("completed", BatchDone())

    async def _work(self, frame: Frame, node: ForeachNode, opened: BatchOpened) -> None:
        """Work on the items, as many at once as there are slots, until all are over or the history is long."""
        slots = min(self._start.slots, len(opened.items) - self._next)
        self._active = slots
        workers = [asyncio.ensure_future(self._slot(frame, node, opened)) for _ in range(slots)]
        giving = asyncio.ensure_future(self._give_back(len(opened.items)))
        everything = [*workers, giving]
        try:
            await asyncio.gather(*workers)
        except (Exception, asyncio.CancelledError):
            await stage.cancel_all(everything)
            raise
        await stage.cancel_all([giving])

    async def _slot(self, frame: Frame, node: ForeachNode, opened: BatchOpened) -> None:
        while self._next < len(opened.items) and not stage.new_history_is_due():
            index, self._next = self._next, self._next + 1
            number = opened.first + index
            item = opened.items[index]
            inner = item_frame(frame, node, opened.place.step, number, item)
            async with self._items_over:
                done = await run_item(inner, node, item)
            self._failed += done.failed
            if self._collects:
                await self._collect(index, done.line)
        self._active -= 1

    async def _collect(self, index: int, line: JsonValue) -> None:
        self._lines[index] = line
        self._size += len(canonical_json(line))
        if self._size > PART_BYTES:
            await self._keep()

    async def _keep(self) -> None:
        if self._lines:
            kept, self._part = self._taken(), self._part + 1
            await keep_collected(kept)

    def _taken(self) -> Collected:
        lines, self._lines, self._size = self._lines, {}, 0
        return Collected(run=self._run, part=self._part, lines=tuple(lines.items()))

    async def _give_back(self, count: int) -> None:
        """Let other batches have the slots that this one has no more items for."""
        if not self._start.more:
            return
        pause = GIVING_BACK / timedelta(seconds=1)
        while True:
            await stage.wait_condition(lambda: self._next >= count and self._active < self._slots)
            await asyncio.sleep(pause)
            self._slots, pause = self._active, pause * 2
            given = GivenBack(batch=self._run.run_id, slots=self._slots)
            await stage.tell_workflow(self._start.order.parent.workflow_id, "take_back", given)

    async def _carry_over(self, conduct: Conduct) -> None:
        await self._keep()
        await self._records.idle()
        await stage.wait_condition(stage.all_handlers_finished)
        state = BatchState(
            next=self._next,
            part=self._part,
            failed=self._failed,
            spent=conduct.spent,
            undo=tuple(conduct.undo),
            closed=self._people.closed,
            kept=tuple(self._events.kept),
            heard=self._events.heard,
            paused=self._paused,
            proposals=conduct.proposals,
            by_agent=conduct.posts.by_agent,
        )
        stage.continue_as_new(self._start.model_copy(update={"state": state}))

    async def _finish(self, status: RunStatus, done: BatchDone) -> BatchDone:
        """Write down how the batch ended, and what it has collected where it came to its end."""
        self._over = True
        await stage.to_its_end(self._settle(), heed=False)
        conduct = self._conduct
        if conduct is not None:
            came = {"spent": conduct.spent, "proposals": conduct.proposals, "undo": tuple(conduct.undo)}
            done = done.model_copy(update={"failed": self._failed, **came})
        collected = self._taken() if self._collects and status == "completed" and done.ended is None else None
        closing = close_batch(BatchClose(collected=collected, change=self._ending(status, done)))
        await stage.to_its_end(closing, heed=False)
        return done

    async def _settle(self) -> None:
        await self._records.idle()
        await stage.wait_condition(stage.all_handlers_finished)

    def _ending(self, status: RunStatus, done: BatchDone) -> Change:
        facts: dict[str, JsonValue] = {
            "status": status,
            "items": self._next,
            "failed": done.failed,
            "undo": [list(one) for one in done.undo],
            **({"outcome": done.ended[0]} if done.ended else {}),
            **({"error": {"kind": done.failure[0], "message": done.failure[1]}} if done.failure else {}),
        }
        actor = actor_of(self._frame) if self._frame is not None else "engine"
        error = f"{done.failure[0]}: {done.failure[1]}" if done.failure else None
        return Change(
            run=self._run,
            key="finished",
            status=status,
            waits_for="",
            result=facts,
            error="cancelled by the run it belongs to" if status == "cancelled" else error,
            events=(EventDraft(key="finished", type="batch.finished", data=facts),),
            audit=(AuditDraft(key="finished", actor=actor, action=f"batch.{status}", data=facts),),
        )

    def _check_steering(self, control: Control) -> None:
        parent = self._start.order.parent.run_id
        if control.action not in ORDERS:
            raise Conflict(f"a batch is steered through the run it belongs to; {control.action} {parent} instead")
        if self._conduct is None:
            raise NotYet("the batch is just being started")
        check_steers(self._conduct, control)
        check_order(self._conduct, control)
