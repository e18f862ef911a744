"""Events from outside: a step waits for one by name and by what its fields must equal, and takes it once.

An event that is addressed to a run and comes before its wait is kept for `KEPT_FOR`. A parked wait is a future and, at
most, a timer; the wait itself stands in the store, where events that are addressed to nobody find it.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue
from temporalio.exceptions import ApplicationError

from engine import stage
from engine.json_schema import first_violation
from engine.ports import apply_change
from engine.process.messages import EventTaken, KeptEvent, ProcessEvent
from engine.runs import AuditDraft, Change, EventDraft, EventWait, RunRef
from engine.values import digest

KEPT_FOR = timedelta(hours=24)
"""How long an event waits for its wait, and how long its key is remembered."""

MAX_KEPT = 100
"""How many events one run keeps that nobody waits for."""


def matches(wanted: dict[str, JsonValue], fields: dict[str, JsonValue]) -> bool:
    """Tell whether each wanted field is there and equal, as JSON."""
    return all(name in fields and digest(fields[name]) == digest(value) for name, value in wanted.items())


def event_writes(declared: tuple[str, ...], payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Give a single declared key the whole payload; several keys are taken from it by name."""
    if len(declared) == 1:
        return {declared[0]: dict(payload)}
    return {name: payload[name] for name in declared if name in payload}


@dataclass
class _Open:
    wait: EventWait
    writes: tuple[str, ...]
    schema: dict[str, Any]
    waiter: "asyncio.Future[ProcessEvent]"
    begun: asyncio.Event

    def takes(self, event: ProcessEvent) -> bool:
        wanted = self.wait.match
        if event.addressed and "/" not in self.wait.step:
            # In the outermost graph the run alone says which step is meant; what is said has to hold all the same.
            wanted = {name: value for name, value in wanted.items() if name in event.fields}
        return self.wait.name == event.name and matches(wanted, event.fields)

    def problem(self, event: ProcessEvent) -> str | None:
        return first_violation(self.schema, event_writes(self.writes, event.payload))


