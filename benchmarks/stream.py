"""Live streams: a token from the model to a client over HTTP, across a server and workers in processes of their own.

`python benchmarks/stream.py [--json FILE] [--streams N] [--seconds N] [--stops N]` prints a table. A model on loopback
streams 50 tokens a second to each agent; a token is the moment it was sent, and its delay is taken where a client has
read it from the stream of events. The peer is Temporal's workflow streams on the same server, with the same model.
`stop` is from the call of `control_run` to the model's seeing its connection closed. Nothing is asserted.
"""

import argparse
import asyncio
import json
import logging
import os
import platform as machine
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Report, Row, Sample
from benchmarks.stream_house import House, open_house, process
from benchmarks.stream_peer import QUEUE, Talk, heard
from server.long_lived import run
from server.temporal_child import read_running

RATE = 50
WARM_S = 2.0
SLACK_S = 90
"""How long it may take until all streams have begun."""

TASK = f"{900 * RATE} tokens at {RATE}/s"
"""What is asked of the model: it speaks until it is stopped."""

MOST_ONE, MOST_STOP = 50.0, 500.0
BEST_PEER = {1: (50, 20), 100: (200, 100)}
"""The batching and polling, in milliseconds, with which the peer did best for as many streams in earlier trials."""


@dataclass
class Heard:
    """What one client has heard: the moment of each token, and its delay in milliseconds."""

    moments: list[float] = field(default_factory=list[float])
    delays: list[float] = field(default_factory=list[float])

    def take(self, text: str) -> None:
        """Note tokens that have just arrived."""
        now = time.monotonic()
        for word in text.split():
            self.moments.append(float(word))
            self.delays.append((now - float(word)) * 1000)

    def within(self, begin: float, end: float) -> list[float]:
        """Return the delays of the tokens that were sent in a span of time."""
        return [delay for moment, delay in zip(self.moments, self.delays, strict=True) if begin <= moment < end]


@dataclass
class Streams:
    """Clients of several streams that are read at once."""

    heard: list[Heard] = field(default_factory=list[Heard])
    spoke: "asyncio.Queue[None]" = field(default_factory=lambda: asyncio.Queue[None]())
    readers: list["asyncio.Task[None]"] = field(default_factory=list["asyncio.Task[None]"])

    def read(self, texts: AsyncGenerator[str]) -> None:
        """Read a stream in the background."""
        heard = Heard()

        async def follow() -> None:
            async with aclosing(texts):
                async for text in texts:
                    if not heard.moments:
                        self.spoke.put_nowait(None)
                    heard.take(text)

        self.heard.append(heard)
        self.readers.append(asyncio.ensure_future(follow()))

    async def all_speak(self) -> None:
        """Return when each stream has had a token, or when it has taken too long: what is missing is told."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SLACK_S):
                for _ in self.heard:
                    await self.spoke.get()

    async def measured(self, seconds: float) -> Sample | None:
        """Return the delays of all tokens sent in the next seconds, after a moment to settle; None if none came."""
        begin = time.monotonic() + WARM_S
        await asyncio.sleep(WARM_S + seconds)
        end = begin + seconds
        # What was sent at the end may still be on its way.
        await asyncio.sleep(WARM_S)
        delays = [delay for one in self.heard for delay in one.within(begin, end)]
        return Sample(delays) if delays else None

    async def close(self) -> None:
        """Stop reading."""
        for reader in self.readers:
            reader.cancel()
        await asyncio.gather(*self.readers, return_exceptions=True)


@dataclass(frozen=True)
class Measured:
    """One side: delays in milliseconds, history events per token, processor cores while it was measured.

    `silent`: how many streams had no token at all.
    """

    delays: Sample | None
    silent: int
    events: Sample | None
    cores: Sample


async def _texts(house: House, run_id: str) -> AsyncGenerator[str]:
    async with aclosing(house.pieces(run_id)) as pieces:
        async for piece in pieces:
            yield piece["data"]["text"]


async def _side(house: House, streams: Streams, workflows: Sequence[str], seconds: float) -> Measured:
    """Measure streams that have been opened, with the histories of their workflows and the processors' time."""
    await streams.all_speak()
    events = [await house.history(name) for name in workflows]
    spoken, began, cpu = sum(len(one.moments) for one in streams.heard), time.monotonic(), house.cpu()
    delays = await streams.measured(seconds)
    lasted, cpu = time.monotonic() - began, house.cpu() - cpu
    spoken = sum(len(one.moments) for one in streams.heard) - spoken
    added = sum([await house.history(name) for name in workflows]) - sum(events)
    silent = sum(not one.delays for one in streams.heard)
    return Measured(delays, silent, Sample([added / spoken]) if spoken else None, Sample([cpu / lasted]))


