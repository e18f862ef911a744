"""Records of steps that end in the same moment, written together: what makes many small items cheap.

Each step still goes on only when its own record is safe, and the records stay what they are: only the transaction is
shared.
"""

import asyncio

from engine import stage
from engine.ports import apply_change
from engine.runs import Change, RunRef
from engine.values import Spent, canonical_json, digest

MAX_GROUP = 250
MAX_BYTES = 256 * 1024
"""How many changes, and how many bytes of what they record, go into one transaction."""


class Grouped:
    """Writes changes of one run in groups: calling it with a change returns once that one is in the store."""

    def __init__(self, run: RunRef) -> None:
        """Start with nothing to write."""
        self._run = run
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._writing: asyncio.Future[None] | None = None

    async def __call__(self, change: Change) -> None:
        """Write a change, with others that come at the same time.

        Raises:
            ActivityError: the store refuses it.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, written))
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        await written

    async def idle(self) -> None:
        """Return when everything is written."""
        if self._writing is not None:
            # Whoever is cancelled meanwhile must not take the others' changes along.
            await stage.to_its_end(asyncio.gather(self._writing, return_exceptions=True))

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._everybody_came()
                await self._write_group(self._take())
        finally:
            self._writing = None

    async def _everybody_came(self) -> None:
        count = 0
        while count < min(len(self._waiting), MAX_GROUP):
            count = len(self._waiting)
            # Conditions are looked at when nothing else can run.
            await stage.wait_condition(lambda: True)

    def _take(self) -> list[tuple[Change, "asyncio.Future[None]"]]:
        size = taken = 0
        for change, _ in self._waiting[:MAX_GROUP]:
            size += sum(len(canonical_json(draft.data)) for draft in change.audit)
            if taken and size > MAX_BYTES:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    async def _write_group(self, group: list[tuple[Change, "asyncio.Future[None]"]]) -> None:
        failure: BaseException | None = None
        try:
            await apply_change(_merged(self._run, [change for change, _ in group]))
        except Exception as error:
            failure = error
        for _, written in group:
            if written.done():
                continue
            if failure is None:
                written.set_result(None)
            else:
                written.set_exception(failure)


def _merged(run: RunRef, changes: list[Change]) -> Change:
    if len(changes) == 1:
        return changes[0]
    spent = Spent()
    for change in changes:
        spent = spent.plus(change.spent)
    return Change(
        run=run,
        key=f"group/{digest([change.key for change in changes])[:40]}",
        spent=spent,
        events=tuple(event for change in changes for event in change.events),
        audit=tuple(draft for change in changes for draft in change.audit),
    )
