"""`serve`, `worker`, `stop`, `status`, `open`: the server as a process."""

import json
import logging
import os
import signal
import sys
import time
import urllib.request
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import Unavailable
from server.commands.options import AsJson, AsUser, Config, Data, folder_of, settings, show
from server.data_folder import DataFolder, RunningServer
from server.long_lived import loading, run
from server.settings_sources import Loaded

STOP_S = 30.0


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (serve, worker, stop, status):
        app.command()(command)
    app.command(name="open")(open_pages)


def serve(
    data: Data = None,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="the address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free port")] = None,
    background: Annotated[
        bool, typer.Option("--background", help="say nothing; the log is the standard error")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the one server of a data folder, until it is stopped."""
    with ExitStack() as start:
        start.enter_context(loading())
        _serve(settings(data, config, host=host, port=port), background, as_json, start)


def _serve(loaded: Loaded, background: bool, as_json: bool, start: ExitStack) -> None:
    from server.platform import Platform, base_url  # the whole house: only this command needs it
    from server.serve import serve as run_server  # as above

    logging.basicConfig(
        level=loaded.settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # What it says at each start is noise in front of the one line that says why a start failed.
    logging.getLogger("alembic").setLevel(logging.WARNING)

    def ready(platform: Platform) -> None:
        start.close()
        url = base_url(platform.settings)
        found = {"url": url, "mcp": f"{url}/mcp", "data": str(platform.folder.root), "pid": os.getpid()}
        if not background:
            show(found, as_json, f"Upstairs serves {platform.folder.root}\n  pages {url}\n  MCP   {url}/mcp")

    run(run_server(loaded, ready=ready))


def worker(data: Data = None, config: Config = None) -> None:
    """Run workers alone, beside a server or against the same cluster, until stopped."""
    with ExitStack() as start:
        start.enter_context(loading())
        from server.workers_alone import work  # the whole house: only this command needs it

        run(work(settings(data, config), ready=start.close))


def stop(data: Data = None, config: Config = None, as_json: AsJson = False) -> None:
    """Stop the server of a data folder; runs go on when it is started again."""
    folder = folder_of(data, config)
    running = folder.read_server()
    if _alive(running):
        os.kill(running.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while _alive(running):
            if time.monotonic() > until:
                raise Unavailable(f"process {running.pid} did not stop within {STOP_S:.0f} s; see {folder.logs}")
            time.sleep(0.05)  # waiting for another process to end
    show({"stopped": running.pid}, as_json, f"stopped (process {running.pid})")


def status(data: Data = None, config: Config = None, as_json: AsJson = False) -> None:
    """Say whether a server runs on the data folder, and where."""
    folder = folder_of(data, config)
    try:
        running = folder.read_server()
    except Unavailable:
        running = None
    if running is None or not _alive(running):
        show({"running": False, "data": str(folder.root)}, as_json, f"no server runs on {folder.root}")
        raise typer.Exit(3)
    found = {"running": True, "pid": running.pid, "port": running.port, "version": running.version}
    text = f"process {running.pid} serves {folder.root} on port {running.port}, version {running.version}"
    if running.version != version("upstairs"):
        text += f" (this command is {version('upstairs')}: restart the server to bring it to that)"
    show({**found, "data": str(folder.root)}, as_json, text)


def open_pages(
    data: Data = None, config: Config = None, path: str = "/runs", user: AsUser = None, as_json: AsJson = False
) -> None:
    """Print a link that opens the pages in a browser; it works once, within ten minutes."""
    link = browser_link(folder_of(data, config), path, user)
    show({"url": link}, as_json, link)


def browser_link(folder: DataFolder, path: str, user: str | None = None) -> str:
    """Return a one-time link to a page of the running server."""
    running = folder.read_server()
    base = f"http://127.0.0.1:{running.port}"
    headers = {"Authorization": f"Bearer {folder.token()}", **({"Upstairs-User": user} if user else {})}
    request = urllib.request.Request(f"{base}/link?path={path}", method="POST", headers=headers)  # noqa: S310 # loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 # as above
            return f"{base}{json.load(answer)['path']}"
    except OSError as error:
        raise Unavailable(f"the server on {folder.root} did not answer: {error}") from error


def _alive(running: RunningServer) -> bool:
    try:
        os.kill(running.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(running.pid)


def _zombie(pid: int) -> bool:
    """Tell whether a process has ended and only its parent has not noticed (Linux; elsewhere never)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
