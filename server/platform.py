"""The composition root: every part of the house, opened in order and closed in reverse."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from temporalio.client import Client

import content.tables
from content.blobs import Blobs
from content.database import Database
from content.definitions import ProcessDefinitions
from content.interactions import Interactions
from content.objects import ContentStore
from content.records import Hit
from content.search import ContentSearch
from content.versions import VersionStore
from engine.ports import ModelChanged
from engine.routes import ModelChoice
from engine.runs import RunRef
from engine.values import Principal
from providers.capacity import Priority
from server.activities.agent import AgentWork, agent_activities
from server.activities.agent_checkpoint import checkpoint_activities
from server.activities.agent_children import child_activities
from server.activities.agent_review import review_activities
from server.activities.intake import intake_activities, receive_file
from server.activities.process import process_activities
from server.activities.runs import run_activities
from server.activities.scripts import Scripts, script_activities
from server.activities.transcripts import Transcripts
from server.capacity import Capacity
from server.codec import make_data_converter
from server.control import Runs
from server.data_folder import DataFolder
from server.embedding import Embedders
from server.hub import Hub
from server.keys import KeyRing, open_key_ring
from server.local import local_user
from server.models import Models
from server.payloads import open_payload_store
from server.settings import Settings
from server.store import tables
from server.store.capacity import SqlCapacity
from server.store.effects import SqlEffects
from server.store.runs import SqlRunStore
from server.store.secrets import SqlSecrets
from server.temporal import connect
from server.verification import Outside, verify_text
from skills.catalogue import Catalogue
from skills.core import CORE_TOOLS
from skills.loop import LOOP_TOOLS
from skills.loop_children import CHILD_TOOLS
from skills.services import Services
from skills.toolbox import Toolbox

SCHEMA = (content.tables, tables)
"""Importing the tables is what enters them into the metadata that migrations are compared with."""


@dataclass(frozen=True)
class Platform:
    """The house of one process; `open_platform` makes it."""

    settings: Settings
    folder: DataFolder
    keys: KeyRing
    database: Database
    blobs: Blobs
    hub: Hub
    runs: SqlRunStore
    effects: SqlEffects
    secrets: SqlSecrets
    content: ContentStore
    search: ContentSearch
    interactions: Interactions
    definitions: ProcessDefinitions
    scripts: Scripts
    models: Models
    capacity: Capacity
    embedder: Embedders
    catalogue: Catalogue
    toolbox: Toolbox
    services: Services
    client: Client
    control: Runs

    @property
    def version(self) -> str:
        """The version of the product."""
        return installed_version("upstairs")

    @property
    def token(self) -> str:
        """The secret of loopback HTTP."""
        return self.folder.token()

    def local_user(self, name: str | None) -> Principal:
        """Return the principal of a local user; None is the user that the server runs as.

        Raises:
            Invalid: the settings name no such user.
        """
        return local_user(self.settings, name)

    def activities(self) -> list[Callable[[Any], Awaitable[Any]]]:
        """Return every activity of the house."""
        transcripts = Transcripts(self.runs)
        agents = AgentWork(self.runs, self.models, self.toolbox, self.services, self.content, self.hub, transcripts)
        return [
            *run_activities(self.runs, self.control.report),
            *agent_activities(agents),
            *checkpoint_activities(agents),
            *review_activities(agents),
            *child_activities(agents, self.control),
            *process_activities(self),
            *script_activities(self.scripts),
            *intake_activities(self),
        ]


async def _search(
    search: ContentSearch, embedder: Embedders, principal: Principal, query: str, **options: Any
) -> Sequence[Hit]:
    return await search.search(principal, query, embedder=embedder.model(principal.tenant), **options)


def _changed(models: Models, principal: Principal, model: ModelChoice) -> ModelChanged:
    routed = models.route(principal.tenant, ("control", model))
    return ModelChanged(route=routed.route, origin=routed.origin)


async def _priority(runs: SqlRunStore, ref: RunRef) -> Priority:
    """Return how a run's calls wait: somebody waits for an agent or an interaction that no other run has started."""
    run = await runs.load(ref)
    alone = run.parent_id is None and run.kind in ("agent", "interaction")
    return "interactive" if alone else "background"


