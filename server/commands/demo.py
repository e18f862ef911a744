"""`demo`: the main job, end to end, on documents that it makes itself."""

import asyncio
from typing import Annotated

import typer

from server.commands.options import AsJson, Config, Data, settings


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    data: Data = None,
    config: Config = None,
    stay: Annotated[bool, typer.Option("--stay", help="stay up at the end and say how to connect clients")] = False,
    as_json: AsJson = False,
) -> None:
    """Run an invoice approval end to end: documents, agent, kill -9, decision, audit."""
    from server.demo import run_demo  # it brings the examples along

    raise typer.Exit(asyncio.run(run_demo(settings(data, config), stay=stay, as_json=as_json)))
