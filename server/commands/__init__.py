"""The commands, one module each group; this file names them."""

import sys

import typer

from engine.errors import Problem
from server.commands import demo, diagnosis, runs, serving, work

app = typer.Typer(
    name="upstairs",
    help="An agent platform spoken to over MCP: durable agents and processes on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (serving, diagnosis, work, runs, demo):
    module.add_to(app)


@app.command(name="stdio", help="Speak MCP on the standard streams; what desktop and IDE clients start.")
def stdio() -> None:
    """Stand in the list of commands; `server.cli` takes the command before this one is reached."""
    raise AssertionError("server.cli runs stdio itself")


def run() -> int:
    """Run a command; a `Problem` becomes one line on standard error."""
    try:
        app(standalone_mode=False)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except Problem as problem:
        print(f"upstairs: {problem.message}", file=sys.stderr)
        return 1
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")):
            print(f"upstairs: {error}; see upstairs --help", file=sys.stderr)
            return 2
        raise
    return 0
