"""`doctor`: what is configured and where it came from, what is reachable, what is missing and how to mend it."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from content.blobs import Blobs
from content.database import Database
from content.embeddings import MiniLM
from content.intake.pdf import tessdata_path
from engine.errors import Problem
from server.commands.deployment import opened
from server.commands.options import AsJson, Config, Data, settings, show
from server.data_folder import DataFolder, open_data_folder
from server.deployments import Build
from server.keys import open_key_ring
from server.local import LOCAL_TENANT
from server.models import Models, Standing
from server.settings import Settings
from server.settings_sources import Loaded
from server.store.capacity_views import gate_views
from server.store.secrets import SqlSecrets
from server.temporal_binary import find_binary, inspect_binary

DURABILITY = {
    "full": "every commit reaches the disk before it counts: nothing is lost on power loss",
    "normal": "the last commits may be lost on power loss (not on a crash of the process); set durability = full",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `state`: ok, note (works, but know it), missing (mend it)."""

    name: str
    state: str
    text: str


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(doctor)


def doctor(data: Data = None, config: Config = None, as_json: AsJson = False) -> None:
    """Say what is configured, reachable and missing, and how to mend it."""
    loaded = settings(data, config)
    checks = asyncio.run(_collect(loaded))
    if as_json:
        rows = [{"name": name, "value": value, "origin": origin} for name, value, origin in loaded.shown()]
        show({"settings": rows, "checks": [asdict(check) for check in checks]}, True, "")
    else:
        _print(loaded, checks)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(1)


async def _collect(loaded: Loaded) -> list[Check]:
    return [check async for check in examine(loaded)]


async def examine(loaded: Loaded) -> AsyncGenerator[Check]:
    """Look at every part in turn; no part is changed, and one that is away does not hide the others."""
    found = loaded.settings
    try:
        folder = open_data_folder(found.data)
    except Problem as problem:
        yield Check("data folder", "missing", problem.message)
        return
    yield Check("data folder", "ok", str(folder.root))
    yield _tried("key ring", lambda: f"{len(open_key_ring(folder, found.keys_file).ids)} keys")
    yield await _database(found)
    yield _tried("blobs", lambda: _opened(found))
    yield _tried("temporal", lambda: _temporal(found))
    if found.temporal.mode == "embedded":
        state = "ok" if found.temporal.durability == "full" else "note"
        yield Check("durability", state, DURABILITY[found.temporal.durability])
    if found.temporal.build is not None:
        yield await _builds(found, found.temporal.build)
    yield _server(folder)
    yield _tried("embeddings", lambda: MiniLM().model_id)
    yield _tried("OCR", lambda: f"packaged language data at {tessdata_path().name}")
    for check in await _models(found, folder):
        yield check
    for check in await capacity_checks(found):
        yield check


