"""What a desktop client waits for: CPU and time of the bridge until it has listed the tools.

`python benchmarks/stdio_start.py [--data FOLDER] [--rounds N] [--command …]`; prints JSON. Without a folder a server is
started on an empty one and ended afterwards. Seconds throughout; CPU is user and system time of the bridge alone, the
server being a process of its own, measured by the kernel.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from server.data_folder import DataFolder, open_data_folder

GOAL_CPU_SECONDS = 1.0
HELLO: tuple[dict[str, Any], ...] = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)


def one_start(command: list[str]) -> dict[str, float]:
    """Start a bridge, list the tools, close it; return its CPU and the time until the list was there."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in HELLO))
    process.stdin.flush()
    while line := process.stdout.readline():
        if json.loads(line).get("id") == 2:
            break
    else:
        raise SystemExit("the bridge ended before it had listed the tools; its reason stands above")
    listed = time.perf_counter() - began
    process.stdin.close()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return {"cpu": used.ru_utime + used.ru_stime, "listed_after": listed, "rss_mib": used.ru_maxrss / 1024}


def server_cpu(folder: DataFolder) -> float:
    """Return the CPU that the running server has used so far."""
    fields = Path(f"/proc/{folder.read_server().pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: DataFolder, command: list[str], rounds: int) -> dict[str, Any]:
    """Return the first start, which may start the server, and the middle of `rounds` warm ones."""
    first = one_start(command)
    before = server_cpu(folder)
    warm = [one_start(command) for _ in range(rounds)]
    serving = (server_cpu(folder) - before) / rounds
    middle = {key: statistics.median(one[key] for one in warm) for key in warm[0]}
    return {
        "first": {key: round(value, 3) for key, value in first.items()},
        "warm_median": {key: round(value, 3) for key, value in middle.items()},
        "server_cpu_per_session": round(serving, 3),
        "goal_cpu": GOAL_CPU_SECONDS,
        "met": max(first["cpu"], *(one["cpu"] for one in warm)) <= GOAL_CPU_SECONDS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a data folder, with or without a running server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--command", nargs="+", default=[sys.executable, "-m", "server.stdio"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upstairs-bench-") as temporary:
        folder = open_data_folder(options.data or Path(temporary))
        try:
            print(json.dumps(measure(folder, [*options.command, "--data", str(folder.root)], options.rounds), indent=1))
        finally:
            if options.data is None and folder.server_file.exists():
                stop(folder)


def stop(folder: DataFolder) -> None:
    """End the server that this benchmark started and wait for its end, so that the folder can be removed."""
    descriptor = os.pidfd_open(folder.read_server().pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while folder.server_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
