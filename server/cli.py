"""The `upstairs` command. `stdio` is taken first: a desktop client waits for it, and it needs none of the rest."""

import logging
import os
import sys

TEMPORAL = "temporalio.bridge.temporal_sdk_bridge"


def main() -> int:
    """Run the command line; expected failures are one line on standard error and exit code 1."""
    if len(sys.argv) > 1 and sys.argv[1] == "stdio":
        from server.stdio import main as stdio  # the bridge loads nothing it does not need

        return stdio(sys.argv[2:])
    from server.commands import run  # as above

    return _left(run())


def _left(code: int) -> int:
    """End here where Temporal's threads run: the interpreter aborts if one lets go of an object during its end."""
    if TEMPORAL in sys.modules:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
