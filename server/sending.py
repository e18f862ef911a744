"""Sending events from outside to the processes that wait for them."""

from collections.abc import Awaitable, Callable, Sequence

from engine.errors import Conflict, Denied, Invalid, NotFound
from engine.process.messages import MAX_EVENT_BYTES, EventRefused, EventSent, EventTaken, ProcessEvent, SendEvent
from engine.runs import Run, RunRef
from engine.values import Principal, canonical_json, new_id
from server.store.runs import SqlRunStore
from server.store.waits import Lacking

Deliver = Callable[[Run, ProcessEvent], Awaitable[EventTaken]]
"""Hands an event to the workflow of a run and returns what it did with it."""


async def send_event(store: SqlRunStore, deliver: Deliver, principal: Principal, event: SendEvent) -> EventSent:
    """Hand an event to the run it names, or to every run that waits for it and that the principal may steer.

    The same key of the same sender again answers what became of the event the first time, and hands it to nobody else.

    Raises:
        NotFound: the run does not exist for the principal.
        Denied: it is somebody else's, and the principal is no operator.
        Invalid: the payload is too large, or breaks what the one run it names would write with it; or that run waits
            for such an event in the body of a node, and no field says where.
        Conflict: the run is no process or is over, or the key was used for another event.
    """
    size = len(canonical_json([event.payload, event.match]).encode())
    if size > MAX_EVENT_BYTES:
        raise Invalid(
            f"the event has {size} bytes; it takes at most {MAX_EVENT_BYTES}: keep an artifact and send its path",
            field="payload",
        )
    if principal.kind == "agent":
        raise Denied("an agent can't send events; whoever started it can")
    named = await _named(store, principal, event.run_id) if event.run_id is not None else None
    key = event.key or new_id("event")
    known = await store.waits.begin(principal, key, event)
    if known is not None:
        return known
    message = ProcessEvent(
        key=f"{principal.subject}/{key}",
        name=event.name,
        fields={**event.payload, **event.match},
        payload=event.payload,
        by=principal.subject,
        keep=named is not None,
        addressed=named is not None,
    )
    sent = await (
        _send_to(store, deliver, named, message, key) if named else _spread(store, deliver, principal, message, key)
    )
    await store.waits.finish(principal, sent)
    return sent


async def _named(store: SqlRunStore, principal: Principal, run_id: str) -> Run:
    run = await store.get(principal, run_id)
    if run.kind != "process":
        raise Conflict(f"{run_id} is a run of kind {run.kind}; only processes take events", kind=run.kind)
    if not _may_steer(principal, run):
        raise Denied(f"sending an event to a run of {run.principal.subject} takes the role operator")
    if run.finished:
        raise Conflict(f"run {run_id} is {run.status} already; it takes no event any more", status=run.status)
    return run


def _may_steer(principal: Principal, run: Run) -> bool:
    return run.principal.subject == principal.subject or principal.has_role("operator")


async def _send_to(store: SqlRunStore, deliver: Deliver, run: Run, message: ProcessEvent, key: str) -> EventSent:
    for run_id in await store.waits.waiting(run.tenant, message.name, message.fields):
        batch = await store.load(RunRef(tenant=run.tenant, run_id=run_id))
        if batch.finished or not await _is_batch_of(store, batch, run):
            continue
        taken = await deliver(batch, message.model_copy(update={"keep": False}))
        if taken.outcome in ("consumed", "repeated"):
            return EventSent(key=key, consumed=(run_id,))
    lacking = await _lacking(store, run, message)
    taken = await deliver(run, message.model_copy(update={"keep": not lacking}))
    if taken.outcome == "not_waiting":
        raise _undetermined(run, message, lacking)
    kept = taken.outcome == "kept"
    return EventSent(key=key, consumed=() if kept else (run.run_id,), kept=(run.run_id,) if kept else ())


async def _lacking(store: SqlRunStore, run: Run, message: ProcessEvent) -> Sequence[Lacking]:
    """Return the waits of a run and its batches that the event can't be told to be for."""
    found = await store.waits.lacking(message, run.root_id, run.tenant)
    others = {one.run_id for one in found} - {run.run_id}
    batches = [await store.load(RunRef(tenant=run.tenant, run_id=run_id)) for run_id in others]
    own = {run.run_id, *[batch.run_id for batch in batches if await _is_batch_of(store, batch, run)]}
    return [one for one in found if one.run_id in own]


def _undetermined(run: Run, message: ProcessEvent, lacking: Sequence[Lacking]) -> Invalid:
    missing = sorted({name for one in lacking for name in one.fields})
    steps = [one.step for one in lacking][:20]
    return Invalid(
        f"run {run.run_id} waits for {message.name!r} at {', '.join(steps)}, inside a foreach or a branch; say which "
        f"step is meant by match, with {', '.join(missing)}",
        field="match",
        missing=missing,
        steps=steps,
    )


async def _is_batch_of(store: SqlRunStore, batch: Run, run: Run) -> bool:
    """Tell whether a run is a batch of a foreach of another, or one inside such a batch."""
    while batch.kind == "batch" and batch.parent_id is not None:
        if batch.parent_id == run.run_id:
            return True
        batch = await store.load(RunRef(tenant=run.tenant, run_id=batch.parent_id))
    return False


async def _spread(
    store: SqlRunStore, deliver: Deliver, principal: Principal, message: ProcessEvent, key: str
) -> EventSent:
    consumed: list[str] = []
    refused: list[EventRefused] = []
    for run_id in await store.waits.waiting(principal.tenant, message.name, message.fields):
        run = await store.load(RunRef(tenant=principal.tenant, run_id=run_id))
        if not _may_steer(principal, run) or run.finished:
            continue
        try:
            taken = await deliver(run, message)
        except (Conflict, Invalid, NotFound) as problem:
            refused.append(EventRefused(run_id=run_id, reason=problem.message))
            continue
        if taken.outcome in ("consumed", "repeated"):
            consumed.append(run_id)
    return EventSent(key=key, consumed=tuple(consumed), refused=tuple(refused))
