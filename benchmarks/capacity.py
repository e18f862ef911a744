"""Time what the gate adds to a model call: with a leased slice, and with a ticket in the store, beside no gate.

Run `python benchmarks/capacity.py`. The call itself does nothing, so that what is left is the gate. Milliseconds of
wall clock and of CPU for one call, over SQLite in a temporary folder with full synchronisation.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from content.database import Database
from engine.transcript import Quota, RateFacts
from providers.quotas import Cost
from server.capacity import ASKING, Asking, Capacity
from server.store.capacity import Place, SqlCapacity

CALLS, ROUNDS = 200, 7
PLACE = Place("benchmark", "", "0", "model")
TOOK = Cost(requests=1, input_tokens=100, output_tokens=100)
PLENTY = 10_000_000
"""Requests per minute: no call of the benchmark waits."""


async def bare(_: int) -> None:
    """Make the call that does nothing."""
    await asyncio.sleep(0)


def told(limit: int) -> Callable[[None], tuple[Cost | None, RateFacts | None]]:
    """Return what says of a call what it took, and of the account what its limit is."""
    rates = RateFacts(requests=Quota(limit=limit, remaining=limit, resets_in_s=30.0))
    return lambda _: (TOOK, rates)


async def measured(call: Callable[[int], Awaitable[None]]) -> tuple[float, float]:
    """Return the median of the rounds: milliseconds of wall clock and of CPU for a call."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for number in range(CALLS):
            await call(number)
        walls.append((time.perf_counter() - wall) / CALLS * 1000)
        cpus.append((time.process_time() - cpu) / CALLS * 1000)
    return statistics.median(walls), statistics.median(cpus)


async def gated(folder: Path, *, leasing: bool) -> tuple[float, float]:
    """Measure calls through a gate of its own; without `leasing` each has a ticket, as where calls wait."""
    database = Database(f"sqlite:///{folder / f'{leasing}.db'}")
    await database.migrate()
    gates = Capacity(SqlCapacity(database))
    took = told(PLENTY)
    await gates.through(PLACE, "bench", (100, 100), lambda: bare(0), took)
    if not leasing:
        await gates.close()
    count = 0

    async def call(_: int) -> None:
        nonlocal count
        count += 1
        ASKING.set(None if leasing else Asking(f"call/{count}", calls=1))
        await gates.through(PLACE, "bench", (100, 100), lambda: bare(0), took)

    found = await measured(call)
    await gates.close()
    await database.close()
    return found


async def main() -> None:
    """Print one line for each way."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            ("no gate", await measured(bare)),
            ("leased slice", await gated(Path(folder), leasing=True)),
            ("ticket in the store", await gated(Path(folder), leasing=False)),
        ]
    print(f"{'way':<24}{'wall ms':>10}{'CPU ms':>10}")
    for name, (wall, cpu) in rows:
        print(f"{name:<24}{wall:>10.3f}{cpu:>10.3f}")


if __name__ == "__main__":
    asyncio.run(main())
