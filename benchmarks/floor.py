"""What the house costs above bare Temporal: both in one process on one embedded server, measured in turn.

`python benchmarks/floor.py [--json FILE] [--turns N] [--full] [--rounds N] [--durability normal]` prints a table.
Milliseconds are between moments inside the process that runs client and workers; CPU is of that process and the
Temporal server together, divided by the steps of the run. Nothing is asserted: the load of the machine stands below.
"""

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from benchmarks.figures import Report, Row, fsync_ms, run
from benchmarks.floor_bridge import measure_bridge
from benchmarks.floor_history import measure_history
from benchmarks.floor_house import House, open_house
from benchmarks.floor_steps import measure_decision, measure_nodes, measure_start, measure_turns

NODES, TURNS = 20, 20
FULL_TURNS = 1_000
BY_VALUE = (10, 50)


async def measure(options: argparse.Namespace, root: Path) -> Report:
    """Return everything that needs the house, then the bridge on a server of its own."""
    report = Report(fsyncs=[fsync_ms(root)])
    rounds = options.rounds
    cases: dict[str, Callable[[House], Awaitable[list[Row]]]] = {
        "start": lambda house: measure_start(house, 2 * rounds),
        "nodes": lambda house: measure_nodes(house, rounds, NODES),
        "decision": lambda house: measure_decision(house, 2 * rounds),
        "turns": lambda house: measure_turns(house, rounds, TURNS),
        "history": lambda house: measure_history(house, (10, options.turns), BY_VALUE),
    }
    async with open_house(root / "floor", options.durability) as house:
        for name, case in cases.items():
            if name in options.only:
                report.add(await case(house))
    if "bridge" in options.only:
        report.add(await anyio.to_thread.run_sync(measure_bridge, root / "bridge", rounds))
    report.fsyncs.append(fsync_ms(root))
    return report


def arguments() -> argparse.Namespace:
    cases = ("start", "nodes", "decision", "turns", "history", "bridge")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--turns", type=int, default=200, help="turns of the long agent")
    parser.add_argument("--full", action="store_true", help=f"the long agent takes {FULL_TURNS:,} turns")
    parser.add_argument("--rounds", type=int, default=10, help="runs of each side of a case; quick cases twice that")
    parser.add_argument("--durability", choices=("full", "normal"), default="full", help="of the embedded Temporal")
    parser.add_argument("--only", nargs="+", choices=cases, default=cases)
    options = parser.parse_args()
    if options.full:
        options.turns = FULL_TURNS
    return options


def main() -> None:
    run("floor", arguments(), measure)


if __name__ == "__main__":
    main()
