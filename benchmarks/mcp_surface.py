"""What the MCP surface costs above bare FastMCP: each a process of its own, measured in turn by one light client.

`python benchmarks/mcp_surface.py [--json FILE] [--full] [--rounds N] [--calls N] [--only …]` prints a table: the size
of the visible list beside the flat one, then time and CPU of a trivial tool through the whole chain, of learning and
of listing, with the tools that come built in and with 300. Nothing is asserted but that the list never changes.
"""

import argparse
import json
import os
import platform as machine
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import anyio

from benchmarks.figures import Report
from benchmarks.mcp_clients import measure_clients
from benchmarks.mcp_servers import bare, built_in, ours
from benchmarks.mcp_sizes import measure_sizes
from benchmarks.mcp_times import Match, measure_times

MANY_SKILLS, MANY_TOOLS = 40, 300
CASES = ("sizes", "times", "clients")


def measure(options: argparse.Namespace, root: Path) -> Report:
    """Return the rows of all cases."""
    report = Report()
    skills, tools = built_in()
    with ExitStack() as stack:
        few = stack.enter_context(ours(root / "few", f"{tools + 1} tools", skills=skills + 1, tools=tools + 1))
        many = stack.enter_context(ours(root / "many", f"{MANY_TOOLS} tools", skills=MANY_SKILLS, tools=MANY_TOOLS))
        small = stack.enter_context(bare(2))
        matches = [Match(one, stack.enter_context(bare(one.tools))) for one in (few, many)]
        if "sizes" in options.only:
            report.add(measure_sizes((few, many)))
        if "times" in options.only:
            report.add(measure_times(matches, small, options.rounds, options.calls))
        if "clients" in options.only:
            report.add(anyio.run(measure_clients, few, small, options.rounds, options.calls))
    return report


def about(report: Report) -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": machine.python_version(),
        "fastmcp": version("fastmcp"),
        "mcp": version("mcp"),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in report.loads],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--rounds", type=int, default=12, help="batches of each kind of call on each side")
    parser.add_argument("--calls", type=int, default=25, help="calls of a batch")
    parser.add_argument("--full", action="store_true", help="60 batches")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    if options.full:
        options.rounds = 60
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="upstairs-mcp-") as temporary:
        report = measure(options, Path(temporary))
    facts = about(report)
    print(json.dumps(facts))
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": [row.as_json() for row in report.rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