def _tried(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", look())
    except Problem as problem:
        return Check(name, "missing", problem.message)
    except (OSError, PackageNotFoundError) as error:
        return Check(name, "missing", str(error))


async def _database(found: Settings) -> Check:
    database = Database(found.database)
    try:
        await database.migrate()
    except Problem as problem:
        return Check("database", "missing", problem.message)
    except Exception as error:  # drivers raise errors of their own for an address that does not answer
        return Check("database", "missing", f"{type(error).__name__}: {error}; check database_url")
    finally:
        await database.close()
    return Check("database", "ok", "SQLite in the data folder" if found.database_url is None else "by database_url")


def _opened(found: Settings) -> str:
    Blobs(found.blobs)
    return "a folder in the data folder" if found.blobs_url is None else found.blobs.partition("://")[0]


def _temporal(found: Settings) -> str:
    if found.temporal.mode == "external":
        return f"external, {found.temporal.address or 'by profile'}"
    binary = inspect_binary(find_binary(found.temporal.binary))
    return f"embedded, server {binary.server}"


async def _builds(found: Settings, mine: str) -> Check:
    try:
        async with opened(found) as deployment:
            return build_check(await deployment.builds(), mine)
    except (Problem, RPCError) as error:
        return Check("builds", "missing", str(error))


def build_check(builds: Sequence[Build], mine: str) -> Check:
    """Say whether a build takes new runs, and which builds have runs that nobody carries."""
    left = [f"{one.runs} open runs on {one.build}" for one in builds if one.runs and not one.workers]
    if left:
        text = f"{', '.join(left)} and no worker of it: start one, or run: upstairs deployment move"
        return Check("builds", "missing", text)
    status = next((one.status for one in builds if one.build == mine), "not started yet")
    taken = any(one.status == "current" for one in builds)
    text = f"{mine} is {status}" + ("" if taken else "; no build takes new runs: upstairs deployment current")
    return Check("builds", "ok" if taken else "missing", text)


def _server(folder: DataFolder) -> Check:
    try:
        running = folder.read_server()
        os.kill(running.pid, 0)
        with socket.create_connection(("127.0.0.1", running.port or 0), timeout=2):
            return Check("server", "ok", f"process {running.pid} answers on port {running.port}")
    except (Problem, OSError):
        return Check("server", "note", "none runs on this folder; clients start it, or run: upstairs serve")


async def _models(found: Settings, folder: DataFolder) -> list[Check]:
    checks = [
        Check(
            f"model key {name}",
            "ok" if key else "note",
            "is set" if key else f"not set; set {name.upper()}_API_KEY to use {name} models",
        )
        for name, key in found.models.keys.items()
    ]
    database = Database(found.database)
    try:
        secrets = SqlSecrets(database, open_key_ring(folder, found.keys_file))
        standings = await Models(found.models, Blobs(found.blobs), secrets).standings(LOCAL_TENANT)
    except (Problem, SQLAlchemyError) as error:
        return [*checks, Check("models", "missing", f"the tenant's keys can't be read: {type(error).__name__}")]
    finally:
        await database.close()
    if found.models.effective_default is None:
        text = "no model is configured: set ANTHROPIC_API_KEY or OPENAI_API_KEY, or name one in each interaction"
        checks.append(Check("default model", "note", text))
    return [*checks, *_standings(standings)]


async def capacity_checks(found: Settings) -> list[Check]:
    """Return a line for each model that is refused or away at the moment, or else how many there are."""
    database = Database(found.database)
    try:
        views = await gate_views(database, LOCAL_TENANT, time.time())
    except SQLAlchemyError as error:
        return [Check("capacity", "missing", f"the gates can't be read: {type(error).__name__}")]
    finally:
        await database.close()
    checks: list[Check] = []
    for view in views:
        pause = view.account if view.account.held else view.gate.pause
        waiting = sum(view.waiting.values())
        if pause.held or waiting:
            name = f"{view.place.provider}/{view.place.model}"
            state = f"{pause.state(time.time())} after {pause.code}" if pause.held else "at its limit"
            checks.append(Check("capacity", "note", f"{name}: {state}, {waiting} calls wait; see /capacity"))
    return checks or [Check("capacity", "ok", f"{len(views)} models known, none paused, nothing waits")]


def _standings(standings: list[Standing]) -> list[Check]:
    """Return a line for each candidate; a route without any that can be called is missing something."""
    usable = {one.route for one in standings if one.problem is None}
    checks: list[Check] = []
    for one in standings:
        where = f" on {one.account}" if one.account else ""
        notes = f" ({', '.join(one.notes)})" if one.notes else ""
        state = "ok" if one.problem is None else ("note" if one.route in usable else "missing")
        checks.append(Check(one.route, state, f"{one.model}{where}: {one.problem or 'can be called'}{notes}"))
    return checks


def _print(loaded: Loaded, checks: list[Check]) -> None:
    console = Console()
    console.print(f"Upstairs {version('upstairs')}", highlight=False)
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for name, value, origin in loaded.shown():
        table.add_row(name, value, origin)
    console.print(table)
    console.print()
    colours = {"ok": "green", "note": "yellow", "missing": "red"}
    for check in checks:
        console.print(f"[{colours[check.state]}]{check.state:>8}[/]  {check.name}: ", end="")
        console.print(check.text, markup=False, highlight=False, soft_wrap=True)
