"""`secret`, `audit`: what is kept sealed, and what is kept for whoever asks later."""

import asyncio
import getpass
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from content.database import Database
from engine.errors import Invalid
from engine.process.exports import Case, ocel, xes
from engine.runs import AuditRecord
from server.client import LocalClient, local_client
from server.commands.options import AsJson, AsUser, Config, Data, folder_of, settings, show
from server.data_folder import open_data_folder
from server.keys import open_key_ring
from server.local import local_user
from server.settings import Settings
from server.store.secrets import SqlSecrets


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (secret, audit):
        app.command()(command)


def secret(
    name: Annotated[
        str | None, typer.Argument(help="such as anthropic_api_key; without it, the names are listed")
    ] = None,
    data: Data = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Store a secret of the local tenant, read from a prompt or from standard input; or list the names there are."""
    found = settings(data, config).settings
    if name is None:
        names = asyncio.run(_names(found))
        show(names, as_json, "\n".join(names) or "there are no secrets")
        return
    value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
    if not value:
        raise Invalid(f"nothing was given for {name}; type it at the prompt or pipe it in")
    asyncio.run(_put(found, name, value))
    show({"stored": name}, as_json, f"stored {name}")


async def _put(found: Settings, name: str, value: str) -> None:
    database, secrets = await _open(found)
    try:
        await secrets.put(local_user(found, None), name, value)
    finally:
        await database.close()


async def _names(found: Settings) -> list[str]:
    database, secrets = await _open(found)
    try:
        return await secrets.names(local_user(found, None))
    finally:
        await database.close()


async def _open(found: Settings) -> tuple[Database, SqlSecrets]:
    folder = open_data_folder(found.data)
    database = Database(found.database)
    await database.migrate()
    return database, SqlSecrets(database, open_key_ring(folder, found.keys_file))


class AuditFormat(StrEnum):
    """How an audit is written."""

    jsonl = "jsonl"
    xes = "xes"
    ocel = "ocel"


def audit(
    run_ids: Annotated[list[str], typer.Argument(help="as the starts answered them")],
    out: Annotated[Path | None, typer.Option("--out", help="a file for the records; unset: standard output")] = None,
    form: Annotated[
        AuditFormat, typer.Option("--format", help="JSON Lines, or an event log for process mining: XES, OCEL 2.0")
    ] = AuditFormat.jsonl,
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
) -> None:
    """Export the audit of runs and verify their chains; exit code 1 where a chain is not whole."""
    with local_client(folder_of(data, config), config, user) as client:
        found = {run_id: list(_pages(client, run_id)) for run_id in run_ids}
        text = (
            _jsonl(found) if form is AuditFormat.jsonl else _mined(form, [_case(client, *one) for one in found.items()])
        )
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
    for run_id, pages in found.items():
        page = pages[-1]
        state = "whole" if page["valid"] else f"NOT whole: {page['reason']}"
        anchored = ", anchored under a signature" if page["anchored"] else ""
        said = f"{page['total']} records; the chain is {state}{anchored}; head {page['head']}"
        print(said if len(found) == 1 else f"{run_id}: {said}", file=sys.stderr)
    if not all(pages[-1]["valid"] for pages in found.values()):
        raise typer.Exit(1)


def _jsonl(found: dict[str, list[dict[str, Any]]]) -> str:
    return "".join(f"{page['jsonl']}\n" for pages in found.values() for page in pages if page["jsonl"])


def _case(client: LocalClient, run_id: str, pages: list[dict[str, Any]]) -> Case:
    run = client.call("get_run", {"run_id": run_id})
    lines = [line for page in pages for line in page["jsonl"].splitlines()]
    return Case(
        run_id=run_id,
        process=run["definition"],
        version=run["version"],
        status=run["status"],
        records=tuple(AuditRecord.model_validate_json(line) for line in lines),
    )


def _mined(form: AuditFormat, cases: list[Case]) -> str:
    return xes(cases) if form is AuditFormat.xes else json.dumps(ocel(cases), ensure_ascii=False, indent=1) + "\n"


def _pages(client: LocalClient, run_id: str) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = client.use("processes", "export_audit", {"run_id": run_id, "after": after, "limit": 500})
        yield page
        after = page.get("next_after")