class Events:
    """The waits of one run and the events it keeps; `kept` and `heard` are carried through continue-as-new."""

    def __init__(self, run: RunRef, kept: tuple[KeptEvent, ...] = (), heard: dict[str, str] | None = None) -> None:
        """Start with what an earlier part of the same run has kept and heard."""
        self._run = run
        self._open: dict[str, _Open] = {}
        self.kept: list[KeptEvent] = list(kept)
        self.heard: dict[str, str] = dict(heard or {})

    async def accept(self, event: ProcessEvent) -> EventTaken:
        """Take an event: for the oldest wait that it fits, or to be kept.

        Raises:
            ApplicationError: of type `invalid` when the payload breaks the schema of what the wait writes, `conflict`
                when the run keeps too many events already.
        """
        now = self._forget()
        if event.key in self.heard:
            return EventTaken(outcome="repeated")
        found = next((one for one in self._open.values() if one.takes(event)), None)
        if found is None:
            return await self._keep(event, now)
        problem = found.problem(event)
        if problem:
            raise ApplicationError(
                f"the payload of {event.name!r} does not fit what {found.wait.node} writes: {problem}",
                type="invalid",
                non_retryable=True,
            )
        # Taken before anything is awaited: a second event, or the deadline, finds the wait over.
        self.heard[event.key] = now.isoformat()
        del self._open[found.wait.step]
        # The store must not hear of the end of a wait before its beginning.
        await found.begun.wait()
        await self._consumed(found, event)
        if not found.waiter.done():
            found.waiter.set_result(event)
        return EventTaken(outcome="consumed", step=found.wait.step)

    async def _keep(self, event: ProcessEvent, now: datetime) -> EventTaken:
        if not event.keep:
            return EventTaken(outcome="not_waiting")
        if len(self.kept) >= MAX_KEPT:
            raise ApplicationError(
                f"run {self._run.run_id} keeps {MAX_KEPT} events that nothing has waited for; send this one later",
                type="conflict",
                non_retryable=True,
            )
        self.heard[event.key] = now.isoformat()
        self.kept.append(KeptEvent(event=event, until=(now + KEPT_FOR).isoformat()))
        await self._note("event.kept", event, "", {})
        return EventTaken(outcome="kept")

    async def wait(
        self, wait: EventWait, writes: tuple[str, ...], schema: dict[str, Any], *, position: str | None
    ) -> ProcessEvent | None:
        """Wait for an event; None when the deadline passes first. `schema` is what the writes must hold."""
        waiter: asyncio.Future[ProcessEvent] = asyncio.get_running_loop().create_future()
        opened = _Open(wait, writes, schema, waiter, asyncio.Event())
        kept = await self._from_kept(opened)
        if kept is not None:
            return kept
        # Known before it is visible in the store, so that no event can come for a wait this run doesn't know.
        self._open[wait.step] = opened
        try:
            # Else it could begin after it was withdrawn.
            await stage.to_its_end(self._begin(opened, position))
            return await stage.wait_for(asyncio.shield(waiter), _seconds_until(wait.until))
        except TimeoutError:
            if wait.step not in self._open:
                # The event was taken in the moment of the deadline and is being made durable: it counts.
                return await waiter
            await self._close(wait, "event.expired")
            return None
        except asyncio.CancelledError:
            if wait.step in self._open:
                await self._close(wait, "event.withdrawn")
            raise

    async def _from_kept(self, opened: _Open) -> ProcessEvent | None:
        self._forget()
        for one in list(self.kept):
            if not opened.takes(one.event):
                continue
            self.kept.remove(one)
            problem = opened.problem(one.event)
            if problem is None:
                # Else it would be neither kept any more nor received.
                await stage.to_its_end(self._consumed(opened, one.event))
                return one.event
            await self._note("event.refused", one.event, opened.wait.node, {"reason": problem})
        return None

    def _forget(self) -> datetime:
        now = stage.now()
        self.kept = [one for one in self.kept if one.until > now.isoformat()]
        self.heard = {key: at for key, at in self.heard.items() if datetime.fromisoformat(at) + KEPT_FOR > now}
        return now

    async def _begin(self, opened: _Open, position: str | None) -> None:
        wait = opened.wait
        data: dict[str, JsonValue] = {
            "name": wait.name,
            "node": wait.node,
            "match": wait.match,
            "until": wait.until.isoformat() if wait.until else None,
        }
        key = f"event/{wait.step}/awaited"
        event = EventDraft(key=key, type="event.awaited", data=data)
        await apply_change(Change(run=self._run, key=key, position=position, awaited=(wait,), events=(event,)))
        opened.begun.set()

    async def _close(self, wait: EventWait, action: str) -> None:
        self._open.pop(wait.step, None)
        key = f"event/{wait.step}/closed"
        event = EventDraft(key=key, type=action, data={"name": wait.name, "node": wait.node})
        await apply_change(Change(run=self._run, key=key, arrived=(wait.step,), events=(event,)))

    async def _consumed(self, opened: _Open, event: ProcessEvent) -> None:
        await self._note("event.received", event, opened.wait.node, {"of": opened.wait.step}, arrived=opened.wait.step)

    async def _note(
        self, action: str, event: ProcessEvent, node: str, more: dict[str, JsonValue], arrived: str = ""
    ) -> None:
        key = f"{action}/{digest(event.key)[:40]}"
        data: dict[str, JsonValue] = {"name": event.name, "key": event.key, "payload": event.payload, **more}
        told: dict[str, JsonValue] = {"name": event.name, "node": node, **more}
        await apply_change(
            Change(
                run=self._run,
                key=key,
                arrived=(arrived,) if arrived else (),
                events=(EventDraft(key=key, type=action, data=told),),
                audit=(AuditDraft(key=key, actor=event.by, action=action, node=node, data=data),),
            )
        )


def _seconds_until(moment: datetime | None) -> float | None:
    return None if moment is None else max((moment - stage.now()) / timedelta(seconds=1), 0.001)
