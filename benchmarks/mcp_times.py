"""Time and CPU of calls and lists, ours beside bare FastMCP: every batch of one side is followed by one of the other.

CPU is of the process that serves, by the system's account; over stdio ours is the server and the bridge together.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.figures import Row, Sample
from benchmarks.mcp_peer import COUNT, TEXT
from benchmarks.mcp_servers import TRIVIAL, Bare, Ours, learning
from benchmarks.mcp_wire import ERAS, Era, HttpWire, PipeWire, Wire

WARM_UP = 10
LISTS = 5
GOAL_DIRECT, GOAL_USE = 2.0, 3.0
ARGUMENTS = {"text": "one two three"}


def cpu_clock(pid: int) -> float:
    """Return the CPU seconds of a process, all its threads, to the nanosecond: batches are short."""
    # The kernel's own number of the clock of another process: clock_getcpuclockid(3), which Python does not have.
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(frozen=True)
class Side:
    """A connection and the processes that serve it."""

    wire: Wire
    pids: Sequence[int]


@dataclass(frozen=True)
class Lane:
    """One kind of call on one side, with what it took: milliseconds a call, CPU milliseconds a call by batch.

    `part`: it makes this part of the calls that others make, being slower.
    """

    call: Callable[[], object]
    wake: Callable[[], None]
    pids: Sequence[int]
    part: int = 1
    ms: list[float] = field(default_factory=lambda: [])
    cpu_ms: list[float] = field(default_factory=lambda: [])

    def batch(self, calls: int) -> None:
        """Make `calls` calls after one that is not counted."""
        calls = max(1, calls // self.part)
        self.wake()
        self.call()
        cpu = sum(map(cpu_clock, self.pids))
        for _ in range(calls):
            began = time.perf_counter()
            self.call()
            self.ms.append((time.perf_counter() - began) * 1000)
        self.cpu_ms.append((sum(map(cpu_clock, self.pids)) - cpu) * 1000 / calls)


@dataclass(frozen=True)
class Pair:
    """A measure: ours beside the peer's lane; several of ours may share one."""

    measure: str
    ours: Lane
    peer_name: str
    peer: Lane
    goal_ratio: float | None = None

    def rows(self, where: str) -> list[Row]:
        """Return the row of time and the row of CPU."""
        return [
            Row(
                f"{self.measure}, {where}",
                "ms",
                Sample(self.ours.ms),
                self.peer_name,
                Sample(self.peer.ms),
                goal_ratio=self.goal_ratio,
            ),
            Row(
                f"{self.measure}, {where}",
                "CPU ms",
                Sample(self.ours.cpu_ms),
                self.peer_name,
                Sample(self.peer.cpu_ms),
                goal_ratio=self.goal_ratio,
            ),
        ]


def run_in_turn(pairs: Sequence[Pair], rounds: int, calls: int) -> None:
    """Let every lane make a batch in each round, one after the other."""
    lanes = list({id(lane): lane for pair in pairs for lane in (pair.peer, pair.ours)}.values())
    for lane in lanes:
        lane.wake()
        for _ in range(WARM_UP):
            lane.call()
    for _ in range(rounds):
        for lane in lanes:
            lane.batch(calls)


@dataclass(frozen=True)
class Match:
    """A server of ours and bare FastMCP with as many tools, for lists."""

    ours: Ours
    peer: Bare


def measure_times(matches: Sequence[Match], small: Bare, rounds: int, calls: int) -> list[Row]:
    """Return the rows of both transports in both eras; calls of bare FastMCP go to `small`, where nothing else is."""
    rows: list[Row] = []
    for transport in ("HTTP", "stdio"):
        for era in ERAS:
            with ExitStack() as stack:
                bare = _to_bare(stack, small, transport, era)
                trivial = _tool_lane(bare, COUNT, ARGUMENTS)
                pairs = [
                    pair
                    for match in matches
                    for pair in (
                        *_calls(_to_ours(stack, match.ours, transport, era), bare, trivial, match.ours),
                        _lists(stack, match, transport, era),
                    )
                ]
                run_in_turn(pairs, rounds, calls)
                rows += [row for pair in pairs for row in pair.rows(f"{transport}, {era}")]
    return rows


def _calls(ours: Side, bare: Side, trivial: Lane, server: Ours) -> list[Pair]:
    lesson = ours.wire.text(*learning(server))
    use = {"ticket": lesson.rstrip().rpartition("ticket: ")[2], "tool": COUNT, "arguments": ARGUMENTS}
    direct, used = _tool_lane(ours, f"{TRIVIAL}.{COUNT}", ARGUMENTS), _tool_lane(ours, "use_tool", use)
    taught, text = _tool_lane(ours, *learning(server)), _tool_lane(bare, TEXT, {"size": len(lesson)})
    return [
        Pair(f"direct call, {server.name}", direct, "FastMCP, 2 tools", trivial, GOAL_DIRECT),
        Pair(f"use_tool, {server.name}", used, "FastMCP, 2 tools", trivial, GOAL_USE),
        Pair(f"learn a skill, {server.name}", taught, "FastMCP, a text as long", text),
    ]


def _lists(stack: ExitStack, match: Match, transport: str, era: Era) -> Pair:
    # On a connection of its own: in the older era a session that has learned a skill lists its tools as well.
    ours = _list_lane(_to_ours(stack, match.ours, transport, era))
    peer = _list_lane(_to_bare(stack, match.peer, transport, era))
    return Pair(f"tools/list, {match.ours.name}", ours, f"FastMCP, {match.peer.tools} tools", peer)


def _tool_lane(side: Side, tool: str, arguments: Mapping[str, object]) -> Lane:
    return Lane(lambda: side.wire.tool(tool, arguments), side.wire.wake, side.pids)


def _list_lane(side: Side) -> Lane:
    return Lane(lambda: side.wire.call("tools/list", {}), side.wire.wake, side.pids, part=LISTS)


def _to_ours(stack: ExitStack, server: Ours, transport: str, era: Era) -> Side:
    if transport == "HTTP":
        wire = server.http(era)
        stack.callback(wire.close)
        return Side(wire, (server.pid,))
    piped = PipeWire(era, server.bridge, os.environ)
    stack.callback(piped.close)
    piped.open()
    return Side(piped, (server.pid, piped.pid))


def _to_bare(stack: ExitStack, server: Bare, transport: str, era: Era) -> Side:
    if transport == "HTTP":
        wire: Wire = HttpWire(era, server.port)
        pid = server.pid
    else:
        wire = PipeWire(era, server.command, server.environment)
        pid = wire.pid
    stack.callback(wire.close)
    wire.open()
    return Side(wire, (pid,))
