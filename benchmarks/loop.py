"""The agent loop beside the same loop in memory and beside its peers, each with an instant model, measured in turn.

`deploy/peers.sh --bench`, then `python benchmarks/loop.py [--json FILE] [--turns N] [--full] [--peer-turns N]
[--peers …] [--rounds N] [--stops N] [--parked N] [--wakes N] [--only …]`; prints a table. Milliseconds are between
moments inside the process that runs client and workers; CPU is of that process, of Temporal and of the peer's process
together, where nothing else is said. A peer that is not installed is left out, and said so. Nothing is asserted: the
load of the machine stands below.
"""

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.figures import Report, Row, fsync_ms, run
from benchmarks.floor_house import House, open_house
from benchmarks.loop_bare import bare_loop
from benchmarks.loop_parked import measure_stops, measure_wakes
from benchmarks.loop_turns import PEERS, measure_turns

CASES = ("turns", "stops", "wakes")
FULL_TURNS, FULL_PARKED = 1_000, 10_000


async def measure(options: argparse.Namespace, root: Path) -> Report:
    """Return all rows; each case has a house of its own."""
    report = Report(fsyncs=[fsync_ms(root)])
    peer_turns = min(options.turns, options.peer_turns)
    cases: dict[str, Callable[[House], Awaitable[list[Row]]]] = {
        "turns": lambda house: measure_turns(house, options.turns, peer_turns, options.rounds, options.peers),
        "stops": lambda house: measure_stops(house, options.stops),
        "wakes": lambda house: measure_wakes(house, options.parked, options.wakes),
    }
    for name, case in cases.items():
        if name in options.only:
            async with open_house(root / name, options.durability) as house, bare_loop(house.platform.client):
                report.add(await case(house))
    report.fsyncs.append(fsync_ms(root))
    return report


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--turns", type=int, default=150, help="turns of a conversation")
    parser.add_argument("--peer-turns", type=int, default=150, help="turns of pydantic-ai at the most")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="besides the loop in memory")
    parser.add_argument("--rounds", type=int, default=1, help="conversations of each side")
    parser.add_argument("--stops", type=int, default=20, help="how many stops are measured")
    parser.add_argument("--parked", type=int, default=200, help="how many runs are parked")
    parser.add_argument("--wakes", type=int, default=20, help="how many of them are woken, one after the other")
    parser.add_argument("--full", action="store_true", help=f"{FULL_TURNS:,} turns and {FULL_PARKED:,} parked runs")
    parser.add_argument("--durability", choices=("full", "normal"), default="full", help="of the embedded Temporal")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    if options.full:
        options.turns, options.parked = FULL_TURNS, FULL_PARKED
    return options


def main() -> None:
    run("loop", arguments(), measure)


if __name__ == "__main__":
    main()
