"""What the runs of one family tell each other: an agent hears how the runs stand that it has started."""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import JsonValue
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from engine.agent.family import STARTED, WAITING
from engine.errors import Unavailable
from engine.ports import ChildNews
from engine.runs import Change, EventDraft, Run, RunRef
from server.store.runs import SqlRunStore

SIGNAL_TIMEOUT = timedelta(seconds=20)
MAX_WAITS_FOR = 1_000
"""How much of what a run waits for travels to the agent that started it, in characters."""


class Families:
    """The families of runs over the store and Temporal."""

    def __init__(self, store: SqlRunStore, client: Client) -> None:
        """Keep what is needed."""
        self._store = store
        self._client = client

    async def report(self, change: Change) -> None:
        """Tell the agents above a run how it stands, where a change of it may have changed that.

        What a run waits for concerns every agent above it; the rest only the one that started it.

        Raises:
            Unavailable: Temporal doesn't answer; the same call tells them once it does.
        """
        if change.status is None and not change.opened and not change.closed:
            return
        run = await self._store.load(change.run)
        asks = bool(change.opened or change.closed or run.finished)
        while run.parent_id is not None:
            parent = await self._store.load(RunRef(tenant=run.tenant, run_id=run.parent_id))
            name = (await self._names(parent)).get(run.run_id)
            if name is not None and not parent.finished:
                await self._tell(parent, run, name, change)
            if not asks:
                return
            run = parent

    async def at_work_below(self, parent: Run) -> Sequence[Run]:
        """Return the runs that an agent has started and that have not ended."""
        refs = [RunRef(tenant=parent.tenant, run_id=run_id) for run_id in await self._names(parent)]
        return [run for ref in refs if not (run := await self._store.load(ref)).finished]

    async def _names(self, parent: Run) -> dict[str, str]:
        """Return under which names an agent knows the runs that it has started and waits for, by their ids."""
        if parent.kind != "agent":
            return {}
        started = await self._store.log(parent.ref, types=(STARTED,))
        return {str(one.data["run_id"]): str(one.data["name"]) for one in started}

    async def _tell(self, parent: Run, run: Run, name: str, change: Change) -> None:
        open_tasks = [] if run.finished else await self._store.tasks(run.principal, run_id=run.run_id, family=True)
        waits_for = ", ".join(f"{task.kind}: {task.title}" for task in open_tasks)
        if change.opened and waits_for:
            data: dict[str, JsonValue] = {"name": name, "run_id": run.run_id, "waits_for": waits_for}
            waiting = EventDraft(key=f"child/{run.run_id}/{change.key}"[:200], type=WAITING, data=data)
            await self._store.apply(Change(run=parent.ref, key=waiting.key, events=(waiting,)))
        news = ChildNews(run_id=run.run_id, status=run.status, waits_for=waits_for[:MAX_WAITS_FOR])
        try:
            handle = self._client.get_workflow_handle(parent.ref.workflow_id)
            await handle.signal("child_changed", news, rpc_timeout=SIGNAL_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise Unavailable(f"run {parent.run_id} could not be told of {run.run_id}: {error.message}") from error
