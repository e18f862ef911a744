"""`ingest`, `search`, `publish`: files in, answers out."""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from engine.errors import Invalid, Problem
from server.client import LocalClient, Refused, local_client
from server.commands.options import AsJson, AsUser, Config, Data, folder_of, show
from server.data_folder import DataFolder

UPLOAD_S = 120
NOT_TAKEN = ("failed", "rejected", "cancelled")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (ingest, search, publish):
        app.command()(command)


def ingest(
    files: Annotated[list[Path], typer.Argument(help="files, or folders whose files are taken")],
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
    as_json: AsJson = False,
) -> None:
    """Take files into the content layer: extracted, cut, embedded, searchable."""
    folder = folder_of(data, config)
    paths = _paths(files)
    failed: list[str] = []
    with local_client(folder, config, user) as client, _progress(as_json) as progress:
        bar = progress.add_task("taking in files", total=len(paths))
        for path in paths:
            progress.update(bar, description=path.name)
            found = _ingest_one(folder, client, path, user)
            failed += [f"{path.name}{found['note']}"] if found["state"] in NOT_TAKEN else []
            show(found, as_json, f"{path.name}: {found['state']}{found['note']}")
            progress.advance(bar)
    if failed:
        count = f"{len(failed)} of {len(paths)} files were not taken in"
        raise Invalid(f"{count}; mend and send again {failed[0]}" + (", and the others above" if failed[1:] else ""))


def _ingest_one(folder: DataFolder, client: LocalClient, path: Path, user: str | None) -> dict[str, Any]:
    try:
        started = upload(folder, f"/api/content?name={urllib.parse.quote(path.name)}", path.read_bytes(), user)
        view = settled(client, started["run_id"])
    except (OSError, Problem) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return {"file": str(path), "state": "failed", "note": f": {reason or error}"}
    report = view.get("result") or {}
    note = f", {report.get('pages', 0)} pages, {report.get('passages', 0)} passages"
    reasons = "; ".join(report.get("reasons", [])) or (view.get("error") or "")
    state = report.get("state", view["status"])
    return {"file": str(path), **started, "state": state, "note": f": {reasons}" if reasons else note}


def search(
    query: Annotated[str, typer.Argument(help="words or a question")],
    collection: str | None = None,
    limit: int = 5,
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
    as_json: AsJson = False,
) -> None:
    """Search what you may read; every answer with its citation."""
    arguments: dict[str, Any] = {"query": query, "limit": limit, **({"collection": collection} if collection else {})}
    with local_client(folder_of(data, config), config, user) as client:
        passages = client.call("search_content", arguments)["passages"]
    if not passages and not as_json:
        print("nothing was found")
    for passage in passages:
        place = f"{passage['name']}" + (f", page {passage['page']}" if passage.get("page") else "")
        show(passage, as_json, f"{place}  [{passage['anchor']}]\n    {' '.join(passage['text'].split())[:300]}")


def publish(
    files: Annotated[list[Path], typer.Argument(help="*.prompt files and process definitions (*.yaml, *.json)")],
    comment: str = "",
    despite: Annotated[str, typer.Option(help="why a process is published though scenarios of it fail")] = "",
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
    as_json: AsJson = False,
) -> None:
    """Publish prompts and processes from files, under their file names."""
    said = urllib.parse.urlencode({"comment": comment, "despite": despite})
    folder = folder_of(data, config)
    with local_client(folder, config, user):
        for path in files:
            kind = "interactions" if path.suffix == ".prompt" else "processes"
            where = f"/api/{kind}/{urllib.parse.quote(path.stem)}?{said}"
            found = upload(folder, where, _read(path), user)
            show(found, as_json, f"{found['name']}@{found['version']}")


def upload(folder: DataFolder, path: str, body: bytes, user: str | None = None) -> dict[str, Any]:
    """Put a body to the running server and return its answer.

    Raises:
        Refused: the server refused it, with its reason.
    """
    headers = {"Authorization": f"Bearer {folder.token()}", **({"Upstairs-User": user} if user else {})}
    url = f"http://127.0.0.1:{folder.read_server().port}{path}"
    request = urllib.request.Request(url, data=body, method="PUT", headers=headers)  # loopback
    try:
        with urllib.request.urlopen(request, timeout=UPLOAD_S) as answer:  # noqa: S310 # as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(_reason(error.read())) from error


def _reason(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")[:500]
    return str(found.get("message") or found.get("error") or found)


def settled(client: LocalClient, run_id: str, *, seconds: float = 900) -> dict[str, Any]:
    """Return a run once it has ended."""
    until = time.monotonic() + seconds
    after = 0
    while time.monotonic() < until:
        view = client.call("get_run", {"run_id": run_id, "after": after, "wait_s": 20})
        if view["status"] in ("completed", "failed", "cancelled"):
            return view
        after = view["next_after"]
    raise Invalid(f"run {run_id} did not end within {seconds:.0f} s; follow it with: upstairs watch {run_id}")


def _paths(files: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in files:
        try:
            if not path.exists():
                raise Invalid(f"there is no file {path}; check the name")
            found += sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        except OSError as error:
            raise Invalid(f"{path} can't be read: {error.strerror}; check the name and the rights") from error
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path} can't be read: {error.strerror}") from error


def _progress(as_json: bool) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, disable=as_json or not sys.stderr.isatty(), transient=True, console=None)
