"""CPU of the stdio bridge until a client has its tools, against a tool server that lives in the bridge's place."""

import sys
from pathlib import Path

from benchmarks.figures import Row, Sample
from benchmarks.stdio_start import GOAL_CPU_SECONDS, one_start, stop
from server.data_folder import open_data_folder

SMALLEST = """
import os
os.environ["FASTMCP_LOG_LEVEL"] = "ERROR"
from fastmcp import FastMCP
server = FastMCP("smallest")
server.tool(lambda: "x", name="one")
server.run(show_banner=False)
"""


def measure_bridge(root: Path, rounds: int) -> list[Row]:
    """Start bridges on an empty data folder; the first starts the server too and counts like the others."""
    folder = open_data_folder(root)
    ours = [sys.executable, "-m", "server.stdio", "--data", str(root)]
    theirs = [sys.executable, "-c", SMALLEST]
    mine: list[float] = []
    peer: list[float] = []
    try:
        for _ in range(rounds):
            mine.append(one_start(ours)["cpu"])
            peer.append(one_start(theirs)["cpu"])
    finally:
        if folder.server_file.exists():
            stop(folder)
    name = "FastMCP over stdio with one tool"
    return [Row("bridge until its tools are listed", "CPU s", Sample(mine), name, Sample(peer), GOAL_CPU_SECONDS)]
