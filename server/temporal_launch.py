"""Becomes the Temporal server named in its arguments, after tying its life to the process that started it.

Run as a file by a bare interpreter, not imported: `python -I -S temporal_launch.py <parent pid> <binary> <args…>`.
On Linux the kernel sends SIGTERM when the parent's thread that started this has ended; setting that here, between
fork and exec, spares the parent a hook that would run in a copy of a threaded process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process by the binary; exits with 3 when the parent was gone before."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    os.umask(0o077)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(3)
    os.execv(command[0], command)  # noqa: S606 - the point of this file: no shell, the parent chose the binary


if __name__ == "__main__":
    main()
