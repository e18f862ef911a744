"""The commands, one module each group; only the module of the command that is run is imported."""

import importlib
import sys

import typer

from engine.errors import Problem

COMMANDS = {
    "serving": ("serve", "worker", "stop", "status", "open"),
    "install": ("install",),
    "diagnosis": ("doctor",),
    "work": ("ingest", "search", "publish"),
    "runs": ("run", "watch", "inbox", "answer", "replay"),
    "keeping": ("secret", "audit"),
    "deployment": ("deployment",),
    "processes": ("test-process", "diff-process", "import-process"),
    "demo": ("demo",),
}
"""Which module of this package has which commands, in the order of the help."""


def make_app(wanted: str | None) -> typer.Typer:
    """Return the command line; `wanted` is the command about to be run, None or an unknown one brings them all."""
    app = typer.Typer(
        name="upstairs",
        help="An agent platform spoken to over MCP: durable agents and processes on your own machine.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    having = [module for module, names in COMMANDS.items() if wanted in names]
    for module in having or COMMANDS:
        importlib.import_module(f"server.commands.{module}").add_to(app)
    app.command(name="stdio", help="Speak MCP on the standard streams; what desktop and IDE clients start.")(_stdio)
    return app


def _stdio() -> None:
    raise AssertionError("server.cli runs stdio itself; here it only stands in the list of commands")


def run() -> int:
    """Run a command; a `Problem` becomes one line on standard error."""
    try:
        ended = make_app(sys.argv[1] if len(sys.argv) > 1 else None)(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Problem as problem:
        print(f"upstairs: {' '.join(problem.message.split())}", file=sys.stderr)
        return 1
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")):
            print(f"upstairs: {error}; see upstairs --help", file=sys.stderr)
            return 2
        raise
    return ended if isinstance(ended, int) else 0