async def measure_ours(house: House, count: int, seconds: float, stops: int) -> tuple[Measured, Sample]:
    """Return our side for `count` streams, and how long stops took while they went on, in milliseconds."""
    streams = Streams()
    runs: list[str] = []
    try:
        for _ in range(count):
            runs.append(await house.start(TASK))
            streams.read(_texts(house, runs[-1]))
        ours = await _side(house, streams, [f"local/{run}" for run in runs], seconds)
        stopped = [await _stop(house, run) for run in runs[:stops]]
        for run in runs[stops:]:
            await _stop(house, run)
        return ours, Sample(stopped)
    finally:
        await streams.close()


async def _stop(house: House, run_id: str) -> float:
    """Stop an agent whose model is speaking; return the milliseconds until the model's connection was closed."""
    began, ended = time.monotonic(), 0.0
    await house.stop(run_id)
    async with asyncio.timeout(60):
        # Clients of measurements that are over may have left late.
        while ended < began:
            ended = await house.model.aborted.get()
    return (ended - began) * 1000


async def measure_stops(house: House, stops: int) -> Sample:
    """Return how long a stop takes with one agent after the other, in milliseconds."""
    found: list[float] = []
    for _ in range(stops):
        streams = Streams()
        run = await house.start(TASK)
        streams.read(_texts(house, run))
        await streams.all_speak()
        found.append(await _stop(house, run))
        await streams.close()
    return Sample(found)


async def measure_peer(house: House, count: int, seconds: float) -> Measured:
    """Return the peer's side for `count` streams."""
    batch, cooldown = BEST_PEER[1 if count == 1 else 100]
    talk = Talk(house.model.port, TASK, batch, cooldown)
    temporal = read_running(house.folder)
    log = house.folder.root / "processes.log"
    streams = Streams()
    names = [f"peer-{count}-{number}" for number in range(count)]
    async with process("benchmarks.stream_peer", temporal.address, temporal.namespace, log=log) as worker:
        house.pids["peer"] = worker.pid
        try:
            for name in names:
                await house.client.start_workflow("StreamWorkflow", talk, id=name, task_queue=QUEUE)
                streams.read(heard(house.client, name, talk))
            return await _side(house, streams, names, seconds)
        finally:
            await streams.close()
            for name in names:
                await house.client.get_workflow_handle(name).terminate()
            del house.pids["peer"]


def rows(count: int, ours: Measured, peer: Measured | None, stops: Sample) -> list[Row]:
    """Return the rows of one number of streams."""
    streams = "1 stream" if count == 1 else f"{count} streams"
    batch, cooldown = BEST_PEER[1 if count == 1 else 100]
    silent = f", {peer.silent} silent" if peer and peer.silent else ""
    name = f"workflow streams, {batch}/{cooldown} ms{silent}" if peer else ""
    missing = f", {ours.silent} silent" if ours.silent else ""

    assert ours.delays is not None, "no token came; the log of the processes says why"
    assert ours.events is not None
    return [
        Row(f"token to client, {streams}{missing}", "ms", ours.delays, name, peer and peer.delays, goal=MOST_ONE),
        Row(f"history per token, {streams}", "events", ours.events, name, peer and peer.events, goal=0),
        Row(f"all processes, {streams}", "cores", ours.cores, name, peer and peer.cores),
        Row(f"stop to model call aborted, {streams}", "ms", stops, "", goal=MOST_STOP),
    ]


async def measure(options: argparse.Namespace, root: Path) -> Report:
    report = Report()
    # A process carries 50 model calls at once.
    async with open_house(root / "data", workers=max(1, -(-options.streams // 50))) as house:
        for count in (1, options.streams):
            ours, stopped = await measure_ours(house, count, options.seconds, options.stops)
            peer = await measure_peer(house, count, options.seconds)
            stops = await measure_stops(house, options.stops) if count == 1 else stopped
            report.add(rows(count, ours, peer, stops))
    return report


def main() -> None:
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--streams", type=int, default=100, help="how many at once, besides one")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each side is measured")
    parser.add_argument("--stops", type=int, default=20, help="how many stops are measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upstairs-stream-") as temporary:
        report = run(measure(options, Path(temporary)))
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": machine.python_version(),
        "temporalio": version("temporalio"),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in report.loads],
    }
    print(json.dumps(facts))
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": [row.as_json() for row in report.rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
