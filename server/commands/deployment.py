"""`deployment`: builds of the code side by side, which of them takes new runs, and what still waits on an old one."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from engine.errors import Invalid
from server.codec import make_data_converter
from server.commands.options import AsJson, Config, Data, settings, show
from server.data_folder import open_data_folder
from server.deployments import Build, Deployment
from server.keys import open_key_ring
from server.payloads import open_payload_store
from server.settings import Settings
from server.temporal import connect

Result = TypeVar("Result")
Name = Annotated[str, typer.Argument(help="a build, as temporal.build names it")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help=(__doc__ or "").partition(": ")[2], no_args_is_help=True)
    for name, command in (("list", list_builds), ("current", current), ("ramp", ramp), ("move", move)):
        group.command(name)(command)
    app.add_typer(group, name="deployment")


def list_builds(data: Data = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the builds that Temporal knows, with the open runs that each carries."""
    builds = _with(settings(data, config).settings, lambda deployment: deployment.builds())
    none = "no build is known: workers are versioned once temporal.build is set"
    show([asdict(one) for one in builds], as_json, "\n".join(map(_line, builds)) or none)


def current(build: Name, data: Data = None, config: Config = None, as_json: AsJson = False) -> None:
    """Have new runs begin on a build, and running ones go on with it in their next history."""
    _with(settings(data, config).settings, lambda deployment: deployment.make_current(build))
    show({"current": build}, as_json, f"new runs begin on {build}")


def ramp(
    build: Name,
    percent: Annotated[float, typer.Argument(min=0, max=100, help="how many of a hundred new runs")],
    data: Data = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Have a share of the new runs begin on a build."""
    _with(settings(data, config).settings, lambda deployment: deployment.ramp(build, percent))
    show({"ramping": build, "percent": percent}, as_json, f"{percent:g} % of new runs begin on {build}")


def move(
    source: Annotated[str, typer.Argument(help="the build that is to be left")],
    data: Data = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give the open runs of a build to this one (temporal.build), each after its history was replayed on this code."""
    found = settings(data, config).settings
    target = found.temporal.build
    if target is None:
        raise Invalid("temporal.build is not set: runs move to the build of the code that carries out this command")
    if source == target:
        raise Invalid(f"{source!r} is the build of this code; name the one that is to be left", key="source")

    async def all_of_them(deployment: Deployment) -> bool:
        stay = False
        async for one in deployment.move(source, target):
            stay |= bool(one.why)
            show(asdict(one), as_json, f"{one.workflow_id} {f'stays: {one.why}' if one.why else f'goes to {target}'}")
        return stay

    if _with(found, all_of_them):
        raise typer.Exit(1)


def _with(found: Settings, use: Callable[[Deployment], Awaitable[Result]]) -> Result:
    async def used() -> Result:
        async with opened(found) as deployment:
            return await use(deployment)

    return asyncio.run(used())


@asynccontextmanager
async def opened(found: Settings) -> AsyncGenerator[Deployment]:
    """Give the deployment that the settings name, over a connection of its own."""
    folder = open_data_folder(found.data)
    converter = make_data_converter(open_key_ring(folder, found.keys_file), open_payload_store(found.blobs))
    client = await connect(found.temporal, folder, converter)
    yield Deployment(client, found.temporal.deployment, found.temporal.task_queue_prefix)


def _line(one: Build) -> str:
    share = f" ({one.percent:g} %)" if one.status == "ramping" else ""
    workers = f"{one.workers} worker{'' if one.workers == 1 else 's'}"
    return f"{one.build}: {one.status}{share}, {one.runs} open runs, {workers}"
