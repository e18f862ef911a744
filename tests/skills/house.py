"""A house for tools: real stores over SQLite, and a control of runs that starts and answers in the store alone."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from content.blobs import Blobs
from content.database import Database
from content.definitions import ProcessDefinitions
from content.interactions import Interactions
from content.objects import ContentStore
from content.search import ContentSearch
from engine.process.definition import parse_definition
from engine.process.verify import Finding, KnownNames, verify
from engine.runs import Change, EventDraft, Run, Seat, TaskDraft
from engine.values import Principal, new_id
from server.activities.intake import receive_file
from server.hub import Hub
from server.keys import KeyRing
from server.store.effects import SqlEffects
from server.store.runs import SqlRunStore
from skills.catalogue import Catalogue
from skills.core import CORE_TOOLS
from skills.services import Services, ToolContext
from skills.tool import ToolReply
from skills.toolbox import Toolbox
from tests.store_control import StoreControl


async def verify_definition(principal: Principal, text: str) -> Sequence[Finding]:
    """Verify a definition without asking what exists outside it."""
    return verify(parse_definition(text), KnownNames())


class House:
    """Everything that tools reach, and the toolbox of the real catalogue."""

    def __init__(self, database: Database, folder: Path) -> None:
        blobs = Blobs(folder / "blobs")
        self.database = database
        self.runs = SqlRunStore(database, blobs, KeyRing.in_memory(), Hub())
        self.control = StoreControl(self.runs)
        self.content = ContentStore(database, blobs)
        self.toolbox = Toolbox(Catalogue.load(), CORE_TOOLS)
        self.services = Services(
            content=self.content,
            interactions=Interactions(database),
            definitions=ProcessDefinitions(database, verify_definition),
            runs=self.runs,
            control=self.control,
            effects=SqlEffects(database),
            search=ContentSearch(database).search,
            ingest=partial(receive_file, self.content, self.control),
            verify=verify_definition,
            run_url=lambda run_id: f"http://localhost/runs/{run_id}",
            task_url=lambda task_id: f"http://localhost/inbox/{task_id}",
            verify_audit=self.runs.verify_audit,
        )

    def context(self, principal: Principal, *, key: str | None = None, run: Run | None = None) -> ToolContext:
        """Return the context of one call."""
        return ToolContext(
            principal=principal, services=self.services, key=key or new_id("call"), run=run.ref if run else None
        )

    async def reply(self, principal: Principal, name: str, /, **arguments: Any) -> ToolReply:
        """Make one call through the whole chain."""
        return await self.toolbox.call(self.context(principal), name, arguments)

    async def call(self, principal: Principal, name: str, /, **arguments: Any) -> Any:
        """Make one call and return its data."""
        return (await self.reply(principal, name, **arguments)).value

    async def step(self, run: Run, key: str, **fields: Any) -> None:
        """Apply one change to a run, with an event of its own."""
        events = (EventDraft(key=key, type="node.finished", data={"step": key}),)
        await self.runs.apply(Change.model_validate({"run": run.ref, "key": key, "events": events, **fields}))

    async def ask(self, run: Run, task_id: str, **fields: Any) -> None:
        """Open a task for the role finance."""
        draft = {
            "task_id": task_id,
            "kind": "decision",
            "node": "approve",
            "title": f"Approve {task_id}?",
            "decisions": ("approve", "reject"),
            "seat": Seat(roles=("finance",)),
            **fields,
        }
        opened = (TaskDraft.model_validate(draft),)
        await self.step(run, f"ask/{task_id}", opened=opened, status="waiting", waits_for="finance")