def _check_model(models: Models, principal: Principal, model: ModelChoice) -> None:
    models.route(principal.tenant, ("call", model))


@asynccontextmanager
async def open_platform(settings: Settings, folder: DataFolder) -> AsyncGenerator[Platform]:
    """Open every part; Temporal must be reachable. Nothing is left open when the block ends."""
    keys = open_key_ring(folder, settings.keys_file)
    database = Database(settings.database)
    blobs = Blobs(settings.blobs)
    hub = Hub()
    try:
        await database.migrate()
        converter = make_data_converter(keys, open_payload_store(settings.blobs))
        client = await connect(settings.temporal, folder, converter)
        platform = _compose(settings, folder, keys, database, blobs, hub, client)
        try:
            yield platform
        finally:
            await platform.scripts.close()
            await platform.models.close()
            await platform.capacity.close()
    finally:
        await database.close()


def _compose(
    settings: Settings,
    folder: DataFolder,
    keys: KeyRing,
    database: Database,
    blobs: Blobs,
    hub: Hub,
    client: Client,
) -> Platform:
    # Artifacts have a space of their own: erasing an object sweeps the blobs of the content layer's.
    runs = SqlRunStore(database, Blobs(settings.blobs, space="artifacts"), keys, hub)
    effects = SqlEffects(database)
    secrets = SqlSecrets(database, keys)
    capacity = Capacity(SqlCapacity(database), partial(_priority, runs))
    models = Models(settings.models, blobs, secrets, capacity=capacity)
    control = Runs(runs, client, settings.temporal.task_queue_prefix, partial(_changed, models))
    store = ContentStore(database, blobs)
    embedder = Embedders(models)
    search = ContentSearch(database)
    interactions = Interactions(database)
    catalogue = Catalogue.load(skill_folders(settings))
    toolbox = Toolbox(catalogue, CORE_TOOLS, loop=(*LOOP_TOOLS, *CHILD_TOOLS))
    scripts = Scripts()
    outside = Outside(toolbox, interactions, VersionStore(database, "process"), scripts)
    definitions = ProcessDefinitions(database, partial(verify_text, outside))
    services = Services(
        content=store,
        interactions=interactions,
        definitions=definitions,
        runs=runs,
        control=control,
        effects=effects,
        search=partial(_search, search, embedder),
        ingest=partial(receive_file, store, control),
        verify=partial(verify_text, outside),
        run_url=partial(run_url, settings),
        task_url=partial(task_url, settings),
        verify_audit=runs.verify_audit,
        check_model=partial(_check_model, models),
        capacity=capacity.reports,
    )
    return Platform(
        settings=settings,
        folder=folder,
        keys=keys,
        database=database,
        blobs=blobs,
        hub=hub,
        runs=runs,
        effects=effects,
        secrets=secrets,
        content=store,
        search=search,
        interactions=interactions,
        definitions=definitions,
        scripts=scripts,
        models=models,
        capacity=capacity,
        embedder=embedder,
        catalogue=catalogue,
        toolbox=toolbox,
        services=services,
        client=client,
        control=control,
    )


def skill_folders(settings: Settings) -> Sequence[Path]:
    """Return the configured folders of further skills, whose code the operator trusts."""
    return [Path(folder).expanduser() for folder in settings.skills]


def run_url(settings: Settings, run_id: str) -> str:
    """Return the page of a run."""
    return f"{base_url(settings)}/runs/{run_id}"


def task_url(settings: Settings, task_id: str) -> str:
    """Return the page of a task."""
    return f"{base_url(settings)}/inbox/{task_id}"


def base_url(settings: Settings) -> str:
    """Return where people and clients reach this server."""
    return settings.public_url or f"http://{settings.host}:{settings.port}"
