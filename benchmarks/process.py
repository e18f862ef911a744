"""What the process engine costs: transitions beside bare Temporal, a foreach over many items, the verifier, guards.

`python benchmarks/process.py [--json FILE] [--full] [--rounds N] [--only …]` prints a table. The peer beside ours is a
plain workflow with as many activities; both run in turn on one embedded server, as in `benchmarks/floor.py`.
"""

import argparse
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.bare import Steps
from benchmarks.figures import Report, Row, Sample, fsync_ms, run
from benchmarks.floor_house import House, Peer, open_house
from benchmarks.floor_steps import measure_nodes
from benchmarks.process_foreach import measure_foreach
from benchmarks.process_graph import measure_guards, measure_verifier

NODES, STEPS = 20, 40
ITEMS, FULL_ITEMS = 5_000, 100_000


def transitions(steps: int) -> str:
    """Return a process of so many nodes that do nothing: what is left is the step itself, with its one record."""
    lines = [f"  n{n}: {{type: wait, for: PT0S, next: [{{to: n{n + 1}}}]}}" for n in range(steps)]
    return "\n".join(
        ["format: 1", "process: steps", "start: n0", "nodes:", *lines, f"  n{steps}: {{type: end, outcome: done}}"]
    )


async def measure_transitions(house: House, rounds: int) -> list[Row]:
    """Transitions per second of one run and CPU of each, against bare workflows with one activity for each."""
    await house.publish("steps", transitions(STEPS))

    async def ours() -> None:
        await house.run("process", "steps")

    def bare(peer: Peer) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await peer.run("BareSteps", Steps(kinds=("engine",) * STEPS))

        return run

    sides = [("ours", ours), *((peer.name, bare(peer)) for peer in house.peers)]
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, _ in sides}
    for number in range(-1, rounds):
        for name, work in sides:
            began, cpu = time.perf_counter(), house.cpu()
            await work()
            seconds, spent = time.perf_counter() - began, house.cpu() - cpu
            if number >= 0:
                found[name][0].append(STEPS / seconds)
                found[name][1].append(spent * 1000 / STEPS)
    (rates, cpus), peers = found["ours"], [(f"{p.name}: 1 activity", found[p.name]) for p in house.peers]
    rows = [Row("transitions per second, one run", "1/s", Sample(rates), name, Sample(one[0])) for name, one in peers]
    return rows + [Row("transition, CPU", "CPU ms", Sample(cpus), name, Sample(one[1])) for name, one in peers]


async def measure(options: argparse.Namespace, root: Path) -> Report:
    """Return everything that needs no house, then what does."""
    report = Report(fsyncs=[fsync_ms(root)])
    if "verifier" in options.only:
        report.add(measure_verifier(options.rounds))
    if "guards" in options.only:
        report.add(measure_guards())
    cases: dict[str, Callable[[House], Awaitable[list[Row]]]] = {
        "transitions": lambda house: measure_transitions(house, options.rounds),
        "nodes": lambda house: measure_nodes(house, options.rounds, NODES),
        "foreach": lambda house: measure_foreach(house, options.items),
    }
    wanted = [case for name, case in cases.items() if name in options.only]
    if wanted:
        async with open_house(root / "process", options.durability) as house:
            for case in wanted:
                report.add(await case(house))
    report.fsyncs.append(fsync_ms(root))
    return report


def arguments() -> argparse.Namespace:
    cases = ("verifier", "guards", "transitions", "nodes", "foreach")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--items", type=int, default=ITEMS, help="items of the foreach")
    parser.add_argument("--full", action="store_true", help=f"the foreach has {FULL_ITEMS:,} items")
    parser.add_argument("--rounds", type=int, default=10, help="runs of each side of a case")
    parser.add_argument("--durability", choices=("full", "normal"), default="full", help="of the embedded Temporal")
    parser.add_argument("--only", nargs="+", choices=cases, default=cases)
    options = parser.parse_args()
    if options.full:
        options.items = FULL_ITEMS
    return options


def main() -> None:
    run("process", arguments(), measure)


if __name__ == "__main__":
    main()
