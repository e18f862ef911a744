"""A small house for the doors: the real run store, toolbox and hub, a skill of its own, a control that records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import anyio
from pydantic import Field, JsonValue

from content.blobs import Blobs
from content.database import Database
from content.definitions import ProcessDefinitions
from content.interactions import Interactions
from content.objects import ContentStore
from engine.errors import NotFound
from engine.process.findings import Finding
from engine.runs import (
    AuditDraft,
    Change,
    EventDraft,
    Run,
    Seat,
    StartRun,
    TaskDraft,
)
from engine.values import PLATFORM_ROLES, Principal
from server.data_folder import open_data_folder
from server.hub import Hub
from server.keys import open_key_ring
from server.settings import Settings
from server.store.runs import SqlRunStore
from skills.catalogue import Catalogue
from skills.runs import get_run
from skills.services import Services, ToolContext
from skills.tasks import answer_run
from skills.tool import AnyTool, tool
from skills.toolbox import Toolbox
from tests.store_control import StoreControl

TOKEN = "the-token-of-the-data-folder-0123456789abcdef"

SKILL = """---
name: word-counting
description: Count words and remember them.
---
Count before you speak.
"""

SKILL_TOOLS = '''"""Tools of a test's skill."""

from typing import Annotated

from pydantic import Field

from skills.services import ToolContext
from skills.tool import tool


@tool()
async def count(ctx: ToolContext, text: Annotated[str, Field(description="what to count", min_length=1)]) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool(effect="side_effecting", roles=("publisher",))
async def remember(ctx: ToolContext, text: str) -> dict[str, str]:
    """Remember a text for good."""
    return {"remembered": text, "by": ctx.principal.subject}
'''


@tool(effect="side_effecting")
async def start_process(ctx: ToolContext, process: str) -> dict[str, JsonValue]:
    """Start a run of a process."""
    run = await ctx.services.control.start(ctx.principal, StartRun(kind="process", definition=process))
    return {"run_id": run.run_id, "status": run.status}


@tool()
async def long_answer(ctx: ToolContext, words: Annotated[int, Field(ge=1, le=1_000_000)]) -> dict[str, JsonValue]:
    """Answer at length."""
    return {"text": "wörd " * words}


@tool()
async def defective(ctx: ToolContext) -> dict[str, JsonValue]:
    """Fail in a way nobody thought of."""
    raise RuntimeError("the secret reason")


@tool(effect="control", roles=("administrator",))
async def erase(ctx: ToolContext, what: str) -> dict[str, JsonValue]:
    """Erase something."""
    return {"erased": what}


CORE: tuple[AnyTool, ...] = tuple(
    cast(AnyTool, one) for one in (get_run, answer_run, start_process, long_answer, defective, erase)
)


@dataclass
class GatedControl(StoreControl):
    """Holds starts up until `gate` is set, and tells when one has begun and ended."""

    gate: anyio.Event | None = None
    begun: anyio.Event | None = None
    ended: anyio.Event | None = None

    async def start(self, principal: Principal, start: StartRun) -> Run:
        if self.begun is not None:
            self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        run = await super().start(principal, start)
        if self.ended is not None:
            self.ended.set()
        return run


async def accept_any(principal: Principal, text: str) -> tuple[Finding, ...]:
    """Find nothing wrong with any process definition."""
    return ()


class Flat:
    """A house with everything the doors ask for."""

    version = "0.0.test"
    token = TOKEN

    def __init__(
        self, database: Database, folder: Path, *, control: type[GatedControl] = GatedControl, **settings: Any
    ) -> None:
        skill = folder / "skills" / "word-counting"
        skill.mkdir(parents=True, exist_ok=True)
        (skill / "SKILL.md").write_text(SKILL)
        (skill / "tools.py").write_text(SKILL_TOOLS)
        self.hub = Hub()
        self.settings = Settings(data=folder, **settings)
        blobs = Blobs(folder / "blobs")
        self.content = ContentStore(database, blobs)
        self.interactions = Interactions(database)
        self.definitions = ProcessDefinitions(database, accept_any)
        self.keys = open_key_ring(open_data_folder(folder), self.settings.keys_file)
        self.runs = SqlRunStore(database, blobs, self.keys, self.hub)
        self.control = control(self.runs)
        self.toolbox = Toolbox(Catalogue.load(library=folder / "skills"), CORE)
        missing = cast(Any, None)
        self.services = Services(
            content=self.content,
            interactions=self.interactions,
            definitions=self.definitions,
            runs=self.runs,
            control=self.control,
            effects=missing,
            search=missing,
            ingest=missing,
            verify=missing,
            run_url=lambda run_id: f"http://127.0.0.1/runs/{run_id}",
            task_url=lambda task_id: f"http://127.0.0.1/inbox/{task_id}",
        )
        self.me = Principal(tenant="local", subject="me", roles=PLATFORM_ROLES | {"finance"})

    def local_user(self, name: str | None) -> Principal:
        if name is None or name == "me":
            return self.me
        if name == "finn":
            return Principal(tenant="local", subject="finn", roles=frozenset({"operator", "sales"}))
        raise NotFound(f"the settings name no local user {name!r}; they name finn, me")

    async def run(self, **fields: Any) -> Run:
        """Create a run of mine."""
        start = StartRun.model_validate({"kind": "process", "definition": "invoice", "title": "Invoice 7", **fields})
        run, _ = await self.runs.create(self.me, start)
        return run

    async def step(self, run: Run, key: str, **fields: Any) -> None:
        """Apply one change with an event and an audit record."""
        await self.runs.apply(
            Change.model_validate(
                {
                    "run": run.ref,
                    "key": key,
                    "events": (EventDraft(key=key, type="node.finished", data={"step": key}),),
                    "audit": (AuditDraft(key=key, actor="me", action="node.finished"),),
                    **fields,
                }
            )
        )

    async def ask(self, run: Run, task_id: str, **fields: Any) -> None:
        """Open a task for the role finance."""
        draft = TaskDraft.model_validate(
            {
                "task_id": task_id,
                "kind": "decision",
                "node": "approve",
                "title": "Approve invoice 7?",
                "decisions": ("approve", "reject"),
                "seat": Seat(roles=("finance",)),
                **fields,
            }
        )
        await self.step(run, f"ask/{task_id}", opened=(draft,), status="waiting", waits_for="finance")
