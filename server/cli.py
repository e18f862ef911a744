"""The `upstairs` command. `stdio` is taken first: a desktop client waits for it, and it needs none of the rest."""

import sys


def main() -> int:
    """Run the command line; expected failures are one line on standard error and exit code 1."""
    if len(sys.argv) > 1 and sys.argv[1] == "stdio":
        from server.stdio import main as stdio  # the bridge loads nothing it does not need

        return stdio(sys.argv[2:])
    from server.commands import run  # as above

    return run()


if __name__ == "__main__":
    sys.exit(main())
